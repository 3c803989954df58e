package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Pinned gives tests the rules about device lists without a server.
type Pinned = pinned

// Advance is the rule; gap tells that lists in between are needed.
func (p *Pinned) Advance(lists api.AccountLists, floor uint64) (gap bool, err error) {
	if err = p.advance(lists, floor); err == errGap { //nolint:errorlint // the very value
		return true, nil
	}
	return false, err
}

// PeerState gives tests what the account state keeps of a contact.
type PeerState = peerState

// Recall is the rule about it.
func (p *Pinned) Recall(s PeerState) bool { return p.recall(s) }

// State is what the account state would keep.
func (p Pinned) State() PeerState { return p.state() }

// Socket gives tests one Socket.IO connection.
type Socket struct{ s *socket }

// DialSocket connects.
func DialSocket(ctx context.Context, n Network, server string, auth api.SocketAuth, onEvent func(string, json.RawMessage) error) (Socket, error) {
	s, err := dialSocket(ctx, n, server, auth, onEvent)
	return Socket{s}, err
}

// Request emits an event and waits for its answer.
func (s Socket) Request(ctx context.Context, name string, payload, res any) error {
	return s.s.request(ctx, name, payload, res)
}

// Ended waits for the end of the connection and tells why.
func (s Socket) Ended() error {
	<-s.s.done
	return s.s.reason()
}

// End closes the connection.
func (s Socket) End(reason error) { s.s.end(reason) }

// Vouches tells whether a message by that device and key, written under a list version, is believed.
func (p Pinned) Vouches(id api.WireDeviceID, key e2ee.PublicKey, version uint64) (bool, error) {
	return p.identity(id, key, version)
}

// NewNetwork is the platform's network, for tests that wrap it.
func NewNetwork() Network { return newNetwork() }

// FillQueue sets how many messages the queue believes to hold.
func (c *Client) FillQueue(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.put(keyQueue, queueState{Newest: uint64(n), Waiting: n})
	return c.commit(b)
}

// QueueSilent queues a content of class silent for every other device of an account.
func (c *Client) QueueSilent(kind byte, conversation api.ConversationID, body e2ee.Body, to api.AccountID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	devices, err := c.devicesOf(to)
	if err != nil {
		return err
	}
	return c.queueSilentFor(kind, conversation, body, devices)
}

// QueueSilentFor queues a content of class silent for some devices.
func (c *Client) QueueSilentFor(kind byte, conversation api.ConversationID, body e2ee.Body, to ...api.DeviceRef) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queueSilentFor(kind, conversation, body, to)
}

func (c *Client) queueSilentFor(kind byte, conversation api.ConversationID, body e2ee.Body, to []api.DeviceRef) error {
	b := &batch{}
	if err := c.queueSilent(b, slot(kind), conversation, body, to); err != nil {
		return err
	}
	return c.commit(b)
}

// Supplement queues a stored message once more for some devices.
func (c *Client) Supplement(conversation api.ConversationID, id api.MessageID, to ...api.DeviceRef) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if err := c.supplement(b, conversation, id, to); err != nil {
		return err
	}
	return c.commit(b)
}

// SelfConversation is the conversation of an account with itself.
func SelfConversation(a api.AccountID) api.ConversationID { return selfConversation(a) }

// Errands counts the errands that wait, by scanning and by the counter.
func (c *Client) Errands() (n, counted int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixErrand}, nil, MaxScan)
	if err != nil {
		return 0, 0, err
	}
	counted, _, err = get[int](c, keyErrands)
	return len(items), counted, err
}

// MaxErrands is how many errands may wait.
const MaxErrands = maxErrands

// FillErrands sets how many errands the queue believes to hold.
func (c *Client) FillErrands(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.put(keyErrands, n)
	return c.commit(b)
}

// DropSession loses every session with a device, as if the store had never had them.
func (c *Client) DropSession(a api.AccountID, d api.WireDeviceID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.delete(keySession(a, d))
	return c.commit(b)
}

