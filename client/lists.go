package client

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// maxFormer bounds the removed devices that are remembered of one account; the oldest is forgotten.
const maxFormer = 100

// pinned is the highest device list seen of an account. Nothing replaces it but a list that chains to it.
type pinned struct {
	Account  api.AccountID      `json:"account"`
	Username string             `json:"username,omitempty"` // as last looked up; only for showing
	Key      []byte             `json:"key"`                // account key
	Version  uint64             `json:"version"`
	List     api.SignedList     `json:"list"`
	Inactive []api.WireDeviceID `json:"inactive,omitempty"` // the server's word: signed out or dormant
	Former   []formerDevice     `json:"former,omitempty"`
	Verified bool               `json:"verified,omitempty"` // the user has compared safety numbers over Key
	Changes  []IdentityChange   `json:"changes,omitempty"`  // of Key

	known *peerList        // by account state, before the first contact of this device
	trust *peerState       // likewise
	taken []api.SignedList // that became known by the last advance, up to List
}

// formerDevice was removed. Messages that it sent before are still on their way.
type formerDevice struct {
	ID       api.WireDeviceID `json:"id"`
	Identity []byte           `json:"identity"`
	Until    uint64           `json:"until"` // first version without it
}

func (p pinned) open() (e2ee.DeviceList, error) {
	key, err := e2ee.ParsePublicKey(p.Key)
	if err != nil {
		return e2ee.DeviceList{}, storeError(err)
	}
	l, err := signed(p.List).Open(key)
	return l, storeError(err)
}

func (p pinned) hash() [32]byte { return signed(p.List).Hash() }

func signed(l api.SignedList) e2ee.SignedDeviceList {
	return e2ee.SignedDeviceList{List: l.List, Signature: l.Signature}
}

// errGap says that lists between the pinned one and the one shown are needed first.
var errGap = errors.New("device lists in between are missing")

// advance takes what a server says of an account. floor is the version that was pinned when the server was asked: an
// answer that overlaps with a newer one is late, one below floor goes back. It changes p only when it returns nil.
func (p *pinned) advance(lists api.AccountLists, floor uint64) error {
	if len(lists.Lists) > api.MaxListChain {
		return serverError("%d device lists in one answer", len(lists.Lists))
	}
	if err := p.checkKnown(lists); err != nil {
		return err
	}
	next := *p
	for _, l := range lists.Lists {
		if err := next.step(signed(l)); err != nil {
			return err
		}
	}
	if n := len(lists.Lists); n > 0 {
		if last, err := signed(lists.Lists[n-1]).Parse(); err != nil || last.Version < floor {
			return fail(CodeListBack, "The server shows an older list of devices than before. It was set back, or it lies.")
		} else if last.Version == next.Version {
			next.setStatus(lists.Status)
		}
	}
	*p = next
	return nil
}

// step takes one list: a successor becomes the pinned one, the pinned one itself and older ones change nothing.
func (p *pinned) step(s e2ee.SignedDeviceList) error {
	l, err := s.Parse()
	if err != nil {
		return fail(CodeListForged, "The server shows a list of devices that is not signed by its account.").because(err)
	}
	if l.Account != p.Account {
		return fail(CodeListForged, "The server shows the list of devices of another account.")
	}
	if p.Version == 0 { // first contact
		p.Key, p.Version = l.AccountKey[:], l.Version
		if p.trust != nil {
			p.recall(*p.trust)
		}
		p.List = api.SignedList{List: s.List, Signature: s.Signature}
		p.taken = append(p.taken, p.List)
		return nil
	}
	if l.Version < p.Version {
		return nil
	}
	current, err := p.open()
	if err != nil {
		return err
	}
	switch err := l.Follows(current, p.hash()); {
	case errors.Is(err, e2ee.ErrListGap):
		return errGap
	case errors.Is(err, e2ee.ErrAccountKey):
		p.rekey(l)
	case err != nil:
		return fail(CodeListFork, "The server shows a list of devices that contradicts an earlier one. Do not trust it.").because(err)
	}
	if l.Version == p.Version {
		return nil
	}
	for _, d := range current.Devices {
		if now, listed := l.Device(d.ID); !listed || now.IdentityKey != d.IdentityKey {
			p.Former = append(slices.Clone(p.Former), formerDevice{
				ID: api.WireDeviceID(d.ID), Identity: d.IdentityKey[:], Until: l.Version,
			})
		}
	}
	p.Former = p.Former[max(0, len(p.Former)-maxFormer):]
	p.Version, p.Inactive = l.Version, nil
	p.List = api.SignedList{List: s.List, Signature: s.Signature}
	p.taken = append(p.taken, p.List)
	return nil
}

