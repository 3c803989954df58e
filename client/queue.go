package client

import (
	"context"

	"sotto/api"
	"sotto/e2ee"
)

// MaxQueue is how many messages may wait to be sent; Send refuses one more with CodeQueueFull.
const MaxQueue = 4_096

// queued is a message on its way out. Its content is erased with it when the server has acknowledged the message; the
// message itself is in the history from then on.
type queued struct {
	Number       uint64             `json:"number"`
	Conversation api.ConversationID `json:"conversation"`
	ID           api.MessageID      `json:"id"`
	Previous     *api.MessageID     `json:"previous,omitempty"` // that this device sent before it in the conversation
	Content      []byte             `json:"content"`            // not padded; padding is deterministic
	Key          []byte             `json:"key"`                // franking key
	// Try is what was last handed to a connection, stored before it left together with the sessions that encrypted it.
	Try *api.Send `json:"try,omitempty"`
	// Unknown: Try may have reached the server, so exactly these bytes are sent again. A definite refusal clears it.
	Unknown bool   `json:"unknown,omitempty"`
	Failed  string `json:"failed,omitempty"` // code of the refusal for good
	Again   bool   `json:"again,omitempty"`  // a message of the history, of any own device, that the server has forgotten
}

// queueState counts the queue, so that its bound costs no scan.
type queueState struct {
	Newest  uint64 `json:"newest"`
	Again   uint64 `json:"again,omitempty"` // of what is sent again
	Waiting int    `json:"waiting"`
}

// firstNumber is above the numbers of all that is sent again, so that those go first.
const firstNumber = 1 << 40

// place says where a message is.
type place struct {
	Position Position `json:"position"`
	Queue    uint64   `json:"queue,omitempty"`  // number of the queue entry, while it has no position or gets a new one
	Failed   string   `json:"failed,omitempty"` // code, when that entry was refused for good
	Sent     bool     `json:"sent,omitempty"`   // a silent content of this device
}

// Send stores a message in the queue and returns. From then on it goes out by itself whenever [Client.Run] is
// connected, in the order of the calls, also after a crash. [Client.WaitSent] waits for the server's acknowledgement.
//
// Errors: CodeQueueFull, [ErrIdentity] until the user has decided about a changed account key, CodeArgument for a body that breaks its bounds, CodeNetwork when the conversation is not known
// here yet.
func (c *Client) Send(ctx context.Context, conversation api.ConversationID, body e2ee.Body) (api.MessageID, error) {
	return c.send(ctx, conversation, body, func(*e2ee.Content) {})
}