// SessionBytes is what the store keeps of the sessions with a device.
func (c *Client) SessionBytes(a api.AccountID, d api.WireDeviceID) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, _, err := c.getRaw(keySession(a, d))
	return raw, err
}

// AskPlainly sends a retry request in the clear, true or not.
func (c *Client) AskPlainly(conversation api.ConversationID, id api.MessageID, request e2ee.DecryptionErrorMessage, to api.DeviceRef) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if err := c.askPlainly(api.Entry{ConversationID: conversation, MessageID: id}, request, []api.DeviceRef{to}, b); err != nil {
		return err
	}
	return c.commit(b)
}

// SilentSeen counts the silent contents that were taken.
func (c *Client) SilentSeen() (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixPlace}, nil, MaxScan)
	for _, it := range items {
		var p place
		if err := decode(it.Value, &p); err != nil {
			return n, err
		}
		if p == (place{}) {
			n++
		}
	}
	return n, err
}

// SendEphemeral passes a content to every other device of an account.
func (c *Client) SendEphemeral(conversation api.ConversationID, body e2ee.Body, to api.AccountID) error {
	c.mu.Lock()
	devices, err := c.devicesOf(to)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.sendEphemeral(conversation, body, devices)
}

// PendingAcks counts the acknowledgements that the server has not confirmed.
func (c *Client) PendingAcks() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixAck}, nil, MaxScan)
	return len(items), err
}

// AckWaits tells whether an acknowledgement of an entry waits.
func (c *Client) AckWaits(entry int64) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, found, err := get[pendingAck](c, keyAck(entry))
	return found, err
}

// SealedBundle is the newest key bundle that the device keeps.
func (c *Client) SealedBundle() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _, err := get[vault](c, keyVault)
	return v.Sealed, err
}

// AskArchiveKeys is what a device does that lacks one.
func (c *Client) AskArchiveKeys() error { return c.lackArchiveKey() }

// ArchiveKeysAsked counts how often the others were asked.
func (c *Client) ArchiveKeysAsked() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _, err := get[vault](c, keyVault)
	return v.Asked, err
}

// ArchiveEpoch is the newest archive epoch whose key the device has.
func (c *Client) ArchiveEpoch() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return 0, err
	}
	k, err := v.archiveKey()
	return k.Epoch, err
}

// PinnedVersion is the highest device list seen of an account.
func (c *Client) PinnedVersion(a api.AccountID) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.pin(a)
	return p.Version, err
}

// Identity is this device as the signed list names it.
func (c *Client) Identity() (e2ee.PublicKey, uint32, error) {
	d, err := c.me()
	if err != nil {
		return e2ee.PublicKey{}, 0, err
	}
	l, err := d.local()
	return l.Identity.Public, d.RegistrationID, err
}

// PreKeyState says which prekeys are current and retired.
func (c *Client) PreKeyState() (preKeyState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[preKeyState](c, keyPreKeys)
	return s, err
}

// AgePreKeys makes the prekeys that much older.
func (c *Client) AgePreKeys(by time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[preKeyState](c, keyPreKeys)
	if err != nil {
		return err
	}
	s.SignedAt -= by.Milliseconds()
	s.LastResortAt -= by.Milliseconds()
	for i := range s.Retired {
		s.Retired[i].At -= by.Milliseconds()
	}
	b := &batch{}
	b.put(keyPreKeys, s)
	return c.commit(b)
}

// MergeFacts gives tests the rule of account state on JSON values.
func MergeFacts(values ...string) (string, error) {
	all := facts{}
	for _, v := range values {
		var f facts
		if err := json.Unmarshal([]byte(v), &f); err != nil {
			return "", err
		}
		all.merge(f)
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// Unwritten counts the pieces of account state that the server does not have.
func (c *Client) Unwritten() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixUnwritten}, nil, MaxScan)
	return len(items), err
}

