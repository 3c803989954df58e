package client

import (
	"slices"

	"sotto/api"
)

// supplement adds to b envelopes for a message of this account that is stored already: the same content under the same
// id, commitment and position, for devices that lack it. The server passes over those that do not. The caller holds
// c.mu.
func (c *Client) supplement(b *batch, conversation api.ConversationID, id api.MessageID, to []api.DeviceRef) error {
	if len(to) == 0 {
		return nil
	}
	return c.addErrand(b, slotMessage, id, errand{Conversation: conversation, ID: id, Supplement: true, To: to})
}

// supplementLacking supplements a message that was just stored for the devices of the current set that the first answer
// does not name: they came while the outcome of the try was unknown. The caller holds c.mu.
func (c *Client) supplementLacking(b *batch, conversation api.ConversationID, sent api.Sent) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	v, err := c.storedConversation(conversation)
	if err != nil {
		return err
	}
	var lacking []api.DeviceRef
	for _, account := range v.members(me.Account) {
		p, err := c.pin(account)
		if err != nil {
			return err
		}
		devices, err := c.devicesOf(account)
		if err != nil {
			return err
		}
		for _, d := range devices {
			if !slices.Contains(p.Inactive, d.DeviceID) && !slices.Contains(sent.Devices, d) {
				lacking = append(lacking, d)
			}
		}
	}
	if err := c.supplement(b, conversation, sent.MessageID, lacking); CodeOf(err) != CodeQueueFull {
		return err
	}
	c.log.Warn("no room for a supplement") // the device reads the message from its archive
	return nil
}

// supplementFrom supplements a message, and the following ones of this account in the conversation, for one device: who
// has lost a session cannot read any of them. The caller holds c.mu.
func (c *Client) supplementFrom(b *batch, me device, conversation api.ConversationID, first entry, to api.DeviceRef) error {
	items, err := c.store.Scan(keyMessages(conversation), nil, MaxHistory)
	if err != nil {
		return storeError(err)
	}
	slices.Reverse(items) // oldest first
	ids := []api.MessageID{first.ID}
	for _, it := range items {
		if len(ids) == retryRange || positionOf(it.Key).Compare(first.Position) <= 0 {
			continue
		}
		var e entry
		if err := decode(it.Value, &e); err != nil {
			return err
		}
		if e.Sender == me.Account {
			ids = append(ids, e.ID)
		}
	}
	for _, id := range ids {
		if err := c.supplement(b, conversation, id, []api.DeviceRef{to}); err != nil {
			return err
		}
	}
	return nil
}

// logged reads a stored message that was not erased. The caller holds c.mu.
func (c *Client) logged(conversation api.ConversationID, id api.MessageID) (entry, bool, error) {
	p, found, err := c.place(conversation, id)
	if err != nil || !found || p.Position.IsZero() {
		return entry{}, false, err
	}
	e, found, err := get[entry](c, keyMessage(conversation, p.Position))
	return e, found && e.ID == id && e.Erased == "", err
}
