package client_test

import (
	"fmt"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

const (
	alone   = 's' // every silent content by itself
	receipt = 'r' // one for a conversation
)

func read(seq uint64) e2ee.Body {
	return e2ee.ReceiptBody(e2ee.Receipt{Kind: e2ee.ReceiptRead, Epoch: 1, Seq: seq})
}

func (p *person) account() api.AccountID {
	a, _ := p.Account()
	return a.ID
}

func (p *person) silent(slot byte, id api.ConversationID, body e2ee.Body, to api.AccountID) {
	p.t.Helper()
	if err := p.QueueSilent(slot, id, body, to); err != nil {
		p.t.Fatalf("queueing a silent content: %v", err)
	}
}

// idle waits until no errand waits.
func (p *person) idle() {
	p.t.Helper()
	p.until("the errands", func() bool {
		n, counted, err := p.Errands()
		return err == nil && n == 0 && counted == 0
	})
}

// takes waits until that many silent contents were taken and acknowledged.
func (p *person) takes(n int) {
	p.t.Helper()
	got := 0
	p.until(fmt.Sprintf("%d silent contents", n), func() bool {
		var err error
		got, err = p.SilentSeen()
		waiting, ackErr := p.PendingAcks()
		return err == nil && ackErr == nil && got >= n && waiting == 0
	})
	if got != n {
		p.t.Errorf("%d silent contents were taken, want %d", got, n)
	}
}

// TestSilent: silent contents reach the devices they name, own ones and a peer's, wait while nobody is connected, take
// no position and are acknowledged.
func TestSilent(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	id := ada.talk("bob")
	ada.connect()
	ada.sent(ada.send(id, "one"))
	ada.disconnect()
	ada.silent(alone, id, read(1), bob.account())
	ada.silent(alone, client.SelfConversation(ada.account()), read(1), ada.account()) // which the server does not know yet
	if n, counted, err := ada.Errands(); n != 2 || counted != 2 || err != nil {
		t.Errorf("%d errands, %d counted, %v", n, counted, err)
	}
	ada.connect()
	bob.connect()
	second.connect()
	ada.idle()
	bob.takes(1)
	second.takes(1)
	ada.sent(ada.send(id, "two"))
	if page := bob.reads(id, 2); len(page) != 2 {
		t.Errorf("bob reads %q", page)
	}
	second.reads(id, 2)
	for name, p := range map[string]*person{"ada": ada, "bob": bob, "second": second} {
		if n := p.counters(); n != (client.Counters{Repairs: n.Repairs}) {
			t.Errorf("%s counts %+v", name, n)
		}
	}
}

// TestSilentSlot: of the receipts of a conversation that could not be sent yet only the last one goes out.
func TestSilentSlot(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	for seq := range uint64(5) {
		ada.silent(receipt, id, read(seq+1), bob.account())
	}
	ada.silent(alone, id, read(9), bob.account())
	if n, counted, err := ada.Errands(); n != 2 || counted != 2 || err != nil {
		t.Errorf("%d errands, %d counted, %v", n, counted, err)
	}
	ada.connect()
	bob.connect()
	ada.idle()
	bob.takes(2)
}

// TestSilentBounds: what cannot be sent is refused and leaves nothing behind.
func TestSilentBounds(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	if err := ada.QueueSilent(alone, id, e2ee.ReceiptBody(e2ee.Receipt{}), bob.account()); client.CodeOf(err) != client.CodeArgument {
		t.Errorf("an empty receipt: %v", err)
	}
	if err := ada.FillErrands(client.MaxErrands); err != nil {
		t.Fatal(err)
	}
	if err := ada.QueueSilent(alone, id, read(1), bob.account()); client.CodeOf(err) != client.CodeQueueFull {
		t.Errorf("one too many: %v", err)
	}
	if n, _, err := ada.Errands(); n != 0 || err != nil {
		t.Errorf("%d errands, %v", n, err)
	}
}

// TestSilentReplyLost: the outcome of a try is unknown, so the same bytes go out again.
func TestSilentReplyLost(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	sends := ada.loseReply()
	ada.silent(alone, id, read(1), bob.account())
	ada.connect()
	bob.connect()
	ada.idle()
	if all := sends(); len(all) != 2 || all[0] != all[1] {
		t.Errorf("%d sends left", len(all))
	}
	bob.takes(1)
}

// TestSilentCrash: the sender dies at each of its Applies. Every silent content arrives once.
func TestSilentCrash(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("persisted ", after), func(t *testing.T) {
			w := newWorld(t)
			ada, bob := w.person("ada"), w.person("bob")
			id := ada.talk("bob")
			bob.connect()
			for round := 1; ; round++ {
				ada.silent(alone, id, read(uint64(round)), bob.account())
				ada.store.crashAt(round, after)
				ada.connect()
				ada.until("the errand or the crash", func() bool {
					n, _, err := ada.Errands()
					return ada.store.hasCrashed() || err == nil && n == 0
				})
				crashed := ada.store.hasCrashed()
				ada.reopen()
				ada.connect()
				ada.idle()
				bob.takes(round)
				ada.reopen()
				if !crashed {
					if round < 4 {
						t.Errorf("only %d Applies were hit", round-1)
					}
					break
				}
			}
			if n := bob.counters(); n != (client.Counters{}) {
				t.Errorf("bob counts %+v", n)
			}
		})
	}
}

