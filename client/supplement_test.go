package client_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
)

// TestFirstAnswerLacksDevice: ada's message was stored, but the reply is lost, and meanwhile bob gets a second device.
// The first answer does not name it, so ada supplements, and it reads the message at its position.
func TestFirstAnswerLacksDevice(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	id := ada.talk("bob")
	events := ada.Events()
	defer events.Close()
	ada.loseReply()
	ada.connect()
	m := ada.send(id, "one")
	ada.event(events, client.EventDisconnected)
	ada.disconnect()
	if n := len(ada.texts(id)); n > 0 {
		t.Fatal("the reply was not lost")
	}
	if err := second.Login(t.Context(), login("bob")); err != nil {
		t.Fatal(err)
	}
	ada.talk("bob") // learns the list
	ada.net.honest()
	ada.connect()
	at := ada.sent(m)
	ada.idle()
	ada.disconnect()
	second.connect()
	second.until("the message", func() bool {
		page, err := second.Messages(id, client.Position{}, 10)
		return err == nil && len(page) == 1 && page[0].Position == at && page[0].ID == m
	})
	bob.connect()
	bob.reads(id, 1)
	if n := ada.counters(); n.Supplements != 1 {
		t.Errorf("ada counts %+v", n)
	}
}

// TestSupplementAskedAgain: a device asks once more while the outcome of what it was sent is unknown, so that those very
// bytes may be what it could not read. It gets them again, and then others.
func TestSupplementAskedAgain(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	m := ada.send(id, "one")
	ada.sent(m)
	events := ada.Events()
	defer events.Close()
	sends := ada.loseReply()
	if err := ada.Supplement(id, m, bob.ref()); err != nil {
		t.Fatal(err)
	}
	ada.event(events, client.EventDisconnected)
	ada.disconnect()
	if err := ada.Supplement(id, m, bob.ref()); err != nil {
		t.Fatal(err)
	}
	ada.connect()
	ada.idle()
	if all := sends(); len(all) != 3 || all[0] != all[1] || all[1] == all[2] {
		t.Errorf("%d sends left: %q", len(all), all)
	}
	bob.connect()
	bob.reads(id, 1)
}