func (p *pinned) setStatus(status []api.DeviceStatus) {
	p.Inactive = nil
	for _, s := range status {
		p.Inactive = append(p.Inactive, s.DeviceID)
	}
}

// identity finds the identity key that the account vouches for under a device id: a listed device, or one removed later
// than the list version that the message was written under.
func (p pinned) identity(id api.WireDeviceID, key e2ee.PublicKey, senderVersion uint64) (bool, error) {
	l, err := p.open()
	if err != nil {
		return false, err
	}
	if d, ok := l.Device(uint32(id)); ok && d.IdentityKey == key {
		return true, nil
	}
	return slices.ContainsFunc(p.Former, func(f formerDevice) bool {
		return f.ID == id && bytes.Equal(f.Identity, key[:]) && senderVersion < f.Until
	}), nil
}

// pin reads what is pinned of an account; version 0 when nothing is. The caller holds c.mu.
func (c *Client) pin(a api.AccountID) (pinned, error) {
	p, found, err := get[pinned](c, keyList(a))
	if err != nil || found {
		return p, err
	}
	p.Account = a
	known, _, found, err := stateFact[peerList](c, statePeerOf(a), factList)
	if found {
		p.known = &known
	}
	if err != nil {
		return p, err
	}
	trust, _, found, err := stateFact[peerState](c, statePeerOf(a), factTrust)
	if found {
		p.trust = &trust
	}
	return p, err
}

// listed finds a device in the pinned list of an account. The caller holds c.mu.
func (c *Client) listed(a api.AccountID, id api.WireDeviceID) (e2ee.ListedDevice, bool, error) {
	p, err := c.pin(a)
	if err != nil || p.Version == 0 {
		return e2ee.ListedDevice{}, false, err
	}
	list, err := p.open()
	if err != nil {
		return e2ee.ListedDevice{}, false, err
	}
	d, ok := list.Device(uint32(id))
	return d, ok, nil
}

// accept holds what a server says of an account against what is pinned, and pins it. It fetches the lists in between
// when the newest does not follow directly. Anything that does not fit is counted and announced, and changes nothing.
func (c *Client) accept(ctx context.Context, lists api.AccountLists, floor uint64, username string) error {
	err := c.acceptOnce(lists, floor, username)
	switch {
	case errors.Is(err, errGap):
		return c.fetchLists(ctx, lists.AccountID)
	case CodeOf(err) == CodeListBack:
		return c.explainOlder(ctx, lists.AccountID, err)
	}
	return err
}

