package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// maxChain bounds the lists of one account that are kept to be given back; the oldest is forgotten.
const maxChain = 64

// restoredLabel goes before attempt and renewal hash in what a device signs that introduces itself again.
const restoredLabel = "sotto restored v1"

// reconcileLoop gives back what a restored server has forgotten: lists and bundle, then messages, then archive records.
// Sending begins when lists and bundle are there and the own messages that were forgotten stand in the queue before all
// others, or cannot. Every step may be repeated, so that a crash or a lost connection costs only that.
func (n *connection) reconcileLoop(ctx context.Context) error {
	for first := true; ; {
		err := n.c.reconcileAccount(ctx)
		if err == nil {
			err = n.reconcileMessages(ctx)
			if first && (err == nil || !stopsConnection(err)) {
				close(n.reconciled)
				first = false
				n.c.mu.Lock()
				n.c.publish(Event{Type: EventReconciled})
				n.c.mu.Unlock()
			}
		}
		if err == nil {
			err = n.reconcileRecords(ctx)
		}
		pause := resyncEvery
		if err != nil {
			if stopsConnection(err) {
				return err
			}
			n.c.log.Warn("the server did not take everything back", "code", CodeOf(err))
			var jitterErr error
			if pause, jitterErr = n.c.backoff(patientBackoff); jitterErr != nil {
				return jitterErr
			}
			if e, ok := errors.AsType[*Error](err); ok {
				pause = max(pause, e.RetryAfter)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const patientBackoff = 5 // an attempt whose pause is up to 8 seconds

// afterReconciling waits until lists and bundle were given back.
func (n *connection) afterReconciling(ctx context.Context) error {
	select {
	case <-n.reconciled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) reconcileAccount(ctx context.Context) error {
	c.mu.Lock()
	s, _, err := get[serverState](c, keyServer)
	c.mu.Unlock()
	if err != nil || s.Raised == 0 {
		return err
	}
	if err := c.giveBackLists(ctx); err != nil {
		return err
	}
	if err := c.giveBackBundle(ctx, nil); err != nil && CodeOf(err) != api.CodePasswordRequired {
		return err
	}
	return c.changeServer(func(s *serverState) { s.Epoch, s.Raised = s.current(), 0 }, nil)
}

// giveBackLists asks how far the server knows every pinned account, and gives back what is newer here.
func (c *Client) giveBackLists(ctx context.Context) error {
	var from []byte
	for {
		c.mu.Lock()
		items, err := c.store.Scan([]byte{prefixList}, from, api.MaxListsAsked)
		c.mu.Unlock()
		if err != nil {
			return storeError(err)
		}
		pins := map[api.AccountID]pinned{}
		req := api.ListsRequest{}
		for _, it := range items {
			var p pinned
			if err := decode(it.Value, &p); err != nil {
				return err
			}
			pins[p.Account] = p
			req.Accounts = append(req.Accounts, api.ListsAfter{AccountID: p.Account, After: p.Version - 1})
		}
		if len(items) == 0 {
			return nil
		}
		var res api.ListsResponse
		if err := c.call(ctx, "POST", "/api/user/lists", req, &res); err != nil {
			return err
		}
		for _, lists := range res.Accounts {
			p, asked := pins[lists.AccountID]
			if !asked {
				continue
			}
			if len(lists.Lists) > 0 { // not older, and perhaps a fork
				err = passOver(c.accept(ctx, lists, p.Version, lists.Username))
			} else {
				_, err = c.giveBackList(ctx, p)
			}
			if err != nil {
				return err
			}
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// giveBackList gives back the lists of one account that are kept here, and tells whether the server has the newest
// afterwards.
func (c *Client) giveBackList(ctx context.Context, p pinned) (bool, error) {
	c.mu.Lock()
	chain, err := c.chain(p)
	c.mu.Unlock()
	if err != nil {
		return false, err
	}
	var res api.RestoredVersions
	req := api.RestoredLists{Accounts: []api.AccountChain{{AccountID: p.Account, Lists: chain}}}
	if err := c.call(ctx, "POST", "/api/user/restored/lists", req, &res); err != nil {
		return false, err
	}
	for _, v := range res.Versions {
		if v.AccountID == p.Account && v.Version >= p.Version {
			return true, nil
		}
	}
	return false, nil
}

func keyChain(a api.AccountID, version uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{prefixChain}, a[:]...), version)
}

// putPin stores a pinned account with the lists that have become known with it.
func (p *pinned) put(b *batch) {
	b.set(keyList(p.Account), p)
	taken := p.taken
	if len(taken) == 0 {
		taken = []api.SignedList{p.List}
	}
	for i, l := range taken[max(0, len(taken)-maxChain):] {
		version := p.Version - uint64(min(len(taken), maxChain)-1-i)
		b.set(keyChain(p.Account, version), l)
		if version > maxChain {
			b.delete(keyChain(p.Account, version-maxChain))
		}
	}
	p.taken = nil
}

// recallLists keeps the own lists before the first one that a new device knows, so that it can give them back when it is
// the only one that lives. It is a comfort: when the server does not tell, others have them.
func (c *Client) recallLists(ctx context.Context, p pinned) error {
	var res api.ListsResponse
	req := api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: p.Account, After: max(p.Version, maxChain) - maxChain}}}
	err := c.call(ctx, "POST", "/api/user/lists", req, &res)
	if err != nil || len(res.Accounts) != 1 || len(res.Accounts[0].Lists) > maxChain {
		return nil //nolint:nilerr // see above
	}
	b := &batch{}
	for _, l := range res.Accounts[0].Lists {
		if list, err := signed(l).Parse(); err == nil && list.Account == p.Account && list.Version < p.Version {
			b.set(keyChain(p.Account, list.Version), l)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commit(b)
}

// chain is the unbroken end of the lists that are kept of an account. The caller holds c.mu.
func (c *Client) chain(p pinned) ([]api.SignedList, error) {
	items, err := c.store.Scan(keyChain(p.Account, 0)[:17], nil, 2*maxChain)
	if err != nil {
		return nil, storeError(err)
	}
	chain := []api.SignedList{p.List}
	for i := len(items) - 1; i >= 0; i-- {
		var l api.SignedList
		if err := decode(items[i].Value, &l); err != nil {
			return nil, err
		}
		switch version := binary.BigEndian.Uint64(items[i].Key[17:]); {
		case version >= p.Version:
		case version == p.Version-uint64(len(chain)) && len(chain) < maxChain:
			chain = append([]api.SignedList{l}, chain...)
		default:
			return chain, nil
		}
	}
	return chain, nil
}

// giveBackBundle gives the sealed bundle back when the server has an older one. With api.CodePasswordRequired the user
// has to be asked: the password was changed after the backup.
func (c *Client) giveBackBundle(ctx context.Context, password *api.RestoredPassword) error {
	var there api.Bundle
	if err := c.call(ctx, "GET", "/api/user/bundle", nil, &there); err != nil {
		return err
	}
	c.mu.Lock()
	v, _, err := get[vault](c, keyVault)
	c.mu.Unlock()
	if err != nil || there.Version >= v.Version {
		return err
	}
	req := api.RestoredBundle{Bundle: api.Bundle{Version: v.Version, Sealed: v.Sealed}, Password: password}
	err = c.call(ctx, "PUT", "/api/user/restored/bundle", req, nil)
	switch CodeOf(err) {
	case api.CodePasswordRequired:
		if err := c.changeServer(func(s *serverState) { s.Password = true }, nil); err != nil {
			return err
		}
		c.mu.Lock()
		c.publish(Event{Type: EventPassword, Err: err})
		c.mu.Unlock()
	case api.CodeBundleVersion: // somebody with the older password was faster
		return c.yieldBundle(there, err)
	}
	return err
}

// yieldBundle takes the bundle that the server has in place of a newer one, because the account has already gone on with
// it since the restore. The archive keys of this device stay.
func (c *Client) yieldBundle(there api.Bundle, reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return err
	}
	c.alert(me.Account, fail(CodeBundle,
		"While the server was restored, somebody signed in with an older password of this account and changed its devices.").because(reason))
	v.Version, v.Sealed = there.Version, there.Sealed
	b := &batch{}
	b.put(keyVault, v)
	return c.commit(b)
}

// introduceAgain is tried when the server does not know this device or its login any more. It is for a server that was
// restored since the device was last accepted, and once for each restore. again tells that a connection is worth another
// try; without it cause stands.
func (c *Client) introduceAgain(ctx context.Context, cause error, account *api.RestoredAccount) (again bool, err error) {
	if code := CodeOf(cause); code != CodeLoginEnded && code != api.CodeDeviceGone {
		return false, nil
	}
	info, err := c.Info(ctx)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	s, _, err := get[serverState](c, keyServer)
	c.mu.Unlock()
	if err != nil || info.Epoch < 2 || info.Epoch <= s.Epoch || info.Epoch == s.Introduced {
		return false, err
	}
	if err := c.meetEpoch(info.Epoch); err != nil {
		return false, err
	}
	var start api.RestoredStartResponse
	me, err := c.me()
	if err != nil {
		return false, err
	}
	if err := c.request(ctx, "POST", "/api/user/restored/start", "", api.RestoredStartRequest{AccountID: me.Account}, &start); err != nil {
		return false, err
	}
	renewal, hash, err := c.newRenewal()
	if err != nil {
		return false, err
	}
	req, err := c.restoration(start.Attempt, hash)
	if err != nil {
		return false, err
	}
	req.Account = account
	var res api.Login
	err = c.insist(ctx, "POST", "/api/user/restored/device", "", req, &res)
	switch CodeOf(err) {
	case "":
	case api.CodeNotFound:
		err = fail(api.CodePasswordRequired, "The server was restored and does not know your account any more. Give your password once.").because(err)
		return false, errors.Join(err, c.changeServer(func(s *serverState) { s.Password = true }, nil))
	case api.CodeUnauthenticated, api.CodeDeviceGone, api.CodeConflict, api.CodeExists, api.CodeInvalid, api.CodeForbidden:
		return false, c.changeServer(func(s *serverState) { s.Introduced = info.Epoch }, nil)
	}
	if err != nil {
		return false, err
	}
	me.Ended = ""
	return true, c.changeServer(func(s *serverState) {
		s.Introduced = info.Epoch
		s.Password = s.Password && account == nil
	}, func(b *batch) {
		b.put(keyDevice, me)
		b.put(keyLogin, login{ID: res.LoginID, Renewal: renewal, Token: res.Token, Expires: c.tokenEnd()})
	})
}

// restoration makes the request by which this device introduces itself again, with fresh prekeys.
func (c *Client) restoration(attempt string, renewalHash []byte) (req api.RestoredDeviceRequest, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return req, err
	}
	local, err := me.local()
	if err != nil {
		return req, err
	}
	own, err := c.pin(me.Account)
	if err != nil {
		return req, err
	}
	if req.Lists, err = c.chain(own); err != nil {
		return req, err
	}
	s, _, err := get[preKeyState](c, keyPreKeys)
	if err != nil {
		return req, err
	}
	b := &batch{}
	prekeys, err := c.mint(me, &s, s.due(api.PreKeyCount{}, c.now()), b)
	if err != nil {
		return req, err
	}
	if err := c.commit(b); err != nil {
		return req, err
	}
	signature, err := local.Identity.Private.Sign(c.rand, append([]byte(restoredLabel+attempt), renewalHash...))
	req.Attempt, req.RenewalHash, req.Signature = attempt, renewalHash, signature[:]
	req.Device = api.DeviceRegistration{DeviceID: me.Device, WireDeviceID: me.WireDevice, PreKeys: prekeys}
	return req, err
}

// PasswordRequired tells that the server was restored from a backup that does not have the current password, or not this
// account: [Client.GiveBack] has to be called once. Until then nobody can sign in with the current password; this device
// goes on working when only the password is older.
func (c *Client) PasswordRequired() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[serverState](c, keyServer)
	return s.Password, err
}

// GiveBack gives a restored server the current password of this account, with the key bundle that it opens, and the
// account itself when the server has forgotten it. It is needed only while [Client.PasswordRequired] says so; Run may be
// active. Errors: [ErrWrongLogin] when the password does not open the bundle.
func (c *Client) GiveBack(ctx context.Context, password string) error {
	c.mu.Lock()
	s, _, err := get[serverState](c, keyServer)
	me, deviceErr := c.device()
	v, _, vaultErr := get[vault](c, keyVault)
	c.mu.Unlock()
	if err := errors.Join(err, deviceErr, vaultErr); err != nil || !s.Password {
		return err
	}
	_, _, infos, err := e2ee.BundleInfo(v.Sealed)
	if err != nil {
		return storeError(err)
	}
	account := api.RestoredAccount{
		Username: me.Username, Method: api.MethodSplitPBKDF2, Bundle: api.Bundle{Version: v.Version, Sealed: v.Sealed},
	}
	var kek [32]byte
	for _, info := range infos {
		switch info.Type { //nolint:exhaustive // the others are not needed here
		case e2ee.SlotPassword:
			p, err := e2ee.ParsePasswordParameters(info.Parameters)
			if err != nil {
				return storeError(err)
			}
			account.Salt, account.Iterations = bytes.Clone(p.Salt[:]), int(p.Iterations)
			if account.Auth, kek, err = c.derive(ctx, password, p); err != nil {
				return err
			}
		case e2ee.SlotRecovery:
			account.RecoveryVerifier = info.Parameters
		}
	}
	if _, _, err := e2ee.OpenBundle(v.Sealed, me.Account, e2ee.SlotPassword, kek); err != nil {
		return fail(api.CodeWrongLogin, "This is not the current password of %s.", me.Username)
	}
	given := api.RestoredPassword{Method: account.Method, Salt: account.Salt, Iterations: account.Iterations, Auth: account.Auth}
	err = c.giveBackBundle(ctx, &given)
	if code := CodeOf(err); code == CodeLoginEnded || code == api.CodeUnauthenticated || code == api.CodeDeviceGone {
		again, introduceErr := c.introduceAgain(ctx, fail(CodeLoginEnded, "The server does not know this login."), &account)
		if introduceErr != nil || again {
			return introduceErr
		}
		return err
	}
	if err != nil {
		return err
	}
	return c.changeServer(func(s *serverState) { s.Password = false }, nil)
}
