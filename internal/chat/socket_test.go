package chat

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/event"
)

const patience = 10 * time.Second // a wait that ends only a broken test

// wire is a Socket.IO client over websocket, as small as the tests need.
type wire struct {
	t      *testing.T
	write  func(text string)
	events chan wireEvent // everything but acknowledgements; closed at the end
	acks   chan wireAck
	next   int
}

type wireEvent struct {
	name string // "" for the answer to CONNECT
	arg  json.RawMessage
}

type wireAck struct {
	id  int
	arg json.RawMessage
}

// dial opens the transport and sends CONNECT.
func (r *rig) dial(t *testing.T, s *Service, auth api.SocketAuth) *wire {
	t.Helper()
	server := httptest.NewServer(s.Sockets())
	t.Cleanup(server.Close)
	url := "ws" + strings.TrimPrefix(server.URL, "http") + api.SocketPath + "?EIO=4&transport=websocket"
	conn, early, _, err := ws.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := &wire{t: t, events: make(chan wireEvent, 1024), acks: make(chan wireAck, 1024)}
	w.write = func(text string) {
		// A socket that was ended refuses; the test sees the end in events.
		_ = wsutil.WriteClientText(conn, []byte(text))
	}
	b, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	var from io.ReadWriter = conn
	if early != nil { // the server spoke before the handshake was read to its end
		from = struct {
			io.Reader
			io.Writer
		}{io.MultiReader(early, conn), conn}
	}
	go func() {
		defer close(w.events)
		for {
			text, err := wsutil.ReadServerText(from)
			if err != nil {
				return
			}
			w.take(string(text), string(b))
		}
	}()
	return w
}

func (w *wire) take(text, auth string) {
	switch {
	case text[0] == '0':
		w.write("40" + auth)
	case text[0] == '2':
		w.write("3")
	case strings.HasPrefix(text, "40"), strings.HasPrefix(text, "44"):
		w.events <- wireEvent{arg: json.RawMessage(text[2:])}
	case strings.HasPrefix(text, "42"):
		var parts []json.RawMessage
		var name string
		if json.Unmarshal([]byte(text[2:]), &parts) == nil && len(parts) == 2 && json.Unmarshal(parts[0], &name) == nil {
			w.events <- wireEvent{name, parts[1]}
		}
	case strings.HasPrefix(text, "43"):
		at := strings.IndexByte(text, '[')
		id, _ := strconv.Atoi(text[2:at])
		var parts []json.RawMessage
		if json.Unmarshal([]byte(text[at:]), &parts) == nil && len(parts) == 1 {
			w.acks <- wireAck{id, parts[0]}
		}
	}
}

// event waits for the next event of that name; others before it are passed over.
func (w *wire) event(name string, into any) {
	w.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				w.t.Fatalf("the socket ended while waiting for %q", name)
			}
			if e.name != name {
				continue
			}
			if err := json.Unmarshal(e.arg, into); err != nil {
				w.t.Fatalf("%s: %v", e.arg, err)
			}
			return
		case <-timeout:
			w.t.Fatalf("no event %q", name)
		}
	}
}

// end waits for the end of the socket and returns the code of the last "end" event.
func (w *wire) end() (code string) {
	w.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				return code
			}
			if e.name == api.EventEnd {
				var p api.Problem
				if err := json.Unmarshal(e.arg, &p); err != nil {
					w.t.Fatal(err)
				}
				code = p.Code
			}
		case <-timeout:
			w.t.Fatal("the socket does not end")
		}
	}
}

