package client

import (
	"context"
	"encoding/binary"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Erased says why a message has no content any more.
type Erased string

// Reasons.
const (
	ErasedDeleted Erased = "deleted" // by its sender, or by the own account for itself
	ErasedExpired Erased = "expired" // by its timer
	ErasedViewed  Erased = "viewed"  // it was to be seen once, and was
)

const (
	eraseEvery = time.Minute // timers are looked at this often; what is shown is exact all the same
	erasePage  = 100         // messages in one Apply
	hour       = int64(time.Hour / time.Millisecond)
)

// timer is the expiry timer of a conversation. The higher version counts, of equal ones the longer time.
type timer struct {
	Seconds uint32 `json:"seconds"` // 0: never
	Version uint32 `json:"version"`
}

func (t timer) beats(u timer) bool {
	return t.Version > u.Version || (t.Version == u.Version && t.Seconds > u.Seconds)
}

// expires is when a message is erased everywhere, 0 for never. A message that changes the timer stays.
func expires(content e2ee.Content, serverTime int64) int64 {
	if content.ExpirySeconds == 0 || content.Body.Kind == e2ee.BodyExpiryChange {
		return 0
	}
	return serverTime + int64(content.ExpirySeconds)*1000
}

// roundUp makes a time of the full hour after it: the server is not to know it better.
func roundUp(ms int64) int64 {
	if ms == 0 {
		return 0
	}
	return (ms + hour - 1) / hour * hour
}

// settleEntry does what follows from a message that takes its place in the history: it is erased when a deletion came
// first or its time is over, it changes the message it is about, and its timer is that of the conversation if it is the
// newest. The caller holds c.mu and puts e into b.
func (c *Client) settleEntry(conversation api.ConversationID, e *entry, b *batch) error {
	if e.Erased != "" && len(e.Content) == 0 {
		return nil // it only gets another position
	}
	content, err := e2ee.ParseContent(e.Content)
	if err != nil {
		return storeError(err)
	}
	if e.Expires != 0 {
		b.drop(keyExpiry(e.Expires, conversation, e.ID))
	}
	o, touched, err := staged[overlay](c, b, keyOverlay(conversation, e.Sender, e.ID))
	if err != nil {
		return err
	}
	e.Touched, e.Effect = touched, isEffect(content.Body.Kind)
	e.Expires = expires(content, e.ServerTime)
	switch {
	case e.Erased != "":
		e.empty(e.Erased, content.SentAt)
	case o.Erased != "":
		e.empty(o.Erased, content.SentAt)
		if b.restoring && o.Erased != ErasedExpired { // the record is still there
			if err := c.eraseRecord(conversation, e.ID, false, b); err != nil {
				return err
			}
		}
	case e.Expires != 0 && e.Expires <= c.millis():
		e.empty(ErasedExpired, content.SentAt)
	case e.Expires != 0:
		b.set(keyExpiry(e.Expires, conversation, e.ID), true)
	}
	if err := c.adoptTimer(conversation, timer{content.ExpirySeconds, content.ExpiryVersion}, b); err != nil {
		return err
	}
	if !e.Effect {
		return nil
	}
	// The entry has to be there for the effect of a deletion upon it.
	b.set(keyMessage(conversation, e.Position), *e)
	b.set(keyPlace(conversation, e.ID), place{Position: e.Position})
	if err := c.applyEffect(conversation, *e, content.Body, b); err != nil {
		return err
	}
	now, found, err := c.stagedEntry(conversation, e.ID, b)
	if err == nil && found {
		*e = now
	}
	return err
}

// adoptTimer takes a timer that was set later than the one that is known. The caller holds c.mu.
func (c *Client) adoptTimer(id api.ConversationID, t timer, b *batch) error {
	if t.Version == 0 {
		return nil
	}
	v, found, err := staged[conversation](c, b, keyConversation(id))
	if err != nil || !found || !t.beats(v.Timer) {
		return err
	}
	v.Timer = t
	b.set(keyConversation(id), v)
	b.events = append(b.events, Event{Type: EventConversation, Conversation: id, Account: v.Peer})
	return nil
}

// empty takes the content away. Position, sender and times stay, so that the place is not taken twice.
func (e *entry) empty(why Erased, sentAt int64) {
	e.Erased, e.SentAt, e.Content, e.Key, e.Tag, e.Touched, e.Expires = why, sentAt, nil, nil, nil, false, 0
}

// erase takes a message away, now or when it arrives, with what was said about it and with its record in the archive. The
// caller holds c.mu.
func (c *Client) erase(conversation api.ConversationID, target e2ee.Target, why Erased, forAll bool, b *batch) error {
	key := keyOverlay(conversation, target.Sender, target.MessageID)
	o, _, err := staged[overlay](c, b, key)
	if err != nil || o.Erased != "" {
		return err
	}
	b.set(key, overlay{Erased: why})
	e, found, err := c.stagedEntry(conversation, target.MessageID, b)
	if err != nil {
		return err
	}
	if found && e.Sender != api.AccountID(target.Sender) {
		return nil // the message of somebody else: what stands under the claimed sender is never looked at
	}
	for _, id := range append(o.Edits, target.MessageID) {
		if err := c.eraseEntry(conversation, id, why, forAll, b); err != nil {
			return err
		}
	}
	return nil
}

// eraseEntry empties one message and has its record erased. The caller holds c.mu.
func (c *Client) eraseEntry(conversation api.ConversationID, id api.MessageID, why Erased, forAll bool, b *batch) error {
	if why != ErasedExpired && !b.restoring { // those that expire the server erases by itself
		if err := c.eraseRecord(conversation, id, forAll, b); err != nil {
			return err
		}
	}
	e, found, err := c.stagedEntry(conversation, id, b)
	if err != nil || !found || e.Erased != "" {
		return err
	}
	content, err := e2ee.ParseContent(e.Content)
	if err != nil {
		return storeError(err)
	}
	if e.Expires != 0 {
		b.drop(keyExpiry(e.Expires, conversation, id))
	}
	e.empty(why, content.SentAt)
	b.set(keyMessage(conversation, e.Position), e)
	if e.Effect {
		return nil
	}
	return c.changed(conversation, e, overlay{}, b)
}

// eraseRecord has the record of a message erased. The acknowledgement of the message may still have to bring it: then the
// server erases it within the hour. For all: it leaves every mailbox, too. The caller holds c.mu.
func (c *Client) eraseRecord(conversation api.ConversationID, id api.MessageID, forAll bool, b *batch) error {
	items, err := c.store.Scan([]byte{prefixAck}, nil, api.MaxAckEntries)
	if err != nil {
		return storeError(err)
	}
	for _, it := range items {
		var a pendingAck
		if err := decode(it.Value, &a); err != nil {
			return err
		}
		if a.Record != nil && a.Record.ConversationID == conversation && a.Record.MessageID == id {
			a.Record.EraseAfter = roundUp(c.millis())
			b.set(it.Key, a)
		}
	}
	b.set(keyErasure(conversation, id), forAll)
	if c.conn != nil {
		signal(c.conn.erasures) // waits for c.mu, and so for the caller's commit
	}
	return nil
}

// eraseLoop erases messages whose time is over, and has records erased.
func (n *connection) eraseLoop(ctx context.Context) error {
	tick := time.NewTicker(eraseEvery)
	defer tick.Stop()
	for {
		err := n.c.expire()
		if err == nil {
			err = n.c.eraseRecords(ctx)
		}
		if err != nil {
			if stopsConnection(err) {
				return err
			}
			n.c.log.Warn("archive records were not erased", "code", CodeOf(err))
		}
		select {
		case <-n.erasures:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expire erases what is due, a page at a time.
func (c *Client) expire() error {
	for {
		n, err := c.expireSome()
		if err != nil || n < erasePage {
			return err
		}
	}
}

func (c *Client) expireSome() (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixExpiry}, nil, erasePage)
	if err != nil {
		return 0, storeError(err)
	}
	b := &batch{}
	for _, it := range items {
		k := it.Key[1:]
		if int64(binary.BigEndian.Uint64(k)) > c.millis() {
			break
		}
		n++
		b.drop(it.Key)
		conversation, id := api.ConversationID(k[8:24]), api.MessageID(k[24:40])
		e, found, err := c.stagedEntry(conversation, id, b)
		if err != nil {
			return n, err
		}
		if found {
			if err := c.erase(conversation, e2ee.Target{Sender: e.Sender, MessageID: id}, ErasedExpired, false, b); err != nil {
				return n, err
			}
		}
	}
	return n, c.commit(b)
}

// eraseRecords asks the server to erase what is noted.
func (c *Client) eraseRecords(ctx context.Context) error {
	return c.workOff(prefixErasure, func(it Item) error {
		k := it.Key[1:]
		var forAll bool
		if err := decode(it.Value, &forAll); err != nil {
			return err
		}
		path := "/api/chat/archive/" + api.ConversationID(k[:16]).String() + "/" + api.MessageID(k[16:32]).String()
		if forAll {
			path += "?for_all=true"
		}
		return c.call(ctx, "DELETE", path, nil, nil)
	})
}

// Delete takes a message away: for all, which only its sender can do, or on the own account's devices. It is gone here
// when the deletion is stored by the server, or at once if it is not for all. Errors as for [Client.Send].
func (c *Client) Delete(ctx context.Context, conversation api.ConversationID, id api.MessageID, forAll bool) error {
	target, err := c.target(conversation, id, forAll)
	if err != nil {
		return err
	}
	if forAll {
		_, err := c.Send(ctx, conversation, e2ee.DeleteBody(e2ee.Delete{Target: target, Scope: e2ee.DeleteForAll}))
		return err
	}
	return c.eraseHere(conversation, target, ErasedDeleted)
}

// Viewed takes a message away that was to be seen once, on all devices of the account.
func (c *Client) Viewed(conversation api.ConversationID, id api.MessageID) error {
	target, err := c.target(conversation, id, false)
	if err != nil {
		return err
	}
	return c.eraseHere(conversation, target, ErasedViewed)
}

// eraseHere erases on this device and tells the account's others.
func (c *Client) eraseHere(conversation api.ConversationID, target e2ee.Target, why Erased) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	others, err := c.devicesOf(me.Account)
	if err != nil {
		return err
	}
	b := &batch{}
	body := e2ee.DeleteBody(e2ee.Delete{Target: target, Scope: e2ee.DeleteForSelf})
	if err := c.queueSilent(b, slotSilent, conversation, body, others); err != nil {
		return err
	}
	if err := c.erase(conversation, target, why, false, b); err != nil {
		return err
	}
	return c.commit(b)
}

// takeDelete erases what another own device has deleted for itself. The caller holds c.mu.
func (c *Client) takeDelete(from api.DeviceRef, me device, content e2ee.Content, b *batch) error {
	d, err := content.Body.Delete()
	if err != nil || from.AccountID != me.Account || d.Scope != e2ee.DeleteForSelf {
		return nil //nolint:nilerr // nothing that anybody could do
	}
	return c.erase(content.Conversation, d.Target, ErasedDeleted, false, b)
}

// SetExpiry sets how long messages of a conversation are kept, in seconds after the server has stored them; 0 is for
// ever. The other members are told by a message. Errors as for [Client.Send].
func (c *Client) SetExpiry(ctx context.Context, conversation api.ConversationID, seconds uint32) (api.MessageID, error) {
	if seconds > e2ee.MaxExpirySeconds {
		return api.MessageID{}, fail(CodeArgument, "Messages are kept for at most %d seconds, or for ever.", e2ee.MaxExpirySeconds)
	}
	return c.send(ctx, conversation, e2ee.Body{Kind: e2ee.BodyExpiryChange}, func(content *e2ee.Content) {
		content.ExpirySeconds = seconds
		content.ExpiryVersion++
	})
}

// SendOnce is [Client.Send] for what is to be seen once. It is never archived: [Client.Viewed] ends it.
func (c *Client) SendOnce(ctx context.Context, conversation api.ConversationID, body e2ee.Body) (api.MessageID, error) {
	return c.send(ctx, conversation, body, func(content *e2ee.Content) { content.Flags |= e2ee.FlagViewOnce })
}

// archived is the content as it goes into the archive. What is to be seen once leaves only that it was there.
func archived(content e2ee.Content) e2ee.Content {
	if content.Flags&e2ee.FlagViewOnce != 0 {
		content.Body.Bytes = nil
	}
	return content
}

// leftOver tells the record of what was to be seen once.
func leftOver(content e2ee.Content) bool {
	return content.Flags&e2ee.FlagViewOnce != 0 && len(content.Body.Bytes) == 0
}
