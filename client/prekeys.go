package client

import (
	"bytes"
	"context"
	"errors"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// preKeyState says which of the stored prekeys are current, and which are kept for messages still under way.
type preKeyState struct {
	Next          uint32          `json:"next"` // id of the next prekey of any sort
	SignedID      uint32          `json:"signed_id"`
	SignedAt      int64           `json:"signed_at"`
	LastResortID  uint32          `json:"last_resort_id"`
	LastResortAt  int64           `json:"last_resort_at"`
	StatementTime int64           `json:"statement_time"` // of the newest; the next one is later
	Retired       []retiredPreKey `json:"retired,omitempty"`
}

type retiredPreKey struct {
	Kind byte   `json:"kind"`
	ID   uint32 `json:"id"`
	At   int64  `json:"at"`
}

func (s *preKeyState) take() uint32 {
	id := s.Next
	s.Next = e2ee.NextPreKeyID(id)
	return id
}

// due says what upkeep is needed when the server has count one-time prekeys.
func (s *preKeyState) due(count api.PreKeyCount, now time.Time) e2ee.PreKeyUpkeep {
	return e2ee.PreKeyInventory{
		SignedMade: time.UnixMilli(s.SignedAt), LastResortMade: time.UnixMilli(s.LastResortAt),
		StatementMade: time.UnixMilli(s.StatementTime),
		OneTime:       count.OneTimePreKeys, OneTimeKyber: count.KyberPreKeys,
	}.Due(now)
}

// mint makes the prekeys that are due. The private halves go into b, which is committed before the upload leaves:
// prekeys that the server never got only wait in vain, prekeys without their private half would lose messages.
func (c *Client) mint(me device, s *preKeyState, due e2ee.PreKeyUpkeep, b *batch) (up api.PreKeyUpload, err error) {
	local, err := me.local()
	if err != nil {
		return up, err
	}
	now := c.millis()
	signedKey, err := c.signedPreKey(local, s, due.NewSigned, now, b)
	if err != nil {
		return up, err
	}
	lastResort, err := c.lastResort(local, s, due.NewLastResort, now, b)
	if err != nil {
		return up, err
	}
	up = api.PreKeyUpload{
		SignedPreKey:   api.SignedKey{ID: signedKey.ID, Key: signedKey.Pair.Public[:], Signature: signedKey.Signature[:]},
		LastResort:     publicKyber(lastResort),
		OneTimePreKeys: []api.OneTimeKey{}, KyberPreKeys: []api.SignedKey{},
	}
	for range min(due.OneTime, api.MaxOneTimePreKeys) {
		k, err := e2ee.NewPreKey(c.rand, s.take())
		if err != nil {
			return up, err
		}
		b.putRaw(keyPreKey(preKeyOneTime, k.ID), k.Marshal())
		up.OneTimePreKeys = append(up.OneTimePreKeys, api.OneTimeKey{ID: k.ID, Key: k.Pair.Public[:]})
	}
	for range min(due.OneTimeKyber, api.MaxOneTimePreKeys) {
		k, err := e2ee.NewKyberPreKey(c.rand, local.Identity, s.take(), false)
		if err != nil {
			return up, err
		}
		b.putRaw(keyPreKey(preKeyKyber, k.ID), k.Marshal())
		up.KyberPreKeys = append(up.KyberPreKeys, publicKyber(k))
	}
	s.StatementTime = max(now, s.StatementTime+1)
	statement, err := e2ee.PreKeyStatement{
		Account: me.Account, Device: uint32(me.WireDevice), RegistrationID: me.RegistrationID,
		SignedPreKeyID: signedKey.ID, SignedPreKeyHash: e2ee.PreKeyHash(signedKey.Pair.Public[:]),
		LastResortID: lastResort.ID, LastResortHash: e2ee.PreKeyHash(lastResort.Pair.Public), Time: s.StatementTime,
	}.Sign(c.rand, local.Identity.Private)
	up.Statement = api.SignedStatement{Statement: statement.Statement, Signature: statement.Signature}
	b.put(keyPreKeys, *s)
	return up, err
}

func publicKyber(k e2ee.KyberPreKey) api.SignedKey {
	return api.SignedKey{ID: k.ID, Key: k.Pair.Public, Signature: k.Signature[:]}
}

// signedPreKey reads the current signed prekey, or retires it for a new one.
func (c *Client) signedPreKey(l e2ee.Local, s *preKeyState, renew bool, now int64, b *batch) (e2ee.SignedPreKey, error) {
	if !renew {
		return c.preKeySource().SignedPreKey(s.SignedID)
	}
	if s.SignedID != 0 {
		s.Retired = append(s.Retired, retiredPreKey{Kind: preKeySigned, ID: s.SignedID, At: now})
	}
	k, err := e2ee.NewSignedPreKey(c.rand, l.Identity, s.take())
	s.SignedID, s.SignedAt = k.ID, now
	b.putRaw(keyPreKey(preKeySigned, k.ID), k.Marshal())
	return k, err
}

// lastResort does the same for the last-resort Kyber prekey.
func (c *Client) lastResort(l e2ee.Local, s *preKeyState, renew bool, now int64, b *batch) (e2ee.KyberPreKey, error) {
	if !renew {
		return c.preKeySource().KyberPreKey(s.LastResortID)
	}
	if s.LastResortID != 0 {
		s.Retired = append(s.Retired, retiredPreKey{Kind: preKeyKyber, ID: s.LastResortID, At: now})
	}
	k, err := e2ee.NewKyberPreKey(c.rand, l.Identity, s.take(), true)
	s.LastResortID, s.LastResortAt = k.ID, now
	b.putRaw(keyPreKey(preKeyKyber, k.ID), k.Marshal())
	return k, err
}

// dropExpired deletes retired prekeys after their time, with the replay guard's entries for them.
func (c *Client) dropExpired(s *preKeyState, b *batch) error {
	var kept []retiredPreKey
	for _, r := range s.Retired {
		if !e2ee.RetiredPreKeyExpired(time.UnixMilli(r.At), c.now()) {
			kept = append(kept, r)
			continue
		}
		b.delete(keyPreKey(r.Kind, r.ID))
		if r.Kind != preKeyKyber {
			continue
		}
		used, err := c.store.Scan(keyKyberUsed(r.ID, 0, [33]byte{})[:5], nil, MaxScan/2)
		if err != nil {
			return storeError(err)
		}
		for _, it := range used {
			b.delete(it.Key)
		}
	}
	s.Retired = kept
	return nil
}

const (
	upkeepEvery = 6 * time.Hour // is how often the prekeys are looked after while connected,
	upkeepAfter = 10            // or after so many that were used up
)

// upkeepLoop looks after the prekeys after each connect and then now and again. A device that has returned to the device
// set makes its prekeys anew: nobody knows what became of those before.
func (n *connection) upkeepLoop(ctx context.Context) error {
	if n.accepted.Returned {
		if err := n.c.renewPreKeys(); err != nil {
			return err
		}
	}
	timer := time.NewTicker(upkeepEvery)
	defer timer.Stop()
	for {
		if err := n.upkeep(ctx); err != nil {
			return err
		}
		select {
		case <-timer.C:
		case <-n.consumed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renewPreKeys makes the next upkeep replace the signed and the last-resort prekey.
func (c *Client) renewPreKeys() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[preKeyState](c, keyPreKeys)
	if err != nil {
		return err
	}
	s.SignedAt, s.LastResortAt = 0, 0
	b := &batch{}
	b.put(keyPreKeys, s)
	return c.commit(b)
}

// upkeep replenishes and rotates prekeys.
func (c *Client) upkeep(ctx context.Context) error {
	var count api.PreKeyCount
	if err := c.call(ctx, "GET", "/api/user/prekeys", nil, &count); err != nil {
		return err
	}
	up, needed, err := c.mintDue(count)
	if err != nil || !needed {
		return err
	}
	return c.call(ctx, "POST", "/api/user/prekeys", up, &count)
}

func (c *Client) mintDue(count api.PreKeyCount) (up api.PreKeyUpload, needed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return up, false, err
	}
	s, _, err := get[preKeyState](c, keyPreKeys)
	if err != nil {
		return up, false, err
	}
	b := &batch{}
	if err := c.dropExpired(&s, b); err != nil {
		return up, false, err
	}
	due := s.due(count, c.now())
	if needed = due != (e2ee.PreKeyUpkeep{}); needed {
		if up, err = c.mint(me, &s, due, b); err != nil {
			return up, false, err
		}
	}
	if due.OneTime > 0 || due.OneTimeKyber > 0 {
		if err := c.countIn(b, func(n *Counters) { n.PreKeysLow++ }); err != nil {
			return up, false, err
		}
	}
	if len(b.b.Delete) > 0 && !needed {
		b.put(keyPreKeys, s)
	}
	return up, needed, c.commit(b)
}

// preKeys reads private prekeys while a message is decrypted. The caller holds c.mu.
type preKeys struct{ c *Client }

func (c *Client) preKeySource() preKeys { return preKeys{c} }

func (p preKeys) raw(kind byte, id uint32) ([]byte, error) {
	raw, found, err := p.c.getRaw(keyPreKey(kind, id))
	if err == nil && !found {
		err = e2ee.ErrNoPreKey
	}
	return raw, err
}

// PreKey implements [e2ee.PreKeySource].
func (p preKeys) PreKey(id uint32) (e2ee.PreKey, error) {
	raw, err := p.raw(preKeyOneTime, id)
	if err != nil {
		return e2ee.PreKey{}, err
	}
	return e2ee.ParsePreKey(raw)
}

// SignedPreKey implements [e2ee.PreKeySource].
func (p preKeys) SignedPreKey(id uint32) (e2ee.SignedPreKey, error) {
	raw, err := p.raw(preKeySigned, id)
	if err != nil {
		return e2ee.SignedPreKey{}, err
	}
	return e2ee.ParseSignedPreKey(raw)
}

// KyberPreKey implements [e2ee.PreKeySource].
func (p preKeys) KyberPreKey(id uint32) (e2ee.KyberPreKey, error) {
	raw, err := p.raw(preKeyKyber, id)
	if err != nil {
		return e2ee.KyberPreKey{}, err
	}
	return e2ee.ParseKyberPreKey(raw)
}

// KyberUsed implements [e2ee.PreKeySource].
func (p preKeys) KyberUsed(kyber, signedID uint32, base e2ee.PublicKey) (bool, error) {
	_, found, err := p.c.getRaw(keyKyberUsed(kyber, signedID, base))
	return found, err
}

// consume commits with a session what its handshake used up. The caller holds c.mu.
func (c *Client) consume(used e2ee.Consumed, b *batch) error {
	if used.PreKeyID != nil {
		b.delete(keyPreKey(preKeyOneTime, *used.PreKeyID))
	}
	if n := c.conn; n != nil {
		if n.handshakes++; n.handshakes%upkeepAfter == 0 {
			signal(n.consumed)
		}
	}
	k, err := c.preKeySource().KyberPreKey(used.KyberPreKeyID)
	if err != nil {
		return err
	}
	if k.LastResort {
		b.putRaw(keyKyberUsed(used.KyberPreKeyID, used.SignedPreKeyID, used.BaseKey), nil)
	} else {
		b.delete(keyPreKey(preKeyKyber, used.KyberPreKeyID))
	}
	return nil
}

// seenStatement is the newest prekey statement of a device, by which a server's going back shows.
type seenStatement struct {
	Identity  []byte              `json:"identity"`
	Statement api.SignedStatement `json:"statement"`
	Epoch     uint64              `json:"epoch"` // of the server that showed it
}

// claim asks for prekeys of devices that have no session, and holds the lists and bundles of the answer against what is
// pinned. The statements seen go into the store.
func (c *Client) claim(ctx context.Context, a api.AccountID, devices []api.WireDeviceID) (
	map[api.WireDeviceID]e2ee.PreKeyBundle, error,
) {
	c.mu.Lock()
	before, err := c.pin(a)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var res api.ClaimResponse
	req := api.ClaimRequest{AccountID: a, DeviceIDs: devices}
	if err := c.call(ctx, "POST", "/api/user/prekeys/claim", req, &res); err != nil {
		return nil, err
	}
	if res.Lists.AccountID != a || len(res.Bundles) > api.MaxDevices {
		return nil, serverError("prekeys of %s with %d bundles", res.Lists.AccountID, len(res.Bundles))
	}
	if err := c.accept(ctx, res.Lists, before.Version, ""); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.pin(a)
	if err != nil {
		return nil, err
	}
	list, err := p.open()
	if err != nil {
		return nil, err
	}
	b := &batch{}
	bundles := map[api.WireDeviceID]e2ee.PreKeyBundle{}
	for _, raw := range res.Bundles {
		bundle, err := c.checkBundle(list, raw, b)
		if err != nil {
			return nil, c.refuseBundle(a, err)
		}
		bundles[raw.DeviceID] = bundle
	}
	return bundles, c.commit(b)
}

// refuseBundle announces prekeys that do not bear the signatures they need. The caller holds c.mu.
func (c *Client) refuseBundle(a api.AccountID, reason error) error {
	err := fail(CodePreKeys, "The server shows prekeys that their device has not vouched for. Do not trust it.").because(reason)
	c.alert(a, err)
	return err
}

// checkBundle verifies one prekey bundle: identity key and registration id are the listed ones, and the statement is
// the device's, recent, and not older than one already seen. The caller holds c.mu.
func (c *Client) checkBundle(list e2ee.DeviceList, raw api.PreKeyBundle, b *batch) (e2ee.PreKeyBundle, error) {
	d, ok := list.Device(uint32(raw.DeviceID))
	if !ok || !bytes.Equal(d.IdentityKey[:], raw.IdentityKey) || d.RegistrationID != raw.RegistrationID {
		return e2ee.PreKeyBundle{}, errors.New("the device is not listed with this identity key")
	}
	bundle, err := parseBundle(list.Account, d, raw)
	if err != nil {
		return bundle, err
	}
	signedStatement := e2ee.SignedStatement{Statement: raw.Statement.Statement, Signature: raw.Statement.Signature}
	statement, err := signedStatement.Open(d.IdentityKey)
	if err != nil {
		return bundle, err
	}
	if err := statement.Check(bundle, c.now()); err != nil {
		return bundle, err
	}
	epoch, err := c.serverEpoch()
	if err != nil {
		return bundle, err
	}
	key := keyStatement(list.Account, raw.DeviceID)
	seen, found, err := get[seenStatement](c, key)
	if err != nil {
		return bundle, err
	}
	if found && bytes.Equal(seen.Identity, raw.IdentityKey) {
		old, err := e2ee.SignedStatement{Statement: seen.Statement.Statement, Signature: seen.Statement.Signature}.Open(d.IdentityKey)
		if err != nil {
			return bundle, storeError(err)
		}
		if err := statement.Follows(old); err != nil {
			if errors.Is(err, e2ee.ErrStatementRollback) && seen.Epoch < epoch {
				return bundle, nil // of before the backup; the device has kept the private halves, the newer one stays seen
			}
			return bundle, err
		}
	}
	b.put(key, seenStatement{Identity: raw.IdentityKey, Statement: raw.Statement, Epoch: epoch})
	return bundle, nil
}

func parseBundle(account [16]byte, d e2ee.ListedDevice, raw api.PreKeyBundle) (e2ee.PreKeyBundle, error) {
	bundle := e2ee.PreKeyBundle{
		Address: e2ee.Address{Account: account, Device: d.ID}, RegistrationID: d.RegistrationID, IdentityKey: d.IdentityKey,
		SignedPreKeyID: raw.SignedPreKey.ID, KyberPreKeyID: raw.KyberPreKey.ID,
	}
	var err error
	if bundle.SignedPreKey, err = e2ee.ParsePublicKey(raw.SignedPreKey.Key); err != nil {
		return bundle, err
	}
	if bundle.KyberPreKey, err = e2ee.ParseKEMPublicKey(raw.KyberPreKey.Key); err != nil {
		return bundle, err
	}
	if len(raw.SignedPreKey.Signature) != len(e2ee.Signature{}) || len(raw.KyberPreKey.Signature) != len(e2ee.Signature{}) {
		return bundle, e2ee.ErrSignature
	}
	bundle.SignedPreKeySignature = e2ee.Signature(raw.SignedPreKey.Signature)
	bundle.KyberPreKeySignature = e2ee.Signature(raw.KyberPreKey.Signature)
	if o := raw.OneTimePreKey; o != nil {
		key, err := e2ee.ParsePublicKey(o.Key)
		if err != nil {
			return bundle, err
		}
		bundle.PreKey = &e2ee.PublicPreKey{ID: o.ID, Key: key}
	}
	return bundle, nil
}
