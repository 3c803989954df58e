package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Account state is what all devices of an account, and those that it will have, know alike: docs/protocol.md section 10.
// The server keeps it sealed, one value for each name, each change a new version. A device changes its own copy together
// with whatever else belongs to the change, and notes the name as unwritten; a goroutine of the connection reads what
// others have changed and writes the rest. Because merging has the same result in any order, devices that change the same
// name at once, offline or not, end with the same value, and a write whose answer was lost is harmless.

const (
	maxFacts      = 32                                         // of one name
	stateGather   = time.Second                                // changes within it are written together
	stateMargin   = 5 * time.Minute                            // by which clocks of the server's replicas may differ
	stateFullPass = 7 * 24 * time.Hour                         // everything is read this often, and not only what has changed
	stateTries    = 4                                          // writes of one name that lose against other devices; then it waits for the next pass
	stateNames    = "abcdefghijklmnopqrstuvwxyz0123456789/_.-" // the characters of a name
	stateMaxNames = api.MaxStates                              // of one pass
)

// Names of account state, before the id they are about.
const (
	statePeer         = "peer/"
	stateRead         = "read/"
	stateConversation = "conversation/"
	stateProfile      = "profile"
)

// Names of facts.
const (
	factList     = "list"     // of a peer: peerList; ranked by version
	factTrust    = "trust"    // of a peer: peerState
	factPosition = "position" // of what was read: Position; ranked by itself
)

// rank orders the values that a fact has had. Most facts count milliseconds in the first number.
type rank [2]uint64

// fact is one thing that is known under a name. Of two values the one of the higher rank stands, and of two of the same
// rank the greater one.
type fact struct {
	Rank  rank            `json:"rank"`
	Value json.RawMessage `json:"value"`
}

func (f fact) beats(g fact) bool {
	if c := slices.Compare(f.Rank[:], g.Rank[:]); c != 0 {
		return c > 0
	}
	return bytes.Compare(f.Value, g.Value) > 0
}

// facts is the value of a name.
type facts map[string]fact

// merge takes what beats or adds to f and returns the names of those facts.
func (f facts) merge(other facts) (taken []string) {
	for name, theirs := range other {
		if ours, found := f[name]; !found || theirs.beats(ours) {
			f[name] = theirs
			taken = append(taken, name)
		}
	}
	return taken
}

// covers tells whether other would change nothing in f.
func (f facts) covers(other facts) bool {
	for name, theirs := range other {
		if ours, found := f[name]; !found || theirs.beats(ours) {
			return false
		}
	}
	return true
}

// stateItem is what the store keeps of a name.
type stateItem struct {
	Version uint64 `json:"version"` // that the server has; 0 for none
	Facts   facts  `json:"facts"`
}

// stateSync says what was read. Nothing is written before everything was read once, so that a new device compares before
// it tells.
type stateSync struct {
	Read  bool   `json:"read"`
	Since int64  `json:"since"` // by the server's clock: everything changed before it was read
	Full  int64  `json:"full"`  // time of the last pass over everything
	Epoch uint64 `json:"epoch"` // of the server in that pass
}

// stateFact reads one fact. The caller holds c.mu.
func stateFact[T any](c *Client, name, of string) (value T, r rank, found bool, err error) {
	item, _, err := get[stateItem](c, keyState(name))
	if err != nil {
		return value, r, false, err
	}
	f, found := item.Facts[of]
	if !found {
		return value, r, false, nil
	}
	return value, f.Rank, true, decode(f.Value, &value)
}

// setFact changes one fact, in b together with what else the change consists of. It does nothing when the
// fact has a higher rank already. It is written to the server by itself. The caller holds c.mu.
func (c *Client) setFact(b *batch, name, of string, at rank, value any) error {
	item, _, err := staged[stateItem](c, b, keyState(name))
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return storeError(err)
	}
	c.putFacts(b, name, item, facts{of: {Rank: at, Value: encoded}})
	return nil
}