// TestSilentDeviceGone: a device that was removed or signed out gets nothing, and holds up nobody.
func TestSilentDeviceGone(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	if err := second.Login(t.Context(), login("bob")); err != nil {
		t.Fatal(err)
	}
	id := ada.talk("bob")
	if err := second.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	ada.silent(alone, id, read(1), bob.account())
	ada.connect()
	bob.connect()
	bob.takes(1)
	ada.silent(alone, id, read(2), bob.account())
	bob.takes(2)
}

// TestSilentJoined: devices that join a send while prekeys for the ones before are fetched get it at once, however many
// times that happens.
func TestSilentJoined(t *testing.T) {
	w := newWorld(t)
	ada, bobs := w.person("ada"), []*person{w.person("bob"), w.device("second", "bob"), w.device("third", "bob")}
	id := ada.talk("bob")
	ada.safety("bob") // learns of all three
	var to []api.DeviceRef
	for _, p := range bobs {
		to = append(to, p.ref())
		p.connect()
	}
	next := func(*api.ClaimResponse) {
		if len(to) == 0 {
			return
		}
		d := to[0]
		to = to[1:]
		if err := ada.QueueSilentFor(receipt, id, read(1), d); err != nil {
			t.Error(err)
		}
	}
	onAnswer(ada, "/prekeys/claim", next)
	next(nil)
	ada.connect()
	ada.idle()
	for _, p := range bobs {
		p.takes(1)
	}
}

// TestEphemeral: typing reaches a device that is connected and has a session, nothing is stored, and offline nothing
// happens.
func TestEphemeral(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	typing := e2ee.TypingBody(e2ee.Typing{Started: true})
	if err := ada.SendEphemeral(id, typing, bob.account()); err != nil {
		t.Errorf("offline: %v", err)
	}
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "hello"))
	bob.reads(id, 1)
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	events := bob.Events()
	defer events.Close()
	if err := ada.SendEphemeral(id, typing, bob.account()); err != nil {
		t.Fatal(err)
	}
	if e := bob.event(events, client.EventTyping); !e.Typing || e.Conversation != id {
		t.Errorf("bob sees %+v", e)
	}
	if n, err := bob.SilentSeen(); n != 0 || err != nil {
		t.Errorf("%d places, %v", n, err)
	}
	ada.sent(ada.send(id, "hello")) // the session goes on
	bob.reads(id, 2)
}
