package wasm_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
	"sotto/internal/testenv"
)

// One password as two keyboards write it: the o with its dots, or the dots after the o.
const (
	password   = "four unrelated w\u00f6rds, canary-password"
	decomposed = "four unrelated wo\u0308rds, canary-password"
)

// newServer starts a server of the test's own.
func newServer(t testing.TB) *testenv.Serve {
	t.Helper()
	server, err := testenv.NewServe(built, filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	if err := server.Up(context.Background()); err != nil {
		t.Fatal(err)
	}
	return server
}

// native is a client of the SDK on SQLite, connected.
type native struct {
	*client.Client
	t      testing.TB
	events *client.Subscription
}

func newNative(t testing.TB, server, name string) *native {
	t.Helper()
	store, err := sqlitestore.Open(filepath.Join(t.TempDir(), name+".db"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(client.Options{Server: server, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: password, DeviceName: "native"}); err != nil {
		t.Fatal(err)
	}
	n := &native{Client: c, t: t, events: c.Events()}
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s stopped: %v", name, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("closing %s: %v", name, err)
		}
	})
	return n
}

// receive waits for the next message of somebody else.
func (n *native) receive() client.Message {
	n.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-n.events.C:
			if e.Type == client.EventMessage && !e.Message.Own {
				return *e.Message
			}
		case <-timeout:
			n.t.Fatal("no message arrived")
		}
	}
}

// texts are all messages of a conversation.
func (n *native) texts(id api.ConversationID) (texts []string) {
	n.t.Helper()
	all, err := n.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, m := range all {
		texts = append(texts, m.Text())
	}
	return texts
}

func (n *native) send(id api.ConversationID, text string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	m, err := n.Send(ctx, id, e2ee.TextBody(text))
	if err == nil {
		_, err = n.WaitSent(ctx, m)
	}
	if err != nil {
		n.t.Fatalf("sending natively: %v", err)
	}
}

type accountAnswer struct {
	Account *struct {
		ID       api.AccountID `json:"id"`
		Username string        `json:"username"`
	} `json:"account"`
}

type conversationAnswer struct {
	ID       api.ConversationID `json:"id"`
	State    api.MemberState    `json:"state"`
	Username string             `json:"username"`
}

type message struct {
	ID       api.MessageID    `json:"id"`
	Position *client.Position `json:"position"`
	Own      bool             `json:"own"`
	State    client.State     `json:"state"`
	Text     string           `json:"text"`
}

type messagesAnswer struct {
	Messages []message `json:"messages"`
}

type sendAnswer struct {
	MessageID api.MessageID `json:"message_id"`
}

// openStore opens the page's store, which nobody else may have open.
func (s *site) openStore(p *tab) accountAnswer {
	p.t.Helper()
	return ask[accountAnswer](p, "open", args{"server": s.URL, "database": "sotto"})
}

// register makes an account in the browser and connects.
func (s *site) register(p *tab, name string) (run int64) {
	p.t.Helper()
	s.registerOnly(p, name)
	return p.begin("run", nil)
}

func (s *site) registerOnly(p *tab, name string) {
	p.t.Helper()
	s.openStore(p)
	got := ask[struct {
		Code string `json:"recovery_code"`
	}](p, "register", args{"username": name, "password": password, "device_name": "browser"})
	if got.Code == "" {
		p.t.Fatal("no recovery code")
	}
}

// event asks for events until one has the type, and a message of that text if one is given.
func (p *tab) event(kind client.EventType, text string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		got := ask[struct {
			Events []struct {
				Type    client.EventType `json:"type"`
				Message message          `json:"message"`
			} `json:"events"`
		}](p, "events", nil)
		for _, e := range got.Events {
			if e.Type == kind && (text == "" || e.Message.Text == text) {
				return
			}
		}
	}
	p.t.Fatalf("no event %s %q", kind, text)
}

func (p *tab) messages(id api.ConversationID) []message {
	p.t.Helper()
	return ask[messagesAnswer](p, "messages", args{"conversation": id, "limit": 100}).Messages
}

// TestChat: a browser and a native client find each other, talk both ways and agree on who they are.
func TestChat(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := newSite(t, server.URL)
	bob := newNative(t, server.URL, "bob")
	alice := s.open(t, "page.html")
	run := s.register(alice, "alice")
	alice.event(client.EventConnected, "")

	with := ask[conversationAnswer](alice, "conversation", args{"username": "bob"})
	sent := ask[sendAnswer](alice, "send", args{"conversation": with.ID, "text": "hello from the browser"})
	position := ask[struct {
		Position client.Position `json:"position"`
	}](alice, "waitSent", args{"message_id": sent.MessageID})
	if position.Position.Seq != 1 {
		t.Errorf("the first message is at %v", position)
	}
	if m := bob.receive(); m.Text() != "hello from the browser" || m.ID != sent.MessageID {
		t.Fatalf("bob received %q", m.Text())
	}
	if err := bob.Accept(t.Context(), with.ID); err != nil {
		t.Fatal(err)
	}
	bob.send(with.ID, "hello from SQLite")
	alice.event(client.EventMessage, "hello from SQLite")
	got := alice.messages(with.ID)
	if len(got) != 2 || got[0].Text != "hello from the browser" || got[1].Text != "hello from SQLite" || !got[0].Own || got[1].Own {
		t.Errorf("history in the browser: %+v", got)
	}

	shown := ask[client.Safety](alice, "safety", args{"username": "bob"})
	safety, err := bob.Safety(t.Context(), "alice")
	if err != nil || shown.Digits != safety.Digits || len(shown.Digits) != 60 {
		t.Errorf("safety numbers %q and %q, %v", shown.Digits, safety.Digits, err)
	}
	if devices := ask[api.Devices](alice, "devices", nil); len(devices.Devices) != 1 || devices.Devices[0].Name != "browser" {
		t.Errorf("devices: %+v", devices)
	}
	if counts := ask[client.Counters](alice, "counters", nil); counts != (client.Counters{}) {
		t.Errorf("counters: %+v", counts)
	}
	ask[nothing](alice, "block", args{"conversation": with.ID})
	all := ask[struct {
		Conversations []conversationAnswer `json:"conversations"`
	}](alice, "conversations", nil)
	if len(all.Conversations) != 1 || all.Conversations[0].State != api.MemberBlocked || all.Conversations[0].Username != "bob" {
		t.Errorf("conversations: %+v", all)
	}

	ask[nothing](alice, "logout", nil)
	if got := alice.answer(run); got.code() != "" {
		t.Errorf("run ended with %v", got)
	}
	if got := s.openStore(alice); got.Account != nil {
		t.Errorf("after the logout %+v is signed in", got.Account)
	}
	again := ask[accountAnswer](alice, "login", args{"username": "alice", "password": decomposed, "device_name": "browser again"})
	if again.Account == nil || again.Account.Username != "alice" {
		t.Errorf("login gave %+v", again)
	}
}

