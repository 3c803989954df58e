package e2ee_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"sotto/e2ee"
)

const (
	// maxOvertaken is how many later messages of the same direction may arrive
	// before a message: one fewer than the receiver chains a session keeps.
	maxOvertaken = 4
)

// randomSteps is the number of steps of TestRandomTraffic: SOTTO_STEPS, or a
// short run.
func randomSteps(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SOTTO_STEPS")
	if text == "" {
		return 6_000
	}
	n, err := strconv.Atoi(text)
	check(t, err)
	return n
}

// TestRandomTraffic lets two to four devices write to each other over a network
// that loses, delays and repeats, and lets devices crash before they have
// stored a step and, in every other run, come back with an old state. A
// message is decrypted exactly once or refused with a documented error that
// changes nothing; without an old state only repetitions are refused; and in
// the end everyone reaches everyone. rapid prints the seed of a failure.
func TestRandomTraffic(t *testing.T) {
	steps := randomSteps(t)
	stepsPerRun := max(250, steps/400)
	check(t, flag.Set("rapid.checks", strconv.Itoa(max(1, steps/stepsPerRun))))
	var total outcome
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range stepsPerRun {
			w.step()
		}
		w.settle()
		total.add(w.outcome)
	})
	t.Logf("%+v", total)
	if total.decrypted == 0 || total.duplicates == 0 || total.repaired == 0 || total.crossed == 0 {
		t.Error("the runs did not cover what they are for")
	}
}

type outcome struct {
	sent, decrypted, duplicates, refused, repaired, restored, crossed int
}

func (o *outcome) add(p outcome) {
	o.sent += p.sent
	o.decrypted += p.decrypted
	o.duplicates += p.duplicates
	o.refused += p.refused
	o.repaired += p.repaired
	o.restored += p.restored
	o.crossed += p.crossed
}

// world is a set of devices and the messages under way between them.
type world struct {
	rt       *rapid.T
	devices  []*device
	inFlight map[[2]int][]*flying // from, to; oldest first
	restores bool
	outcome  outcome
}

// device is a peer whose state is what it has stored, so that it can crash and
// be restored. peer.sessions is not used; its other maps are those of stored.
type device struct {
	*peer
	stored   stored
	snapshot stored
}

// stored is everything a device writes in its transactions. decrypted are the
// messages it has had.
type stored struct {
	sessions  map[e2ee.Address][]byte
	preKeys   map[uint32]e2ee.PreKey
	used      map[kyberUse]bool
	decrypted map[int]bool
}

func (s stored) clone() stored {
	return stored{maps.Clone(s.sessions), maps.Clone(s.preKeys), maps.Clone(s.used), maps.Clone(s.decrypted)}
}

// flying is one ciphertext on its way.
type flying struct {
	id        int
	text      string
	message   e2ee.Message
	overtaken int
}

func newWorld(rt *rapid.T) *world {
	w := &world{rt: rt, inFlight: map[[2]int][]*flying{}, restores: rapid.Bool().Draw(rt, "restores")}
	seed := rapid.Uint64().Draw(rt, "seed")
	for i := range rapid.IntRange(2, 4).Draw(rt, "devices") {
		p := newPeer(rt, seed+uint64(i))
		p.local.Address.Account = [16]byte{byte(i)}
		d := &device{peer: p, stored: stored{map[e2ee.Address][]byte{}, p.preKeys, p.used, map[int]bool{}}}
		d.snapshot = d.stored.clone()
		w.devices = append(w.devices, d)
	}
	return w
}

func (w *world) step() {
	from := rapid.IntRange(0, len(w.devices)-1).Draw(w.rt, "from")
	to := rapid.IntRange(0, len(w.devices)-2).Draw(w.rt, "to")
	if to >= from {
		to++
	}
	// rapid prefers small numbers: 37 spreads them over all actions.
	switch action := (rapid.IntRange(0, 99).Draw(w.rt, "action")*37 + 40) % 100; {
	case action < 34:
		w.send(from, to, fmt.Sprint("text ", w.outcome.sent))
	case action < 68:
		w.deliver(from, to, false)
	case action < 80:
		w.deliver(from, to, true)
	case action < 86:
		w.take(from, to) // lost
	case action < 92: // crash between decrypting and storing
		if f := w.pick(from, to); f != nil {
			w.try(from, to, f, false)
		}
	case action < 93:
		w.reset(from, to)
	case action < 96:
		w.devices[from].snapshot = w.devices[from].stored.clone()
	case w.restores:
		w.restore(from)
	}
}

func (d *device) open(w *world, with *device) *e2ee.Session {
	b := d.stored.sessions[with.local.Address]
	if b == nil {
		return e2ee.NewSession()
	}
	s, err := e2ee.ParseSession(b)
	check(w.rt, err)
	return s
}

func (d *device) store(with *device, s *e2ee.Session) {
	d.stored.sessions[with.local.Address] = s.Marshal()
}

func (w *world) send(from, to int, text string) {
	a, b := w.devices[from], w.devices[to]
	s := a.open(w, b)
	if !s.Usable(testTime) {
		check(w.rt, s.Initiate(a.rand, a.local, b.bundle(w.rt, rapid.Bool().Draw(w.rt, "one-time")), testTime))
		if other := b.open(w, a); other.Usable(testTime) {
			w.outcome.crossed++
		}
	}
	m, err := s.Encrypt(a.rand, a.local, b.local.Address, []byte(text), testTime)
	check(w.rt, err)
	w.outcome.sent++
	a.store(b, s)
	key := [2]int{from, to}
	w.inFlight[key] = append(w.inFlight[key], &flying{id: w.outcome.sent, text: text, message: m})
}

