package client_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
)

// fleet is ada and bob with two devices each, one clock, and a schedule of accidents from a seed.
type fleet struct {
	t     *testing.T
	rnd   *rand.Rand
	clock *clock
	all   []*person
	id    api.ConversationID
	on    map[*person]bool
	texts []string
	drops int
}

func newFleet(t *testing.T, seed uint64) *fleet {
	w := newWorld(t)
	f := &fleet{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), on: map[*person]bool{}}
	f.all = []*person{w.person("ada"), w.person("bob"), w.device("ada2", "ada"), w.device("bob2", "bob")}
	f.clock = clocked(f.all...)
	f.id = f.all[0].talk("bob")
	for _, p := range f.all[1:] {
		p.talk("bob")
		p.talk("ada")
	}
	return f
}

func (f *fleet) any() *person { return f.all[f.rnd.IntN(len(f.all))] }

func (f *fleet) toggle(p *person) {
	if f.on[p] = !f.on[p]; f.on[p] {
		p.connect()
	} else {
		p.disconnect()
	}
}

// step is one random action. Sessions are lost while their device is offline, as a damaged store would lose them.
func (f *fleet) step() {
	p := f.any()
	switch f.rnd.IntN(10) {
	case 0, 1, 2, 3:
		text := fmt.Sprint("message ", len(f.texts))
		f.texts = append(f.texts, text)
		m := p.send(f.id, text)
		if f.on[p] {
			p.sent(m)
		}
	case 4, 5:
		other := f.any()
		if other == p {
			return
		}
		f.drops++
		on := f.on[p]
		if on {
			f.toggle(p)
		}
		p.drop(other.ref())
		if on {
			f.toggle(p)
		}
	case 6:
		f.clock.pass(time.Duration(f.rnd.IntN(600)) * time.Second)
	default:
		f.toggle(p)
	}
}

// settled tells whether a device has every message once, and nothing waits.
func (f *fleet) settled(p *person) bool {
	errands, _, err := p.Errands()
	if err != nil || errands > 0 || !p.settled(f.id, len(f.texts)) {
		return false
	}
	notices, err := p.Notices()
	return err == nil && len(notices) == 0
}

// settle lets time pass until everything has arrived everywhere.
func (f *fleet) settle() {
	f.t.Helper()
	for _, p := range f.all {
		if !f.on[p] {
			f.toggle(p)
		}
	}
	everywhere := func() bool {
		for _, p := range f.all {
			if !f.settled(p) {
				return false
			}
		}
		return true
	}
	for range 300 {
		for range 20 {
			if everywhere() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		f.clock.pass(10 * time.Minute)
		for _, p := range f.all { // reads its mailbox again
			f.toggle(p)
			f.toggle(p)
		}
	}
	for i, p := range f.all {
		notices, _ := p.Notices()
		errands, _, _ := p.Errands()
		acks, _ := p.PendingAcks()
		f.t.Logf("device %d: %d of %d messages, %d notices, %d errands, %d acknowledgements, %+v",
			i, len(p.texts(f.id)), len(f.texts), len(notices), errands, acks, p.counters())
	}
	f.t.Fatal("it does not settle")
}

// TestSessionsLost: devices lose sessions at random, on either side, while messages are under way. At the end every
// device has every message exactly once and in the same order, and what was lost has been asked for and answered.
func TestSessionsLost(t *testing.T) {
	var answered, repaired atomic.Int64
	t.Run("seeds", func(t *testing.T) { // returns when all of them have ended
		for seed := uint64(1); seed <= 3; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				for _, p := range sessionsLost(t, seed) {
					answered.Add(p.counters().RetriesAnswered)
					repaired.Add(p.counters().SessionRepairs)
				}
			})
		}
	})
	if answered.Load() == 0 || repaired.Load() == 0 {
		t.Errorf("%d requests were answered, %d sessions repaired", answered.Load(), repaired.Load())
	}
}

func sessionsLost(t *testing.T, seed uint64) []*person {
	t.Helper()
	f := newFleet(t, seed)
	for range 60 {
		f.step()
	}
	f.settle()
	var first []client.Message
	for i, p := range f.all {
		page, err := p.Messages(f.id, client.Position{}, client.MaxHistory)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for j, m := range page {
			if seen[m.Text()] {
				t.Errorf("device %d has %q twice", i, m.Text())
			}
			seen[m.Text()] = true
			if i > 0 && (m.ID != first[j].ID || m.Position != first[j].Position) {
				t.Errorf("device %d has %q at %+v, another device %q", i, m.Text(), m.Position, first[j].Text())
			}
		}
		if i == 0 {
			first = page
		}
		for _, text := range f.texts {
			if !seen[text] {
				t.Errorf("device %d lacks %q", i, text)
			}
		}
	}
	t.Logf("%d messages, %d sessions lost", len(f.texts), f.drops)
	return f.all
}

// TestPreKeysRunLow: so many sessions are begun with a device that stays connected that its one-time prekeys run low. It
// makes new ones without a new connection.
func TestPreKeysRunLow(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	for i := 0; bob.counters().PreKeysLow == 0; i++ {
		if i == 200 {
			t.Fatal("200 sessions were begun, and no prekeys were made")
		}
		ada.drop(bob.ref())
		ada.sent(ada.send(id, "hello"))
		bob.reads(id, i+1)
	}
	if n := bob.counters(); n.Unreadable != 0 {
		t.Errorf("bob counts %+v", n)
	}
}
