package client

import (
	"bytes"
	"context"
	"errors"

	"sotto/api"
	"sotto/e2ee"
)

// opener is what opens a key bundle: a slot's type and its wrapping key.
type opener struct {
	slot       e2ee.SlotType
	wrapping   [32]byte
	parameters []byte // of the password that wrapping comes from; nil for the recovery code
	restored   bool   // the list may be newer than the one that the bundle names: others gave it back, the bundle nobody
}

// opened is a key bundle held against the signed list that it names. It holds the account key and lives in memory for
// the moment of use only.
type opened struct {
	list   e2ee.DeviceList // the newest; Previous is its own hash, as the next version has it
	bundle e2ee.Bundle
	slots  []e2ee.Slot // without the keys of password slots other than the one that opened the bundle; see complete
}

func refusedBundle(err error) *Error {
	return fail(CodeBundle, "The server shows keys that do not belong together. Do not trust it.").because(err)
}

var errOtherList = errors.New("the bundle names another list")

// openAccount opens the bundle and holds it against the list: the account key that only the account's owner can know
// has signed exactly the list that the bundle names. A server that shows an old or a foreign list does not pass.
func openAccount(account api.AccountID, lists []api.SignedList, sealed api.Bundle, with opener) (o opened, err error) {
	bundle, infos, err := e2ee.OpenBundle(sealed.Sealed, account, with.slot, with.wrapping)
	if err != nil {
		return o, refusedBundle(err)
	}
	key, err := e2ee.KeyPairFromPrivate(bundle.AccountKey[:])
	if err != nil {
		return o, refusedBundle(err)
	}
	if len(lists) == 0 || bundle.Version != sealed.Version {
		return o, refusedBundle(errors.New("no list, or another version of the bundle"))
	}
	newest := signed(lists[len(lists)-1])
	if o.list, err = newest.Open(key.Public); err != nil {
		return o, refusedBundle(err)
	}
	named := o.list.Version == bundle.ListVersion && newest.Hash() == bundle.ListHash
	if o.list.Account != account || !named && (!with.restored || o.list.Version <= bundle.ListVersion) {
		return o, refusedBundle(errOtherList)
	}
	for _, info := range infos {
		slot := e2ee.Slot{ID: info.ID, Type: info.Type, Parameters: info.Parameters}
		wrapping, kept := bundle.SlotKey(info.ID)
		switch {
		case kept:
			slot.Wrapping = wrapping
		case !fromPassword(info.Type):
			return o, refusedBundle(errors.New("a slot without its key"))
		case with.slot == info.Type && !bytes.Equal(info.Parameters, with.parameters):
			return o, refusedBundle(errors.New("password parameters other than those of the login"))
		case with.slot == info.Type:
			slot.Wrapping = with.wrapping
		}
		o.slots = append(o.slots, slot)
	}
	o.bundle, o.list.Previous = bundle, newest.Hash()
	return o, nil
}

// sign makes the next version of the list.
func (o *opened) sign(c *Client) (api.SignedList, error) {
	o.list.Version++
	o.list.Time = c.millis()
	s, err := o.list.Sign(c.rand, o.bundle.AccountKey)
	if err != nil {
		return api.SignedList{}, err
	}
	o.list.Previous = s.Hash()
	o.bundle.ListVersion, o.bundle.ListHash = o.list.Version, s.Hash()
	return api.SignedList{List: s.List, Signature: s.Signature}, nil
}

// beginEpoch makes the key of the next archive epoch.
func (o *opened) beginEpoch(c *Client) error {
	keys := o.bundle.ArchiveKeys
	if len(keys) == 0 || len(keys) >= e2ee.MaxArchiveKeys {
		return fail(api.CodeLimited, "The account's key bundle is full: it holds %d archive keys.", len(keys))
	}
	next := e2ee.ArchiveKey{Epoch: keys[len(keys)-1].Epoch + 1}
	if err := c.random(next.Key[:]); err != nil {
		return err
	}
	o.bundle.ArchiveKeys = append(keys[:len(keys):len(keys)], next)
	return nil
}

// setSlot replaces the slot of a type.
func (o *opened) setSlot(slot e2ee.SlotType, parameters []byte, wrapping [32]byte) {
	for i := range o.slots {
		if o.slots[i].Type == slot {
			o.slots[i].Parameters, o.slots[i].Wrapping = parameters, wrapping
		}
	}
}

// seal makes the next version of the bundle, under a new bundle key.
func (o *opened) seal(c *Client) (vault, error) {
	o.bundle.Version++
	sealed, err := o.bundle.Seal(c.rand, o.slots)
	return vault{ArchiveKeys: o.bundle.ArchiveKeys, Version: o.bundle.Version, Sealed: sealed}, err
}

// vault is what the device keeps of the bundle as it was opened.
func (o *opened) vault(sealed api.Bundle) vault {
	return vault{ArchiveKeys: o.bundle.ArchiveKeys, Version: sealed.Version, Sealed: sealed.Sealed}
}