// pick chooses a message that may arrive next, or nil. It stays under way.
func (w *world) pick(from, to int) *flying {
	queue := w.inFlight[[2]int{from, to}]
	if len(queue) == 0 {
		return nil
	}
	last := len(queue) - 1
	if i := slices.IndexFunc(queue, func(f *flying) bool { return f.overtaken == maxOvertaken }); i >= 0 {
		last = i
	}
	return queue[rapid.IntRange(0, min(last, 6)).Draw(w.rt, "message")]
}

// take picks a message and removes it from the network.
func (w *world) take(from, to int) *flying {
	f := w.pick(from, to)
	if f != nil {
		key := [2]int{from, to}
		w.inFlight[key] = slices.DeleteFunc(w.inFlight[key], func(g *flying) bool { return g == f })
	}
	return f
}

func (w *world) deliver(from, to int, again bool) {
	f := w.pick(from, to)
	if f == nil {
		return
	}
	for _, g := range w.inFlight[[2]int{from, to}] {
		if g == f {
			break
		}
		g.overtaken++
	}
	if !again {
		key := [2]int{from, to}
		w.inFlight[key] = slices.DeleteFunc(w.inFlight[key], func(g *flying) bool { return g == f })
	}
	w.try(from, to, f, true)
}

// try decrypts a message and checks all that must hold whatever happens. When
// it is refused though it is new, the sender gets a retry request.
func (w *world) try(from, to int, f *flying, store bool) bool {
	a, b := w.devices[from], w.devices[to]
	s := b.open(w, a)
	before := s.Marshal()
	got, err := s.Decrypt(b.rand, b.local, a.local.Address, f.message, b)
	if err != nil {
		if !bytes.Equal(before, s.Marshal()) {
			w.rt.Fatalf("a refused message changed the session: %v", err)
		}
		w.refused(from, to, f, err)
		return false
	}
	if string(got.Plaintext) != f.text || got.RemoteIdentity != a.local.Identity.Public {
		w.rt.Fatalf("decrypted %q, want %q", got.Plaintext, f.text)
	}
	if b.stored.decrypted[f.id] {
		w.rt.Fatalf("message %d was decrypted twice", f.id)
	}
	if !store {
		return true
	}
	w.outcome.decrypted++
	b.store(a, s)
	b.stored.decrypted[f.id] = true
	if c := got.Consumed; c != nil {
		if c.PreKeyID != nil {
			delete(b.stored.preKeys, *c.PreKeyID)
		}
		b.stored.used[kyberUse{c.KyberPreKeyID, c.SignedPreKeyID, c.BaseKey}] = true
	}
	return true
}

func (w *world) refused(from, to int, f *flying, err error) {
	if !isDocumented(err) {
		w.rt.Fatalf("undocumented error: %v", err)
	}
	if w.devices[to].stored.decrypted[f.id] {
		w.outcome.duplicates++
		if !w.restores && !errors.Is(err, e2ee.ErrDuplicate) {
			w.rt.Fatalf("a repeated message gives %v, want ErrDuplicate", err)
		}
		return
	}
	w.outcome.refused++
	if !w.restores {
		w.rt.Fatalf("message %d refused: %v", f.id, err)
	}
	request, err := e2ee.NewDecryptionErrorMessage(f.message, uint64(f.id), 1)
	check(w.rt, err)
	sender := w.devices[from]
	if s := sender.open(w, w.devices[to]); s.KnowsRatchetKey(*request.RatchetKey) {
		s.ArchiveCurrent()
		sender.store(w.devices[to], s)
		w.outcome.repaired++
	}
}

func (w *world) reset(from, to int) {
	a, b := w.devices[from], w.devices[to]
	s := a.open(w, b)
	s.ArchiveCurrent()
	a.store(b, s)
}

func (w *world) restore(i int) {
	d := w.devices[i]
	d.stored = d.snapshot.clone()
	d.preKeys, d.used = d.stored.preKeys, d.stored.used
	w.outcome.restored++
}

// settle lets every pair talk over a network that works. Whatever has happened,
// a refused message gets through when its sender has had the retry request: in
// a new session. And handshakes come to an end.
func (w *world) settle() {
	w.inFlight = map[[2]int][]*flying{}
	for a := range w.devices {
		for b := range a {
			calm := 0 // messages since the last repair
			for range 4 {
				for _, way := range [][2]int{{a, b}, {b, a}} {
					calm++
					if ok, kind := w.exchange(way[0], way[1]); !ok {
						calm = 0
						if ok, _ := w.exchange(way[0], way[1]); !ok {
							w.rt.Fatal("the session did not repair itself")
						}
					} else if calm > 4 && kind != e2ee.TypeMessage {
						w.rt.Fatal("the handshake is not over")
					}
				}
			}
		}
	}
}

func (w *world) exchange(from, to int) (ok bool, kind uint8) {
	w.send(from, to, fmt.Sprint("settle ", w.outcome.sent))
	f := w.inFlight[[2]int{from, to}][0]
	delete(w.inFlight, [2]int{from, to})
	return w.try(from, to, f, true), f.message.Type
}
