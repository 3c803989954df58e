package client

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

const (
	againPage   = 128          // positions looked at in one step
	againQueued = MaxQueue / 2 // messages that wait while more are sent again; the rest follows when they are gone
)

// known tells whether the server still knows a position, by how far each earlier epoch has reached in the conversation.
func (v conversation) known(p Position) bool {
	if p.Epoch >= v.Epoch {
		return true
	}
	return p.Seq <= v.end(p.Epoch)
}

// end is the last seq of an earlier epoch that the server knows, 0 for none.
func (v conversation) end(epoch uint64) uint64 {
	for _, end := range v.Ends {
		if end.Epoch == epoch {
			return end.LastSeq
		}
	}
	return 0
}

// reposition finds out, once for each restore, which positions of a conversation the server has forgotten. Through goes
// back to where this device and the server still agree.
func (c *Client) reposition(ctx context.Context, v conversation, epoch uint64) (conversation, error) {
	if v.Epoch == epoch {
		return v, nil
	}
	var res api.ConversationEpochs
	if epoch > 1 {
		if err := c.call(ctx, "GET", "/api/chat/conversations/"+v.ID.String()+"/epochs", nil, &res); err != nil {
			return v, err
		}
		if res.Epoch != epoch || res.ConversationID != v.ID {
			return v, serverError("epochs of another conversation or epoch")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.storedConversation(v.ID)
	if err != nil || v.Epoch == epoch {
		return v, err
	}
	agreed := uint64(0)
	v.Ends = nil
	for _, end := range res.Ends {
		if end.Epoch < epoch {
			v.Ends = append(v.Ends, end)
		}
		if end.Epoch <= v.Epoch {
			agreed = max(agreed, end.LastSeq)
		}
	}
	v.Through, v.Epoch = min(v.Through, agreed), epoch
	b := &batch{}
	b.put(keyConversation(v.ID), v)
	return v, c.commit(b)
}

// reconcileMessages queues what the server has forgotten of the own account's messages, conversation by conversation. One
// that cannot be given back now, because the other account is not there again yet, is tried the next time.
func (n *connection) reconcileMessages(ctx context.Context) error {
	return n.unsettled(ctx, func(v conversation) bool { return v.Settled < n.accepted.Epoch }, n.reconcileConversation)
}

// reconcileRecords gives back the archive records of what others have sent.
func (n *connection) reconcileRecords(ctx context.Context) error {
	return n.unsettled(ctx, func(v conversation) bool {
		return v.Settled == n.accepted.Epoch && v.Archived < n.accepted.Epoch
	}, n.giveBackRecords)
}

func (n *connection) unsettled(
	ctx context.Context, open func(conversation) bool, settle func(context.Context, conversation) error,
) error {
	if n.accepted.Epoch < 2 {
		return nil
	}
	all, err := n.c.conversations()
	if err != nil {
		return err
	}
	for _, v := range all {
		if !open(v) {
			continue
		}
		err := settle(ctx, v)
		if code := CodeOf(err); code == api.CodeNotFound || code == api.CodeForbidden || distrust(err) {
			n.c.log.Warn("a conversation was not given back", "code", code)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *connection) reconcileConversation(ctx context.Context, v conversation) error {
	c := n.c
	if err := c.giveBackConversation(ctx, v); err != nil {
		return err
	}
	v, err := c.reposition(ctx, v, n.accepted.Epoch)
	if err != nil {
		return err
	}
	me, err := c.me()
	if err != nil {
		return err
	}
	var last *api.MessageID
	if err := c.eachForgotten(v, Position{}, func(e entry) error {
		if e.Sender != me.Account {
			return nil
		}
		err := c.sendAgain(v.ID, e, last)
		last = &e.ID
		return err
	}); err != nil {
		return err
	}
	n.wakeSenderAgain()
	return c.changeConversation(v.ID, func(v *conversation) { v.Settled = n.accepted.Epoch })
}

func (n *connection) giveBackRecords(ctx context.Context, v conversation) error {
	c := n.c
	me, err := c.me()
	if err != nil {
		return err
	}
	given := 0
	if err := c.eachForgotten(v, v.Given, func(e entry) error {
		if e.Sender == me.Account { // it goes with the message
			return nil
		}
		if err := c.giveBackRecord(ctx, v.ID, e); err != nil {
			return err
		}
		if given++; given%againPage != 0 {
			return nil
		}
		return c.changeConversation(v.ID, func(v *conversation) { v.Given = e.Position })
	}); err != nil {
		return err
	}
	return c.changeConversation(v.ID, func(v *conversation) { v.Archived, v.Given = n.accepted.Epoch, Position{} })
}

// eachForgotten goes through the messages after a position that stand where the server has forgotten them, oldest first.
func (c *Client) eachForgotten(v conversation, after Position, each func(entry) error) error {
	epochs, err := c.epochsBefore(v.ID, v.Epoch)
	if err != nil {
		return err
	}
	for _, e := range epochs {
		next := Position{Epoch: e, Seq: v.end(e) + 1}
		if after.Compare(next) >= 0 {
			if next = after; after.Epoch == e {
				next.Seq++
			} else {
				continue
			}
		}
		for done := false; !done; next.Seq += againPage {
			var page []entry
			if page, done, err = c.forgotten(v.ID, next); err != nil {
				return err
			}
			for _, stored := range page {
				if err := each(stored); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// giveBackConversation makes sure that the server has the conversation, and this account's part in it. What was accepted
// or blocked stays that; of an older and a newer answer only the stricter one can be told to be the newer.
func (c *Client) giveBackConversation(ctx context.Context, v conversation) error {
	var res api.Conversation
	err := c.call(ctx, "GET", "/api/chat/conversations/"+v.ID.String(), nil, &res)
	if CodeOf(err) == api.CodeNotFound {
		req := api.OpenConversationRequest{Kind: v.Kind}
		if v.Kind == api.KindDirect {
			req.Peer = &v.Peer
		}
		err = c.call(ctx, "POST", "/api/chat/conversations", req, &res)
	}
	if err != nil {
		return err
	}
	if res.ConversationID != v.ID {
		return serverError("another conversation than asked for")
	}
	stricter := v.State == api.MemberBlocked || (v.State == api.MemberAccepted && res.State == api.MemberRequested)
	if v.State == res.State || !stricter {
		return nil
	}
	return c.call(ctx, "PUT", "/api/chat/conversations/"+v.ID.String()+"/state", api.MemberStateRequest{State: v.State}, &res)
}

// epochsBefore lists, in ascending order, the epochs below one in which messages of a conversation are stored here.
func (c *Client) epochsBefore(id api.ConversationID, epoch uint64) (epochs []uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		items, err := c.store.Scan(keyMessages(id), keyMessage(id, Position{Epoch: epoch - 1, Seq: math.MaxUint64}), 1)
		if err != nil {
			return nil, storeError(err)
		}
		if len(items) == 0 {
			slices.Reverse(epochs)
			return epochs, nil
		}
		epoch = positionOf(items[0].Key).Epoch
		epochs = append(epochs, epoch)
		if epoch == 0 {
			return nil, storeError(errors.New("a message of epoch 0"))
		}
	}
}

// forgotten reads the messages of one epoch from a seq on, a page of positions, oldest first. done tells that no higher
// ones are stored.
func (c *Client) forgotten(id api.ConversationID, from Position) (page []entry, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	top := Position{Epoch: from.Epoch, Seq: from.Seq + againPage - 1}
	items, err := c.store.Scan(keyMessages(id), keyMessage(id, top), againPage)
	if err != nil {
		return nil, false, storeError(err)
	}
	for _, it := range items {
		if p := positionOf(it.Key); p.Epoch != from.Epoch || p.Seq < from.Seq {
			break
		}
		var e entry
		if err := decode(it.Value, &e); err != nil {
			return nil, false, err
		}
		if e.Erased == "" {
			page = append(page, e)
		}
	}
	slices.Reverse(page)
	highest, err := c.store.Scan(keyMessages(id), keyMessage(id, Position{Epoch: from.Epoch, Seq: math.MaxUint64}), 1)
	if err != nil {
		return nil, false, storeError(err)
	}
	return page, len(highest) == 0 || positionOf(highest[0].Key).Compare(top) <= 0, nil
}

// giveBackRecord stores the archive record of a received message again. One that is there already is as good.
func (c *Client) giveBackRecord(ctx context.Context, id api.ConversationID, e entry) error {
	c.mu.Lock()
	me, err := c.device()
	var r *api.Record
	if err == nil {
		r, err = c.recordOf(me, id, e)
	}
	c.mu.Unlock()
	if err != nil || r == nil {
		return err
	}
	path := "/api/chat/archive/" + id.String() + "/" + e.ID.String()
	err = c.call(ctx, "PUT", path, api.RecordUpdate{KeyEpoch: r.KeyEpoch, Sealed: r.Sealed, EraseAfter: r.EraseAfter}, nil)
	switch CodeOf(err) {
	case api.CodeConflict, api.CodeForbidden, api.CodeArchiveEpoch: // it is there, no archive is kept, or a newer device does it
		return nil
	}
	return err
}

// sendAgain queues a stored message of the own account once more, under its id and commitment. It stays where it is
// until the server has given it its new position. Those that are sent again go before everything else, in their order.
func (c *Client) sendAgain(conversation api.ConversationID, e entry, previous *api.MessageID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, found, err := c.place(conversation, e.ID)
	if err != nil || !found || p.Queue != 0 || p.Position != e.Position {
		return err // on its way, or at its new position
	}
	s, _, err := get[queueState](c, keyQueue)
	if err != nil {
		return err
	}
	if s.Waiting >= againQueued {
		return fail(CodeQueueFull, "%d messages are waiting to be sent again.", s.Waiting)
	}
	s.Again++
	s.Waiting++
	q := queued{
		Number: s.Again, Conversation: conversation, ID: e.ID, Previous: previous, Content: e.Content, Key: e.Key,
		Again: true,
	}
	p.Queue = q.Number
	b := &batch{}
	b.put(keyQueueEntry(q.Number), q)
	b.put(keyPlace(conversation, e.ID), p)
	b.put(keyQueue, s)
	return c.commit(b)
}

// adoptPosition gives a stored message the position that it got after a restore: in b the message moves, and nothing is
// shown twice. Within one epoch positions never change. The caller holds c.mu.
func (c *Client) adoptPosition(conversation api.ConversationID, p place, to entry, b *batch) error {
	e, found, err := get[entry](c, keyMessage(conversation, p.Position))
	if err != nil {
		return err
	}
	epoch, err := c.serverEpoch()
	if err != nil {
		return err
	}
	if !found || e.ID != to.ID || to.Position.Epoch <= p.Position.Epoch || to.Position.Epoch > epoch || to.Position.Seq == 0 {
		return misdelivered(errors.New("another position without a restore"))
	}
	b.delete(keyMessage(conversation, p.Position))
	e.Position, e.ServerTime, e.Tag = to.Position, to.ServerTime, to.Tag
	if err := c.keep(conversation, e, b); errors.Is(err, errTaken) {
		return misdelivered(err)
	} else if err != nil {
		return err
	}
	p.Position = e.Position
	b.set(keyPlace(conversation, e.ID), p)
	me, err := c.device()
	if err != nil {
		return err
	}
	m, err := e.message(conversation, me.Account)
	if err != nil {
		return err
	}
	b.events = append(b.events, Event{Type: EventMoved, Conversation: conversation, Account: e.Sender, Message: &m})
	return nil
}

// sameCommitment tells whether a stored message is what an entry commits to.
func sameCommitment(stored entry, commitment []byte) (bool, error) {
	if stored.Erased != "" {
		return true, nil // nothing is left that could differ
	}
	padded, err := e2ee.Pad(stored.Content)
	if err != nil {
		return false, storeError(err)
	}
	own := e2ee.Commit(e2ee.FrankingKey(stored.Key), padded)
	return bytes.Equal(own[:], commitment), nil
}

// changeConversation changes what is stored of a conversation in a batch of its own.
func (c *Client) changeConversation(id api.ConversationID, change func(*conversation)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.storedConversation(id)
	if err != nil {
		return err
	}
	change(&v)
	b := &batch{}
	b.put(keyConversation(id), v)
	return c.commit(b)
}