// follows refuses a bundle that goes back behind the kept one, or is another of its version.
func (v vault) follows(next api.Bundle) error {
	if next.Version < v.Version || (next.Version == v.Version && !bytes.Equal(next.Sealed, v.Sealed)) {
		return fail(CodeBundle, "The server shows an older key bundle than this device has. It was set back, or it lies.")
	}
	return nil
}

// follows refuses what a sign-in shows of the own account if it goes back behind what this store has seen of it. The
// account key may be a new one: what the password has opened is the account's, and a reset may have made it. The caller
// asks whether a restore of the server explains it, and otherwise announces it.
func (c *Client) follows(o opened, sealed api.Bundle) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, found, err := get[device](c, keyDevice)
	if err != nil || !found || !d.Introduced || d.Account != o.list.Account {
		return err
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return err
	}
	p, err := c.pin(d.Account)
	if err != nil {
		return err
	}
	if err = v.follows(sealed); err == nil {
		switch own := p.hash(); {
		case o.list.Version < p.Version:
			err = fail(CodeListBack, "The server shows an older list of your devices than before. It was set back, or it lies.")
		case o.list.Version == p.Version && o.list.Previous != own:
			err = fail(CodeListFork, "The server shows a list of your devices that contradicts an earlier one. Do not trust it.")
		}
	}
	return err
}

// stretched is a password after its key stretching, so that a race costs that only once.
type stretched struct {
	parameters e2ee.PasswordParameters
	auth       string
	kek        [32]byte
	done       bool
}

func (c *Client) stretch(ctx context.Context, password string, p e2ee.PasswordParameters, s *stretched) error {
	if s.done && s.parameters == p {
		return nil
	}
	var err error
	s.parameters = p
	s.auth, s.kek, err = c.derive(ctx, password, p)
	s.done = err == nil
	return err
}

// unlock opens the newest bundle of the signed-in account with the password. Errors: [ErrWrongLogin], CodeBundle, the
// list codes.
func (c *Client) unlock(ctx context.Context, password string, key *stretched) (o opened, err error) {
	me, err := c.me()
	if err != nil {
		return o, err
	}
	for race := 1; ; race++ {
		if o, err = c.tryUnlock(ctx, me, password, key); err == nil {
			return o, nil
		}
		if race < maxRaces && errors.Is(err, errOtherList) {
			continue // a device was added between the two requests
		}
		if CodeOf(err) == CodeBundle {
			c.mu.Lock()
			c.alert(me.Account, err)
			c.mu.Unlock()
		}
		return o, err
	}
}

func (c *Client) tryUnlock(ctx context.Context, me device, password string, key *stretched) (o opened, err error) {
	var sealed api.Bundle
	if err := c.call(ctx, "GET", "/api/user/bundle", nil, &sealed); err != nil {
		return o, err
	}
	if err := c.settleProposals(sealed); err != nil {
		return o, err
	}
	c.mu.Lock()
	kept, _, err := get[vault](c, keyVault)
	c.mu.Unlock()
	if err != nil {
		return o, err
	}
	if err := kept.follows(sealed); err != nil {
		return o, err
	}
	parameters, err := bundleParameters(sealed)
	if err != nil {
		return o, refusedBundle(err)
	}
	if err := c.stretch(ctx, password, parameters, key); err != nil {
		return o, err
	}
	if err := c.fetchLists(ctx, me.Account); err != nil {
		return o, err
	}
	c.mu.Lock()
	p, err := c.pin(me.Account)
	c.mu.Unlock()
	if err != nil {
		return o, err
	}
	with := opener{slot: e2ee.SlotPassword, wrapping: key.kek, parameters: parameters.Marshal()}
	o, err = openAccount(me.Account, []api.SignedList{p.List}, sealed, with)
	if errors.Is(err, e2ee.ErrSlot) {
		// The password that opens this device's own copy is right: then the slot was tampered with.
		if _, _, own := e2ee.OpenBundle(kept.Sealed, me.Account, e2ee.SlotPassword, key.kek); own != nil {
			return o, fail(api.CodeWrongLogin, "The password is wrong. Nothing was changed.")
		}
	}
	if err == nil {
		err = c.complete(ctx, &o, password)
	}
	return o, err
}

// bundleParameters reads how the password opens a bundle. Its bounds are those of a sign-in; opening authenticates it.
func bundleParameters(b api.Bundle) (e2ee.PasswordParameters, error) {
	_, _, slots, err := e2ee.BundleInfo(b.Sealed)
	if err != nil {
		return e2ee.PasswordParameters{}, err
	}
	for _, s := range slots {
		if s.Type == e2ee.SlotPassword {
			return e2ee.ParsePasswordParameters(s.Parameters)
		}
	}
	return e2ee.PasswordParameters{}, errors.New("no password slot")
}