// RereadStates makes the next connection read all account state again.
func (c *Client) RereadStates() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[stateSync](c, keyStateSync)
	if err != nil {
		return err
	}
	s.Full = 0
	b := &batch{}
	b.put(keyStateSync, s)
	return c.commit(b)
}

// SetArchivePage sets how many records are asked for at once.
func (c *Client) SetArchivePage(n int) { c.archivePage = n }

// ForgetHistory empties the history, as on a new device.
func (c *Client) ForgetHistory() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	for _, prefix := range []byte{prefixMessage, prefixPlace} {
		items, err := c.store.Scan([]byte{prefix}, nil, MaxScan/2)
		if err != nil {
			return err
		}
		for _, it := range items {
			b.delete(it.Key)
		}
	}
	b.delete(keyArchive)
	return c.commit(b)
}

// ReadArchive makes the next connection look at the archive.
func (c *Client) ReadArchive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if err := c.wantArchive(b); err != nil {
		return err
	}
	return c.commit(b)
}

// EndLogin signs the device out, but leaves its store as it is.
func (c *Client) EndLogin(ctx context.Context) error {
	return c.call(ctx, "POST", "/api/user/logout", nil, nil)
}

// Settled tells whether a raised epoch was met and lists and bundle were given back in it.
func (c *Client) Settled() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[serverState](c, keyServer)
	return s.Epoch > 1 && s.Raised == 0, err
}

// ServerEpoch is the highest epoch of the server that the device has met.
func (c *Client) ServerEpoch() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serverEpoch()
}

// Holds tells whether any value of the store contains a text, also base64 encoded: in contents, records and overlays.
func (c *Client) Holds(text string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var from []byte
	for {
		items, err := c.store.Scan(nil, from, MaxScan)
		if err != nil {
			return false, err
		}
		for _, it := range items {
			if bytes.Contains(it.Value, []byte(text)) {
				return true, nil
			}
			if it.Key[0] == prefixMessage {
				var e entry
				if err := decode(it.Value, &e); err != nil {
					return false, err
				}
				if bytes.Contains(e.Content, []byte(text)) {
					return true, nil
				}
			}
		}
		if len(items) < MaxScan {
			return false, nil
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// Erasures counts the archive records that are still to be erased.
func (c *Client) Erasures() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixErasure}, nil, MaxScan)
	return len(items), err
}

// Two prefixes that are the same do not compile.
var _ = map[byte]bool{
	prefixSetting: true, prefixList: true, prefixChain: true, prefixConversation: true,
	prefixMessage: true, prefixPlace: true, prefixQueue: true, prefixFailed: true,
	prefixAck: true, prefixNotice: true, prefixErrand: true, prefixRetries: true,
	prefixTold: true, prefixOwed: true, prefixSession: true, prefixStatement: true,
	prefixPreKey: true, prefixKyberUsed: true, prefixState: true, prefixUnwritten: true,
	prefixUnmet: true, prefixOverlay: true, prefixExpiry: true, prefixErasure: true,
	prefixAsset: true, prefixUnused: true, prefixPicture: true, prefixApplication: true,
}

// Upload gives a file to the server.
func (c *Client) Upload(ctx context.Context, plaintext []byte) (e2ee.Attachment, error) {
	return c.upload(ctx, plaintext)
}

// Download reads a file.
func (c *Client) Download(ctx context.Context, a e2ee.Attachment, limit uint64) ([]byte, error) {
	return c.download(ctx, a, limit)
}

// TidyAssets deletes what was not used.
func (c *Client) TidyAssets(ctx context.Context) error { return c.tidyAssets(ctx) }

// Assets names what the server keeps of the account, at most a page.
func (c *Client) Assets(ctx context.Context) (map[string]bool, error) {
	var page api.Assets
	err := c.call(ctx, "GET", pathAssets, nil, &page)
	out := map[string]bool{}
	for _, a := range page.Assets {
		out[hex.EncodeToString(a.SHA256)] = true
	}
	return out, err
}
