package client

import (
	"slices"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// shareArchiveKeys queues the archive keys of v for the account's other devices as b leaves the list; devices that are
// signed out get them when they are back. The caller holds c.mu and commits b.
func (c *Client) shareArchiveKeys(b *batch, v vault) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	p, _, err := staged[pinned](c, b, keyList(me.Account))
	if err != nil {
		return err
	}
	to, err := p.devices(me)
	if err != nil {
		return err
	}
	return c.sendArchiveKeys(b, v, to)
}

func (c *Client) sendArchiveKeys(b *batch, v vault, to []api.DeviceRef) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	body := e2ee.ArchiveKeysBody(e2ee.ArchiveKeys{BundleVersion: v.Version, Keys: v.ArchiveKeys})
	return c.queueSilent(b, slotKeys, selfConversation(me.Account), body, to)
}

// A device that lacks an archive key asks the others of its account again after askKeysFirst, then after twice as long
// each time, up to askKeysMost: those may be away for weeks, and what is asked waits in their mailboxes.
const (
	askKeysFirst = time.Minute
	askKeysMost  = 24 * time.Hour
)

// askArchiveKeys sends the other own devices the archive keys that this one has, and so asks for those that it lacks. The
// keys that were sent to it may be lost: with its mailbox when it became dormant, or with the server's memory. The caller
// holds c.mu and commits b.
func (c *Client) askArchiveKeys(b *batch) error {
	v, _, err := staged[vault](c, b, keyVault)
	if err != nil {
		return err
	}
	pause := min(askKeysMost, askKeysFirst<<min(v.Asked, 16)/2)
	if v.Asked > 0 && c.millis() < v.AskedAt+pause.Milliseconds() {
		return nil
	}
	v.Asked, v.AskedAt = v.Asked+1, c.millis()
	b.set(keyVault, v)
	if err := c.shareArchiveKeys(b, v); err != nil && CodeOf(err) != CodeQueueFull {
		return err
	}
	return nil
}

// lackArchiveKey is askArchiveKeys in an Apply of its own.
func (c *Client) lackArchiveKey() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if err := c.askArchiveKeys(b); err != nil {
		return err
	}
	return c.commit(b)
}

// takeArchiveKeys adds the archive keys that another own device has sent. Where two differ in the key of an epoch, the
// one that goes with the later bundle counts: its device has opened that with the password. A device that lacks some is
// sent all. The caller holds c.mu.
func (c *Client) takeArchiveKeys(from api.DeviceRef, me device, body e2ee.Body, b *batch) error {
	sent, err := body.ArchiveKeys()
	if err != nil || from.AccountID != me.Account {
		return nil
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return err
	}
	later := sent.BundleVersion > max(v.Version, v.KeysOf)
	for _, k := range sent.Keys {
		i, found := slices.BinarySearchFunc(v.ArchiveKeys, k.Epoch, func(k e2ee.ArchiveKey, epoch uint64) int {
			return int(k.Epoch) - int(epoch)
		})
		if !found {
			v.ArchiveKeys, v.Asked = slices.Insert(v.ArchiveKeys, i, k), 0
		} else if later {
			v.ArchiveKeys[i] = k
		}
	}
	if len(v.ArchiveKeys) > e2ee.MaxArchiveKeys {
		return nil
	}
	v.KeysOf = max(v.KeysOf, sent.BundleVersion)
	b.set(keyVault, v)
	b.keys = true
	if len(v.ArchiveKeys) == len(sent.Keys) {
		return nil
	}
	if err := c.sendArchiveKeys(b, v, []api.DeviceRef{from}); err != nil && CodeOf(err) != CodeQueueFull {
		return err
	}
	return nil
}