// TestOrder: sends that are posted without waiting keep their order.
func TestOrder(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := newSite(t, server.URL)
	p := s.open(t, "page.html")
	s.register(p, "carol")
	self := ask[conversationAnswer](p, "conversation", args{"username": "carol"})
	texts := []string{"1", "2", "3", "4", "5", "6", "7", "8"}
	var ids []int64
	for _, text := range texts {
		ids = append(ids, p.begin("send", args{"conversation": self.ID, "text": text}))
	}
	for _, id := range ids {
		sent := settled[sendAnswer](p, "send", p.answer(id))
		ask[nothing](p, "waitSent", args{"message_id": sent.MessageID})
	}
	for i, m := range p.messages(self.ID) {
		if m.Text != texts[i] || m.Position == nil {
			t.Errorf("message %d is %+v", i, m)
		}
	}
}

// TestReloadMidSend: the server has stored a message, but its answer has not arrived when the page is reloaded. The
// message is repeated, and exists once.
func TestReloadMidSend(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := newSite(t, server.URL)
	bob := newNative(t, server.URL, "bob")
	alice := s.open(t, "page.html")
	s.register(alice, "alice")
	with := ask[conversationAnswer](alice, "conversation", args{"username": "bob"})
	alice.event(client.EventConnected, "")

	s.gate.set(true)
	sent := ask[sendAnswer](alice, "send", args{"conversation": with.ID, "text": "once"})
	if m := bob.receive(); m.ID != sent.MessageID {
		t.Fatalf("bob received %+v", m)
	}
	if got := alice.messages(with.ID); len(got) != 1 || got[0].State != client.StateQueued || got[0].Position != nil {
		t.Fatalf("before the answer: %+v", got)
	}
	alice.reload()
	s.gate.set(false)

	if got := ask[accountAnswer](alice, "open", args{"server": s.URL, "database": "sotto", "wait": true}); got.Account == nil {
		t.Fatal("nobody is signed in after the reload")
	}
	if got := ask[struct {
		Waiting int `json:"waiting"`
	}](alice, "queue", nil); got.Waiting != 1 {
		t.Fatalf("%d messages wait after the reload", got.Waiting)
	}
	alice.begin("run", nil)
	ask[nothing](alice, "waitSent", args{"message_id": sent.MessageID})
	last := ask[sendAnswer](alice, "send", args{"conversation": with.ID, "text": "twice"})
	ask[nothing](alice, "waitSent", args{"message_id": last.MessageID})
	if m := bob.receive(); m.ID != last.MessageID {
		t.Errorf("bob received %q again", m.Text())
	}
	if got := bob.texts(with.ID); len(got) != 2 || got[0] != "once" || got[1] != "twice" {
		t.Errorf("bob has %q", got)
	}
	if got := alice.messages(with.ID); len(got) != 2 || got[0].Position == nil || got[1].Position == nil {
		t.Errorf("alice has %+v", got)
	}
}

// TestTwoTabs: the second tab is told, or waits; when the first goes it takes over, with everything.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := newSite(t, server.URL)
	first, second := s.open(t, "page.html"), s.open(t, "page.html")
	s.register(first, "dave")
	self := ask[conversationAnswer](first, "conversation", args{"username": "dave"})

	open := args{"server": s.URL, "database": "sotto"}
	if got := second.try("open", open); got.code() != "store_in_use" {
		t.Fatalf("the second tab got %v", got)
	}
	open["wait"] = true
	gaveUp := second.begin("open", open)
	ask[nothing](second, "cancel", args{"request": gaveUp})
	if got := second.answer(gaveUp); got.code() != "canceled" {
		t.Errorf("who stopped waiting got %v", got)
	}
	waits := second.begin("open", open)
	if got := second.try("account", nil); got.code() != "not_open" {
		t.Errorf("while it waits the second tab got %v", got)
	}
	sent := ask[sendAnswer](first, "send", args{"conversation": self.ID, "text": "by the first"})
	first.close()

	if got := settled[accountAnswer](second, "open", second.answer(waits)); got.Account == nil || got.Account.Username != "dave" {
		t.Fatalf("the second tab took over %+v", got)
	}
	second.begin("run", nil)
	ask[nothing](second, "waitSent", args{"message_id": sent.MessageID})
	if got := second.messages(self.ID); len(got) != 1 || got[0].Text != "by the first" || got[0].Position == nil {
		t.Errorf("the second tab has %+v", got)
	}
}
