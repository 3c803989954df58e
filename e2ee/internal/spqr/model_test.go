package spqr

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// maxLate bounds how many later messages of its direction may overtake one in
// the model. An epoch takes at least 33 messages each way, so no message is
// late by more epochs than are kept.
const maxLate = 30

// side is a party of the model with the messages that are under way to it.
type side struct {
	party
	waiting []sent
	seen    []sent // some that have arrived
}

// TestModel lets two sides send, lose, reorder, repeat, save and restore at
// random. Every message opens exactly once, with the key of its sender.
func TestModel(t *testing.T) {
	phases := make(map[phase]bool)
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Byte().Draw(t, "seed")
		a, b := newParties(seed)
		sides := [2]*side{{party: *a}, {party: *b}}
		loss := rapid.IntRange(0, 60).Draw(t, "loss in percent")
		r := rand.New(rand.NewPCG(uint64(seed), 31))
		turns := [2]int{rapid.IntRange(1, 3).Draw(t, "A's turns"), rapid.IntRange(1, 3).Draw(t, "B's turns")}
		for range rapid.IntRange(0, 100).Draw(t, "rounds before") {
			for me, n := range turns {
				for range n {
					sides[1-me].receive(t, sides[me].send(t))
					phases[sides[me].braid.phase] = true
				}
			}
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 31), 50, 400).Draw(t, "steps")
		for _, step := range steps {
			me, other := sides[step&1], sides[step&1^1]
			phases[me.braid.phase] = true
			switch step >> 1 {
			case 0:
				me.State = reread(t, me.State)
			case 1:
				if len(me.seen) > 0 {
					me.refuse(t, me.seen[r.IntN(len(me.seen))].msg, ErrKeyGone)
				}
			case 2:
				me.mangle(t, r)
			case 3, 4, 5, 6, 7, 8:
				m := me.send(t)
				if r.IntN(100) >= loss {
					other.waiting = append(other.waiting, m)
				}
				if len(other.waiting) > maxLate {
					other.deliver(t, 0)
				}
			default:
				if len(me.waiting) > 0 {
					me.deliver(t, r.IntN(len(me.waiting)))
				}
			}
		}
	})
	if len(phases) != numberOfPhases {
		t.Errorf("%d of %d phases occurred", len(phases), numberOfPhases)
	}
}

func (s *side) deliver(t failer, i int) {
	m := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.receive(t, m)
	s.seen = append(s.seen, m)
	if len(s.seen) > 50 {
		s.seen = s.seen[1:]
	}
}

// mangle gives a clone a changed message, as a receiver does before it knows
// that the MAC is wrong. Whatever comes of it, nothing leaks into the state.
func (s *side) mangle(t failer, r *rand.Rand) {
	if len(s.waiting) == 0 {
		return
	}
	msg := bytes.Clone(s.waiting[0].msg)
	msg[r.IntN(len(msg))] ^= byte(1 << r.IntN(8))
	before := s.Marshal()
	clone := s.Clone()
	if _, err := clone.Receive(msg); err != nil && !bytes.Equal(before, clone.Marshal()) {
		t.Fatal("a refused message changed the state")
	}
	if !bytes.Equal(before, s.Marshal()) {
		t.Fatal("a message to a clone changed the state")
	}
}

// FuzzReceive gives any bytes to states of every phase.
func FuzzReceive(f *testing.F) {
	var states [numberOfPhases]*State
	walk(f, func(a, b *party) {
		states[a.braid.phase], states[b.braid.phase] = a.Clone(), b.Clone()
	})
	a, _ := newParties(32)
	f.Add(uint8(noHeader), a.send(f).msg)
	f.Add(uint8(ct1Sampled), message{epoch: 6, index: 70, kind: kindEK}.marshal())
	f.Add(uint8(ct2Sampled), message{epoch: 1, index: maxJump}.marshal())
	f.Fuzz(func(t *testing.T, p uint8, msg []byte) {
		s := states[p%numberOfPhases].Clone()
		before := s.Marshal()
		key, err := s.Receive(msg)
		switch {
		case err != nil:
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrKeyGone) && !errors.Is(err, ErrTooFarAhead) {
				t.Fatalf("undocumented error %v", err)
			}
			if !bytes.Equal(before, s.Marshal()) {
				t.Fatal("a refused message changed the state")
			}
		case key != nil && len(key) != 32:
			t.Fatalf("a key of %d bytes", len(key))
		default:
			reread(t, s)
			if len(s.Marshal()) > len(before)+3000+maxSkipped*36 {
				t.Fatal("one message made the state grow without bound")
			}
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	a, _ := newParties(33)
	f.Add(a.send(f).msg)
	f.Add(message{epoch: 1 << 60, index: 1 << 31, kind: kindCt1Ack}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again, err := parseMessage(m.marshal())
		if err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	n := 0
	walk(f, func(a, b *party) {
		if n++; n%10 == 0 {
			f.Add(a.Marshal(), []byte{1, 1, 1, 0})
			f.Add(b.Marshal(), []byte{1, 2, 1, 0})
		}
	})
	f.Fuzz(func(t *testing.T, b, msg []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Marshal(), b) {
			t.Fatal("a state has two serialised forms")
		}
		// A state that was read must not be able to make the machine panic.
		_, _ = s.Receive(msg)
		_, _, _ = s.Send(rand.NewChaCha8([32]byte{}))
		reread(t, s)
	})
}

// reread saves a state and restores it.
func reread(t failer, s *State) *State {
	b := s.Marshal()
	again, err := Parse(b)
	if err != nil || !bytes.Equal(again.Marshal(), b) {
		t.Fatalf("phase %d does not come back: %v", s.braid.phase, err)
	}
	return again
}