// changeFacts gives facts of a name new values: of those that devices have set at different times the latest counts. The
// rest is as with setFact.
func (c *Client) changeFacts(b *batch, name string, values map[string]any) error {
	item, _, err := staged[stateItem](c, b, keyState(name))
	if err != nil {
		return err
	}
	changed := facts{}
	for of, value := range values {
		encoded, err := json.Marshal(value)
		if err != nil {
			return storeError(err)
		}
		// Above the old rank also when the clock went back.
		changed[of] = fact{Rank: rank{max(uint64(c.millis()), item.Facts[of].Rank[0]+1)}, Value: encoded}
	}
	c.putFacts(b, name, item, changed)
	return nil
}

func (c *Client) putFacts(b *batch, name string, item stateItem, changed facts) {
	if item.Facts == nil {
		item.Facts = facts{}
	}
	if len(item.Facts.merge(changed)) == 0 {
		return
	}
	b.set(keyState(name), item)
	b.set(keyUnwritten(name), true)
	if c.conn != nil {
		signal(c.conn.states) // waits for c.mu, and so for the caller's commit
	}
}

// stateLoop reads account state when connected and when another device has changed some, and writes what this one has.
func (n *connection) stateLoop(ctx context.Context) error {
	for {
		err := n.c.readStates(ctx, n.accepted, n.serverTime())
		if err == nil {
			err = n.c.writeStates(ctx)
		}
		if err != nil {
			if stopsConnection(err) {
				return err
			}
			n.c.log.Warn("account state was not brought up to date", "code", CodeOf(err))
			if CodeOf(err) == api.CodeArchiveEpoch {
				if err := n.c.lackArchiveKey(); err != nil {
					return err
				}
			}
		}
		select {
		case <-n.states:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := sleep(ctx, stateGather); err != nil {
			return err
		}
	}
}

// stopsConnection tells errors of the store, of the network and of this device's standing from what a server refuses.
func stopsConnection(err error) bool {
	return final(err) || CodeOf(err) == CodeNetwork || CodeOf(err) == ""
}

// readStates reads what was changed since the last pass. After a restore of the server, and once a week, it reads
// everything and gives back what the server does not know any more.
func (c *Client) readStates(ctx context.Context, accepted api.Connection, serverNow int64) error {
	c.mu.Lock()
	s, _, err := get[stateSync](c, keyStateSync)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	full := !s.Read || s.Epoch != accepted.Epoch || c.millis() > s.Full+stateFullPass.Milliseconds() || c.millis() < s.Full
	since := s.Since
	if full {
		since = 0
	}
	p := statePass{c: c, raised: s.Read && s.Epoch < accepted.Epoch, seen: map[string]bool{}}
	for after := ""; ; {
		path := "/api/chat/state?limit=" + strconv.Itoa(api.MaxStatePage) + "&since=" + strconv.FormatInt(since, 10)
		if after != "" {
			path += "&after=" + after
		}
		var page api.States
		if err := c.call(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		for _, st := range page.States {
			if st.Name <= after || len(p.seen) >= stateMaxNames || strings.Trim(st.Name, stateNames) != "" {
				return serverError("account state out of order")
			}
			after, p.seen[st.Name] = st.Name, true
			if err := p.take(st); err != nil {
				return err
			}
		}
		if page.Next == "" {
			break
		}
		if page.Next != after {
			return serverError("a page of account state that does not go on")
		}
	}
	if full {
		if err := p.giveBack(); err != nil {
			return err
		}
		s.Full, s.Epoch = c.millis(), accepted.Epoch
	}
	if !p.locked { // what no key opens yet is asked for again
		s.Since = max(0, serverNow-stateMargin.Milliseconds())
	}
	s.Read = true
	c.mu.Lock()
	b := &batch{}
	b.put(keyStateSync, s)
	if p.locked {
		err = c.askArchiveKeys(b)
	}
	if err == nil {
		err = c.commit(b)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.meetPeers(ctx)
}

// statePass is one reading of account state.
type statePass struct {
	c      *Client
	raised bool // the server was restored since the last pass
	seen   map[string]bool
	locked bool // some was sealed under an archive key that this device does not have yet
}

// take merges what the server has under one name into the store.
func (p *statePass) take(st api.State) error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	item, _, err := get[stateItem](c, keyState(st.Name))
	if err != nil {
		return err
	}
	if st.Version == item.Version && !p.raised {
		return nil
	}
	if st.Version < item.Version && !p.raised {
		return c.refuseState(st.Name, errors.New("an older version than before"))
	}
	theirs, err := c.openState(st)
	if errors.Is(err, errNoArchiveKey) {
		p.locked = true
		return nil
	}
	if err != nil {
		if CodeOf(err) == CodeStore {
			return err
		}
		return c.refuseState(st.Name, err)
	}
	return p.merge(st, item, theirs)
}

// merge commits what theirs adds to item. The caller holds c.mu.
func (p *statePass) merge(st api.State, item stateItem, theirs facts) error {
	c := p.c
	if item.Facts == nil {
		item.Facts = facts{}
	}
	b := &batch{}
	peer, ok := strings.CutPrefix(st.Name, statePeer)
	if ok {
		if id, err := api.ParseAccountID(peer); err == nil {
			if err := p.compare(id, item.Facts, theirs, b); err != nil {
				return err
			}
		}
	}
	former := item.Facts[factProfile]
	taken := item.Facts.merge(theirs)
	item.Version = st.Version
	if st.Name == stateProfile && slices.Contains(taken, factProfile) {
		if err := c.replacedProfile(b, former, item.Facts[factProfile]); err != nil {
			return err
		}
	}
	if id, err := api.ParseAccountID(peer); ok && err == nil && slices.Contains(taken, factTrust) {
		if err := c.takeTrust(id, item.Facts[factTrust], b); err != nil {
			return err
		}
	}
	b.put(keyState(st.Name), item)
	if theirs.covers(item.Facts) {
		b.delete(keyUnwritten(st.Name))
	} else {
		b.put(keyUnwritten(st.Name), true)
	}
	if err := c.commit(b); err != nil {
		return err
	}
	if len(taken) > 0 {
		c.publishState(st.Name, taken)
	}
	return nil
}

// publishState tells what another device has changed. The caller holds c.mu.
func (c *Client) publishState(name string, taken []string) {
	kind, id, _ := strings.Cut(name, "/")
	switch kind + "/" {
	case stateRead, stateConversation:
		if v, err := api.ParseConversationID(id); err == nil {
			c.publish(Event{Type: EventConversation, Conversation: v})
		}
	case statePeer:
		if a, err := api.ParseAccountID(id); err == nil {
			c.publish(Event{Type: EventIdentity, Account: a})
			if slices.Contains(taken, factProfile) {
				c.publish(Event{Type: EventProfile, Account: a})
			}
		}
	case stateProfile + "/":
		c.publish(Event{Type: EventProfile})
	}
}

// refuseState counts and announces account state that cannot be what a device of this account has written; the own copy
// stays. The caller holds c.mu.
func (c *Client) refuseState(name string, reason error) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	c.alert(me.Account, fail(CodeArchive, "The server shows settings of this account that are not what its devices wrote. They are not used.").
		because(errors.New(name+": "+reason.Error())))
	return nil
}

// giveBack notes names that a server has forgotten as unwritten.
func (p *statePass) giveBack() error {
	c := p.c
	var from []byte
	for {
		c.mu.Lock()
		items, err := c.store.Scan([]byte{prefixState}, from, MaxScan/2)
		b := &batch{}
		for _, it := range items {
			name := string(it.Key[1:])
			var item stateItem
			if err == nil && !p.seen[name] {
				if err = decode(it.Value, &item); err == nil {
					item.Version = 0
					b.put(it.Key, item)
					b.put(keyUnwritten(name), true)
				}
			}
		}
		if err == nil {
			err = c.commit(b)
		}
		c.mu.Unlock()
		if err != nil || len(items) < MaxScan/2 {
			return storeErrorOf(err)
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// storeErrorOf leaves errors of this package as they are.
func storeErrorOf(err error) error {
	if err == nil || CodeOf(err) != "" {
		return err
	}
	return storeError(err)
}

// writeStates writes every name that is not written yet.
func (c *Client) writeStates(ctx context.Context) error {
	from := []byte{prefixUnwritten}
	for {
		c.mu.Lock()
		items, err := c.store.Scan([]byte{prefixUnwritten}, from, 1)
		c.mu.Unlock()
		if err != nil {
			return storeError(err)
		}
		if len(items) == 0 {
			return nil
		}
		if err := c.writeState(ctx, string(items[0].Key[1:])); err != nil {
			return err
		}
		from = append(items[0].Key, 0)
	}
}

// writeState writes the next version of a name, after merging when another device was faster.
func (c *Client) writeState(ctx context.Context, name string) error {
	for range stateTries {
		st, sent, err := c.sealState(name)
		if err != nil || sent == nil {
			return err
		}
		err = c.call(ctx, "PUT", "/api/chat/state", st, nil)
		e, refused := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return c.wroteState(name, st.Version, sent)
		case !refused || e.Code != api.CodeConflict:
			return err // under an old archive key: written once the new one is here
		}
		var current api.State
		if e.Problem == nil || json.Unmarshal(e.Problem.Details, &current) != nil || current.Name != name {
			current = api.State{Name: name} // there is none
		}
		if err := c.lostState(current); err != nil {
			return err
		}
	}
	return nil
}

// sealState makes the next version of a name; no facts when it is written already.
func (c *Client) sealState(name string) (st api.State, sent facts, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return st, nil, err
	}
	if _, unwritten, err := c.getRaw(keyUnwritten(name)); err != nil || !unwritten {
		return st, nil, err
	}
	item, _, err := get[stateItem](c, keyState(name))
	if err != nil {
		return st, nil, err
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return st, nil, err
	}
	key, err := v.archiveKey()
	if err != nil {
		return st, nil, err
	}
	value, err := json.Marshal(item.Facts)
	if err != nil {
		return st, nil, storeError(err)
	}
	place := e2ee.StatePlace{Account: me.Account, Name: name, Version: item.Version + 1}
	sealed, err := e2ee.SealState(c.rand, key, place, value)
	if err != nil {
		return st, nil, storeError(err)
	}
	return api.State{Name: name, Version: place.Version, KeyEpoch: key.Epoch, Sealed: sealed}, item.Facts, nil
}

// wroteState notes that the server has a version of a name. What was changed meanwhile stays unwritten.
func (c *Client) wroteState(name string, version uint64, sent facts) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	item, _, err := get[stateItem](c, keyState(name))
	if err != nil {
		return err
	}
	item.Version = max(item.Version, version)
	b := &batch{}
	b.put(keyState(name), item)
	if sent.covers(item.Facts) {
		b.delete(keyUnwritten(name))
	}
	return c.commit(b)
}

// lostState takes what stands on the server in place of a refused write. current has version 0 when there is none.
func (c *Client) lostState(current api.State) error {
	if current.Version > 0 {
		p := statePass{c: c, raised: true} // whatever version it is, the next one follows it
		return p.take(current)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	item, _, err := get[stateItem](c, keyState(current.Name))
	if err != nil {
		return err
	}
	item.Version = 0
	b := &batch{}
	b.put(keyState(current.Name), item)
	return c.commit(b)
}

var errNoArchiveKey = errors.New("sealed under an archive key that is not here yet")

// openState opens a piece of account state. Errors: [errNoArchiveKey], CodeStore, any other for what no device of this
// account has sealed. The caller holds c.mu.
func (c *Client) openState(st api.State) (facts, error) {
	me, err := c.device()
	if err != nil {
		return nil, err
	}
	key, err := c.archiveKeyOf(st.KeyEpoch)
	if err != nil {
		return nil, err
	}
	value, err := e2ee.OpenState(key, e2ee.StatePlace{Account: me.Account, Name: st.Name, Version: st.Version}, st.Sealed)
	if err != nil {
		return nil, err
	}
	var f facts
	if err := json.Unmarshal(value, &f); err != nil || len(f) > maxFacts {
		return nil, errors.New("not a value of account state")
	}
	return f, nil
}

// archiveKeyOf finds the archive key of an epoch. Errors: [errNoArchiveKey], CodeStore. The caller holds c.mu.
func (c *Client) archiveKeyOf(epoch uint64) (e2ee.ArchiveKey, error) {
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return e2ee.ArchiveKey{}, err
	}
	for _, k := range v.ArchiveKeys {
		if k.Epoch == epoch {
			return k, nil
		}
	}
	return e2ee.ArchiveKey{}, errNoArchiveKey
}
