package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// conversed is a world in which ada and bob have written to each other, n messages each in turn.
func conversed(t *testing.T, n int) (w *world, ada, bob *person, id api.ConversationID) {
	t.Helper()
	w = newWorld(t)
	ada, bob = w.person("ada"), w.person("bob")
	id = ada.talk("bob")
	ada.connect()
	bob.connect()
	for i := range n {
		ada.send(id, fmt.Sprint("ada ", i))
		last := ada.send(id, fmt.Sprint("ada again ", i))
		ada.sent(last)
		bob.talk("ada")
		bob.sent(bob.send(id, fmt.Sprint("bob ", i)))
	}
	ada.until("everything", func() bool { return ada.settled(id, 3*n) })
	bob.until("everything", func() bool { return bob.settled(id, 3*n) })
	return w, ada, bob, id
}

// restored waits until the whole archive is here.
func (p *person) restored() {
	p.t.Helper()
	p.until("the history", func() bool {
		h, err := p.History()
		return err == nil && h.Complete
	})
}

// same holds what two devices show against each other, message by message.
func same(t *testing.T, want, got *person, id api.ConversationID) {
	t.Helper()
	a, err := want.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(a, b) {
		if m.Position.IsZero() {
			t.Errorf("%s waits", m.ID)
		}
	}
	delivery := cmpopts.IgnoreFields(client.Message{}, "State") // of which each device hears by itself
	if diff := cmp.Diff(a, b, delivery); diff != "" {
		t.Errorf("the other device shows (-want +got):\n%s", diff)
	}
}

// TestRestore: a new device shows what the first one shows, page by page, newest first, while messages arrive.
func TestRestore(t *testing.T) {
	w, ada, bob, id := conversed(t, 7)
	two := w.device("two", "ada")
	two.SetArchivePage(4)
	events := two.Events()
	defer events.Close()
	arrived := 0
	two.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			if bytes.Contains(text, []byte(`"records":`)) && arrived < 3 {
				arrived++
				go func() { _, _ = bob.Send(t.Context(), id, e2ee.TextBody("meanwhile")) }() // its arrival is waited for
			}
			return text, nil
		}
	})
	two.connect()
	var last client.HistoryProgress
	pages := 0
	for !last.Complete {
		e := two.event(events, client.EventHistory)
		if e.History.Done < last.Done || e.History.Done > e.History.Of {
			t.Errorf("%+v after %+v", *e.History, last)
		}
		if page, err := two.Messages(id, client.Position{}, 1); pages == 0 && (err != nil || len(page) != 1) {
			t.Errorf("the first page shows %d messages, %v", len(page), err)
		}
		last = *e.History
		pages++
	}
	if pages < 6 || last.Done < 21 {
		t.Errorf("%d pages, at last %+v", pages, last)
	}
	for _, p := range []*person{ada, two} {
		p.until("what arrived meanwhile", func() bool { return p.settled(id, 24) })
	}
	same(t, ada, two, id)
	for _, p := range []*person{ada, bob, two} {
		if n := p.counters(); n.Alerts+n.Holes+n.Archive+n.Unreadable > 0 {
			t.Errorf("counted %+v", n)
		}
	}
}

// TestCrashWhileRestoring crashes the new device at every Apply, before and after it is durable.
func TestCrashWhileRestoring(t *testing.T) {
	w, ada, _, id := conversed(t, 4)
	two := w.device("two", "ada")
	for _, after := range []bool{false, true} {
		if err := two.ForgetHistory(); err != nil {
			t.Fatal(err)
		}
		for round := 1; ; round++ {
			two.SetArchivePage(5)
			two.store.crashAt(round%5+1, after)
			two.connect()
			two.until("the end", func() bool {
				h, err := two.History()
				return two.store.hasCrashed() || (err == nil && h.Complete)
			})
			crashed := two.store.hasCrashed()
			two.disconnect()
			two.reopen()
			if h, err := two.History(); err != nil {
				t.Fatal(err)
			} else if h.Complete {
				t.Logf("complete after %d rounds, the last one crashed: %v", round, crashed)
				break
			}
		}
		same(t, ada, two, id)
		if n := two.counters(); n.Archive > 0 {
			t.Errorf("counted %+v", n)
		}
	}
}

