package client

import (
	"sotto/api"
	"sotto/e2ee"
)

// ConversationSettings are what the account has set for one conversation. All devices of the account share them; nobody
// else sees them.
type ConversationSettings struct {
	MutedUntil int64 `json:"muted_until,omitempty"` // milliseconds: no notifications until then
	Pinned     bool  `json:"pinned,omitempty"`      // stands first in the list
	Hidden     bool  `json:"hidden,omitempty"`      // put away from the list
}

// Facts of a conversation, each with its own rank, so that devices that change different ones do not undo each other.
const (
	factMuted  = "muted"  // milliseconds
	factPinned = "pinned" // bool
	factHidden = "hidden" // bool
)

// SetConversation changes the settings of a conversation. The account's other devices follow.
func (c *Client) SetConversation(id api.ConversationID, set ConversationSettings) error {
	if set.MutedUntil < 0 || set.MutedUntil > e2ee.MaxTime {
		return fail(CodeArgument, "This is not a time until which a conversation can be muted.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.storedConversation(id)
	if err != nil {
		return err
	}
	old, err := c.conversationSettings(id)
	if err != nil {
		return err
	}
	changed := map[string]any{}
	if set.MutedUntil != old.MutedUntil {
		changed[factMuted] = set.MutedUntil
	}
	if set.Pinned != old.Pinned {
		changed[factPinned] = set.Pinned
	}
	if set.Hidden != old.Hidden {
		changed[factHidden] = set.Hidden
	}
	b := &batch{}
	if err := c.changeFacts(b, stateConversation+id.String(), changed); err != nil {
		return err
	}
	if err := c.commit(b); err != nil {
		return err
	}
	c.publish(Event{Type: EventConversation, Conversation: id, Account: v.Peer})
	return nil
}

// conversationSettings reads the settings. The caller holds c.mu.
func (c *Client) conversationSettings(id api.ConversationID) (set ConversationSettings, err error) {
	item, _, err := get[stateItem](c, keyState(stateConversation+id.String()))
	if err != nil {
		return set, err
	}
	for name, into := range map[string]any{factMuted: &set.MutedUntil, factPinned: &set.Pinned, factHidden: &set.Hidden} {
		if f, found := item.Facts[name]; found {
			if err := decode(f.Value, into); err != nil {
				return set, err
			}
		}
	}
	return set, nil
}

// readUpTo is up to where the account has read a conversation; zero for nothing. The caller holds c.mu.
func (c *Client) readUpTo(id api.ConversationID) (Position, error) {
	p, _, _, err := stateFact[Position](c, stateRead+id.String(), factPosition)
	return p, err
}

// MarkRead records that everything up to a position has been read, on all devices of the account. An earlier position
// than the one known changes nothing. In an accepted conversation the other member is told.
func (c *Client) MarkRead(id api.ConversationID, p Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.storedConversation(id)
	if err != nil {
		return err
	}
	b := &batch{}
	if err := c.setFact(b, stateRead+id.String(), factPosition, rank{p.Epoch, p.Seq}, p); err != nil || len(b.b.Put) == 0 {
		return err
	}
	if err := c.queueReceipt(b, v, p); err != nil {
		return err
	}
	if err := c.commit(b); err != nil {
		return err
	}
	c.publish(Event{Type: EventConversation, Conversation: id, Account: v.Peer})
	return nil
}