// send is Send for a content that is changed before it is stored.
func (c *Client) send(ctx context.Context, conversation api.ConversationID, body e2ee.Body, change func(*e2ee.Content)) (
	api.MessageID, error,
) {
	if _, err := c.known(ctx, conversation); err != nil {
		return api.MessageID{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	q, err := c.enqueue(conversation, body, change)
	if err != nil {
		return api.MessageID{}, err
	}
	if c.conn != nil {
		c.conn.wakeSender()
	}
	return q.ID, nil
}

// enqueue makes content, franking key and queue entry. The caller holds c.mu.
func (c *Client) enqueue(conversation api.ConversationID, body e2ee.Body, change func(*e2ee.Content)) (queued, error) {
	me, err := c.device()
	if err != nil {
		return queued{}, err
	}
	if err := me.usable(); err != nil {
		return queued{}, err
	}
	v, err := c.storedConversation(conversation)
	if err != nil {
		return queued{}, err
	}
	if err := c.mayWriteIn(v); err != nil {
		return queued{}, err
	}
	s, _, err := get[queueState](c, keyQueue)
	if err != nil {
		return queued{}, err
	}
	if s.Waiting >= MaxQueue {
		return queued{}, fail(CodeQueueFull, "%d messages are waiting to be sent. Connect first.", s.Waiting)
	}
	s.Newest++
	s.Waiting++
	v.Sent++
	q := queued{Number: firstNumber + s.Newest, Conversation: conversation, Previous: v.Last}
	if err := c.random(q.ID[:]); err != nil {
		return queued{}, err
	}
	key, err := e2ee.NewFrankingKey(c.rand)
	if err != nil {
		return queued{}, err
	}
	content := e2ee.Content{
		Format: e2ee.ContentFormat, MinVersion: e2ee.ContentFormat,
		Conversation: conversation, MessageID: q.ID, Sender: me.Account, SenderDevice: uint32(me.WireDevice),
		SentAt: c.millis(), Number: v.Sent, Class: e2ee.ClassMessage, Body: body,
		ExpirySeconds: v.Timer.Seconds, ExpiryVersion: v.Timer.Version,
	}
	change(&content)
	v.Timer = timer{content.ExpirySeconds, content.ExpiryVersion}
	if _, err := content.Padded(); err != nil {
		return queued{}, fail(CodeArgument, "The message is empty, too long or not valid text.").because(err)
	}
	q.Content, q.Key = content.Marshal(), key[:]
	v.Last = &q.ID
	b := &batch{}
	b.put(keyQueueEntry(q.Number), q)
	b.put(keyPlace(conversation, q.ID), place{Queue: q.Number})
	b.put(keyQueue, s)
	b.put(keyConversation(conversation), v)
	return q, c.commit(b)
}

// storedConversation reads a conversation that must be there. The caller holds c.mu.
func (c *Client) storedConversation(id api.ConversationID) (conversation, error) {
	v, found, err := get[conversation](c, keyConversation(id))
	if err == nil && !found {
		err = fail(api.CodeNotFound, "There is no such conversation here.")
	}
	return v, err
}

// message shows a queue entry.
func (q queued) message(me api.AccountID) (Message, error) {
	m, err := entry{ID: q.ID, Sender: me, Content: q.Content}.message(q.Conversation, me)
	m.State, m.FailedCode = StateQueued, q.Failed
	if q.Failed != "" {
		m.State = StateFailed
	}
	return m, err
}

// waiting lists what is not stored yet: first what was refused for good, then the queue. The caller holds c.mu.
func (c *Client) waiting(conversation api.ConversationID, me api.AccountID) ([]Message, error) {
	var out []Message
	for _, prefix := range [][]byte{keyFailures(conversation), {prefixQueue}} {
		items, err := c.store.Scan(prefix, nil, MaxScan)
		if err != nil {
			return nil, storeError(err)
		}
		for _, it := range items {
			var q queued
			if err := decode(it.Value, &q); err != nil {
				return nil, err
			}
			if q.Conversation != conversation || q.Again {
				continue
			}
			m, err := q.message(me)
			if err != nil {
				return nil, err
			}
			if isEffect(m.Body.Kind) && m.State == StateQueued {
				continue
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// Queue is how many messages wait to be sent.
func (c *Client) Queue() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[queueState](c, keyQueue)
	return s.Waiting, err
}

type sentResult struct {
	position Position
	err      error
}

// WaitSent waits until the server has acknowledged a message of this device, and returns its position. It returns the
// refusal when the message failed for good; [ErrIdentity] and the error of ctx leave it in the queue.
func (c *Client) WaitSent(ctx context.Context, id api.MessageID) (Position, error) {
	c.mu.Lock()
	items, err := c.store.Scan(keyPlaces(id), nil, 1)
	if err != nil || len(items) == 0 {
		c.mu.Unlock()
		if err == nil {
			return Position{}, fail(api.CodeNotFound, "There is no such message here.")
		}
		return Position{}, storeError(err)
	}
	var p place
	if err := decode(items[0].Value, &p); err != nil || p.Queue == 0 || p.Failed != "" {
		c.mu.Unlock()
		if err == nil && p.Failed != "" {
			err = fail(p.Failed, "The message was refused.")
		}
		return p.Position, err
	}
	if err := c.stoppedWaiting(placeConversation(items[0].Key)); err != nil {
		c.mu.Unlock()
		return Position{}, err
	}
	ch := make(chan sentResult, 1)
	c.waiters[id] = append(c.waiters[id], ch)
	c.mu.Unlock()
	select {
	case r := <-ch:
		return r.position, r.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unwait(id, ch)
		return Position{}, networkError("waiting for the server's acknowledgement", ctx.Err())
	}
}

// unwait takes one waiter away. The caller holds c.mu.
func (c *Client) unwait(id api.MessageID, gone chan sentResult) {
	var left []chan sentResult
	for _, ch := range c.waiters[id] {
		if ch != gone {
			left = append(left, ch)
		}
	}
	if c.waiters[id] = left; len(left) == 0 {
		delete(c.waiters, id)
	}
}

// settled tells those who wait for a message. The caller holds c.mu.
func (c *Client) settled(id api.MessageID, r sentResult) {
	for _, ch := range c.waiters[id] {
		ch <- r // has room: one result per waiter
	}
	delete(c.waiters, id)
}
