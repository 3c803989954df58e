package spqr

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee/internal/erasure"
)

var update = flag.Bool("update", false, "write the golden files anew")

var everything = cmp.AllowUnexported(
	State{}, braid{}, outgoing{}, authenticator{}, chains{}, link{}, chain{}, skippedKey{})

// parse reads a state back and checks that nothing was lost.
func parse(t failer, s *State) *State {
	t.Helper()
	b := s.Marshal()
	parsed, err := Parse(b)
	if err != nil {
		t.Fatalf("phase %d: %v", s.braid.phase, err)
	}
	if !reflect.DeepEqual(s, parsed) { // cmp is slow, and only needed to show the difference
		t.Fatalf("phase %d: the state changed:\n%s", s.braid.phase, cmp.Diff(s, parsed, everything))
	}
	if !bytes.Equal(b, parsed.Marshal()) {
		t.Fatalf("phase %d: the bytes changed", s.braid.phase)
	}
	return parsed
}

// walk talks through several epochs so that every phase occurs, and calls visit
// with both sides before each message.
func walk(t failer, visit func(a, b *party)) {
	a, b := newParties(20)
	var late []sent
	for i := 0; a.Epoch() < 6; i++ {
		visit(a, b)
		m := a.send(t)
		if i%7 == 0 { // leaves skipped keys behind
			late = append(late, m)
		} else {
			b.receive(t, m)
		}
		if len(late) > 3 {
			b.receive(t, late[0])
			late = late[1:]
		}
		// Turns in which A talks alone, so that ek can be complete first.
		if i%2 == 0 || a.Epoch() == 2 {
			visit(a, b)
			a.receive(t, b.send(t))
		}
	}
}

func TestRoundTripInEveryPhase(t *testing.T) {
	var seen [numberOfPhases]int
	skipped := false
	walk(t, func(a, b *party) {
		for _, p := range []*party{a, b} {
			seen[p.braid.phase]++
			keys := 0
			for _, l := range p.chains.links {
				keys += len(l.receive.skipped)
			}
			skipped = skipped || keys > 0
			if size := len(p.Marshal()); size >= 3000+36*keys {
				t.Fatalf("phase %d: %d bytes with %d skipped keys", p.braid.phase, size, keys)
			}
			p.State = parse(t, p.State)
		}
	})
	for p, n := range seen {
		if n == 0 {
			t.Errorf("phase %d never occurred", p)
		}
	}
	if !skipped {
		t.Error("no state had skipped keys")
	}
}

// goldenState is a stored state, and what it must do: open a message, then send
// one with this key.
type goldenState struct {
	Phase                               uint8
	State, Message, Key, NextKey, After string // in hexadecimal
}

