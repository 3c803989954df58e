package client_test

import (
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
)

// state is how far the newest message of a conversation has come.
func (p *person) state(id api.ConversationID) client.State {
	p.t.Helper()
	page, err := p.Messages(id, client.Position{}, 1)
	if err != nil || len(page) != 1 {
		p.t.Fatalf("%d messages, %v", len(page), err)
	}
	return page[0].State
}

func (p *person) becomes(id api.ConversationID, want client.State) {
	p.t.Helper()
	p.until(string(want), func() bool { return p.state(id) == want })
}

// TestReceipts: an own message is stored, delivered, read; on every device of the sender, also after a restart, and
// nothing of it is told while the conversation is only requested.
func TestReceipts(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	second := w.device("second", "ada")
	id := ada.talk("bob")
	ada.connect()
	second.connect()
	bob.connect()
	at := ada.sent(ada.send(id, "may I?"))
	bob.reads(id, 1)
	bob.until("the acknowledgement", func() bool { return bob.settled(id, 1) })
	if err := bob.MarkRead(id, at); err != nil {
		t.Fatal(err)
	}
	if waiting, _, err := bob.Errands(); err != nil || waiting != 0 {
		t.Errorf("%d receipts leave a conversation that is only requested, %v", waiting, err)
	}
	if s := ada.state(id); s != client.StateStored {
		t.Errorf("a message to a stranger is %s", s)
	}
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ada.becomes(id, client.StateRead) // what was read before
	second.becomes(id, client.StateRead)
	at = ada.sent(ada.send(id, "two"))
	for _, p := range []*person{ada, second} {
		p.becomes(id, client.StateDelivered)
	}
	events := ada.Events()
	defer events.Close()
	if err := bob.MarkRead(id, at); err != nil {
		t.Fatal(err)
	}
	if e := ada.event(events, client.EventRead); e.Conversation != id || e.Position != at {
		t.Errorf("event %+v", e)
	}
	for _, p := range []*person{ada, second} {
		p.becomes(id, client.StateRead)
		if p.reopen(); p.state(id) != client.StateRead {
			t.Errorf("after a restart: %s", p.state(id))
		}
	}
	// Delivered while nobody of ada's was connected: she asks.
	ada.connect()
	ada.sent(ada.send(id, "three"))
	ada.disconnect()
	bob.reads(id, 3)
	bob.until("the acknowledgement", func() bool { return bob.settled(id, 3) })
	ada.connect()
	ada.becomes(id, client.StateDelivered)
}

// TestAnswerSaysWhatWasRead: who answers a request accepts it, and what was read before that is told.
func TestAnswerSaysWhatWasRead(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	at := ada.sent(ada.send(id, "may I?"))
	bob.reads(id, 1)
	if err := bob.MarkRead(id, at); err != nil {
		t.Fatal(err)
	}
	events := ada.Events()
	defer events.Close()
	bob.sent(bob.send(id, "yes"))
	if e := ada.event(events, client.EventRead); e.Conversation != id || e.Position != at {
		t.Errorf("event %+v", e)
	}
}

// TestReceiptsAreCoalesced: whoever scrolls through a hundred messages sends few receipts, and the last one counts.
func TestReceiptsAreCoalesced(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	var last client.Position
	var all []client.Position
	for range 20 {
		last = ada.sent(ada.send(id, "text"))
		all = append(all, last)
	}
	bob.reads(id, 20)
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	sends := bob.watchSends()
	for _, at := range all {
		if err := bob.MarkRead(id, at); err != nil {
			t.Fatal(err)
		}
	}
	ada.becomes(id, client.StateRead)
	n := 0
	for _, s := range sends() {
		if s.Class == api.ClassSilent && s.ConversationID == id {
			n++
		}
	}
	if n > 5 {
		t.Errorf("%d receipts for 20 positions marked at once", n)
	}
}

// TestTyping: shown at once or never, not while the conversation is only requested, and not with every key.
func TestTyping(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	events := bob.Events()
	defer events.Close()
	sends := ada.watchSends()
	typing := func(p *person, started bool) {
		if err := p.Typing(id, started); err != nil {
			t.Fatal(err)
		}
	}
	typing(bob, true) // he has not accepted: nothing leaves
	if n := bob.watchSends(); len(n()) != 0 {
		t.Error("bob types in a conversation that he has not accepted")
	}
	bob.sent(bob.send(id, "an answer accepts"))
	ada.reads(id, 2)
	bob.until("accepted", func() bool {
		all, err := bob.Conversations()
		return err == nil && all[0].State == api.MemberAccepted
	})
	for range 5 {
		typing(ada, true)
	}
	if e := bob.event(events, client.EventTyping); !e.Typing || e.Conversation != id {
		t.Errorf("event %+v", e)
	}
	typing(ada, false)
	typing(ada, false)
	if e := bob.event(events, client.EventTyping); e.Typing {
		t.Errorf("event %+v", e)
	}
	n := 0
	for _, s := range sends() {
		if s.Class == api.ClassEphemeral {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d notices for five keys and two stops", n)
	}
	if got := bob.texts(id); len(got) != 2 {
		t.Errorf("bob reads %q", got)
	}
}

// TestPresence: contacts see each other come and go; strangers and who was blocked see nothing.
func TestPresence(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	presence := func(p *person) []api.Presence {
		all, err := p.Presence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if a, b := presence(ada), presence(bob); len(a)+len(b) != 0 {
		t.Errorf("while requested: %+v, %+v", a, b)
	}
	events, bobs := ada.Events(), bob.Events()
	defer events.Close()
	defer bobs.Close()
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	// They are told of each other at once, not at the next change.
	for p, sub := range map[*person]*client.Subscription{ada: events, bob: bobs} {
		if e := p.event(sub, client.EventPresence); !e.Presence.Online {
			t.Errorf("event %+v", e.Presence)
		}
	}
	ada.until("bob to be there", func() bool { a := presence(ada); return len(a) == 1 && a[0].Online })
	bob.disconnect()
	e := ada.event(events, client.EventPresence)
	if me, _ := bob.Account(); e.Account != me.ID || e.Presence.Online || e.Presence.LastSeen < time.Now().Add(-time.Hour).UnixMilli() {
		t.Errorf("event %+v, %+v", e, e.Presence)
	}
	bob.connect()
	if e = ada.event(events, client.EventPresence); !e.Presence.Online {
		t.Errorf("event %+v", e.Presence)
	}
	if err := bob.Block(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if a := presence(ada); len(a) != 1 || a[0].Online || a[0].LastSeen == 0 {
		t.Errorf("who was blocked sees %+v", a)
	}
	if found, err := bob.FindUsers(t.Context(), "ADA"); err != nil || len(found) != 1 || found[0].Username != "ada" {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := bob.FindUsers(t.Context(), "ad"); client.CodeOf(err) != api.CodeInvalid {
		t.Errorf("two letters: %v", err)
	}
}
