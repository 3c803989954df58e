package client_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// shows waits until a person shows these lines: text, a star when it was edited, and the reactions.
func (p *person) shows(id api.ConversationID, want ...string) {
	p.t.Helper()
	var got []string
	p.until(fmt.Sprint(want), func() bool {
		got = p.lines(id)
		return cmp.Equal(want, got)
	})
}

func (p *person) lines(id api.ConversationID) []string {
	p.t.Helper()
	page, err := p.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, m := range page {
		line := m.Text()
		if m.Edited {
			line += "*"
		}
		for _, r := range m.Reactions {
			line += " " + r.Emoji
		}
		out = append(out, line)
	}
	return out
}

// done waits for the sends and erasures of a person.
func (p *person) done() {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			queue, _ := p.Queue()
			acks, _ := p.PendingAcks()
			erasures, _ := p.Erasures()
			errands, _, _ := p.Errands()
			p.t.Logf("%d sends, %d acknowledgements, %d erasures, %d errands wait", queue, acks, erasures, errands)
		}
	}()
	p.until("what waits", func() bool {
		queue, err := p.Queue()
		acks, err2 := p.PendingAcks()
		erasures, err3 := p.Erasures()
		errands, _, err4 := p.Errands()
		return err == nil && err2 == nil && err3 == nil && err4 == nil && queue+acks+erasures+errands == 0
	})
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestEditReactDelete: later messages change earlier ones, on every device alike, also on one that restores the history.
// Nobody can change what others have written.
func TestEditReactDelete(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	one, two, three := ada.send(id, "one"), ada.send(id, "canary two"), ada.send(id, "three")
	ada.sent(three)
	bob.shows(id, "one", "canary two", "three")
	events := bob.Events()
	defer events.Close()
	ctx := t.Context()

	_, err := ada.Edit(ctx, id, one, "ONE")
	check(t, err)
	if e := bob.event(events, client.EventChanged); e.Message.ID != one || e.Message.Text() != "ONE" || !e.Message.Edited {
		t.Errorf("changed: %+v", e.Message)
	}
	_, err = bob.React(ctx, id, one, "+")
	check(t, err)
	_, err = bob.React(ctx, id, three, "!")
	check(t, err)
	_, err = bob.React(ctx, id, three, "")
	check(t, err)
	ada.shows(id, "ONE* +", "canary two", "three")
	_, err = ada.Edit(ctx, id, two, "canary again")
	check(t, err)
	bob.shows(id, "ONE* +", "canary again*", "three")

	// What bob has no right to: the API refuses it, and so does everybody who gets it nevertheless.
	me, _ := ada.Account()
	him, _ := bob.Account()
	if _, err := bob.Edit(ctx, id, one, "evil"); client.CodeOf(err) != client.CodeArgument {
		t.Errorf("editing a foreign message: %v", err)
	}
	if err := bob.Delete(ctx, id, one, true); client.CodeOf(err) != client.CodeArgument {
		t.Errorf("deleting a foreign message: %v", err)
	}
	for _, sender := range []api.AccountID{me.ID, him.ID} {
		target := e2ee.Target{Sender: sender, MessageID: one}
		for _, body := range []e2ee.Body{
			e2ee.EditBody(e2ee.Edit{Target: target, Text: "evil"}),
			e2ee.DeleteBody(e2ee.Delete{Target: target, Scope: e2ee.DeleteForAll}),
			e2ee.DeleteBody(e2ee.Delete{Target: target, Scope: e2ee.DeleteForSelf}),
		} {
			_, err := bob.Send(ctx, id, body)
			check(t, err)
		}
	}
	bob.done()
	bob.sent(bob.send(id, "after"))
	ada.shows(id, "ONE* +", "canary again*", "three", "after")

	check(t, ada.Delete(ctx, id, two, true))
	for _, p := range []*person{ada, bob} {
		p.shows(id, "ONE* +", "three", "after")
		p.done()
		if holds, err := p.Holds("canary"); err != nil || holds {
			t.Errorf("the text is still there: %v, %v", holds, err)
		}
	}
	second := w.device("second", "ada")
	second.connect()
	second.restored()
	second.done()
	same(t, ada, second, id)
	if n := second.counters(); n.Archive+n.Alerts+n.Holes > 0 {
		t.Errorf("counted %+v", n)
	}
	if holds, err := second.Holds("canary"); err != nil || holds {
		t.Errorf("the text is still in the archive: %v, %v", holds, err)
	}

	check(t, ada.Delete(ctx, id, three, false))
	ada.shows(id, "ONE* +", "after")
	second.shows(id, "ONE* +", "after")
	bob.shows(id, "ONE* +", "three", "after")
}