// onArchive edits the pages of the archive that a person reads.
func (p *person) onArchive(edit func(page *api.ArchivePage)) {
	p.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			i := bytes.IndexByte(text, '[')
			if i < 0 || !bytes.HasPrefix(text, []byte("43")) || !bytes.Contains(text, []byte(`"records":`)) {
				return text, nil
			}
			var args []api.Reply[api.ArchivePage]
			if err := json.Unmarshal(text[i:], &args); err != nil || len(args) != 1 || args[0].Ok == nil {
				return text, err
			}
			edit(args[0].Ok)
			body, err := json.Marshal(args)
			return append(bytes.Clone(text[:i]), body...), err
		}
	})
}

// TestEvilArchive: records and pages that the account's devices did not write, or not as these messages. They are refused,
// counted and shown; the rest is restored, and everything when the server is honest again.
func TestEvilArchive(t *testing.T) {
	w, ada, _, id := conversed(t, 3)
	two := w.device("two", "ada")
	two.SetArchivePage(6)
	for what, tc := range map[string]struct {
		edit func(page *api.ArchivePage)
		lost int // messages that are not shown; 9 are there
	}{
		"cut":     {func(p *api.ArchivePage) { p.Records[0].Record.Sealed = p.Records[0].Record.Sealed[:20] }, 2},
		"changed": {func(p *api.ArchivePage) { p.Records[1].Record.Sealed[50] ^= 1 }, 2},
		"swapped": {func(p *api.ArchivePage) {
			r := p.Records
			r[0].Record.Sealed, r[1].Record.Sealed = r[1].Record.Sealed, r[0].Record.Sealed
		}, 4},
		"another epoch":    {func(p *api.ArchivePage) { p.Records[0].Record.Sealed[8]++ }, 2},
		"another message":  {func(p *api.ArchivePage) { p.Records[0].Record.MessageID[3] ^= 1 }, 2},
		"no conversation":  {func(p *api.ArchivePage) { p.Records[2].Record.ConversationID[3] ^= 1 }, 2},
		"commitment":       {func(p *api.ArchivePage) { p.Records[0].Message.Commitment[0] ^= 1 }, 2},
		"short commitment": {func(p *api.ArchivePage) { p.Records[0].Message.Commitment = nil }, 2},
		"sender":           {func(p *api.ArchivePage) { p.Records[0].Message.SenderID[0] ^= 1 }, 2},
		"sender device":    {func(p *api.ArchivePage) { p.Records[0].Message.SenderDevice++ }, 2},
		"no position":      {func(p *api.ArchivePage) { p.Records[0].Message.Seq = 0 }, 2},
		"positions": {func(p *api.ArchivePage) {
			p.Records[0].Message.Seq, p.Records[1].Message.Seq = p.Records[1].Message.Seq, p.Records[0].Message.Seq
		}, 2},
		"twice":          {func(p *api.ArchivePage) { p.Records[1] = p.Records[0] }, -1},
		"standing still": {func(p *api.ArchivePage) { p.Records, p.Next = nil, "1-1" }, -1},
		"the same page":  {func(p *api.ArchivePage) { keepFirst(p, &pageOfTest) }, -1},
		"too early":      {func(p *api.ArchivePage) { p.Next, p.Count = "", 9 }, 3},
	} {
		t.Run(what, func(t *testing.T) {
			two.disconnect()
			if err := two.ForgetHistory(); err != nil {
				t.Fatal(err)
			}
			pageOfTest = nil
			before := two.counters()
			two.onArchive(func(p *api.ArchivePage) {
				if len(p.Records) >= 3 {
					tc.edit(p)
				}
			})
			events := two.Events()
			defer events.Close()
			two.connect()
			if e := two.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeArchive {
				t.Errorf("alert %v", e.Err)
			}
			if tc.lost >= 0 {
				two.restored()
				if page, err := two.Messages(id, client.Position{}, 100); err != nil || len(page) != 9-tc.lost {
					t.Errorf("%d messages, %v", len(page), err)
				}
			}
			two.disconnect()
			if now := two.counters(); now.Alerts == before.Alerts || (now.Archive == before.Archive && what != "too early") {
				t.Errorf("counted %+v, before %+v", now, before)
			}
			two.net.honest()
			if err := two.ReadArchive(); err != nil {
				t.Fatal(err)
			}
			two.connect()
			two.reads(id, 9)
			two.restored()
			same(t, ada, two, id)
		})
	}
}

