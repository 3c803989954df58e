package spqr

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	// maxJump is how many message keys a receiver steps over at once.
	maxJump = 25_000
	// maxSkipped is how far back a receiving chain keeps the keys it stepped
	// over, and so how many it keeps at most.
	maxSkipped = 2_000
	// epochsKept is how many epochs before the one we send in still receive.
	epochsKept = 1
)

// skippedKey is a message key whose message has not arrived.
type skippedKey struct {
	index uint32
	key   [32]byte
}

// chain is one direction of one epoch. It is a value: step and at return the
// changed chain, and skipped is never written to once it is in a chain.
type chain struct {
	counter uint32 // number of the last key made; the first key is number 1
	next    [32]byte
	skipped []skippedKey // ascending, none older than maxSkipped; receiving only
}

func (c chain) step() (chain, [32]byte) {
	c.counter++
	info := string(binary.BigEndian.AppendUint32(nil, c.counter)) + labelChainNext
	out := derive(nil, c.next[:], info, 64)
	c.next = [32]byte(out[:32])
	return c, [32]byte(out[32:])
}

// at returns the message key of a number, once.
func (c chain) at(index uint32) (chain, [32]byte, error) {
	if index <= c.counter {
		i, found := slices.BinarySearchFunc(c.skipped, index, func(k skippedKey, index uint32) int {
			return cmp.Compare(k.index, index)
		})
		if !found {
			return chain{}, [32]byte{}, ErrKeyGone
		}
		key := c.skipped[i].key
		c.skipped = slices.Concat(c.skipped[:i], c.skipped[i+1:])
		return c, key, nil
	}
	if index-c.counter > maxJump {
		return chain{}, [32]byte{}, ErrTooFarAhead
	}
	oldest := max(index, maxSkipped) - maxSkipped
	var skipped []skippedKey
	for i, k := range c.skipped {
		if k.index >= oldest {
			skipped = slices.Clone(c.skipped[i:])
			break
		}
	}
	for {
		var key [32]byte
		if c, key = c.step(); c.counter == index {
			c.skipped = skipped
			return c, key, nil
		}
		if c.counter >= oldest {
			skipped = append(skipped, skippedKey{index: c.counter, key: key})
		}
	}
}

// link holds the chains of one epoch. The sending one is erased when we send in
// a later epoch.
type link struct {
	send, receive chain
}

// chains are the epochs whose message keys can still be made: those from
// epochsKept before sendEpoch on. Like a chain it is a value; links is copied
// before it changes.
type chains struct {
	initiator bool // which half of each epoch's output is for sending
	root      [32]byte
	sendEpoch uint64 // the highest epoch we have sent in
	links     []link // consecutive epochs; the first is firstEpoch()
}

func newChains(key [32]byte, initiator bool) chains {
	return chains{initiator: initiator}.extended(nil, key, labelChainStart)
}

// add starts the chains of the next epoch from its secret.
func (c chains) add(secret [32]byte) chains {
	return c.extended(c.root[:], secret, labelAddEpoch)
}

func (c chains) extended(salt []byte, key [32]byte, label string) chains {
	out := derive(salt, key[:], label, 96)
	var l link
	l.send.next, l.receive.next = [32]byte(out[32:64]), [32]byte(out[64:])
	if !c.initiator {
		l.send, l.receive = l.receive, l.send
	}
	c.root = [32]byte(out[:32])
	c.links = append(slices.Clone(c.links), l)
	return c
}

func (c chains) firstEpoch() uint64 { return max(c.sendEpoch, epochsKept) - epochsKept }

func (c chains) lastEpoch() uint64 { return c.firstEpoch() + uint64(len(c.links)) - 1 }

// send makes the next key of an epoch. Sending in a new epoch erases what older
// ones no longer need.
func (c chains) send(epoch uint64) (chains, uint32, [32]byte, error) {
	if epoch < c.sendEpoch || epoch > c.lastEpoch() {
		return chains{}, 0, [32]byte{}, fmt.Errorf("sending in epoch %d: %w", epoch, ErrState)
	}
	first := c.firstEpoch()
	c.sendEpoch = epoch
	c.links = slices.Clone(c.links[c.firstEpoch()-first:])
	current := int(epoch - c.firstEpoch())
	for i := range current {
		c.links[i].send = chain{}
	}
	l := &c.links[current]
	if l.send.counter == math.MaxUint32 {
		return chains{}, 0, [32]byte{}, fmt.Errorf("message keys of epoch %d are used up: %w", epoch, ErrState)
	}
	var key [32]byte
	l.send, key = l.send.step()
	return c, l.send.counter, key, nil
}

// receive returns the message key of a number in an epoch, once.
func (c chains) receive(epoch uint64, index uint32) (chains, [32]byte, error) {
	if epoch < c.firstEpoch() {
		return chains{}, [32]byte{}, ErrKeyGone
	}
	if epoch > c.lastEpoch() {
		return chains{}, [32]byte{}, fmt.Errorf("epoch: %w", ErrMessage)
	}
	i := epoch - c.firstEpoch()
	changed, key, err := c.links[i].receive.at(index)
	if err != nil {
		return chains{}, [32]byte{}, err
	}
	c.links = slices.Clone(c.links)
	c.links[i].receive = changed
	return c, key, nil
}
