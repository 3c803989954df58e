package spqr

import (
	"crypto/mlkem"
	"encoding/binary"
	"fmt"
	"slices"

	"sotto/e2ee/internal/erasure"
	"sotto/e2ee/internal/mlkem768"
)

// stateVersion is the first byte of a serialised state. Later versions of this
// package must go on reading every version there was.
const stateVersion = 1

// maxEpoch bounds the epoch of a state that is read, so that counting on from
// it cannot overflow.
const maxEpoch = 1 << 62

// contents says which fields of a braid a phase uses, and how large they are in
// bytes. The order of the fields here is that of the serialised form.
type contents struct {
	seed, header, random, ct1, ek, out int
	incoming                           int  // size of the payload of which chunks arrive
	started                            bool // the first of them is there
}

// contentsOf is indexed by phase.
var contentsOf = [numberOfPhases]contents{
	keysUnsampled:     {},
	keysSampled:       {seed: mlkem.SeedSize, out: headerSize},
	headerSent:        {seed: mlkem.SeedSize, out: ekSize, incoming: ct1Size, started: true},
	ct1Received:       {seed: mlkem.SeedSize, ct1: ct1Size, out: ekSize},
	ekSentCt1Received: {seed: mlkem.SeedSize, ct1: ct1Size, incoming: ct2Size, started: true},
	noHeader:          {incoming: headerSize},
	headerReceived:    {header: mlkem768.HeaderSize},
	ct1Sampled:        {header: mlkem768.HeaderSize, random: mlkem768.RandomSize, out: ct1Size, incoming: ekSize},
	ekReceivedCt1:     {header: mlkem768.HeaderSize, random: mlkem768.RandomSize, ek: ekSize, out: ct1Size},
	ct1Acknowledged: {header: mlkem768.HeaderSize, random: mlkem768.RandomSize, ct1: ct1Size,
		incoming: ekSize, started: true},
	ct2Sampled: {out: ct2Size},
}

// encapsulated reports whether the chains of the epoch being agreed on exist:
// this side knew the secret from the moment it encapsulated.
func (p phase) encapsulated() bool { return p >= ct1Sampled }

// unsent reports whether a phase can be reached before the first message of
// its epoch is sent.
func (p phase) unsent() bool { return p == keysUnsampled || p == noHeader || p == headerReceived }

// Marshal returns the state as bytes, for [Parse]. They hold secrets. There are
// fewer than 3,000 bytes and 36 for each skipped key, of which there are at
// most 2,000 in each of three epochs.
func (s *State) Marshal() []byte {
	b := []byte{stateVersion, 0}
	if s.chains.initiator {
		b[1] = 1
	}
	b = s.braid.append(b)
	return s.chains.append(b)
}

// Parse reads what [State.Marshal] wrote, and nothing else: every other input
// is [ErrState].
func Parse(b []byte) (*State, error) {
	if len(b) < 2 || b[0] != stateVersion || b[1] > 1 {
		return nil, fmt.Errorf("version: %w", ErrState)
	}
	r := &stateReader{rest: b[2:]}
	s := &State{braid: r.braid()}
	s.chains = r.chains(s.braid)
	s.chains.initiator = b[1] == 1
	if r.bad || len(r.rest) != 0 {
		return nil, ErrState
	}
	return s, nil
}

func (b braid) append(out []byte) []byte {
	out = binary.BigEndian.AppendUint64(out, b.epoch)
	out = append(out, byte(b.phase))
	out = slices.Concat(out, b.auth.root[:], b.auth.mac[:])
	c := contentsOf[b.phase]
	out = append(out, b.seed...)
	out = append(out, b.header[:c.header]...)
	out = slices.Concat(out, b.random, b.ct1, b.ek)
	if c.out > 0 {
		out = append(out, b.out.payload...)
		out = binary.BigEndian.AppendUint16(out, b.out.next)
	}
	if c.incoming > 0 {
		out = append(out, byte(len(b.in)))
		for _, chunk := range b.in {
			out = binary.BigEndian.AppendUint16(out, chunk.Index)
			out = append(out, chunk.Data[:]...)
		}
	}
	return out
}