// sleep makes devices of an account dormant, every one when none is named, as 45 days without contact do. The server
// starts again, at another address.
func (w *world) sleep(a api.AccountID, devices ...api.WireDeviceID) {
	w.t.Helper()
	if err := w.stop(); err != nil {
		w.t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "data", "chat.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(devices) == 0 {
		_, err = db.Exec(`UPDATE device SET seen_at = 1 WHERE account = ?`, a[:])
	}
	for _, d := range devices {
		_, execErr := db.Exec(`UPDATE device SET seen_at = 1 WHERE account = ? AND wire_id = ?`, a[:], int(d))
		err = errors.Join(err, execErr)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// TestOwed: bob's only device goes dormant with messages in its mailbox. They are shown to ada as not delivered, also
// on her second device, and when bob's device returns, with new prekeys, they are sent again at their positions.
func TestOwed(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	want := []string{"read", "owed one", "owed two"}
	ada.sent(ada.send(id, want[0]))
	bob.reads(id, 1)
	bob.until("the acknowledgement", func() bool { return bob.settled(id, 1) })
	bob.disconnect()
	positions := map[api.MessageID]client.Position{}
	for _, text := range want[1:] {
		m := ada.send(id, text)
		positions[m] = ada.sent(m)
	}
	second.connect()
	second.reads(id, 3)
	second.close()
	ada.close()
	account := bob.account()
	before, err := bob.PreKeyState()
	if err != nil {
		t.Fatal(err)
	}
	bob.close()
	w.sleep(account)

	for _, p := range []*person{ada, second} {
		p.open()
		events := p.Events()
		p.connect()
		p.event(events, client.EventOwed)
		events.Close()
		p.until("the marks", func() bool {
			n, err := p.OwedMessages()
			return err == nil && n == 2
		})
		page, err := p.Messages(id, client.Position{}, 10)
		if err != nil || len(page) != 3 || page[0].Owed || !page[1].Owed || !page[2].Owed {
			t.Errorf("messages %+v, %v", page, err)
		}
		if n := p.counters(); n.Owed != 2 {
			t.Errorf("counts %+v", n)
		}
		p.idle() // what cannot help stays owed
		if n, err := p.OwedMessages(); n != 2 || err != nil {
			t.Errorf("%d marks, %v", n, err)
		}
		p.close()
	}
	ada.open()
	ada.connect()
	m := ada.send(id, "owed three") // to no device of bob's
	want, positions[m] = append(want, "owed three"), ada.sent(m)
	bob.open()
	bob.connect()
	if diff := cmp.Diff(want, bob.reads(id, 4)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	page, err := bob.Messages(id, client.Position{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page[1:] {
		if positions[m.ID] != m.Position {
			t.Errorf("%q is at %+v, was stored at %+v", m.Text(), m.Position, positions[m.ID])
		}
	}
	ada.until("the marks to go", func() bool {
		n, err := ada.OwedMessages()
		return err == nil && n == 0
	})
	bob.until("new prekeys", func() bool {
		now, err := bob.PreKeyState()
		return err == nil && now.SignedID != before.SignedID && now.LastResortID != before.LastResortID
	})
	if n := bob.counters(); n.Unreadable != 0 {
		t.Errorf("bob counts %+v", n)
	}
}

// TestOwedCrash: ada dies at each of her Applies while she supplements what she owes. Every message arrives once.
func TestOwedCrash(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id, account := ada.talk("bob"), bob.account()
	var want []string
	for round := 0; ; round++ {
		ada.connect()
		for i := range 2 {
			want = append(want, fmt.Sprintf("message %d.%d", round, i))
			ada.sent(ada.send(id, want[len(want)-1]))
		}
		ada.close()
		bob.close()
		w.sleep(account)
		ada.open()
		bob.open()
		ada.store.crashAt(round/2+2, round%2 == 0) // the first Apply raises the generation
		bob.connect()
		ada.connect()
		ada.until("the messages or the crash", func() bool { return ada.store.hasCrashed() || bob.settled(id, len(want)) })
		ada.reopen()
		ada.connect()
		bob.until("everything", func() bool { return bob.settled(id, len(want)) })
		ada.idle()
		ada.until("the marks to go", func() bool {
			n, err := ada.OwedMessages()
			return err == nil && n == 0
		})
		if diff := cmp.Diff(want, bob.texts(id)); diff != "" {
			t.Fatalf("round %d: bob reads (-want +got):\n%s", round, diff)
		}
		bob.noNotices()
		if round == 15 {
			return
		}
	}
}

// TestOwedRefused: the server asks for messages of somebody else, of another conversation or for somebody who is no
// member. Nothing is sent.
func TestOwedRefused(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id, self := ada.talk("bob"), ada.talk("ada")
	ada.connect()
	bob.connect()
	m, note := ada.send(id, "one"), ada.send(self, "to myself")
	ada.sent(m)
	ada.sent(note)
	theirs := bob.send(id, "two")
	bob.sent(theirs)
	ada.reads(id, 2)
	ada.disconnect()
	sends := ada.watchSends()
	asked := false
	onAnswer(ada, "/owed?limit=256", func(p *api.OwedMessages) {
		asked = true
		p.Owed = []api.OwedMessage{
			{ConversationID: id, MessageID: theirs, AccountID: bob.account(), Since: 1},
			{ConversationID: id, MessageID: api.MessageID{1}, AccountID: bob.account(), Since: 1},
			{ConversationID: id, MessageID: m, AccountID: api.AccountID{1}, Since: 1},
			{ConversationID: id, MessageID: m, AccountID: ada.account(), Since: 1},
			{ConversationID: self, MessageID: note, AccountID: ada.account(), Since: 1},
			{ConversationID: api.ConversationID{1}, MessageID: m, AccountID: bob.account(), Since: 1},
		}
	})
	ada.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			return bytes.Replace(text, []byte(`"waiting":`), []byte(`"owed":6,"waiting":`), 1), nil
		}
	})
	ada.connect()
	ada.until("the question", func() bool {
		ada.net.mu.Lock()
		defer ada.net.mu.Unlock()
		return asked
	})
	ada.sent(ada.send(id, "three"))
	ada.disconnect()
	for _, s := range sends() {
		if s.MessageID == m || s.MessageID == theirs || s.MessageID == note {
			t.Errorf("message %s was supplemented", s.MessageID)
		}
	}
	if n, _, err := ada.Errands(); n != 0 || err != nil {
		t.Errorf("%d errands, %v", n, err)
	}
	if n, err := ada.OwedMessages(); n != 0 || err != nil {
		t.Errorf("%d marks, %v", n, err)
	}
}
