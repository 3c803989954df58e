package client

import (
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// writer makes the envelopes of one try. It works under c.mu.
type writer struct {
	c       *Client
	me      device
	local   e2ee.Local
	bundles map[api.DeviceRef]e2ee.PreKeyBundle
	b       *batch
	need    map[api.AccountID][]api.WireDeviceID
}

func (w *writer) try(q queued, v conversation) (*api.Send, error) {
	padded, err := e2ee.Pad(q.Content)
	if err != nil {
		return nil, storeError(err)
	}
	key := e2ee.FrankingKey(q.Key)
	commitment := e2ee.Commit(key, padded)
	try := &api.Send{
		ConversationID: q.Conversation, MessageID: q.ID, Class: api.ClassMessage, Commitment: commitment[:],
		Envelopes: []api.Envelope{},
	}
	own, err := w.c.pin(w.me.Account)
	if err != nil {
		return nil, err
	}
	for _, account := range v.members(w.me.Account) {
		p, err := w.c.pin(account)
		if err != nil {
			return nil, err
		}
		if p.Version == 0 {
			w.need[account] = nil
			continue
		}
		if err := w.c.mayWrite(p); err != nil {
			return nil, err
		}
		try.ListVersions = append(try.ListVersions, api.ListVersion{AccountID: account, Version: p.Version})
		plain, err := w.plaintext(own, p, key, padded)
		if err != nil {
			return nil, err
		}
		if err := w.envelopes(try, q.Try, p, plain); err != nil {
			return nil, err
		}
	}
	if len(w.need) > 0 {
		return nil, nil
	}
	content, err := e2ee.ParseContent(q.Content)
	if err != nil {
		return nil, storeError(err)
	}
	if author := api.WireDeviceID(content.SenderDevice); author != w.me.WireDevice {
		try.SenderDevice = author // whose queue this device has carried over
	}
	if padded, err = e2ee.Pad(archived(content).Marshal()); err != nil {
		return nil, storeError(err)
	}
	try.EraseAfter = roundUp(expires(content, w.c.millis()))
	try.Record, err = w.c.sealRecord(w.me, q.Conversation, q.ID, e2ee.Record{
		Padded: padded, Key: key, Sender: w.me.Account, SenderDevice: content.SenderDevice, SentAt: content.SentAt,
	}, try.EraseAfter)
	return try, err
}

// plaintext is what every device of account p gets, before encryption.
func (w *writer) plaintext(own, p pinned, key e2ee.FrankingKey, padded []byte) ([]byte, error) {
	plain := e2ee.Envelope{Key: key, Padded: padded, Pins: e2ee.Pins{
		SenderVersion: own.Version, SenderHash: own.hash(), RecipientVersion: p.Version, RecipientHash: p.hash(),
	}}
	if p.Account == w.me.Account {
		vault, _, err := get[vault](w.c, keyVault)
		if err != nil {
			return nil, err
		}
		plain.Pins.BundleVersion = vault.Version
	}
	return plain.Marshal(), nil
}

// envelopes adds one for every device of an account, less this one and those that are signed out or dormant. Envelopes
// of an earlier, refused try are used again.
func (w *writer) envelopes(try, earlier *api.Send, p pinned, plain []byte) error {
	list, err := p.open()
	if err != nil {
		return err
	}
	for _, d := range list.Devices {
		id := api.WireDeviceID(d.ID)
		if slices.Contains(p.Inactive, id) || (p.Account == w.me.Account && id == w.me.WireDevice) {
			continue
		}
		if e, ok := made(earlier, p.Account, d); ok {
			try.Envelopes = append(try.Envelopes, e)
			continue
		}
		m, err := w.envelope(p.Account, d, plain)
		if errors.Is(err, errNoSession) {
			w.need[p.Account] = append(w.need[p.Account], id)
			continue
		}
		if err != nil {
			return err
		}
		try.Envelopes = append(try.Envelopes, api.Envelope{
			AccountID: p.Account, DeviceID: id, RegistrationID: d.RegistrationID, Type: int(m.Type), Bytes: m.Bytes,
		})
	}
	return nil
}

// made finds an envelope in an earlier try.
func made(earlier *api.Send, a api.AccountID, d e2ee.ListedDevice) (api.Envelope, bool) {
	if earlier != nil {
		for _, e := range earlier.Envelopes {
			if e.AccountID == a && e.DeviceID == api.WireDeviceID(d.ID) && e.RegistrationID == d.RegistrationID {
				return e, true
			}
		}
	}
	return api.Envelope{}, false
}

var errNoSession = errors.New("no session")

// envelope encrypts for one device. A session with another identity key than the listed one is not used: the device was
// replaced, and a new session archives the old one.
func (w *writer) envelope(a api.AccountID, d e2ee.ListedDevice, plain []byte) (e2ee.Message, error) {
	id := api.WireDeviceID(d.ID)
	session, err := w.c.session(a, id)
	if err != nil {
		return e2ee.Message{}, err
	}
	identity, _ := session.RemoteIdentity()
	if !session.Usable(w.c.now()) || identity != d.IdentityKey {
		bundle, ok := w.bundles[api.DeviceRef{AccountID: a, DeviceID: id}]
		if !ok || bundle.IdentityKey != d.IdentityKey {
			return e2ee.Message{}, errNoSession
		}
		if err := session.Initiate(w.c.rand, w.local, bundle, w.c.now()); err != nil {
			return e2ee.Message{}, w.c.refuseBundle(a, err)
		}
	}
	m, err := session.Encrypt(w.c.rand, w.local, address(a, id), plain, w.c.now())
	if err != nil {
		return e2ee.Message{}, storeError(err)
	}
	w.b.putRaw(keySession(a, id), session.Marshal())
	return m, nil
}

// session reads the ratchet sessions with a device. The caller holds c.mu.
func (c *Client) session(a api.AccountID, d api.WireDeviceID) (*e2ee.Session, error) {
	raw, found, err := c.getRaw(keySession(a, d))
	if err != nil {
		return nil, err
	}
	if !found {
		return e2ee.NewSession(), nil
	}
	s, err := e2ee.ParseSession(raw)
	return s, storeError(err)
}

// sealRecord seals an archive record of this account, to be erased at a full hour or never; nil when the account keeps no
// archive. The caller holds c.mu.
func (c *Client) sealRecord(me device, conversation api.ConversationID, id api.MessageID, r e2ee.Record, eraseAfter int64) (
	*api.Record, error,
) {
	if choice, _, err := get[api.ChatSettings](c, keyChoice); err != nil || choice.Archive == api.ArchiveNothing {
		return nil, err
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return nil, err
	}
	key, err := v.archiveKey()
	if err != nil {
		return nil, err
	}
	place := e2ee.RecordPlace{Account: me.Account, Conversation: conversation, MessageID: id}
	sealed, err := e2ee.SealArchive(c.rand, key, place, r)
	if err != nil {
		return nil, storeError(err)
	}
	return &api.Record{ConversationID: conversation, MessageID: id, KeyEpoch: key.Epoch, Sealed: sealed, EraseAfter: eraseAfter}, nil
}
