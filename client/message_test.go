package client_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
)

func TestBothWays(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	ada.connect()
	bob.connect()
	id := ada.talk("bob")
	first := ada.send(id, "hello")
	if at := ada.sent(first); at != (client.Position{Epoch: 1, Seq: 1}) {
		t.Errorf("stored at %+v", at)
	}
	bob.reads(id, 1)
	bob.sent(bob.send(id, "hello yourself"))
	ada.sent(ada.send(id, "how are you?"))
	want := []string{"hello", "hello yourself", "how are you?"}
	for name, p := range map[string]*person{"ada": ada, "bob": bob} {
		if diff := cmp.Diff(want, p.reads(id, 3)); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
		if n := p.counters(); n != (client.Counters{}) {
			t.Errorf("%s counts %+v", name, n)
		}
	}
	if v, err := bob.Conversations(); err != nil || len(v) != 1 || v[0].ID != id || v[0].Kind != api.KindDirect {
		t.Errorf("bob's conversations: %+v, %v", v, err)
	}
}

// TestStrangerIsNamed: whoever reads a conversation again at each event ends with the name of the stranger who began it,
// also when the name came after the conversation.
func TestStrangerIsNamed(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	ada.connect()
	bob.connect()
	events := bob.Events()
	defer events.Close()
	told := make(chan struct{})
	bob.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if strings.HasSuffix(r.URL, "/api/user/lists") {
				<-told
			}
			return nil
		}
	})
	id := ada.talk("bob")
	ada.send(id, "hello")
	for first := true; ; first = false {
		bob.event(events, client.EventConversation)
		v, err := bob.Conversations()
		if err != nil || len(v) != 1 {
			t.Fatalf("conversations: %+v, %v", v, err)
		}
		if v[0].Username == "ada" {
			return
		}
		if first {
			close(told)
		}
	}
}

// TestOfflineReceiver: what was sent to a device that is away waits for it, in order, and leaves the mailbox when it
// was acknowledged.
func TestOfflineReceiver(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	ada.connect()
	id := ada.talk("bob")
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("message ", i))
		ada.send(id, want[i])
	}
	ada.reads(id, 20)
	bob.connect()
	if diff := cmp.Diff(want, bob.reads(id, 20)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.until("acknowledgements", func() bool { return bob.settled(id, 20) })
	bob.reopen()
	again := 0
	bob.onEntries(func(e *api.Entry) {
		if e.Seq <= 20 {
			again++
		}
	})
	bob.connect()
	ada.sent(ada.send(id, "one more"))
	bob.reads(id, 21)
	bob.disconnect()
	if again > 0 {
		t.Errorf("%d acknowledged messages came again", again)
	}
}

// TestOfflineSender: Send works without a network, the queue survives a restart, and the order is that of the calls.
func TestOfflineSender(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint("message ", i))
		ada.send(id, want[i])
	}
	ada.reopen()
	if n, err := ada.Queue(); err != nil || n != 50 {
		t.Errorf("%d messages in the queue, %v", n, err)
	}
	waiting, err := ada.Messages(id, client.Position{}, 100)
	if err != nil || len(waiting) != 50 || waiting[49].State != client.StateQueued || waiting[49].Text() != want[49] {
		t.Errorf("%d messages are shown, %v", len(waiting), err)
	}
	ada.connect()
	bob.connect()
	for _, p := range []*person{ada, bob} {
		if diff := cmp.Diff(want, p.reads(id, 50)); diff != "" {
			t.Errorf("reads (-want +got):\n%s", diff)
		}
	}
	if n, err := ada.Queue(); err != nil || n != 0 {
		t.Errorf("%d messages left in the queue, %v", n, err)
	}
}

// TestNotesToOneself: the conversation with one's own name reaches the account's other devices, and those that
// come later.
func TestNotesToOneself(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	ada.connect()
	id := ada.talk("ada")
	ada.sent(ada.send(id, "buy milk"))
	second := w.person("second")
	if err := second.Login(t.Context(), client.LoginOptions{Username: "Ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	second.connect()
	ada.sent(ada.send(id, "and bread"))
	if diff := cmp.Diff([]string{"buy milk", "and bread"}, second.reads(id, 2)); diff != "" {
		t.Errorf("the second device reads (-want +got):\n%s", diff)
	}
}

// TestHistoryPages: pages end where the history ends and do not overlap; what waits follows the newest page only.
func TestHistoryPages(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	ada.connect()
	id := ada.talk("bob")
	for i := range 7 {
		ada.sent(ada.send(id, fmt.Sprint(i)))
	}
	ada.disconnect()
	ada.send(id, "queued")
	var got [][]string
	before := client.Position{}
	for {
		page, err := ada.Messages(id, before, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		var texts []string
		for _, m := range page {
			texts = append(texts, m.Text())
		}
		got = append(got, texts)
		before = page[0].Position
	}
	want := [][]string{{"4", "5", "6", "queued"}, {"1", "2", "3"}, {"0"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	for _, limit := range []int{0, client.MaxHistory + 1} {
		if _, err := ada.Messages(id, client.Position{}, limit); client.CodeOf(err) != client.CodeArgument {
			t.Errorf("%d messages asked for: %v", limit, err)
		}
	}
}

// TestThousandBothWays: 1,000 messages each way at once. Both sides see the same order, nothing is lost or doubled, and
// each sender's own order is kept.
func TestThousandBothWays(t *testing.T) {
	n := 1_000
	if raceDetector {
		n = 100
	}
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	bob.talk("ada")
	for _, p := range []*person{ada, bob} {
		p.connect()
		go func() {
			for i := range n {
				p.send(id, fmt.Sprint(i))
			}
		}()
	}
	seenByAda, seenByBob := ada.all(id, 2*n), bob.all(id, 2*n)
	if diff := cmp.Diff(seenByAda, seenByBob); diff != "" {
		t.Errorf("ada and bob see different conversations (-ada +bob):\n%s", diff)
	}
	next := map[string]int{}
	for i, m := range seenByAda {
		if m.At.Seq != uint64(i)+1 {
			t.Fatalf("message %d is at %d", i, m.At.Seq)
		}
		if m.Text != fmt.Sprint(next[m.Sender]) {
			t.Fatalf("%s's message %d is %q", m.Sender, next[m.Sender], m.Text)
		}
		next[m.Sender]++
	}
	for _, p := range []*person{ada, bob} {
		if c := p.counters(); c != (client.Counters{}) {
			t.Errorf("counts %+v", c)
		}
	}
}

// seen is a message as both sides must agree on it.
type seen struct {
	At     client.Position
	Sender string
	Text   string
}

// all waits for n messages and returns the whole conversation.
func (p *person) all(id api.ConversationID, n int) []seen {
	p.t.Helper()
	newest := func() uint64 {
		page, err := p.Messages(id, client.Position{}, 1)
		if err != nil {
			p.t.Error(err)
			return 0
		}
		if len(page) == 0 {
			return 0
		}
		return page[0].Position.Seq
	}
	count := 0
	p.until(fmt.Sprintf("%d messages", n), func() bool {
		if newest() >= uint64(n) {
			count = len(p.texts(id))
		}
		return count >= n
	})
	var out []seen
	before := client.Position{}
	for {
		page, err := p.Messages(id, before, client.MaxHistory)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(page) == 0 {
			return out
		}
		var texts []seen
		for _, m := range page {
			texts = append(texts, seen{At: m.Position, Sender: m.Sender.String(), Text: m.Text()})
		}
		out = append(texts, out...)
		before = page[0].Position
	}
}
