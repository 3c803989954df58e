package client

import (
	"bytes"
	"context"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// IdentityPolicy says when a changed account key stops what this device sends. Whatever it is, the change is recorded
// as a notice in the conversation before anything goes to the new key, and nothing stops what is received.
type IdentityPolicy string

// Policies. The zero value is IdentityVerified.
const (
	IdentityVerified IdentityPolicy = "verified" // the contact had a verified mark
	IdentityAlways   IdentityPolicy = "always"
	IdentityNotice   IdentityPolicy = "notice" // never: for programs without a person who could decide
)

// maxChanges bounds the identity changes that are remembered of one account; the oldest is forgotten.
const maxChanges = 20

// IdentityChange is one change of an account key.
type IdentityChange struct {
	At       int64  `json:"at"`      // milliseconds, by this device's clock, when it was noticed
	OldKey   []byte `json:"old_key"` // 33 bytes
	Verified bool   `json:"verified,omitempty"`
	Accepted bool   `json:"accepted,omitempty"` // by the user
}

// rekey records that the account was reset: a list that follows the pinned one is signed by another account key. The
// verified mark does not survive it.
func (p *pinned) rekey(l e2ee.DeviceList) {
	p.recordChange(p.Key)
	p.Key = l.AccountKey[:]
}

func (p *pinned) recordChange(old []byte) {
	p.Changes = append(slices.Clone(p.Changes), IdentityChange{OldKey: old, Verified: p.Verified})
	p.Changes = p.Changes[max(0, len(p.Changes)-maxChanges):]
	p.Verified = false
}

// undecided tells whether a change waits for the user, and whether one that took a verified mark does.
func (p pinned) undecided() (changed, verified bool) {
	for _, change := range p.Changes {
		if !change.Accepted {
			changed, verified = true, verified || change.Verified
		}
	}
	return changed, verified
}

// mayWrite is [ErrIdentity] while nothing may be sent to an account until the user has decided.
func (c *Client) mayWrite(p pinned) error {
	changed, verified := p.undecided()
	if !changed || c.identity == IdentityNotice || (c.identity != IdentityAlways && !verified) {
		return nil
	}
	return fail(CodeIdentity, "The identity of %s has changed. Compare safety numbers, then accept it or do not write.", p.shown())
}

func (p pinned) shown() string {
	if p.Username != "" {
		return p.Username
	}
	return "this account"
}

func identityMessage(p pinned) string {
	return "The identity of " + p.shown() + " has changed. Compare safety numbers with the person."
}

// ownKey refuses another key for the own account: a reset elsewhere has ended this device, and it learns of that by the
// server's refusal, not by obeying another key. The caller holds c.mu.
func (c *Client) ownKey(before, p pinned) error {
	if before.Version == 0 || bytes.Equal(before.Key, p.Key) {
		return nil
	}
	me, err := c.device()
	if err == nil && me.Account == p.Account {
		err = fail(CodeIdentity, "The server shows another identity for your own account. It was reset, or the server lies.")
	}
	return err
}

// identityChanged adds to b what a changed account key leaves behind: the time, and a notice in the conversation that
// stays until the user accepts the key. It tells whether the user has to decide: perhaps that was done already, on another
// device that met the key first. The caller holds c.mu.
func (c *Client) identityChanged(before pinned, p *pinned, b *batch) (warn bool, err error) {
	me, err := c.device()
	if err != nil {
		return false, err
	}
	name := statePeerOf(p.Account)
	theirs, at, known, err := stateFact[peerState](c, name, factTrust)
	if err != nil {
		return false, err
	}
	known = known && bytes.Equal(theirs.Key, p.Key) && (before.Version == 0 || replaced(theirs.Changes, before.Key))
	if known {
		p.Verified, p.Changes = theirs.Verified, theirs.Changes
		if changed, _ := p.undecided(); !changed {
			return false, nil
		}
	}
	for i := range p.Changes {
		if p.Changes[i].At == 0 {
			p.Changes[i].At = c.millis()
		}
	}
	conversation := api.ConversationID(e2ee.DirectConversation(me.Account, p.Account))
	b.put(keyIdentityNotice(conversation, p.Account), Notice{
		Conversation: conversation, Sender: p.Account, ServerTime: c.millis(), Code: CodeIdentity,
	})
	if known {
		return true, nil
	}
	// Just above what it follows, and below whatever the user decides on another device meanwhile.
	return true, c.setFact(b, name, factTrust, rank{at[0], at[1] + 1}, p.state())
}

// keyIdentityNotice is the place of the one notice of a contact; message ids are random, so that none is in it.
func keyIdentityNotice(conversation api.ConversationID, a api.AccountID) []byte {
	return keyNotice(conversation, api.MessageID(a))
}

// Safety is what two people compare to make sure that no one stands between them.
type Safety struct {
	Account   api.AccountID
	Username  string
	Digits    string // 60 digits
	Scannable []byte // for a QR code
	Verified  bool   // the user has compared these very digits
	// Stopped tells that nothing is sent until the user accepts the key with [Client.AcceptIdentity].
	Stopped bool
	Changes []IdentityChange // of the account key, oldest first
}

// Safety computes the safety number with an account, from the pinned account keys.
func (c *Client) Safety(ctx context.Context, username string) (Safety, error) {
	peer, err := c.lookup(ctx, username)
	if err != nil {
		return Safety{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.safety(peer)
}

// safety does it for a pinned account. The caller holds c.mu.
func (c *Client) safety(peer pinned) (Safety, error) {
	me, err := c.device()
	if err != nil {
		return Safety{}, err
	}
	own, err := c.pin(me.Account)
	if err != nil {
		return Safety{}, err
	}
	ownKey, err := e2ee.ParsePublicKey(own.Key)
	if err != nil {
		return Safety{}, storeError(err)
	}
	peerKey, err := e2ee.ParsePublicKey(peer.Key)
	if err != nil {
		return Safety{}, storeError(err)
	}
	s := Safety{
		Account: peer.Account, Username: peer.Username, Verified: peer.Verified, Stopped: c.mayWrite(peer) != nil,
		Changes: peer.Changes,
	}
	s.Digits, s.Scannable = e2ee.SafetyNumber(me.Account, ownKey, peer.Account, peerKey)
	return s, nil
}

// SetVerified records that the user has compared the digits of s with the other person, or takes that back. A verified
// contact's key is accepted by it, too. When the key has changed since s was shown nothing is recorded: [ErrIdentity].
func (c *Client) SetVerified(s Safety, verified bool) error {
	return c.decide(s, func(p *pinned) { p.Verified = verified }, verified)
}

// AcceptIdentity records that the user goes on with the key behind the digits of s without having compared them. What
// waits for the conversation goes out. Errors: [ErrIdentity] when the key has changed since s was shown.
func (c *Client) AcceptIdentity(s Safety) error {
	return c.decide(s, func(*pinned) {}, true)
}

func (c *Client) decide(s Safety, change func(*pinned), accept bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	p, err := c.pin(s.Account)
	if err != nil {
		return err
	}
	if p.Version == 0 || s.Account == me.Account {
		return fail(CodeArgument, "Only what another person shows can be compared.")
	}
	now, err := c.safety(p)
	if err != nil {
		return err
	}
	if now.Digits != s.Digits {
		return fail(CodeIdentity, "The identity of %s has changed meanwhile. Compare the safety numbers again.", p.shown())
	}
	change(&p)
	b := &batch{}
	if accept {
		p.accept()
		conversation := api.ConversationID(e2ee.DirectConversation(me.Account, p.Account))
		b.delete(keyIdentityNotice(conversation, p.Account))
	}
	b.put(keyList(p.Account), p)
	if err := c.noteTrust(p, b); err != nil {
		return err
	}
	if err := c.commit(b); err != nil {
		return err
	}
	c.publish(Event{Type: EventIdentity, Account: p.Account})
	if c.conn != nil {
		c.conn.wakeSenderAgain()
	}
	return nil
}

func (p *pinned) accept() {
	p.Changes = slices.Clone(p.Changes)
	for i := range p.Changes {
		p.Changes[i].Accepted = true
	}
}

// peerState is what the account state keeps of a contact, so that verified marks and warnings survive the loss of every
// device, and all devices show the same.
type peerState struct {
	Key      []byte           `json:"key"`
	Verified bool             `json:"verified,omitempty"`
	Changes  []IdentityChange `json:"changes,omitempty"`
}

// replaced tells whether one of the changes took the place of that key.
func replaced(changes []IdentityChange, key []byte) bool {
	return slices.ContainsFunc(changes, func(c IdentityChange) bool { return bytes.Equal(c.OldKey, key) })
}

func (p pinned) state() peerState {
	return peerState{Key: p.Key, Verified: p.Verified, Changes: p.Changes}
}

// noteTrust puts what the user has decided on a contact into account state. The latest counts, whatever key it is about: a
// device to which the server shows another key than to the others must not silence them. The caller holds c.mu.
func (c *Client) noteTrust(p pinned, b *batch) error {
	return c.changeFacts(b, statePeerOf(p.Account), map[string]any{factTrust: p.state()})
}

// takeTrust takes over what the user has decided on another device about the key that is pinned here. The caller holds
// c.mu.
func (c *Client) takeTrust(a api.AccountID, f fact, b *batch) error {
	var theirs peerState
	if err := decode(f.Value, &theirs); err != nil {
		return c.refuseState(statePeerOf(a), err)
	}
	p, found, err := get[pinned](c, keyList(a))
	if err != nil || !found || !bytes.Equal(p.Key, theirs.Key) {
		return err
	}
	p.Verified, p.Changes = theirs.Verified, theirs.Changes
	b.set(keyList(a), p)
	me, err := c.device()
	if err != nil {
		return err
	}
	if changed, _ := p.undecided(); !changed {
		b.delete(keyIdentityNotice(e2ee.DirectConversation(me.Account, a), a))
		if c.conn != nil {
			c.conn.wakeSenderAgain() // waits for c.mu, and so for the commit
		}
	}
	return nil
}

// recall compares a pinned account with what another device of this account, perhaps a lost one, knew of it. A key that
// differs from the newest one known there is a change that the user has to see. It tells whether that is so.
func (p *pinned) recall(s peerState) (changed bool) {
	if len(s.Changes) > len(p.Changes) || (len(s.Changes) == len(p.Changes) && bytes.Equal(s.Key, p.Key)) {
		p.Changes = s.Changes
	}
	if bytes.Equal(s.Key, p.Key) || replaced(p.Changes, s.Key) {
		p.Verified = p.Verified || s.Verified && bytes.Equal(s.Key, p.Key)
		return false
	}
	p.Verified = s.Verified
	p.recordChange(s.Key)
	return true
}

// refuseWaiting tells those who wait for messages of a conversation that the user has to decide first. The messages
// stay in the queue.
func (c *Client) refuseWaiting(conversation api.ConversationID, reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.waiters {
		p, found, err := c.place(conversation, id)
		if err != nil {
			return err
		}
		if found && p.Queue != 0 {
			c.settled(id, sentResult{err: reason})
		}
	}
	return nil
}

// mayWriteIn is mayWrite for the other member of a conversation. The caller holds c.mu.
func (c *Client) mayWriteIn(v conversation) error {
	p, err := c.pin(v.Peer)
	if err != nil {
		return err
	}
	return c.mayWrite(p)
}

// stoppedWaiting is why waiting for a message in the queue is in vain. The caller holds c.mu.
func (c *Client) stoppedWaiting(conversation api.ConversationID) error {
	v, err := c.storedConversation(conversation)
	if err != nil {
		return err
	}
	return c.mayWriteIn(v)
}