var pageOfTest *api.ArchivePage

// keepFirst shows the first page over and over, under new cursors.
func keepFirst(p *api.ArchivePage, first **api.ArchivePage) {
	if *first == nil {
		whole := *p
		*first = &whole
		return
	}
	next := p.Next + "0"
	*p = **first
	p.Next = next
}

// TestRepairRecord: a device that has the message itself keeps its copy, shows that the archive is wrong, and replaces the
// record.
func TestRepairRecord(t *testing.T) {
	w, ada, _, id := conversed(t, 2)
	ada.disconnect()
	var puts []string
	broken := func(p *api.ArchivePage) {
		for i := range p.Records {
			p.Records[i].Record.Sealed[40] ^= 1
		}
	}
	ada.onArchive(broken)
	ada.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			if r.Method == "PUT" && strings.Contains(r.URL, "/api/chat/archive/") {
				puts = append(puts, fmt.Sprint(res.Status, " ", string(res.Body)))
			}
			return nil
		}
	})
	if err := ada.ReadArchive(); err != nil {
		t.Fatal(err)
	}
	events := ada.Events()
	defer events.Close()
	ada.connect()
	ada.event(events, client.EventAlert)
	ada.until("the repair", func() bool {
		ada.net.mu.Lock()
		defer ada.net.mu.Unlock()
		return len(puts) == 6
	})
	for _, p := range puts {
		if p != `200 {"revision":2}` {
			t.Errorf("a record was not replaced: %s", p)
		}
	}
	if n := ada.counters(); n.Archive != 6 {
		t.Errorf("counted %+v", n)
	}
	if got := ada.texts(id); len(got) != 6 {
		t.Errorf("ada reads %q", got)
	}
	ada.net.honest()
	two := w.device("two", "ada")
	two.connect()
	two.restored()
	same(t, ada, two, id)
	if n := two.counters(); n.Archive > 0 {
		t.Errorf("the new device counts %+v", n)
	}
}

// TestFollowArchive: what was sent while a device was signed out appears on it when it is back.
func TestFollowArchive(t *testing.T) {
	w, ada, bob, id := conversed(t, 2)
	two := w.device("two", "ada")
	two.connect()
	two.restored()
	two.disconnect()
	if err := two.EndLogin(t.Context()); err != nil {
		t.Fatal(err)
	}
	two.connect()
	if err := two.ended(); client.CodeOf(err) != client.CodeLoginEnded {
		t.Fatalf("signed out: %v", err)
	}
	bob.sent(bob.send(id, "not for the second device"))
	ada.sent(ada.send(id, "nor this"))
	ada.until("everything", func() bool { return ada.settled(id, 8) })
	if err := two.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	two.connect()
	two.reads(id, 8)
	same(t, ada, two, id)
	bob.sent(bob.send(id, "again for all"))
	two.reads(id, 9)
	if n := two.counters(); n.Alerts+n.Holes+n.Archive+n.Unreadable > 0 {
		t.Errorf("counted %+v", n)
	}
}
