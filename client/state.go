package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// device is who this store is.
type device struct {
	Account        api.AccountID    `json:"account"`
	Username       string           `json:"username"`
	Device         api.DeviceID     `json:"device"`
	WireDevice     api.WireDeviceID `json:"wire_device"`
	RegistrationID uint32           `json:"registration_id"`
	Identity       []byte           `json:"identity"`        // private device identity key
	Introduced     bool             `json:"introduced"`      // false until the server is known to have the device
	Ended          string           `json:"ended,omitempty"` // code, when only a new login can help; see Client.stopped
}

// replaced tells that this store can only become a new device: another copy of it has moved on, or the account no
// longer lists it.
func (d device) replaced() bool {
	return d.Ended == api.CodeDeviceCloned || d.Ended == api.CodeDeviceGone
}

// usable is why nothing may be encrypted or asked for any more, nil while all is well.
func (d device) usable() error {
	switch d.Ended {
	case "":
		return nil
	case api.CodeDeviceCloned:
		return fail(d.Ended, "%s", clonedMessage)
	case api.CodeDeviceGone:
		return fail(d.Ended, "The account does not list this device any more. Log in again: it becomes a new device.")
	}
	return fail(d.Ended, "This device was signed out. Log in again.")
}

func (d device) ref() api.DeviceRef {
	return api.DeviceRef{AccountID: d.Account, DeviceID: d.WireDevice}
}

func (d device) local() (e2ee.Local, error) {
	pair, err := e2ee.KeyPairFromPrivate(d.Identity)
	if err != nil {
		return e2ee.Local{}, storeError(err)
	}
	return e2ee.Local{Address: address(d.Account, d.WireDevice), Identity: pair, RegistrationID: d.RegistrationID}, nil
}

func address(a api.AccountID, d api.WireDeviceID) e2ee.Address {
	return e2ee.Address{Account: a, Device: uint32(d)}
}

// login is a signed-in token with what renews it.
type login struct {
	ID      api.LoginID `json:"id"`
	Renewal []byte      `json:"renewal"`
	Token   string      `json:"token"`
	Expires int64       `json:"expires"`
}

// vault is what a device keeps of the key bundle: the archive keys, and the newest sealed form.
type vault struct {
	ArchiveKeys []e2ee.ArchiveKey `json:"archive_keys"`
	Version     uint64            `json:"version"`
	Sealed      []byte            `json:"sealed"`
	KeysOf      uint64            `json:"keys_of,omitempty"` // bundle version of the latest keys from another own device
	Asked       int               `json:"asked,omitempty"`   // times that a key was missed since the last one came
	AskedAt     int64             `json:"asked_at,omitempty"`
}

func (v vault) bundle() api.Bundle { return api.Bundle{Version: v.Version, Sealed: v.Sealed} }

// archiveKey is the key of the newest archive epoch.
func (v vault) archiveKey() (e2ee.ArchiveKey, error) {
	if len(v.ArchiveKeys) == 0 {
		return e2ee.ArchiveKey{}, storeError(errors.New("no archive key"))
	}
	return v.ArchiveKeys[len(v.ArchiveKeys)-1], nil
}

// batch collects one Apply. The first error sticks and is reported by commit.
type batch struct {
	b         Batch
	err       error
	events    []Event // published when the Apply has succeeded
	errands   bool    // errands were added: their loop is woken
	reread    bool    // what is in the mailbox can be taken now
	restoring bool    // what the archive says happened long ago: its records are erased already
	keys      bool    // archive keys were added: records that wait for one can be sealed
}

func (b *batch) putRaw(key, value []byte) { b.b.Put = append(b.b.Put, Item{Key: key, Value: value}) }

func (b *batch) put(key []byte, value any) {
	encoded, err := json.Marshal(value)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("encoding %q: %w", key[0], err)
	}
	b.putRaw(key, encoded)
}

func (b *batch) delete(key []byte) { b.b.Delete = append(b.b.Delete, key) }

// set is put for a key that the batch may have changed already.
func (b *batch) set(key []byte, value any) {
	same := func(k []byte) bool { return bytes.Equal(k, key) }
	b.b.Put = slices.DeleteFunc(b.b.Put, func(it Item) bool { return same(it.Key) })
	b.b.Delete = slices.DeleteFunc(b.b.Delete, same)
	b.put(key, value)
}

