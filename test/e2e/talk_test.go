package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// say queues texts and, with wait, waits until the server has stored the last one.
func (p *person) say(v client.Conversation, wait bool, texts ...string) {
	p.t.Helper()
	var last api.MessageID
	for _, text := range texts {
		id, err := p.Send(p.ctx(), v.ID, e2ee.TextBody(text))
		if err != nil {
			p.t.Errorf("%s says %q: %v", p.name, text, err) // not Fatal: this may be another goroutine
			return
		}
		last = id
	}
	if !wait {
		return
	}
	if _, err := p.WaitSent(p.ctx(), last); err != nil {
		p.t.Errorf("%s waits for %q: %v", p.name, texts[len(texts)-1], err)
	}
}

// history is everything stored in a conversation, in order, and fails the test on a repetition or disorder.
func (p *person) history(id api.ConversationID) []client.Message {
	p.t.Helper()
	var all []client.Message
	for before := (client.Position{}); ; {
		page, err := p.Messages(id, before, client.MaxHistory)
		if err != nil {
			p.t.Fatal(err)
		}
		stored := slices.DeleteFunc(slices.Clone(page), func(m client.Message) bool { return m.Position.IsZero() })
		all = append(stored, all...)
		if len(stored) < client.MaxHistory {
			break
		}
		before = stored[0].Position
	}
	seen := map[api.MessageID]bool{}
	for i, m := range all {
		if seen[m.ID] {
			p.t.Fatalf("%s has %v twice", p.name, m.ID)
		}
		seen[m.ID] = true
		if i > 0 && m.Position.Compare(all[i-1].Position) <= 0 {
			p.t.Fatalf("%s: position %v follows %v", p.name, m.Position, all[i-1].Position)
		}
	}
	return all
}

// has waits until positions 1 to n are all there, and returns them.
func (p *person) has(id api.ConversationID, n int) []client.Message {
	p.t.Helper()
	p.until(func() bool {
		page, err := p.Messages(id, client.Position{}, 1)
		if err != nil {
			p.t.Fatal(err)
		}
		// Cheap at first: an own message may have position n while one of somebody else is still on its way.
		return len(page) > 0 && page[0].Position.Seq == uint64(n) && len(p.history(id)) == n
	})
	all := p.history(id)
	for i, m := range all {
		if m.Position.Seq != uint64(i+1) {
			p.t.Fatalf("%s: position %d is missing", p.name, i+1)
		}
	}
	return all
}

// texts is the history as "who: what".
func (p *person) texts(id api.ConversationID) []string {
	p.t.Helper()
	out := []string{}
	for _, m := range p.history(id) {
		who := "them"
		if m.Own {
			who = "me"
		}
		out = append(out, who+": "+m.Text())
	}
	return out
}

// sees waits until the history is exactly this.
func (p *person) sees(id api.ConversationID, want ...string) {
	p.t.Helper()
	p.until(func() bool { return len(p.texts(id)) >= len(want) })
	if d := cmp.Diff(want, p.texts(id)); d != "" {
		p.t.Fatalf("%s sees (-want +got):\n%s", p.name, d)
	}
}

// until looks again at each event, and now and then in case an event was lost.
func (p *person) until(done func() bool) {
	p.t.Helper()
	events := p.Events()
	defer events.Close()
	deadline := time.After(patience)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-events.C:
		case <-again.C:
		case <-deadline:
			p.t.Fatalf("%s waited for %v in vain", p.name, patience)
		}
	}
}

func numbered(who string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s %04d", who, i)
	}
	return out
}

func TestTwoPeopleTalk(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "hello bob")
	bob.sees(v.ID, "them: hello bob")
	bob.say(bob.with("alice"), true, "hello alice")
	alice.sees(v.ID, "me: hello bob", "them: hello alice")
}

func TestNotesToOneself(t *testing.T) {
	w := newWorld(t)
	alice := w.online("alice")
	v := alice.with("alice")
	alice.say(v, true, "buy milk")
	alice.sees(v.ID, "me: buy milk")
}

// TestThousandBothWays is the promise in one picture: nothing lost, nothing twice, in order, and the same for both. Where
// there is PostgreSQL it is a fifth of that, and the whole in make soak.
func TestThousandBothWays(t *testing.T) {
	count := 1_000
	if shape.Postgres && scale(t) == 1 {
		count /= 5
	}
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "begin")
	bob.sees(v.ID, "them: begin")

	go alice.say(v, false, numbered("alice", count)...)
	bob.say(v, false, numbered("bob", count)...)
	seenByAlice, seenByBob := alice.has(v.ID, 2*count+1), bob.has(v.ID, 2*count+1)
	for i := range seenByAlice {
		a, b := seenByAlice[i], seenByBob[i]
		if a.ID != b.ID || a.Position != b.Position || a.Text() != b.Text() {
			t.Fatalf("at %d alice sees %q, bob %q", i, a.Text(), b.Text())
		}
	}
	for who, p := range map[string]*person{"alice": alice, "bob": bob} {
		var own []string
		for _, m := range p.history(v.ID) {
			if m.Own && m.Text() != "begin" {
				own = append(own, m.Text())
			}
		}
		if d := cmp.Diff(numbered(who, count), own); d != "" {
			t.Errorf("%s's own order (-said +stored):\n%s", who, d)
		}
	}
}
