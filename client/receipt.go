package client

import (
	"context"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

const (
	receiptPause = time.Second // a conversation's receipts go out this far apart; only the latest
	typingPause  = 4 * time.Second
	maxEarly     = 1_024 // own messages of which a device was heard before the server's acknowledgement
	recentSent   = 100   // own messages of a conversation that are asked about after a connection
)

// progress is how far an own message of a conversation has come since it was stored.
func (v conversation) progress(m *Message) {
	if m.Own && v.Peer != m.Sender && m.State != StateQueued && m.State != StateFailed &&
		!v.PeerRead.IsZero() && m.Position.Compare(v.PeerRead) <= 0 {
		m.State = StateRead
	}
}

// delivered records that devices of another member have acknowledged own messages.
func (c *Client) delivered(d api.Delivered) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil || d.AccountID == me.Account {
		return err
	}
	b := &batch{}
	for _, id := range d.MessageIDs[:min(len(d.MessageIDs), api.MaxAckEntries)] {
		p, found, err := c.place(d.ConversationID, id)
		if err != nil {
			return err
		}
		if !found || p.Queue != 0 { // the reply to the send is still on its way
			if len(c.early) < maxEarly {
				c.early[id] = true
			}
			continue
		}
		key := keyMessage(d.ConversationID, p.Position)
		e, found, err := get[entry](c, key)
		if err != nil {
			return err
		}
		if found && e.ID == id && e.Sender == me.Account && !e.Delivered {
			e.Delivered = true
			b.set(key, e)
		}
	}
	b.events = append(b.events, Event{
		Type: EventDelivered, Conversation: d.ConversationID, Account: d.AccountID, MessageIDs: d.MessageIDs,
	})
	if len(b.b.Put) == 0 {
		c.publish(b.events[0])
		return nil
	}
	return c.commit(b)
}

func (n *connection) askAllDelivered(ctx context.Context) error {
	all, err := n.c.conversations()
	for i := 0; i < len(all) && err == nil; i++ {
		err = n.askDelivered(ctx, all[i])
	}
	return err
}

// askDelivered asks what became of the newest own messages: the server tells of a delivery once, and nobody may have
// been connected then.
func (n *connection) askDelivered(ctx context.Context, v conversation) error {
	ids, err := n.c.undelivered(v)
	if err != nil || len(ids) == 0 {
		return err
	}
	var res api.DeliveredAnswer
	req := api.DeliveredRequest{ConversationID: v.ID, MessageIDs: ids}
	if err := n.c.call(ctx, "POST", "/api/chat/delivered", req, &res); err != nil || len(res.MessageIDs) == 0 {
		return err
	}
	return n.c.delivered(api.Delivered{ConversationID: v.ID, AccountID: v.Peer, MessageIDs: res.MessageIDs})
}

func (c *Client) undelivered(v conversation) (ids []api.MessageID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil || v.Peer == me.Account {
		return nil, err
	}
	items, err := c.store.Scan(keyMessages(v.ID), nil, recentSent)
	if err != nil {
		return nil, storeError(err)
	}
	for _, it := range items {
		var e entry
		if err := decode(it.Value, &e); err != nil {
			return nil, err
		}
		if e.Sender == me.Account && !e.Delivered && e.Position.Compare(v.PeerRead) > 0 {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

// queueReceipt tells the other member's devices up to where this account has read, unless the conversation is one that
// the account has not accepted. The caller holds c.mu.
func (c *Client) queueReceipt(b *batch, v conversation, p Position) error {
	me, err := c.device()
	if err != nil || v.State != api.MemberAccepted || v.Peer == me.Account {
		return err
	}
	to, err := c.devicesOf(v.Peer)
	if err != nil {
		return err
	}
	body := e2ee.ReceiptBody(e2ee.Receipt{Kind: e2ee.ReceiptRead, Epoch: p.Epoch, Seq: p.Seq})
	err = c.queueSilent(b, slotReceipt, v.ID, body, to)
	if CodeOf(err) == CodeQueueFull {
		return nil // a later one says the same
	}
	return err
}

// queueReadSoFar queues the receipt of a conversation that has been accepted: what was read before that was told to nobody.
// Every device of the account that learns of it queues one, as the one that accepted may have stopped. The caller holds c.mu.
func (c *Client) queueReadSoFar(b *batch, v conversation) error {
	p, err := c.readUpTo(v.ID)
	if err != nil || p.IsZero() {
		return err
	}
	return c.queueReceipt(b, v, p)
}

// takeReceipt records up to where the other member has read. The caller holds c.mu.
func (c *Client) takeReceipt(from api.DeviceRef, conversation api.ConversationID, body e2ee.Body, b *batch) error {
	r, err := body.Receipt()
	p := Position{Epoch: r.Epoch, Seq: r.Seq}
	if err != nil || r.Kind != e2ee.ReceiptRead || p.IsZero() {
		return nil
	}
	v, err := c.storedConversation(conversation)
	if err != nil || v.Peer != from.AccountID || p.Compare(v.PeerRead) <= 0 {
		return err
	}
	v.PeerRead = p
	b.set(keyConversation(v.ID), v)
	b.events = append(b.events, Event{Type: EventRead, Conversation: v.ID, Account: v.Peer, Position: p})
	return nil
}

// Typing tells the other member's devices that the user is typing, or has stopped; call it with every key, at most one
// notice in a few seconds leaves. It is shown now or never: nothing is queued, and nothing leaves while offline or while
// the conversation is only requested. Whoever hears nothing for ten seconds takes it that the user has stopped.
func (c *Client) Typing(id api.ConversationID, started bool) error {
	c.mu.Lock()
	v, err := c.storedConversation(id)
	var to []api.DeviceRef
	now := c.now()
	if err == nil {
		to, err = c.devicesOf(v.Peer)
	}
	last := c.typed[id]
	due := started && now.Sub(last) >= typingPause || !started && !last.IsZero()
	if due = due && err == nil && c.conn != nil && v.State == api.MemberAccepted; due {
		if delete(c.typed, id); started {
			c.typed[id] = now
		}
	}
	me, meErr := c.device()
	c.mu.Unlock()
	if err != nil || meErr != nil || !due || v.Peer == me.Account {
		return err
	}
	return c.sendEphemeral(id, e2ee.TypingBody(e2ee.Typing{Started: started}), to)
}

// ephemeralEvent is what an ephemeral content is announced as.
func ephemeralEvent(e Event) Event {
	e.Type = EventEphemeral
	if t, err := e.Message.Body.Typing(); err == nil {
		e.Type, e.Typing, e.Message = EventTyping, t.Started, nil
	}
	return e
}