// drop is delete for a key that the batch may have changed already.
func (b *batch) drop(key []byte) {
	b.b.Put = slices.DeleteFunc(b.b.Put, func(it Item) bool { return bytes.Equal(it.Key, key) })
	b.b.Delete = slices.DeleteFunc(b.b.Delete, func(k []byte) bool { return bytes.Equal(k, key) })
	b.delete(key)
}

// staged reads an item as it will be when b is committed. The caller holds c.mu.
func staged[T any](c *Client, b *batch, key []byte) (value T, found bool, err error) {
	raw, found, err := c.stagedRaw(b, key)
	if err != nil || !found {
		return value, false, err
	}
	return value, true, decode(raw, &value)
}

func (c *Client) stagedRaw(b *batch, key []byte) (value []byte, found bool, err error) {
	for _, it := range b.b.Put {
		if bytes.Equal(it.Key, key) {
			return it.Value, true, nil
		}
	}
	for _, k := range b.b.Delete {
		if bytes.Equal(k, key) {
			return nil, false, nil
		}
	}
	return c.getRaw(key)
}

// commit makes the batch durable. After an error nobody knows what the store holds, so the client stops using it: every
// later commit fails, too, until the store was opened again. The caller holds c.mu.
func (c *Client) commit(b *batch) error {
	if c.broken != nil {
		return c.broken
	}
	if b.err != nil {
		return storeError(b.err)
	}
	if len(b.b.Put)+len(b.b.Delete) == 0 {
		return nil
	}
	if err := c.store.Apply(b.b); err != nil {
		c.broken = storeError(err)
		return c.broken
	}
	for _, e := range b.events {
		c.publish(e)
	}
	if b.errands && c.conn != nil {
		signal(c.conn.errands)
	}
	if b.reread && c.conn != nil {
		signal(c.conn.reread)
	}
	if b.keys && c.conn != nil {
		c.conn.wakeSenderAgain()
		signal(c.conn.acks)
		signal(c.conn.states)
	}
	return nil
}

// workOff does what is noted under a prefix, one after the other, and forgets each when it is done. What fails stays, and
// so may be done again after a crash.
func (c *Client) workOff(prefix byte, do func(Item) error) error {
	for {
		c.mu.Lock()
		items, err := c.store.Scan([]byte{prefix}, nil, 1)
		c.mu.Unlock()
		if err != nil {
			return storeError(err)
		}
		if len(items) == 0 {
			return nil
		}
		if err := do(items[0]); err != nil {
			return err
		}
		c.mu.Lock()
		b := &batch{}
		b.delete(items[0].Key)
		err = c.commit(b)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// get reads and decodes one item; false when it is not there. The caller holds c.mu.
func get[T any](c *Client, key []byte) (value T, found bool, err error) {
	raw, found, err := c.getRaw(key)
	if err != nil || !found {
		return value, false, err
	}
	return value, true, decode(raw, &value)
}

func (c *Client) getRaw(key []byte) (value []byte, found bool, err error) {
	value, err = c.store.Get(key)
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	return value, err == nil, storeError(err)
}

func decode(raw []byte, dst any) error {
	if err := json.Unmarshal(raw, dst); err != nil {
		return storeError(err)
	}
	return nil
}

// wipe empties the store, pages of it at a time; the login and the device go first, so that a wipe that was cut short
// leaves nothing that could be used, and is finished before the next registration. What belongs to the application
// stays. The caller holds c.mu.
func (c *Client) wipe() error {
	first := &batch{}
	first.delete(keyLogin)
	first.delete(keyDevice)
	if err := c.commit(first); err != nil {
		return err
	}
	for from := []byte(nil); ; {
		items, err := c.store.Scan(nil, from, wipePage)
		if err != nil {
			return storeError(err)
		}
		if len(items) == 0 {
			return nil
		}
		b := &batch{}
		for _, it := range items {
			if it.Key[0] == prefixApplication {
				from = []byte{prefixApplication + 1}
				continue
			}
			b.delete(it.Key)
		}
		if err := c.commit(b); err != nil {
			return err
		}
	}
}

const wipePage = 1_000 // items deleted in one batch