// TestGoldenStates opens states that earlier builds wrote. The files are only
// ever added to: a new version of the format gets a new file.
func TestGoldenStates(t *testing.T) {
	path := filepath.Join("testdata", "states-v1.json")
	if *update {
		writeGolden(t, path)
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var states []goldenState
	if err := json.Unmarshal(stored, &states); err != nil {
		t.Fatal(err)
	}
	if len(states) != numberOfPhases {
		t.Fatalf("%d states, want one for each phase", len(states))
	}
	for _, g := range states {
		t.Run(fmt.Sprint(g.Phase), func(t *testing.T) {
			s, err := Parse(unhex(t, g.State))
			if err != nil {
				t.Fatal(err)
			}
			if s.braid.phase != phase(g.Phase) {
				t.Fatalf("phase %d", s.braid.phase)
			}
			key, err := s.Receive(unhex(t, g.Message))
			if err != nil || hex.EncodeToString(key) != g.Key {
				t.Fatalf("key %x, error %v, want %s", key, err, g.Key)
			}
			_, key, err = s.Send(rand.NewChaCha8([32]byte{g.Phase}))
			if err != nil || hex.EncodeToString(key) != g.NextKey {
				t.Fatalf("next key %x, error %v, want %s", key, err, g.NextKey)
			}
			if after := hex.EncodeToString(s.Marshal()); after != g.After {
				t.Errorf("the state after it is another one than then")
			}
		})
	}
}

func writeGolden(t *testing.T, path string) {
	states := make([]goldenState, numberOfPhases)
	walk(t, func(a, b *party) {
		for _, pair := range [][2]*party{{a, b}, {b, a}} {
			g := &states[pair[0].braid.phase]
			if g.State != "" && pair[0].Epoch() > 2 {
				continue // of epoch 2 if there is one: it has two links
			}
			s, peer := pair[0].Clone(), pair[1].Clone()
			*g = goldenState{Phase: uint8(s.braid.phase), State: hex.EncodeToString(s.Marshal())}
			msg, key, err := peer.Send(rand.NewChaCha8([32]byte{40}))
			if err != nil {
				t.Fatal(err)
			}
			g.Message, g.Key = hex.EncodeToString(msg), hex.EncodeToString(key)
			if _, err := s.Receive(msg); err != nil {
				t.Fatal(err)
			}
			_, key, err = s.Send(rand.NewChaCha8([32]byte{g.Phase}))
			if err != nil {
				t.Fatal(err)
			}
			g.NextKey, g.After = hex.EncodeToString(key), hex.EncodeToString(s.Marshal())
		}
	})
	writeJSON(t, path, states)
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMalformedStates(t *testing.T) {
	var states [][]byte
	walk(t, func(a, b *party) { states = append(states, a.Marshal(), b.Marshal()) })
	r := rand.New(rand.NewPCG(21, 21))
	for range 300 {
		good := states[r.IntN(len(states))]
		for name, bad := range map[string][]byte{
			"cut":     good[:r.IntN(len(good))],
			"longer":  append(bytes.Clone(good), 0),
			"version": append([]byte{stateVersion + 1}, good[1:]...),
			"role":    append([]byte{stateVersion, 2}, good[2:]...),
			"phase":   append(append(bytes.Clone(good[:10]), numberOfPhases), good[11:]...),
			"epoch 0": append(append(bytes.Clone(good[:2]), make([]byte, 8)...), good[10:]...),
		} {
			if _, err := Parse(bad); !errors.Is(err, ErrState) {
				t.Fatalf("%s: %v, want ErrState", name, err)
			}
		}
	}
}

// TestImpossibleStates writes states that cannot come about. Reading one must
// fail, or the machine could meet what it does not expect.
func TestImpossibleStates(t *testing.T) {
	var states [numberOfPhases]*State
	walk(t, func(a, b *party) {
		for _, p := range []*party{a, b} {
			// Of those with chunks, keep one with several.
			if old := states[p.braid.phase]; old == nil || len(old.braid.in) < 2 {
				states[p.braid.phase] = p.Clone()
			}
		}
	})
	for name, c := range map[string]struct {
		phase phase
		spoil func(s *State)
	}{
		"no first chunk":      {headerSent, func(s *State) { s.braid.in = nil }},
		"a chunk twice":       {headerSent, func(s *State) { s.braid.in[1] = s.braid.in[0] }},
		"as many as complete": {noHeader, func(s *State) { s.braid.in = make([]erasure.Chunk, 3); number(s.braid.in) }},
		"epoch too high": {noHeader, func(s *State) {
			s.braid.epoch, s.chains.sendEpoch, s.chains.links = maxEpoch+1, maxEpoch, make([]link, 2)
		}},
		"sent in no epoch":    {keysUnsampled, func(s *State) { s.chains.sendEpoch -= 2 }},
		"sent too early":      {keysSampled, func(s *State) { s.chains.sendEpoch-- }},
		"sent too late":       {ct2Sampled, func(s *State) { s.chains.sendEpoch++ }},
		"skipped key of now":  {ct2Sampled, withSkipped(5, 5)},
		"skipped keys mixed":  {ct2Sampled, withSkipped(5, 3, 2)},
		"skipped key twice":   {ct2Sampled, withSkipped(5, 2, 2)},
		"skipped key 0":       {ct2Sampled, withSkipped(5, 0)},
		"skipped key too old": {ct2Sampled, withSkipped(maxSkipped+5, 4)},
		"too many skipped":    {ct2Sampled, withSkipped(70_000, make([]uint32, maxSkipped+1)...)},
	} {
		t.Run(name, func(t *testing.T) {
			s := states[c.phase].Clone()
			s.braid.in = slices.Clone(s.braid.in)
			s.chains.links = slices.Clone(s.chains.links)
			c.spoil(s)
			if _, err := Parse(s.Marshal()); !errors.Is(err, ErrState) {
				t.Errorf("%v, want ErrState", err)
			}
		})
	}
	t.Run("possible", func(t *testing.T) {
		s := states[ct2Sampled]
		withSkipped(maxSkipped+5, 5, maxSkipped+4)(s)
		parse(t, s)
	})
}

func number(chunks []erasure.Chunk) {
	for i := range chunks {
		chunks[i].Index = uint16(i)
	}
}

// withSkipped gives the oldest receiving chain a counter and skipped keys.
func withSkipped(counter uint32, indices ...uint32) func(s *State) {
	return func(s *State) {
		c := &s.chains.links[0].receive
		c.counter, c.skipped = counter, nil
		for _, i := range indices {
			c.skipped = append(c.skipped, skippedKey{index: i})
		}
	}
}

// TestVectors repeats a conversation with fixed randomness that was recorded
// when this package was proven against the official library.
func TestVectors(t *testing.T) {
	type vectors struct {
		Key        string // of the session
		FirstToB   string // the first message key of the initiator
		FirstToA   string // and of the responder
		Transcript string // SHA-256 of all messages and keys of 300 each way, A first
	}
	a, b := newParties(30)
	transcript := sha256.New()
	var got vectors
	got.Key = hex.EncodeToString(testKey[:])
	for i := range 300 {
		m := a.send(t)
		b.receive(t, m)
		n := b.send(t)
		a.receive(t, n)
		if i == 0 {
			got.FirstToB, got.FirstToA = hex.EncodeToString(m.key), hex.EncodeToString(n.key)
		}
		transcript.Write(slices.Concat(m.msg, m.key, n.msg, n.key))
	}
	got.Transcript = hex.EncodeToString(transcript.Sum(nil))

	path := filepath.Join("testdata", "vectors-v1.json")
	if *update {
		writeJSON(t, path, got)
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	if err := json.Unmarshal(stored, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