// TestDeleteUnseen: what is deleted before a device was there for it never arrives, and is no hole.
func TestDeleteUnseen(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	m := ada.send(id, "canary")
	ada.sent(m)
	ada.sent(ada.send(id, "stays"))
	check(t, ada.Delete(t.Context(), id, m, true))
	ada.shows(id, "stays")
	ada.done()
	bob.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			if strings.Contains(string(text), m.String()) && !strings.Contains(string(text), "delivered") {
				t.Errorf("the deleted message is delivered")
			}
			return text, nil
		}
	})
	bob.connect()
	bob.shows(id, "stays")
	bob.done()
	if n := bob.counters(); n.Holes+n.Alerts > 0 {
		t.Errorf("counted %+v", n)
	}
}

// TestEffectsInAnyOrder: random messages, edits, reactions and deletions, some of them at the same time. Every device
// shows the same afterwards, and so does one that restores it in pages of any size.
func TestEffectsInAnyOrder(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			w := newWorld(t)
			people := []*person{w.person("ada"), w.person("bob")}
			id := people[0].talk("bob")
			people[1].talk("ada")
			for _, p := range people {
				p.connect()
			}
			for range 40 {
				p := people[random.IntN(2)]
				page, err := p.Messages(id, client.Position{}, 100)
				check(t, err)
				ctx := t.Context()
				action := random.IntN(6)
				if len(page) == 0 || page[len(page)-1].Position.IsZero() || action < 2 {
					p.sent(p.send(id, fmt.Sprint("text ", random.IntN(1000))))
					continue
				}
				m := page[random.IntN(len(page))]
				switch {
				case action == 2 && m.Own:
					_, err = p.Edit(ctx, id, m.ID, fmt.Sprint("edit ", random.IntN(1000)))
				case action == 3 && m.Own:
					err = p.Delete(ctx, id, m.ID, true)
				default:
					_, err = p.React(ctx, id, m.ID, []string{"", "+", "!"}[random.IntN(3)])
				}
				if client.CodeOf(err) != api.CodeNotFound { // it may have been deleted meanwhile
					check(t, err)
				}
				if random.IntN(3) == 0 {
					p.done()
				}
			}
			for range 2 {
				for _, p := range people {
					p.done()
				}
			}
			want := people[0].lines(id)
			people[1].shows(id, want...)
			late := w.device("late", "ada")
			late.SetArchivePage(1 + random.IntN(9))
			late.connect()
			late.restored()
			same(t, people[0], late, id)
			if len(want) == 0 {
				t.Error("nothing is left")
			}
		})
	}
}

// TestExpiry: messages go when their time is over, here, there and in the archive; the timer is that of the conversation,
// and the server knows the hour only.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	clock := clocked(ada, bob)
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "stays"))
	if _, err := ada.SetExpiry(t.Context(), id, e2ee.MaxExpirySeconds+1); client.CodeOf(err) != client.CodeArgument {
		t.Errorf("a timer of more than a year: %v", err)
	}
	_, err := ada.SetExpiry(t.Context(), id, 3600)
	check(t, err)
	bob.until("the timer", func() bool { return bob.conversation(id).Expiry == 3600 })
	sends := bob.watchSends()
	bob.sent(bob.send(id, "canary"))
	for _, s := range sends() {
		if left := s.EraseAfter - time.Now().UnixMilli(); s.EraseAfter%3_600_000 != 0 || left < 3_500_000 || left > 7_200_000 ||
			s.Record.EraseAfter != s.EraseAfter {
			t.Errorf("erased after %d, the record after %d", s.EraseAfter, s.Record.EraseAfter)
		}
	}
	ada.shows(id, "stays", "", "canary")
	ada.done()
	bob.done()
	clock.pass(61 * time.Minute)
	for _, p := range []*person{ada, bob} {
		if diff := cmp.Diff([]string{"stays", ""}, p.lines(id)); diff != "" {
			t.Error(diff)
		}
		p.disconnect()
		p.connect()
		p.until("the text to go", func() bool {
			holds, err := p.Holds("canary")
			return err == nil && !holds
		})
	}
	second := w.person("second")
	second.reopenWith(client.Options{Now: clock.now})
	check(t, second.Login(t.Context(), login("ada")))
	second.connect()
	second.restored()
	second.shows(id, "stays", "")
	if v := second.conversation(id); v.Expiry != 3600 {
		t.Errorf("the new device's timer is %d", v.Expiry)
	}
	_, err = bob.SetExpiry(t.Context(), id, 0)
	check(t, err)
	for _, p := range []*person{ada, second} {
		p.until("the timer's end", func() bool { return p.conversation(id).Expiry == 0 })
	}
}