// emit sends an event and returns the id of its acknowledgement.
func (w *wire) emit(name string, arg any) int {
	w.t.Helper()
	b, err := json.Marshal(arg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.next++
	w.write("42" + strconv.Itoa(w.next) + `["` + name + `",` + string(b) + "]")
	return w.next
}

// call is emit and its answer.
func call[T any](w *wire, name string, arg any) api.Reply[T] {
	w.t.Helper()
	id := w.emit(name, arg)
	select {
	case a := <-w.acks:
		var r api.Reply[T]
		if err := json.Unmarshal(a.arg, &r); err != nil || a.id != id {
			w.t.Fatalf("answer %d to event %d: %s, %v", a.id, id, a.arg, err)
		}
		return r
	case <-time.After(patience):
		w.t.Fatalf("no answer to %s", name)
	}
	panic("unreachable")
}

func (d *phone) auth() api.SocketAuth {
	d.generation++
	return api.SocketAuth{Token: d.token(), Generation: d.generation, Protocol: api.ProtocolHighest}
}

// socket connects the phone and waits until it is ready.
func (d *phone) socket(t *testing.T) (*wire, api.Connection) {
	t.Helper()
	w := d.owner.r.dial(t, d.owner.r.s, d.auth())
	var ready api.Connection
	w.event(api.EventReady, &ready)
	return w, ready
}

// TestSocketConversation: two sockets, a message each way, acknowledged; the sender learns of the delivery.
func TestSocketConversation(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, ready := anna.devices[0].socket(t)
	if want := (api.Connection{Epoch: 1, Generation: 2, ServerTime: startOfTime}); ready != want {
		t.Errorf("%+v", ready)
	}
	to, _ := ben.devices[0].socket(t)
	send := anna.devices[0].message(c, anna, ben)
	sent := call[api.Sent](from, api.EventSend, send)
	if sent.Error != nil || sent.Ok.Seq != 1 {
		t.Fatalf("%+v", sent)
	}
	var pushed api.Entries
	to.event(api.EventEntries, &pushed)
	if diff := cmp.Diff(ben.devices[0].mailbox(), pushed.Entries); diff != "" || pushed.More {
		t.Fatalf("what was pushed differs from the mailbox: %s", diff)
	}
	acked := call[api.Acked](to, api.EventAck, ackOf(pushed.Entries...))
	if acked.Error != nil || len(acked.Ok.Removed) != 1 {
		t.Fatalf("%+v", acked)
	}
	var delivered api.Delivered
	from.event(api.EventDelivered, &delivered)
	want := api.Delivered{ConversationID: c, AccountID: ben.id, MessageIDs: []api.MessageID{send.MessageID}}
	if diff := cmp.Diff(want, delivered); diff != "" {
		t.Error(diff)
	}
	page := call[api.SyncPage](to, api.EventSync, api.SyncRequest{ConversationID: c, From: 1, Limit: 10})
	if page.Ok == nil || page.Ok.Through != 1 {
		t.Errorf("%+v", page)
	}
	passed := passEphemeral(t, to, from, ben.devices[0], c, anna.devices[0])
	if passed.EntryID != 0 || passed.SenderID != ben.id || r.count("SELECT COUNT(*) FROM message") != 1 {
		t.Errorf("%+v", passed)
	}
}

// passEphemeral repeats an ephemeral send until it arrives: one that meets a busy socket is dropped, as it should be.
func passEphemeral(t *testing.T, w, to *wire, d *phone, c api.ConversationID, target *phone) api.Entry {
	t.Helper()
	const repeatAfter = 50 * time.Millisecond
	for range int(patience / repeatAfter) {
		send := d.silent(c, target)
		send.Class = api.ClassEphemeral
		if sent := call[api.Sent](w, api.EventSend, send); sent.Ok == nil || sent.Ok.Seq != 0 || len(sent.Ok.Devices) != 0 {
			t.Fatalf("%+v", sent)
		}
		select {
		case e := <-to.events:
			var entry api.Entry
			if err := json.Unmarshal(e.arg, &entry); e.name == api.EventEphemeral && err == nil {
				return entry
			}
		case <-time.After(repeatAfter):
		}
	}
	t.Fatal("no ephemeral arrives")
	panic("unreachable")
}

// TestSocketRefusals: the same codes as over REST, nothing stored, and the socket goes on.
func TestSocketRefusals(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	w, _ := anna.devices[0].socket(t)
	before := r.dump()
	text, err := json.Marshal(anna.devices[0].message(c, anna, ben))
	if err != nil {
		t.Fatal(err)
	}
	incomplete := anna.devices[0].message(c, anna, ben)
	incomplete.Envelopes = nil
	for name, tc := range map[string]struct {
		event string
		arg   any
		code  string
	}{
		"unknown event":  {"shout", struct{}{}, api.CodeInvalid},
		"unknown field":  {api.EventSend, json.RawMessage(strings.Replace(string(text), "{", `{"x":1,`, 1)), api.CodeInvalid},
		"not an object":  {api.EventAck, 7, api.CodeInvalid},
		"device set":     {api.EventSend, incomplete, api.CodeDeviceSet},
		"empty ack":      {api.EventAck, api.Ack{}, api.CodeInvalid},
		"mailbox limit":  {api.EventMailbox, api.MailboxRequest{Limit: 257}, api.CodeInvalid},
		"sync elsewhere": {api.EventSync, api.SyncRequest{ConversationID: api.ConversationID{1}, From: 1, Limit: 1}, api.CodeNotFound},
	} {
		reply := call[json.RawMessage](w, tc.event, tc.arg)
		if reply.Ok != nil || reply.Error == nil || reply.Error.Code != tc.code {
			t.Errorf("%s: %+v", name, reply)
		}
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
}

func TestSocketConnectErrors(t *testing.T) {
	r := running(t)
	anna := r.person(1)
	d := anna.devices[0]
	ended := *d
	ended.login = newID[api.LoginID](r)
	if err := r.s.LoginEnded(t.Context(), anna.id, ended.login); err != nil {
		t.Fatal(err)
	}
	bare := phone{owner: anna, login: newID[api.LoginID](r)}
	good := d.auth()
	for name, tc := range map[string]struct {
		auth api.SocketAuth
		code string
	}{
		"no token":       {api.SocketAuth{Generation: 9, Protocol: 1}, api.CodeUnauthenticated},
		"ended login":    {api.SocketAuth{Token: ended.token(), Generation: 9, Protocol: 1}, api.CodeUnauthenticated},
		"no device":      {api.SocketAuth{Token: bare.token(), Generation: 9, Protocol: 1}, api.CodeForbidden},
		"protocol":       {api.SocketAuth{Token: good.Token, Generation: 9, Protocol: 2}, api.CodeUpgradeRequired},
		"no generation":  {api.SocketAuth{Token: good.Token, Protocol: 1}, api.CodeInvalid},
		"old generation": {api.SocketAuth{Token: good.Token, Generation: 1, Protocol: 1}, api.CodeDeviceCloned},
	} {
		w := r.dial(t, r.s, tc.auth)
		var refused struct {
			Data struct {
				Code string `json:"code"`
			} `json:"data"`
		}
		if w.event("", &refused); refused.Data.Code != tc.code {
			t.Errorf("%s: code %q, want %q", name, refused.Data.Code, tc.code)
		}
	}
}

// TestSocketBacklog: what lay in the mailbox before is read, not pushed; then pushing goes on. Beyond the bound of
// unacknowledged bytes the client is told once that there is more.
func TestSocketBacklog(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	from.mustSend(from.message(c, anna, ben))
	to, ready := ben.devices[0].socket(t)
	if ready.Waiting != 1 {
		t.Fatalf("%+v", ready)
	}
	second := from.message(c, anna, ben)
	from.mustSend(second) // not pushed
	from.mustSend(second) // stored in a later round: what the first one tells the socket has been told
	page := call[api.MailboxPage](to, api.EventMailbox, api.MailboxRequest{Limit: api.MaxMailboxPage})
	if len(page.Ok.Entries) != 2 || page.Ok.Next != 0 {
		t.Fatalf("%+v", page.Ok)
	}
	third := from.message(c, anna, ben)
	from.mustSend(third)
	var pushed api.Entries
	to.event(api.EventEntries, &pushed)
	if len(pushed.Entries) != 1 || pushed.Entries[0].MessageID != third.MessageID {
		t.Fatalf("%+v", pushed)
	}
	const large = 250_000
	for range 4 {
		send := from.message(c, anna, ben)
		send.Envelopes[0].Bytes = make([]byte, large)
		from.mustSend(send)
	}
	got := 0
	for pushed = (api.Entries{}); !pushed.More; got += len(pushed.Entries) {
		pushed = api.Entries{}
		to.event(api.EventEntries, &pushed)
	}
	if got != maxUnacked/large {
		t.Errorf("%d large entries were pushed, want %d", got, maxUnacked/large)
	}
	var all []api.Entry
	for after := int64(0); ; {
		page := call[api.MailboxPage](to, api.EventMailbox, api.MailboxRequest{After: after, Limit: api.MaxMailboxPage})
		all = append(all, page.Ok.Entries...)
		if after = page.Ok.Next; after == 0 {
			break
		}
	}
	if len(all) != 7 {
		t.Errorf("%d entries", len(all))
	}
	last := from.message(c, anna, ben)
	from.mustSend(last)
	to.event(api.EventEntries, &pushed)
	if len(pushed.Entries) != 1 || pushed.Entries[0].MessageID != last.MessageID {
		t.Errorf("%+v", pushed)
	}
}

// TestSocketMissed: what is stored while the last page is read is neither in the page nor forgotten.
func TestSocketMissed(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	from.mustSend(from.message(c, anna, ben))
	to, _ := ben.devices[0].socket(t)
	conn := r.s.hub.conn(r.s.hub.connected()[0])
	conn.reading()
	push := []api.Entry{{EntryID: 2}}
	conn.offer(push)
	conn.answer(true, func() {})
	var told api.Entries
	if to.event(api.EventEntries, &told); !told.More || len(told.Entries) != 0 {
		t.Errorf("%+v", told)
	}
	conn.reading()
	conn.answer(true, func() {})
	conn.offer(push)
	told = api.Entries{}
	if to.event(api.EventEntries, &told); told.More || len(told.Entries) != 1 {
		t.Errorf("after the end of the backlog: %+v", told)
	}
}

// TestSocketPipeline: sends of one socket are stored in the order of their arrival without waiting for the answers.
func TestSocketPipeline(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	w, _ := anna.devices[0].socket(t)
	const n = 100
	var before *api.MessageID
	seqs := make(map[int]uint64)
	for i := range n {
		send := anna.devices[0].message(c, anna, ben)
		send.After = before
		before = &send.MessageID
		seqs[w.emit(api.EventSend, send)] = uint64(i + 1)
	}
	for range n {
		select {
		case a := <-w.acks:
			var reply api.Reply[api.Sent]
			if err := json.Unmarshal(a.arg, &reply); err != nil || reply.Ok == nil || reply.Ok.Seq != seqs[a.id] {
				t.Fatalf("answer %d: %s, want seq %d", a.id, a.arg, seqs[a.id])
			}
		case <-time.After(patience):
			t.Fatal("answers are missing")
		}
	}
}

// TestSocketsEnd: an ended login, a removed device and a newer connection end a socket, here and on another replica that
// heard no hint.
func TestSocketsEnd(t *testing.T) {
	r := running(t)
	replica := r.service()
	r.run(replica)
	anna, ben := r.person(2), r.person(1)
	r.talk(anna, ben)
	first, second := anna.devices[0], anna.devices[1]

	here, _ := first.socket(t)
	there := r.dial(t, replica, second.auth())
	var ready api.Connection
	there.event(api.EventReady, &ready)
	for _, d := range anna.devices {
		if err := r.s.LoginEnded(t.Context(), anna.id, d.login); err != nil {
			t.Fatal(err)
		}
	}
	if c := here.end(); c != api.CodeUnauthenticated {
		t.Errorf("ended login: %q", c)
	}
	if c := there.end(); c != api.CodeUnauthenticated {
		t.Errorf("ended login on a replica: %q", c)
	}

	first.login, second.login = newID[api.LoginID](r), newID[api.LoginID](r)
	old, _ := first.socket(t)
	current, _ := first.socket(t)
	if c := old.end(); c != "" {
		t.Errorf("a socket that was followed by another: %q", c)
	}
	first.connect() // over REST
	if c := current.end(); c != "" {
		t.Errorf("a socket whose generation was overtaken: %q", c)
	}
	current, _ = first.socket(t)
	removed := r.dial(t, replica, second.auth())
	removed.event(api.EventReady, &ready)
	anna.dropDevice(second)
	anna.sign()
	r.publish(anna)
	if c := removed.end(); c != api.CodeDeviceGone {
		t.Errorf("removed device: %q", c)
	}
	var lists api.ListVersion
	if current.event(api.EventLists, &lists); lists != (api.ListVersion{AccountID: anna.id, Version: 2}) {
		t.Errorf("%+v", lists)
	}
	r.handle(event.LoginEnded, anna.id, event.LoginEnd{LoginID: first.login, Until: r.clock.Load() + 1000})
	if c := current.end(); c != api.CodeUnauthenticated {
		t.Errorf("ended login by an event: %q", c)
	}
}

// TestEphemeralNeedsConsent: nothing is passed to or from an account that has not accepted, and the sender sees nothing of
// that.
func TestEphemeralNeedsConsent(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	heard := r.listen(ben)
	from, to := anna.devices[0], ben.devices[0]
	for _, state := range []api.MemberState{api.MemberBlocked, api.MemberAccepted} {
		r.setState(ben, c, state)
		send := from.silent(c, to)
		send.Class = api.ClassEphemeral
		from.mustSend(send)
		stale := from.silent(c, to)
		stale.Class = api.ClassEphemeral
		stale.Envelopes[0].RegistrationID++
		from.mustSend(stale)
		if state == api.MemberAccepted {
			if n := <-heard; n.Ephemeral == nil || n.Ephemeral.Entry.MessageID != send.MessageID {
				t.Errorf("the first note is not the accepted one: %+v", n)
			}
		}
	}
	if len(heard) != 0 {
		t.Error("an envelope for a device that is gone was passed")
	}
}

// TestSocketFullMailbox: a device whose mailbox overflows while it is connected loses its socket and comes back.
func TestSocketFullMailbox(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	to, _ := ben.devices[0].socket(t)
	if _, err := r.dbExec("UPDATE device SET bytes = $1 WHERE account = $2", api.MaxMailboxBytes, ben.id[:]); err != nil {
		t.Fatal(err)
	}
	anna.devices[0].mustSend(anna.devices[0].message(c, anna, ben))
	if c := to.end(); c != api.CodeUnavailable {
		t.Errorf("%q", c)
	}
	if _, ready := ben.devices[0].socket(t); ready.Waiting != 0 {
		t.Errorf("%+v", ready)
	}
	anna.devices[0].mustSend(anna.devices[0].message(c, anna, ben))
}