// explainOlder is for a list that is older than the pinned one. It is no fault while a restored server gets back what it
// has forgotten, or when it takes this list back now: the pinned one stays. Otherwise it is counted and announced.
func (c *Client) explainOlder(ctx context.Context, a api.AccountID, older error) error {
	raised, err := c.raised(ctx)
	if raised || err != nil {
		return err
	}
	c.mu.Lock()
	p, err := c.pin(a)
	epoch, epochErr := c.serverEpoch()
	c.mu.Unlock()
	if err := errors.Join(err, epochErr); err != nil {
		return err
	}
	if epoch > 1 && p.Version > 0 {
		if taken, err := c.giveBackList(ctx, p); err != nil || taken {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alert(a, older)
	return older
}

func (c *Client) acceptOnce(lists api.AccountLists, floor uint64, username string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.pin(lists.AccountID)
	if err != nil {
		return err
	}
	before := p
	err = p.advance(lists, floor)
	if err == nil {
		err = c.ownKey(before, p)
	}
	if err != nil {
		if !errors.Is(err, errGap) && CodeOf(err) != CodeListBack { // the callers look into those
			c.alert(lists.AccountID, err)
		}
		return err
	}
	if p.Version == 0 {
		return serverError("no device list of account %s", lists.AccountID)
	}
	if username != "" {
		p.Username = username
	}
	if p.Version == before.Version && p.Username == before.Username && slices.Equal(p.Inactive, before.Inactive) {
		return nil
	}
	b := &batch{}
	// At first contact, too, when account state knew an earlier key.
	rekeyed := before.Version != 0 && !bytes.Equal(before.Key, p.Key) || before.Version == 0 && len(p.Changes) > 0
	warn := false
	if rekeyed {
		if warn, err = c.identityChanged(before, &p, b); err != nil {
			return err
		}
	}
	if p.Username != before.Username {
		if err := c.noteName(p, b); err != nil {
			return err
		}
	}
	b.put(keyList(p.Account), p)
	if p.Version != before.Version {
		p.put(b)
		if err := c.notePeer(p, b); err != nil {
			return err
		}
	}
	if err := c.commit(b); err != nil {
		return err
	}
	if before.Version != 0 && p.Version != before.Version {
		c.publish(Event{Type: EventDevices, Account: p.Account})
	}
	if warn {
		c.publish(Event{Type: EventIdentity, Account: p.Account, Err: fail(CodeIdentity, "%s", identityMessage(p))})
	}
	return nil
}

// noteName adds to b that the conversation with an account shows a name now, or another one. The caller holds c.mu.
func (c *Client) noteName(p pinned, b *batch) error {
	me, err := c.device()
	if CodeOf(err) == CodeNotSignedIn {
		return nil // nothing is shown
	}
	if err != nil {
		return err
	}
	id := api.ConversationID(e2ee.DirectConversation(me.Account, p.Account))
	_, found, err := get[conversation](c, keyConversation(id))
	if found {
		b.events = append(b.events, Event{Type: EventConversation, Conversation: id, Account: p.Account})
	}
	return err
}

// acceptStatus takes the server's word about which devices are signed out, when the list of that version is still the
// newest. Dormant ones it does not tell here; they count as active until a send is refused for them.
func (c *Client) acceptStatus(lists api.AccountLists, version uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.pin(lists.AccountID)
	if err != nil || p.Version == 0 || p.Version != version {
		return err
	}
	before := p.Inactive
	p.setStatus(lists.Status[:min(len(lists.Status), api.MaxDevices)])
	if slices.Equal(p.Inactive, before) {
		return nil
	}
	b := &batch{}
	b.put(keyList(p.Account), p)
	return c.commit(b)
}

// fetchLists asks for everything after the pinned list of one account.
func (c *Client) fetchLists(ctx context.Context, a api.AccountID) error {
	_, err := c.refreshLists(ctx, a)
	return err
}

// refreshLists is fetchLists that also tells which devices the server reports as not active.
func (c *Client) refreshLists(ctx context.Context, a api.AccountID) ([]api.DeviceStatus, error) {
	c.mu.Lock()
	p, err := c.pin(a)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var res api.ListsResponse
	after := p.Version
	if p.known != nil {
		after = max(1, p.known.Version) - 1
	}
	req := api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: a, After: after}}}
	if err := c.call(ctx, "POST", "/api/user/lists", req, &res); err != nil {
		return nil, err
	}
	for _, lists := range res.Accounts {
		if lists.AccountID != a {
			continue
		}
		if len(lists.Lists) == 0 {
			return lists.Status, c.acceptStatus(lists, p.Version)
		}
		err := c.acceptOnce(lists, p.Version, lists.Username)
		switch {
		case errors.Is(err, errGap):
			err = serverError("device lists of %s with a gap", a)
		case CodeOf(err) == CodeListBack:
			err = c.explainOlder(ctx, a, err)
		}
		return lists.Status, err
	}
	return nil, nil
}
