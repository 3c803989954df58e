package client

import (
	"encoding/binary"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// Position orders the messages of a conversation, by Epoch, then Seq. The zero value means none.
type Position struct {
	Epoch uint64 `json:"epoch"` // of the server, raised by every restore
	Seq   uint64 `json:"seq"`   // 1, 2, 3 … in the conversation
}

// IsZero tells that there is no position.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions as cmp.Compare does.
func (p Position) Compare(q Position) int {
	if p.Epoch != q.Epoch {
		if p.Epoch < q.Epoch {
			return -1
		}
		return 1
	}
	switch {
	case p.Seq < q.Seq:
		return -1
	case p.Seq > q.Seq:
		return 1
	}
	return 0
}

// State is how far a message has come.
type State string

// States. Received messages are always stored. Own ones go on from there as far as the other member lets it be known.
const (
	StateQueued    State = "queued"    // in this device's queue; it goes out by itself
	StateStored    State = "stored"    // the server has it, Position says where
	StateDelivered State = "delivered" // a device of the other member has it
	StateRead      State = "read"      // the other member has read up to it
	StateFailed    State = "failed"    // the server refused it for good
)

// Message is one message of a conversation.
type Message struct {
	Conversation api.ConversationID
	ID           api.MessageID
	Position     Position // zero until it is stored
	Sender       api.AccountID
	SenderDevice api.WireDeviceID
	Own          bool  // Sender is the own account
	SentAt       int64 // milliseconds, by the sender's clock
	ServerTime   int64 // milliseconds, 0 until it is stored
	State        State
	FailedCode   string    // of StateFailed
	Owed         bool      // not delivered: every device of the recipient has lost it. It is sent again by itself
	Body         e2ee.Body // as edited last
	Edited       bool
	Reactions    []Reaction
	Expires      int64  // milliseconds: erased then; 0 for never
	ViewOnce     bool   // gone after [Client.Viewed]
	Erased       Erased // in events only: it is not shown any more
	// Showable is false for a message that needs a newer version of this program. It is kept.
	Showable bool
}

// Text is the text of a message of that kind, "" for others.
func (m Message) Text() string {
	t, err := m.Body.Text()
	if err != nil {
		return ""
	}
	return t
}

// entry is what the store keeps of a message: what it says, and what supplements and reports need.
type entry struct {
	ID           api.MessageID    `json:"id"`
	Position     Position         `json:"position"`
	Sender       api.AccountID    `json:"sender"`
	SenderDevice api.WireDeviceID `json:"sender_device"`
	ServerTime   int64            `json:"server_time"`
	Content      []byte           `json:"content"` // not padded; padding is deterministic
	Key          []byte           `json:"key"`     // franking key
	Tag          []byte           `json:"tag,omitempty"`

	Effect    bool   `json:"effect,omitempty"`    // changes another message, and is not shown itself
	Touched   bool   `json:"touched,omitempty"`   // has an overlay
	Expires   int64  `json:"expires,omitempty"`   // milliseconds
	Erased    Erased `json:"erased,omitempty"`    // then Content, Key and Tag are gone
	SentAt    int64  `json:"sent_at,omitempty"`   // of an erased one
	Delivered bool   `json:"delivered,omitempty"` // own: to a device of the other member
}

// message decodes an entry for the caller.
func (e entry) message(conversation api.ConversationID, me api.AccountID) (Message, error) {
	if e.Erased != "" {
		return Message{
			Conversation: conversation, ID: e.ID, Position: e.Position, Sender: e.Sender, SenderDevice: e.SenderDevice,
			Own: e.Sender == me, SentAt: e.SentAt, ServerTime: e.ServerTime, State: StateStored, Erased: e.Erased,
		}, nil
	}
	content, err := e2ee.ParseContent(e.Content)
	if err != nil {
		return Message{}, storeError(err)
	}
	state := StateStored
	if e.Delivered {
		state = StateDelivered
	}
	return Message{
		Conversation: conversation, ID: e.ID, Position: e.Position,
		Sender: e.Sender, SenderDevice: e.SenderDevice, Own: e.Sender == me,
		SentAt: content.SentAt, ServerTime: e.ServerTime, State: state,
		Body: content.Body, Showable: content.Showable(), Expires: e.Expires, ViewOnce: content.Flags&e2ee.FlagViewOnce != 0,
	}, nil
}

// MaxHistory is the most messages that one call of [Client.Messages] returns.
const MaxHistory = 1_000

// Messages returns up to limit messages before a position, oldest first, as edits and reactions have left them; what was
// deleted or has expired is not among them. A zero position asks for the newest; only then
// what waits in the queue, or was refused, follows last, in the order of Send, and does not count against limit.
func (c *Client) Messages(id api.ConversationID, before Position, limit int) ([]Message, error) {
	if limit < 1 || limit > MaxHistory {
		return nil, fail(CodeArgument, "Ask for 1 to %d messages.", MaxHistory)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return nil, err
	}
	v, _, err := get[conversation](c, keyConversation(id))
	if err != nil {
		return nil, err
	}
	var from []byte
	if !before.IsZero() {
		from = append(keyMessage(id, before), 0)
	}
	owed, err := c.owedOf(id)
	if err != nil {
		return nil, err
	}
	out := make([]Message, 0, min(limit, 64))
	for len(out) < limit {
		items, err := c.store.Scan(keyMessages(id), from, limit)
		if err != nil {
			return nil, storeError(err)
		}
		for _, it := range items {
			from = append(it.Key, 0)
			m, shown, err := c.shown(id, it, me.Account)
			if err != nil {
				return nil, err
			}
			if shown && len(out) < limit {
				m.Owed = owed[m.ID]
				v.progress(&m)
				out = append(out, m)
			}
		}
		if len(items) < limit {
			break
		}
	}
	slices.Reverse(out)
	if !before.IsZero() {
		return out, nil
	}
	waiting, err := c.waiting(id, me.Account)
	return append(out, waiting...), err
}

// shown is a stored message as it is shown, if it is. The caller holds c.mu.
func (c *Client) shown(conversation api.ConversationID, it Item, me api.AccountID) (m Message, shown bool, err error) {
	var e entry
	if err := decode(it.Value, &e); err != nil {
		return m, false, err
	}
	if e.Effect || e.Erased != "" || (e.Expires != 0 && e.Expires <= c.millis()) {
		return m, false, nil
	}
	if m, err = e.message(conversation, me); err != nil || !e.Touched {
		return m, true, err
	}
	o, _, err := get[overlay](c, keyOverlay(conversation, e.Sender, e.ID))
	m.overlay(o)
	return m, true, err
}

// place finds where a message is; a silent one has a place without a position. The caller holds c.mu.
func (c *Client) place(conversation api.ConversationID, id api.MessageID) (place, bool, error) {
	return get[place](c, keyPlace(conversation, id))
}

var errTaken = errors.New("the position belongs to another message")

// keep adds a message with its place to b. One position never holds two messages. The caller holds c.mu.
func (c *Client) keep(conversation api.ConversationID, e entry, b *batch) error {
	old, found, err := staged[entry](c, b, keyMessage(conversation, e.Position))
	if err != nil {
		return err
	}
	if found && old.ID != e.ID {
		return errTaken
	}
	if err := c.settleEntry(conversation, &e, b); err != nil {
		return err
	}
	b.set(keyMessage(conversation, e.Position), e)
	b.set(keyPlace(conversation, e.ID), place{Position: e.Position})
	return nil
}

// positionOf reads the position out of the key of a message.
func positionOf(key []byte) Position {
	n := len(key)
	return Position{Epoch: ^binary.BigEndian.Uint64(key[n-16 : n-8]), Seq: ^binary.BigEndian.Uint64(key[n-8:])}
}
