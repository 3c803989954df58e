package client

import (
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// queueSilent adds a content of class silent for named devices to b: it goes out by itself after the commit, also after
// a crash, for up to 30 days. In a slot of the conversation it takes the place of what was not sent yet, and is for the
// devices of both. Devices that are not listed any more, are signed out or dormant are passed over (slotKeys waits for
// the latter); no devices, no content.
//
// Errors: CodeQueueFull, CodeArgument for a body that breaks its bounds. The caller holds c.mu.
func (c *Client) queueSilent(b *batch, s slot, conversation api.ConversationID, body e2ee.Body, to []api.DeviceRef) error {
	if len(to) == 0 {
		return nil
	}
	me, err := c.device()
	if err != nil {
		return err
	}
	content, key, err := c.unnumbered(me, conversation, body, e2ee.ClassSilent)
	if err != nil {
		return err
	}
	id := content.MessageID
	if s != slotSilent {
		id = conversation
	}
	return c.addErrand(b, s, id, errand{
		Conversation: conversation, ID: content.MessageID, Content: content.Marshal(), Key: key[:], To: to, Patient: s == slotKeys,
	})
}

// unnumbered makes a content of a class that has no running number, and its franking key. The caller holds c.mu.
func (c *Client) unnumbered(me device, conversation api.ConversationID, body e2ee.Body, class e2ee.Class) (
	content e2ee.Content, key e2ee.FrankingKey, err error,
) {
	if err := me.usable(); err != nil {
		return content, key, err
	}
	content = e2ee.Content{
		Format: e2ee.ContentFormat, MinVersion: e2ee.ContentFormat, Conversation: conversation,
		Sender: me.Account, SenderDevice: uint32(me.WireDevice), SentAt: c.millis(), Class: class, Body: body,
	}
	if err := c.random(content.MessageID[:]); err != nil {
		return content, key, err
	}
	if _, err := content.Padded(); err != nil {
		return content, key, fail(CodeArgument, "The content is empty, too long or not valid.").because(err)
	}
	key, err = e2ee.NewFrankingKey(c.rand)
	return content, key, err
}

// devicesOf names the devices that an account lists, less this one. The caller holds c.mu.
func (c *Client) devicesOf(a api.AccountID) ([]api.DeviceRef, error) {
	me, err := c.device()
	if err != nil {
		return nil, err
	}
	p, err := c.pin(a)
	if err != nil || p.Version == 0 {
		return nil, err
	}
	return p.devices(me)
}

// devices names the devices in the list, less the one that asks.
func (p *pinned) devices(me device) (out []api.DeviceRef, err error) {
	list, err := p.open()
	if err != nil {
		return nil, err
	}
	for _, d := range list.Devices {
		if ref := (api.DeviceRef{AccountID: p.Account, DeviceID: api.WireDeviceID(d.ID)}); ref != me.ref() {
			out = append(out, ref)
		}
	}
	return out, nil
}

// takeSilent does what a silent content asks for, in the Apply that marks it as seen: b. What it asks for without a
// right to is passed over; an error is that of the store. Events go into b.events. The caller holds c.mu.
func (c *Client) takeSilent(e api.Entry, me device, content e2ee.Content, b *batch) error {
	from := api.DeviceRef{AccountID: e.SenderID, DeviceID: e.EnvelopeDevice}
	switch content.Body.Kind { //nolint:exhaustive // what this version does not know is passed over
	case e2ee.BodyRetryRequest:
		return c.takeRetry(from, me, content, b)
	case e2ee.BodyDelete:
		return c.takeDelete(from, me, content, b)
	case e2ee.BodyReceipt:
		return c.takeReceipt(from, content.Conversation, content.Body, b)
	case e2ee.BodyArchiveKeys:
		return c.takeArchiveKeys(from, me, content.Body, b)
	case e2ee.BodyListUpdate:
		return c.takeList(content, b)
	case e2ee.BodyProfile:
		return c.takeProfile(me, content, b)
	}
	return nil
}

// sendEphemeral passes a content to those of the devices that have a session with this one, now or never: nothing is
// queued, and nothing is sent while offline. The sessions are stored before the envelopes leave.
func (c *Client) sendEphemeral(conversation api.ConversationID, body e2ee.Body, to []api.DeviceRef) error {
	n, try, err := c.encryptEphemeral(conversation, body, to)
	if err == nil && try != nil {
		n.socket.emit(api.EventSend, try) // whatever the reply is, there is nothing to do
	}
	return err
}

func (c *Client) encryptEphemeral(conversation api.ConversationID, body e2ee.Body, to []api.DeviceRef) (*connection, *api.Send, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil || c.conn == nil {
		return nil, nil, err
	}
	content, key, err := c.unnumbered(me, conversation, body, e2ee.ClassEphemeral)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{c: c, me: me, b: &batch{}, need: map[api.AccountID][]api.WireDeviceID{}}
	if w.local, err = me.local(); err != nil {
		return nil, nil, err
	}
	e := errand{Conversation: conversation, ID: content.MessageID, Content: content.Marshal(), Key: key[:], To: slices.Clone(to)}
	try, err := w.errand(&e)
	if err != nil || len(try.Envelopes) == 0 {
		return nil, nil, err
	}
	try.Class = api.ClassEphemeral
	return c.conn, try, c.commit(w.b)
}
