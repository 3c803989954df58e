package client

import (
	"context"
	"slices"
	"strconv"

	"sotto/api"
)

// maxOwedMarks bounds the messages that are shown as not delivered; more are supplemented all the same.
const maxOwedMarks = 4_096

// owedMark shows a message of this account as not delivered: no device of Account has it.
type owedMark struct {
	Account api.AccountID `json:"account"`
	Since   int64         `json:"since"` // milliseconds, by the server's clock
}

// owedLoop supplements what this account owes, whenever the server says that there is something.
func (n *connection) owedLoop(ctx context.Context) error {
	if n.accepted.Owed > 0 || n.c.hasOwed() {
		signal(n.owed)
	}
	tried := map[string]bool{}
	for {
		select {
		case <-n.owed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if n.owedAgain.CompareAndSwap(true, false) {
			clear(tried)
		}
		err := n.readOwed(ctx, tried)
		if err != nil && (ctx.Err() != nil || stopsConnection(err)) {
			return err
		}
		if err != nil {
			n.c.log.Warn("what is owed could not be read", "code", CodeOf(err))
		}
	}
}

// readOwed makes one pass over what is owed: it marks the messages as not delivered, queues the supplements of those that
// are not in tried, and takes the marks away from those that are not owed any more.
func (n *connection) readOwed(ctx context.Context, tried map[string]bool) error {
	seen, after := map[string]bool{}, ""
	for {
		var page api.OwedMessages
		path := "/api/chat/owed?limit=" + strconv.Itoa(api.MaxOwedPage)
		if after != "" {
			path += "&after=" + escapeQuery(after)
		}
		if err := n.c.call(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		owed, err := n.c.checkOwed(ctx, page.Owed[:min(len(page.Owed), api.MaxOwedPage)])
		if err != nil {
			return err
		}
		full, err := n.c.owe(owed, seen, tried)
		if err != nil {
			return err
		}
		if full { // the rest when the errands are done
			n.owedLater.Store(true)
			return nil
		}
		if page.Next == "" || page.Next == after {
			return n.c.settleOwed(seen)
		}
		after = page.Next
	}
}

// checkOwed drops what the server may not ask for: only the other member of a conversation can be owed a message. The
// lists of those are fetched, because their devices have changed.
func (c *Client) checkOwed(ctx context.Context, all []api.OwedMessage) ([]api.OwedMessage, error) {
	var out []api.OwedMessage
	fetched := map[api.AccountID]bool{}
	for _, o := range all {
		v, err := c.known(ctx, o.ConversationID)
		if distrust(err) || CodeOf(err) == api.CodeNotFound || err == nil && (o.AccountID != v.Peer || v.Kind == api.KindSelf) {
			c.log.Warn("the server asks for a message that was not addressed to the account")
			continue
		}
		if err != nil {
			return nil, err
		}
		if !fetched[v.Peer] {
			fetched[v.Peer] = true
			if err := passOver(c.fetchLists(ctx, v.Peer)); err != nil {
				return nil, err
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// owe queues a supplement of each message for the devices of the account that lacks it, and marks it. A message that is
// not in the log of this device is left to another one. full tells that there is no room for more errands.
func (c *Client) owe(all []api.OwedMessage, seen, tried map[string]bool) (full bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return false, err
	}
	marks, err := c.store.Scan([]byte{prefixOwed}, nil, maxOwedMarks)
	if err != nil {
		return false, storeError(err)
	}
	b := &batch{}
	for _, o := range all {
		stored, found, err := c.logged(o.ConversationID, o.MessageID)
		if err != nil {
			return false, err
		}
		if !found || stored.Sender != me.Account {
			continue
		}
		key := keyOwed(o.ConversationID, o.MessageID, o.AccountID)
		if !tried[string(key)] {
			to, err := c.devicesOf(o.AccountID)
			if err != nil {
				return false, err
			}
			if err := c.supplement(b, o.ConversationID, o.MessageID, to); CodeOf(err) == CodeQueueFull {
				return true, c.commit(b)
			} else if err != nil {
				return false, err
			}
			tried[string(key)] = true
		}
		seen[string(key)] = true
		if slices.ContainsFunc(marks, func(it Item) bool { return string(it.Key) == string(key) }) || len(marks) >= maxOwedMarks {
			continue
		}
		marks = append(marks, Item{Key: key})
		b.put(key, owedMark{Account: o.AccountID, Since: o.Since})
		if err := c.countIn(b, func(n *Counters) { n.Owed++ }); err != nil {
			return false, err
		}
		b.events = append(b.events, owedEvent(o.ConversationID, o.MessageID, o.AccountID))
	}
	return false, c.commit(b)
}

func owedEvent(conversation api.ConversationID, id api.MessageID, a api.AccountID) Event {
	return Event{Type: EventOwed, Conversation: conversation, Account: a, MessageIDs: []api.MessageID{id}}
}

// settleOwed takes the marks away that a whole pass has not seen.
func (c *Client) settleOwed(seen map[string]bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks, err := c.store.Scan([]byte{prefixOwed}, nil, maxOwedMarks)
	if err != nil {
		return storeError(err)
	}
	b := &batch{}
	for _, it := range marks {
		if !seen[string(it.Key)] {
			b.delete(it.Key)
			conversation, id, account := splitOwed(it.Key)
			b.events = append(b.events, owedEvent(conversation, id, account))
		}
	}
	return c.commit(b)
}

func (c *Client) hasOwed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks, err := c.store.Scan([]byte{prefixOwed}, nil, 1)
	return err == nil && len(marks) > 0
}

// owedOf lists the messages of a conversation that are not delivered. The caller holds c.mu.
func (c *Client) owedOf(conversation api.ConversationID) (map[api.MessageID]bool, error) {
	marks, err := c.store.Scan(keyOwedOf(conversation), nil, maxOwedMarks)
	if err != nil {
		return nil, storeError(err)
	}
	owed := make(map[api.MessageID]bool, len(marks))
	for _, it := range marks {
		_, id, _ := splitOwed(it.Key)
		owed[id] = true
	}
	return owed, nil
}

// OwedMessages counts the messages that are not delivered, because every device of a recipient has lost them: up to
// 4,096 of them. They are sent again by themselves as soon as the recipient has a device for them.
func (c *Client) OwedMessages() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks, err := c.store.Scan([]byte{prefixOwed}, nil, maxOwedMarks)
	return len(marks), storeError(err)
}