// append leaves out what follows from the epochs: how many links there are, and
// which of them still send.
func (c chains) append(out []byte) []byte {
	out = append(out, c.root[:]...)
	out = binary.BigEndian.AppendUint64(out, c.sendEpoch)
	for i, l := range c.links {
		if c.firstEpoch()+uint64(i) >= c.sendEpoch {
			out = binary.BigEndian.AppendUint32(out, l.send.counter)
			out = append(out, l.send.next[:]...)
		}
		out = binary.BigEndian.AppendUint32(out, l.receive.counter)
		out = append(out, l.receive.next[:]...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(l.receive.skipped)))
		for _, k := range l.receive.skipped {
			out = binary.BigEndian.AppendUint32(out, k.index)
			out = append(out, k.key[:]...)
		}
	}
	return out
}

// stateReader takes values from the front of rest. After the first failure bad
// is set and every value is zero.
type stateReader struct {
	rest []byte
	bad  bool
}

// bytes returns a copy of the next n bytes, nil for none.
func (r *stateReader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
	}
	if r.bad || n == 0 {
		return nil
	}
	b := slices.Clone(r.rest[:n])
	r.rest = r.rest[n:]
	return b
}

func (r *stateReader) number(size int) (v uint64) {
	for _, b := range r.bytes(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *stateReader) key() (k [32]byte) {
	copy(k[:], r.bytes(len(k)))
	return k
}

func (r *stateReader) check(ok bool) {
	if !ok {
		r.bad, r.rest = true, nil
	}
}

func (r *stateReader) braid() (b braid) {
	b.epoch = r.number(8)
	b.phase = phase(r.number(1))
	r.check(b.epoch > 0 && b.epoch <= maxEpoch && b.phase < numberOfPhases)
	if r.bad {
		return braid{}
	}
	b.auth.root, b.auth.mac = r.key(), r.key()
	c := contentsOf[b.phase]
	b.seed = r.bytes(c.seed)
	copy(b.header[:], r.bytes(c.header))
	b.random, b.ct1, b.ek = r.bytes(c.random), r.bytes(c.ct1), r.bytes(c.ek)
	if c.out > 0 {
		b.out.payload = r.bytes(c.out)
		b.out.next = uint16(r.number(2))
	}
	if c.incoming > 0 {
		b.in = r.chunks(c)
	}
	return b
}

// chunks reads fewer chunks than the payload has: the last one ends the phase.
func (r *stateReader) chunks(c contents) (in []erasure.Chunk) {
	n := int(r.number(1))
	r.check(n < c.incoming/erasure.ChunkSize && (n > 0 || !c.started))
	seen := make(map[uint16]bool)
	for i := 0; i < n && !r.bad; i++ {
		chunk := erasure.Chunk{Index: uint16(r.number(2))}
		copy(chunk.Data[:], r.bytes(erasure.ChunkSize))
		r.check(!seen[chunk.Index])
		seen[chunk.Index] = true
		in = append(in, chunk)
	}
	return in
}

// chains reads the chains that go with a braid. The epochs they cover follow
// from its epoch and phase: both sides send in every epoch, so this side last
// sent in the current one or in the one before. That makes at most three links.
func (r *stateReader) chains(b braid) (c chains) {
	c.root = r.key()
	c.sendEpoch = r.number(8)
	current := b.epoch - 1 // the epoch whose keys the braid's messages use
	r.check(c.sendEpoch == current || b.phase.unsent() && current > 0 && c.sendEpoch == current-1)
	if r.bad {
		return chains{}
	}
	last := current
	if b.phase.encapsulated() {
		last++
	}
	for epoch := c.firstEpoch(); epoch <= last && !r.bad; epoch++ {
		var l link
		if epoch >= c.sendEpoch {
			l.send.counter, l.send.next = uint32(r.number(4)), r.key()
		}
		l.receive.counter, l.receive.next = uint32(r.number(4)), r.key()
		l.receive.skipped = r.skipped(l.receive.counter)
		c.links = append(c.links, l)
	}
	return c
}

// skipped reads ascending keys within the window, so never more than maxSkipped.
func (r *stateReader) skipped(counter uint32) (keys []skippedKey) {
	n := int(r.number(2))
	oldest := max(counter, maxSkipped) - maxSkipped
	previous := uint32(0)
	for i := 0; i < n && !r.bad; i++ {
		k := skippedKey{index: uint32(r.number(4)), key: r.key()}
		r.check(k.index > previous && k.index >= oldest && k.index < counter)
		previous = k.index
		keys = append(keys, k)
	}
	return keys
}
