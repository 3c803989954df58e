package client

import (
	"errors"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// toldAgain is after how long a peer's device that still goes by an old list of this account is sent the current one
// once more. Messages that were under way while the list changed name the old one, too.
const toldAgain = time.Hour

// told is the version of the own list that a device was sent last.
type told struct {
	Version uint64 `json:"version"`
	At      int64  `json:"at"`
}

// tellList adds to b the current own list for a device whose message shows that it goes by an older one, and tells the
// user if that one still had a device that was removed. The caller holds c.mu.
func (c *Client) tellList(b *batch, conversation api.ConversationID, to api.DeviceRef, own pinned, version uint64) error {
	key := keyTold(to)
	last, _, err := staged[told](c, b, key)
	if err != nil {
		return err
	}
	now := c.millis()
	if last.Version == own.Version && now-last.At >= 0 && now-last.At < toldAgain.Milliseconds() {
		return nil
	}
	body := e2ee.ListUpdateBody(signed(own.List))
	if err := c.queueSilent(b, slotSilent, conversation, body, []api.DeviceRef{to}); err != nil {
		if CodeOf(err) == CodeQueueFull {
			return nil // its next message shows it again
		}
		return err
	}
	b.set(key, told{Version: own.Version, At: now})
	for _, f := range own.Former {
		if version < f.Until && to.AccountID != own.Account {
			err := fail(CodeListOld, "Somebody still used a list of your devices with one that you have removed. They were sent the new list.")
			b.events = append(b.events, Event{Type: EventAlert, Account: to.AccountID, Conversation: conversation, Err: err})
			return c.countIn(b, func(n *Counters) { n.Alerts++ })
		}
	}
	return nil
}

// takeList takes a device list that came inside a session. It is checked like one that the server shows, and pinned; one
// that does not follow directly, or has another account key, is asked of the server. Lists of accounts that are not
// known here are passed over. The caller holds c.mu.
func (c *Client) takeList(content e2ee.Content, b *batch) error {
	refuse := func(a api.AccountID, err error) error {
		b.events = append(b.events, Event{Type: EventAlert, Account: a, Err: err})
		return c.countIn(b, func(n *Counters) { n.Alerts++ })
	}
	list, err := content.Body.ListUpdate()
	var parsed e2ee.DeviceList
	if err == nil {
		parsed, err = list.Parse()
	}
	if err != nil {
		return refuse(content.Sender, fail(CodeListForged, "Somebody sent a list of devices that its account has not signed.").because(err))
	}
	p, found, err := staged[pinned](c, b, keyList(parsed.Account))
	if err != nil || !found {
		return err
	}
	before := p
	err = p.step(list)
	if errors.Is(err, errGap) || err == nil && string(p.Key) != string(before.Key) {
		if c.conn != nil {
			offer(c.conn.hints, api.ListVersion{AccountID: p.Account, Version: parsed.Version})
		}
		return nil
	}
	if distrust(err) {
		return refuse(p.Account, err)
	}
	if err != nil || p.Version == before.Version {
		return err
	}
	b.set(keyList(p.Account), p)
	b.events = append(b.events, Event{Type: EventDevices, Account: p.Account})
	return nil
}
