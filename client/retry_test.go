package client_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

func (p *person) ref() api.DeviceRef {
	a, _ := p.Account()
	return api.DeviceRef{AccountID: a.ID, DeviceID: a.WireDevice}
}

// drop loses the sessions with a device.
func (p *person) drop(with api.DeviceRef) {
	p.t.Helper()
	if err := p.DropSession(with.AccountID, with.DeviceID); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) session(with api.DeviceRef) []byte {
	p.t.Helper()
	raw, err := p.SessionBytes(with.AccountID, with.DeviceID)
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// noNotices waits until nothing is unread.
func (p *person) noNotices() {
	p.t.Helper()
	p.until("the last notice to go", func() bool {
		all, err := p.Notices()
		return err == nil && len(all) == 0
	})
}

// TestRetry: bob has lost his session with ada's device. What she sends does not decrypt; he asks for it, she answers
// under a new session, and everything arrives once and in order, also what was sent after it.
func TestRetry(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	want := []string{"one", "two"}
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	bob.sent(bob.send(id, "two"))
	ada.reads(id, 2)
	bob.disconnect()
	bob.drop(ada.ref())
	for i := range 12 {
		want = append(want, fmt.Sprint("after ", i))
		ada.sent(ada.send(id, want[len(want)-1]))
	}
	ada.disconnect()
	events := bob.Events()
	bob.connect()
	if e := bob.event(events, client.EventNotice); e.Notice.Code != client.CodeUnreadable || !e.Notice.Waiting {
		t.Errorf("notice %+v", e.Notice)
	}
	events.Close()
	ada.connect()
	if diff := cmp.Diff(want, bob.reads(id, len(want))); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.noNotices()
	if n := ada.counters(); n.SessionRepairs != 1 || n.RetriesAnswered < 1 || n.Supplements < 12 {
		t.Errorf("ada counts %+v", n)
	}
	if n := bob.counters(); n.RetriesSent < 1 || n.RetriesSent > 3 || n.Unreadable != 12 {
		t.Errorf("bob counts %+v", n)
	}
	bob.sent(bob.send(id, "thanks"))
	if diff := cmp.Diff(append(want, "thanks"), ada.reads(id, len(want)+1)); diff != "" {
		t.Errorf("ada reads (-want +got):\n%s", diff)
	}
}

// clock is a time that tests move.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// clocked gives people one clock.
func clocked(all ...*person) *clock {
	c := &clock{}
	for _, p := range all {
		p.reopenWith(client.Options{Now: c.now})
	}
	return c
}

// TestRetryBoth: both sides have lost the session while a message was under way, so that ada cannot know the ratchet key
// any more that a request names. One that comes inside a session is answered all the same.
func TestRetryBoth(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	clock := clocked(ada, bob)
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	bob.sent(bob.send(id, "two"))
	ada.reads(id, 2)
	bob.disconnect()
	ada.sent(ada.send(id, "three"))
	ada.drop(bob.ref())
	bob.drop(ada.ref())
	bob.connect()
	ada.until("the request that is ignored", func() bool { return ada.counters().RetriesIgnored == 1 })
	bob.disconnect()
	clock.pass(15 * time.Second)
	bob.connect()
	if diff := cmp.Diff([]string{"one", "two", "three"}, bob.reads(id, 3)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.noNotices()
	if n := ada.counters(); n.SessionRepairs != 0 || n.RetriesAnswered != 1 {
		t.Errorf("ada counts %+v", n)
	}
}

// TestRetryDeviceRemoved: the device that has encrypted a message for bob was removed before he could read it, and he has
// lost the session. Another device of ada's has the message in its log.
func TestRetryDeviceRemoved(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	id := second.talk("bob")
	second.connect()
	bob.connect()
	second.sent(second.send(id, "one"))
	bob.reads(id, 1)
	bob.sent(bob.send(id, "two"))
	second.reads(id, 2)
	bob.disconnect()
	bob.drop(second.ref())
	second.sent(second.send(id, "three"))
	second.disconnect()
	ada.connect()
	ada.reads(id, 3)
	ada.disconnect()
	if pending, err := ada.RemoveDevice(t.Context(), second.ref().DeviceID, password); pending || err != nil {
		t.Fatal(pending, err)
	}
	ada.connect()
	bob.talk("ada") // learns the list
	bob.connect()
	if diff := cmp.Diff([]string{"one", "two", "three"}, bob.reads(id, 3)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.noNotices()
	page, err := bob.Messages(id, client.Position{}, 10)
	if err != nil || page[2].SenderDevice != second.ref().DeviceID {
		t.Errorf("messages %+v, %v", page, err)
	}
}

// TestRetryArchiveKeys: archive keys do not decrypt, because a device has lost its sessions. They are sent anew.
func TestRetryArchiveKeys(t *testing.T) {
	w := newWorld(t)
	ada, second, third := w.person("ada"), w.person("second"), w.person("third")
	for _, p := range []*person{second, third} {
		if err := p.Login(t.Context(), login("ada")); err != nil {
			t.Fatal(err)
		}
	}
	id := ada.talk("ada")
	ada.connect()
	second.connect()
	ada.sent(ada.send(id, "one"))
	second.reads(id, 1)
	second.sent(second.send(id, "two"))
	ada.reads(id, 2)
	second.disconnect()
	if pending, err := ada.RemoveDevice(t.Context(), third.ref().DeviceID, password); pending || err != nil {
		t.Fatal(pending, err)
	}
	ada.idle()
	second.drop(ada.ref())
	second.connect()
	second.hasKeysOf(ada)
	if n := second.counters(); n.Unreadable == 0 || n.RetriesSent == 0 {
		t.Errorf("the second device counts %+v", n)
	}
	second.sent(second.send(id, "three"))
	second.noNotices()
}

// TestRetryRefused: requests that break a rule are counted and change nothing; five a device and hour are acted on.
func TestRetryRefused(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	clock := clocked(ada, bob)
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	entries := make(chan api.Entry, 10)
	bob.onEntries(func(e *api.Entry) {
		select {
		case entries <- *e:
		default:
		}
	})
	mine := ada.send(id, "one")
	ada.sent(mine)
	bob.reads(id, 1)
	e := <-entries
	bob.net.honest()
	theirs := bob.send(id, "two")
	bob.sent(theirs)
	ada.reads(id, 2)
	good, err := e2ee.NewDecryptionErrorMessage(e2ee.Message{Type: uint8(e.Type), Bytes: e.Bytes}, uint64(e.ServerTime), 1)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := e2ee.NewKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before, sent := ada.session(bob.ref()), ada.watchSends()
	ignored := int64(0)
	for name, change := range map[string]func(r *e2ee.DecryptionErrorMessage, m *api.MessageID){
		"another ratchet key": func(r *e2ee.DecryptionErrorMessage, _ *api.MessageID) { r.RatchetKey = &stranger.Public },
		"no ratchet key":      func(r *e2ee.DecryptionErrorMessage, _ *api.MessageID) { r.RatchetKey = nil },
		"another device":      func(r *e2ee.DecryptionErrorMessage, _ *api.MessageID) { r.Device = 2 },
		"unknown message":     func(_ *e2ee.DecryptionErrorMessage, m *api.MessageID) { m[0] ^= 1 },
		"bob's own message":   func(_ *e2ee.DecryptionErrorMessage, m *api.MessageID) { *m = theirs },
	} {
		request, m := good, mine
		change(&request, &m)
		if err := bob.AskPlainly(id, m, request, ada.ref()); err != nil {
			t.Fatal(err)
		}
		ignored++
		ada.until(name, func() bool { return ada.counters().RetriesIgnored == ignored })
	}
	inside := func(r e2ee.RetryRequest) {
		t.Helper()
		bob.silent(alone, id, e2ee.RetryRequestBody(r), ada.account())
		ignored++
		ada.until("a request inside the session", func() bool { return ada.counters().RetriesIgnored == ignored })
	}
	inside(e2ee.RetryRequest{Conversation: id, MessageID: mine, Error: []byte("x")})
	inside(e2ee.RetryRequest{Conversation: [16]byte{1}, MessageID: mine, Error: good.Marshal()})
	inside(e2ee.RetryRequest{Conversation: id, MessageID: [16]byte{1}, Error: good.Marshal()})
	if n := ada.counters(); n.RetriesAnswered != 0 || n.SessionRepairs != 0 {
		t.Errorf("ada counts %+v", n)
	}
	if n := len(sent()); n != 0 {
		t.Errorf("%d sends left", n)
	}
	ratchets := ada.session(bob.ref())
	if bytes.Equal(before, ratchets) {
		t.Error("the requests inside the session did not arrive")
	}

	for i := range 7 {
		if err := bob.AskPlainly(id, mine, good, ada.ref()); err != nil {
			t.Fatal(err)
		}
		ada.until("a request", func() bool {
			n := ada.counters()
			return n.RetriesAnswered+n.RetriesIgnored-ignored == int64(i+1)
		})
	}
	if n := ada.counters(); n.RetriesAnswered != 5 || n.RetriesIgnored != ignored+2 || n.SessionRepairs != 1 {
		t.Errorf("ada counts %+v", n)
	}
	clock.pass(time.Hour)
	if err := bob.AskPlainly(id, mine, good, ada.ref()); err != nil {
		t.Fatal(err)
	}
	ada.until("a request in the next hour", func() bool { return ada.counters().RetriesAnswered == 6 })
	ada.idle()
	ada.sent(ada.send(id, "three"))
	if diff := cmp.Diff([]string{"one", "two", "three"}, bob.reads(id, 3)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
}

// TestRetryMalformed: a request in the clear that cannot be read is counted and leaves the mailbox; one that the server
// delivers as a message is no message.
func TestRetryMalformed(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.onEntries(func(e *api.Entry) {
		if e.Type == api.EnvelopePlaintext {
			e.Bytes[0] ^= 1
		}
	})
	if err := bob.AskPlainly(id, api.MessageID{1}, e2ee.DecryptionErrorMessage{Timestamp: 1}, ada.ref()); err != nil {
		t.Fatal(err)
	}
	ada.until("the request", func() bool { return ada.counters().RetriesIgnored == 1 })
	ada.onEntries(func(e *api.Entry) { e.Class = api.ClassMessage })
	if err := bob.AskPlainly(id, api.MessageID{1}, e2ee.DecryptionErrorMessage{Timestamp: 1}, ada.ref()); err != nil {
		t.Fatal(err)
	}
	ada.until("the notice", func() bool { return ada.counters().Misdelivery == 1 })
	if got := ada.texts(id); len(got) != 0 {
		t.Errorf("ada reads %q", got)
	}
}

// TestRetryCrash: each side dies at each of its Applies while a lost session is repaired. Every message arrives once.
func TestRetryCrash(t *testing.T) {
	for _, who := range []string{"ada", "bob"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(who, " persisted ", after), func(t *testing.T) { retryCrash(t, who, after) })
		}
	}
}

func retryCrash(t *testing.T, who string, after bool) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	clock := clocked(ada, bob)
	dies := map[string]*person{"ada": ada, "bob": bob}[who]
	id := ada.talk("bob")
	var want []string
	for round := 1; ; round++ {
		ada.connect()
		for i := range 2 {
			want = append(want, fmt.Sprintf("message %d.%d", round, i))
			ada.sent(ada.send(id, want[len(want)-1]))
		}
		ada.disconnect()
		bob.drop(ada.ref())
		dies.store.crashAt(round, after)
		ada.connect()
		bob.connect()
		dies.until("the messages or the crash", func() bool {
			n, _, err := ada.Errands()
			return dies.store.hasCrashed() || bob.settled(id, len(want)) && n == 0 && err == nil
		})
		crashed := dies.store.hasCrashed()
		dies.reopen()
		dies.connect()
		for tries := 0; !bob.settled(id, len(want)); tries++ {
			if tries > 1_000 {
				t.Fatalf("round %d: bob reads %q of %d", round, bob.texts(id), len(want))
			}
			if tries%100 == 99 { // the next request is due
				clock.pass(2 * time.Minute)
				bob.disconnect()
				bob.connect()
			}
			time.Sleep(10 * time.Millisecond)
		}
		ada.idle()
		bob.noNotices()
		if diff := cmp.Diff(want, bob.texts(id)); diff != "" {
			t.Fatalf("round %d: bob reads (-want +got):\n%s", round, diff)
		}
		ada.disconnect()
		bob.disconnect()
		dies.reopen()
		clock.pass(time.Hour) // in which five requests are answered
		if !crashed {
			if round < 4 {
				t.Errorf("only %d Applies were hit", round-1)
			}
			return
		}
	}
}