// TestViewOnce: what is to be seen once is not in the archive, and goes from all devices when it was seen.
func TestViewOnce(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	second := w.device("second", "bob")
	for _, p := range []*person{ada, bob, second} {
		p.connect()
	}
	m, err := ada.SendOnce(t.Context(), id, e2ee.TextBody("canary"))
	check(t, err)
	ada.sent(m)
	bob.shows(id, "canary")
	second.shows(id, "canary")
	for _, p := range []*person{ada, bob, second} {
		p.done()
	}
	third := w.device("third", "bob")
	third.connect()
	third.restored()
	if holds, err := third.Holds("canary"); err != nil || holds || len(third.lines(id)) > 0 {
		t.Errorf("the archive has it: %v, %v", holds, err)
	}
	check(t, bob.Viewed(id, m))
	for _, p := range []*person{bob, second} {
		p.shows(id)
		if holds, err := p.Holds("canary"); err != nil || holds {
			t.Errorf("the text is still there: %v, %v", holds, err)
		}
	}
	if n := third.counters(); n.Archive+n.Alerts > 0 {
		t.Errorf("counted %+v", n)
	}
}

// TestHistoryChoice: with nothing to keep, messages need no records; a device that does not know of the choice, or of its
// end, goes on all the same.
func TestHistoryChoice(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	second := w.device("second", "ada")
	for _, p := range []*person{ada, bob, second} {
		p.connect()
	}
	both := func(text string) {
		t.Helper()
		ada.sent(ada.send(id, text))
		second.sent(second.send(id, text+" from the second"))
		bob.sent(bob.send(id, text+" from bob"))
		for _, p := range []*person{ada, bob, second} {
			p.reads(id, len(bob.texts(id)))
			p.done()
		}
	}
	stored := func(want int) {
		t.Helper()
		if n, err := ada.StoredHistory(t.Context()); err != nil || n != want {
			t.Errorf("%d records, want %d, %v", n, want, err)
		}
	}
	both("kept")
	stored(3)
	if err := ada.KeepHistory(t.Context(), api.ChatSettings{Archive: api.ArchiveDays}); client.CodeOf(err) != api.CodeInvalid {
		t.Errorf("no days: %v", err)
	}
	check(t, ada.KeepHistory(t.Context(), api.ChatSettings{Archive: api.ArchiveNothing}))
	both("not kept")
	stored(3) // what was there the server erases within the hour
	check(t, second.KeepHistory(t.Context(), api.ChatSettings{Archive: api.ArchiveEverything}))
	both("kept again")
	stored(6)
	if set, err := ada.HistoryChoice(t.Context()); err != nil || set.Archive != api.ArchiveEverything {
		t.Errorf("%+v, %v", set, err)
	}
}

// TestAcksWaitForArchiveKey: an archive epoch ends while a device has acknowledgements under way. They wait until it has
// the new key, and are not lost.
func TestAcksWaitForArchiveKey(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	second := w.device("second", "ada")
	lost := w.device("lost", "ada")
	check(t, lost.Close())
	lost.Client = nil
	ada.connect()
	bob.connect()
	second.connect()
	bob.sent(bob.send(id, "before"))
	second.reads(id, 1)
	second.done()
	second.disconnect()
	// The second device is away while the first one removes the third; then a message comes before the key does.
	_, err := ada.RemoveDevice(t.Context(), 3, password)
	check(t, err)
	ada.disconnect()
	bob.sent(bob.send(id, "after"))
	second.connect()
	second.reads(id, 2)
	second.send(id, "by the second")
	ada.connect()
	second.done()
	ada.reads(id, 3)
	ada.done()
	same(t, ada, second, id)
	third := w.device("third", "ada")
	third.connect()
	third.restored()
	same(t, ada, third, id)
}
