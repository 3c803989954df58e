package client

import (
	"bytes"
	"context"

	"sotto/api"
)

// peerList is what account state knows of the device list of another account: the highest that any device has seen.
type peerList struct {
	Key     []byte `json:"key"` // account key
	Version uint64 `json:"version"`
	Hash    []byte `json:"hash"`
}

func statePeerOf(a api.AccountID) string { return statePeer + a.String() }

// notePeer puts the pinned list of a peer into account state. The caller holds c.mu.
func (c *Client) notePeer(p pinned, b *batch) error {
	me, err := c.device()
	if err != nil || p.Account == me.Account { // the own list is in the key bundle
		return err
	}
	hash := p.hash()
	return c.setFact(b, statePeerOf(p.Account), factList, rank{p.Version}, peerList{Key: p.Key, Version: p.Version, Hash: hash[:]})
}

// compare holds what another device of this account knows of a peer against what this device was shown: a server that
// shows them different keys or lists is found out here. A peer that this device does not know as well is met afterwards,
// which b notes. The caller holds c.mu.
func (p *statePass) compare(a api.AccountID, ours, theirs facts, b *batch) error {
	f, found := theirs[factList]
	if own, have := ours[factList]; !found || (have && !f.beats(own) && !own.beats(f)) {
		return nil
	}
	var known peerList
	if err := decode(f.Value, &known); err != nil {
		return p.c.refuseState(statePeerOf(a), err)
	}
	pin, found, err := get[pinned](p.c, keyList(a))
	switch {
	case err != nil:
		return err
	case !found || pin.Version < known.Version:
		b.set(keyUnmet(a), true)
	case pin.Version == known.Version && bytes.Equal(pin.Key, known.Key):
		if hash := pin.hash(); !bytes.Equal(hash[:], known.Hash) {
			p.c.alert(a, errForked())
		}
	}
	if found && pin.Version == known.Version && !bytes.Equal(pin.Key, known.Key) {
		p.c.alert(a, errIdentity())
	}
	return nil
}

func errForked() *Error {
	return fail(CodeListFork, "The server shows different lists of devices to different people. Do not trust it.")
}

func errIdentity() *Error {
	return fail(CodeIdentity, "The identity of this account has changed. Compare safety numbers before you go on.")
}

// meetPeers fetches the lists of peers that other devices know better, so that what does not fit is shown now and not at
// the next message. A list older than the one that is known is refused where it arrives. An account that is gone is met no
// more.
func (c *Client) meetPeers(ctx context.Context) error {
	return c.workOff(prefixUnmet, func(it Item) error {
		err := passOver(c.fetchLists(ctx, api.AccountID(it.Key[1:])))
		if CodeOf(err) == api.CodeNotFound {
			return nil
		}
		return err
	})
}

// checkKnown holds lists that are shown at first contact against what account state knows: the lists begin with the
// version that is known or lower, and that version is the very list.
func (p *pinned) checkKnown(lists api.AccountLists) error {
	k := p.known
	if k == nil || p.Version != 0 {
		return nil
	}
	highest := uint64(0)
	for _, s := range lists.Lists {
		l, err := signed(s).Parse()
		if err != nil {
			return nil // refused by step
		}
		hash := signed(s).Hash()
		switch {
		case l.Version != k.Version:
		case !bytes.Equal(l.AccountKey[:], k.Key):
			return errIdentity()
		case !bytes.Equal(hash[:], k.Hash):
			return errForked()
		}
		if highest == 0 && l.Version > k.Version {
			return errGap
		}
		highest = l.Version
	}
	if highest < k.Version {
		return fail(CodeListBack, "The server shows an older list of devices than before. It was set back, or it lies.")
	}
	return nil
}
