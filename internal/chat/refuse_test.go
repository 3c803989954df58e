package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/httpx"
)

// TestRefusedSends: every broken rule has its code and leaves the database as it was.
func TestRefusedSends(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(2), r.person(2), r.person(1)
	ben.dropDevice(ben.devices[1])
	ben.sign()
	r.publish(ben)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	known := from.message(c, anna, ben)
	from.mustSend(known)
	type change = func(s *api.Send)
	cases := []struct {
		name   string
		code   string
		change change
	}{
		{"no conversation id", api.CodeInvalid, func(s *api.Send) { s.ConversationID = api.ConversationID{} }},
		{"no message id", api.CodeInvalid, func(s *api.Send) { s.MessageID = api.MessageID{} }},
		{"no class", api.CodeInvalid, func(s *api.Send) { s.Class = "" }},
		{"short commitment", api.CodeInvalid, func(s *api.Send) { s.Commitment = s.Commitment[:31] }},
		{"follows itself", api.CodeInvalid, func(s *api.Send) { s.After = &s.MessageID }},
		{"two envelopes for a device", api.CodeInvalid, func(s *api.Send) { s.Envelopes = append(s.Envelopes, s.Envelopes[0]) }},
		{"empty envelope", api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Bytes = nil }},
		{"sealed sender", api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Type = api.EnvelopeSealed }},
		{"no type and no shared ciphertext", api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Type, s.Envelopes[0].Bytes = 0, nil }},
		{"wire id 0", api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].DeviceID = 0 }},
		{"registration id 0", api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].RegistrationID = 0 }},
		{"huge envelope", api.CodeTooLarge, func(s *api.Send) { s.Envelopes[0].Bytes = make([]byte, api.MaxEnvelopeBytes+1) }},
		{"huge shared ciphertext", api.CodeTooLarge, func(s *api.Send) { s.Shared = make([]byte, api.MaxEnvelopeBytes+1) }},
		{"too many envelopes", api.CodeTooLarge, func(s *api.Send) { s.Envelopes = make([]api.Envelope, api.MaxEnvelopes+1) }},
		{"huge record", api.CodeTooLarge, func(s *api.Send) { s.Record.Sealed = make([]byte, maxRecordBytes+1) }},
		{"empty record", api.CodeInvalid, func(s *api.Send) { s.Record.Sealed = nil }},
		{"record of another message", api.CodeInvalid, func(s *api.Send) { s.Record.MessageID = known.MessageID }},
		{"record of no epoch", api.CodeInvalid, func(s *api.Send) { s.Record.KeyEpoch = 0 }},
		{"record of an epoch far ahead", api.CodeInvalid, func(s *api.Send) { s.Record.KeyEpoch = maxKeyEpochStep + 2 }},
		{"erasure within the hour", api.CodeInvalid, func(s *api.Send) { s.EraseAfter = hour + 1 }},
		{"silent with a record", api.CodeInvalid, func(s *api.Send) { s.Class = api.ClassSilent }},
		{"silent for nobody", api.CodeInvalid, func(s *api.Send) { s.Class, s.Record, s.Envelopes = api.ClassSilent, nil, nil }},
		{"large ephemeral", api.CodeTooLarge, func(s *api.Send) {
			s.Class, s.Record, s.Envelopes[0].Bytes = api.ClassEphemeral, nil, make([]byte, maxEphemeralBytes+1)
		}},
		{"ephemeral with shared ciphertext", api.CodeInvalid, func(s *api.Send) {
			s.Class, s.Record, s.Shared = api.ClassEphemeral, nil, []byte{1}
		}},
		{"silent in another device's name", api.CodeInvalid, func(s *api.Send) { s.Class, s.Record, s.SenderDevice = api.ClassSilent, nil, 2 }},
		{"in the name of device 128", api.CodeInvalid, func(s *api.Send) { s.SenderDevice = api.MaxWireDeviceID + 1 }},
		{"unknown conversation", api.CodeNotFound, func(s *api.Send) { s.ConversationID[0]++; s.Record.ConversationID = s.ConversationID }},
		{"unknown predecessor", api.CodeOutOfOrder, func(s *api.Send) { s.After = &api.MessageID{1} }},
		{"replay with another commitment", api.CodeConflict, func(s *api.Send) {
			s.MessageID, s.Record.MessageID = known.MessageID, known.MessageID
		}},
		{"no list versions", api.CodeInvalid, func(s *api.Send) { s.ListVersions = nil }},
		{"one list version twice", api.CodeInvalid, func(s *api.Send) { s.ListVersions[1] = s.ListVersions[0] }},
		{"list version of a stranger", api.CodeInvalid, func(s *api.Send) { s.ListVersions[1].AccountID = carl.id }},
		{"list version 0", api.CodeInvalid, func(s *api.Send) { s.ListVersions[1].Version = 0 }},
		{"old list version", api.CodeDeviceSet, func(s *api.Send) { s.ListVersions[1].Version = 1 }},
		{"list version that nobody has", api.CodeDeviceSet, func(s *api.Send) { s.ListVersions[1].Version = 9 }},
		{"missing envelope", api.CodeDeviceSet, func(s *api.Send) { s.Envelopes = s.Envelopes[1:] }},
		{"envelope for a stranger", api.CodeDeviceSet, func(s *api.Send) {
			s.Envelopes = append(s.Envelopes, carl.devices[0].envelope(s.MessageID))
		}},
		{"envelope for oneself", api.CodeDeviceSet, func(s *api.Send) { s.Envelopes = append(s.Envelopes, from.envelope(s.MessageID)) }},
		{"envelope for a predecessor", api.CodeDeviceSet, func(s *api.Send) { s.Envelopes[0].RegistrationID++ }},
		{"no record", api.CodeRecordRequired, func(s *api.Send) { s.Record = nil }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			send := from.message(c, anna, ben)
			tc.change(&send)
			before := r.dump()
			_, err := from.send(send)
			wantCode(t, err, tc.code)
			if diff := cmp.Diff(before, r.dump()); diff != "" {
				t.Errorf("a refused send changed something: %s", diff)
			}
		})
	}
}

// TestRefusedActors: who may not, and what a foreign member learns of it: nothing.
func TestRefusedActors(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	known := from.message(c, anna, ben)
	from.mustSend(known)
	foreign := carl.devices[0]
	before := r.dump()
	ctx := t.Context()

	_, err := foreign.send(foreign.message(c, anna, ben))
	wantCode(t, err, api.CodeNotFound)
	_, err = foreign.send(known) // also when the id and the commitment are right
	wantCode(t, err, api.CodeNotFound)
	_, err = foreign.send(foreign.silent(c, ben.devices[0]))
	wantCode(t, err, api.CodeNotFound)
	ephemeral := foreign.silent(c, ben.devices[0])
	ephemeral.Class = api.ClassEphemeral
	_, err = foreign.send(ephemeral)
	wantCode(t, err, api.CodeNotFound)
	for _, id := range []api.ConversationID{c, {9}} {
		_, err = r.s.Conversation(ctx, foreign.actor(), id)
		wantCode(t, err, api.CodeNotFound)
		_, err = r.s.Sync(ctx, foreign.actor(), api.SyncRequest{ConversationID: id, From: 1, Limit: 1})
		wantCode(t, err, api.CodeNotFound)
		_, err = r.s.SetMemberState(ctx, foreign.actor(), id, api.MemberStateRequest{State: api.MemberBlocked})
		wantCode(t, err, api.CodeNotFound)
	}
	box := ben.devices[0].mailbox()
	acked := foreign.mustAck(api.Ack{Entries: []int64{box[0].EntryID}})
	if diff := cmp.Diff(api.Acked{Removed: []int64{box[0].EntryID}}, acked); diff != "" {
		t.Errorf("a foreign entry reads differently from one that is gone: %s", diff)
	}
	_, err = foreign.ack(api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{record(c, known.MessageID)}})
	wantCode(t, err, api.CodeNotFound)
	_, err = from.ack(api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{record(c, api.MessageID{9})}})
	wantCode(t, err, api.CodeNotFound)

	// A token of a device that is not this one, as after the number was used again.
	impostor := *from
	impostor.id = newID[api.DeviceID](r)
	_, err = impostor.send(impostor.message(c, anna, ben))
	wantCode(t, err, api.CodeDeviceGone)
	_, err = impostor.ack(ackOf(box...))
	wantCode(t, err, api.CodeDeviceGone)
	_, err = r.s.Mailbox(ctx, impostor.actor(), api.MailboxRequest{Limit: 1})
	wantCode(t, err, api.CodeDeviceGone)

	// A copy that was overtaken, and a generation that nobody accepted.
	for generation, want := range map[uint64]string{from.generation - 1: api.CodeDeviceCloned, from.generation + 1: api.CodeInvalid} {
		clone := *from
		clone.generation = generation
		_, err = clone.send(clone.message(c, anna, ben))
		wantCode(t, err, want)
		_, err = clone.ack(api.Ack{Entries: []int64{1 << 40}})
		wantCode(t, err, want)
	}
	_, err = r.s.Connect(ctx, from.actor(), api.ConnectionRequest{Generation: from.generation})
	wantCode(t, err, api.CodeDeviceCloned)
	_, err = r.s.Connect(ctx, from.actor(), api.ConnectionRequest{})
	wantCode(t, err, api.CodeInvalid)
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Errorf("something changed: %s", diff)
	}
}

func TestRefusedAcks(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	anna.devices[0].mustSend(anna.devices[0].message(c, anna, ben))
	box := ben.devices[0].mailbox()
	cases := map[string]func(a *api.Ack){
		"nothing":         func(a *api.Ack) { a.Entries = nil },
		"entry 0":         func(a *api.Ack) { a.Entries = []int64{0} },
		"entry twice":     func(a *api.Ack) { a.Entries = append(a.Entries, a.Entries[0]) },
		"too many":        func(a *api.Ack) { a.Entries = make([]int64, api.MaxAckEntries+1) },
		"record twice":    func(a *api.Ack) { a.Records = append(a.Records, a.Records[0]) },
		"empty record":    func(a *api.Ack) { a.Records[0].Sealed = nil },
		"record of no id": func(a *api.Ack) { a.Records[0].MessageID = api.MessageID{} },
		"epoch far ahead": func(a *api.Ack) { a.Records[0].KeyEpoch = maxKeyEpochStep + 2 },
	}
	before := r.dump()
	for name, change := range cases {
		a := ackOf(box...)
		change(&a)
		if _, err := ben.devices[0].ack(a); code(err) != api.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
}

// TestREST sends every operation through the routes table, good and malformed, and holds what is refused against the
// database.
func TestREST(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	server := &httpx.Server{Verify: r.s.Verify, Allow: r.s.Allow, Logger: slog.New(slog.DiscardHandler), NewRequestID: func() string { return "r" }}
	mux, err := server.Mux(r.s.Routes())
	if err != nil {
		t.Fatal(err)
	}
	from := anna.devices[0]
	call := func(d *phone, method, path string, body any, header ...string) *httptest.ResponseRecorder {
		raw, ok := body.(string)
		if !ok && body != nil {
			b, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(b)
		}
		req := httptest.NewRequest(method, path, strings.NewReader(raw))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+d.token())
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		return w
	}
	generation := []string{api.HeaderGeneration, strconv.FormatUint(from.generation, 10)}
	send := from.message(c, anna, ben)
	var sent api.Sent
	answerOf(t, call(from, "POST", "/api/chat/send", send, generation...), &sent)
	var page api.MailboxPage
	answerOf(t, call(ben.devices[0], "GET", "/api/chat/mailbox?after=0&limit=5", nil), &page)
	if sent.Seq != 1 || len(page.Entries) != 1 {
		t.Fatal(sent, page)
	}
	var positions api.SyncPage
	answerOf(t, call(ben.devices[0], "GET", "/api/chat/conversations/"+c.String()+"/sync?from=1", nil), &positions)
	if len(positions.Items) != 1 || positions.Items[0].Entry == nil {
		t.Fatal(positions)
	}
	var acked api.Acked
	answerOf(t, call(ben.devices[0], "POST", "/api/chat/ack", ackOf(page.Entries...), generation...), &acked)
	var list api.Conversations
	answerOf(t, call(from, "GET", "/api/chat/conversations", nil), &list)
	var one api.Conversation
	answerOf(t, call(from, "GET", "/api/chat/conversations/"+c.String(), nil), &one)
	if len(list.Conversations) != 1 || one.LastSeq != 1 || one.ConversationID != c {
		t.Fatal(list, one)
	}
	answerOf(t, call(from, "PUT", "/api/chat/conversations/"+c.String()+"/state", api.MemberStateRequest{State: api.MemberAccepted}), &one)
	answerOf(t, call(from, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindSelf}), &one)
	var connection api.Connection
	from.generation++
	answerOf(t, call(from, "POST", "/api/chat/connection", api.ConnectionRequest{Generation: from.generation}), &connection)
	generation[1] = strconv.FormatUint(from.generation, 10)

	good := from.message(c, anna, ben)
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	before := r.dump()
	noDevice := &phone{owner: anna, login: newID[api.LoginID](r)}
	refused := []struct {
		name         string
		by           *phone
		method, path string
		body         any
		header       []string
		code         string
	}{
		{"not JSON", from, "POST", "/api/chat/send", "{", generation, api.CodeInvalid},
		{"unknown field", from, "POST", "/api/chat/send", strings.Replace(string(text), "{", `{"x":1,`, 1), generation, api.CodeInvalid},
		{"key twice", from, "POST", "/api/chat/send", strings.Replace(string(text), "{", `{"class":"message",`, 1), generation, api.CodeInvalid},
		{"upper case key", from, "POST", "/api/chat/send", strings.Replace(string(text), `"class"`, `"Class"`, 1), generation, api.CodeInvalid},
		{"trailing data", from, "POST", "/api/chat/send", string(text) + "{}", generation, api.CodeInvalid},
		{"wrong type", from, "POST", "/api/chat/send", strings.Replace(string(text), `"message"`, `7`, 1), generation, api.CodeInvalid},
		{"oversize", from, "POST", "/api/chat/send", strings.Repeat(" ", api.MaxSendBody+1), generation, api.CodeTooLarge},
		{"no generation", from, "POST", "/api/chat/send", good, nil, api.CodeInvalid},
		{"generation of words", from, "POST", "/api/chat/ack", ackOf(page.Entries...), []string{api.HeaderGeneration, "one"}, api.CodeInvalid},
		{"ack of words", from, "POST", "/api/chat/ack", `{"entries":["x"]}`, generation, api.CodeInvalid},
		{"login without a device", noDevice, "GET", "/api/chat/mailbox", nil, nil, api.CodeForbidden},
		{"mailbox of too much", from, "GET", "/api/chat/mailbox?limit=257", nil, nil, api.CodeInvalid},
		{"mailbox of nothing", from, "GET", "/api/chat/mailbox?limit=0", nil, nil, api.CodeInvalid},
		{"mailbox after words", from, "GET", "/api/chat/mailbox?after=x", nil, nil, api.CodeInvalid},
		{"sync from 0", from, "GET", "/api/chat/conversations/" + c.String() + "/sync?from=0", nil, nil, api.CodeInvalid},
		{"sync of too much", from, "GET", "/api/chat/conversations/" + c.String() + "/sync?from=1&limit=1000", nil, nil, api.CodeInvalid},
		{"malformed id", from, "GET", "/api/chat/conversations/x", nil, nil, api.CodeNotFound},
		{"cursor of words", from, "GET", "/api/chat/conversations?cursor=x", nil, nil, api.CodeInvalid},
		{"unknown kind", from, "POST", "/api/chat/conversations", `{"kind":"group"}`, nil, api.CodeInvalid},
		{"self with a peer", from, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindSelf, Peer: &ben.id}, nil, api.CodeInvalid},
		{"direct with oneself", from, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindDirect, Peer: &anna.id}, nil, api.CodeInvalid},
		{"direct with nobody", from, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindDirect}, nil, api.CodeInvalid},
		{"unknown peer", from, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindDirect, Peer: &api.AccountID{7}}, nil, api.CodeNotFound},
		{"state requested", from, "PUT", "/api/chat/conversations/" + c.String() + "/state", `{"state":"requested"}`, nil, api.CodeInvalid},
		{"blocked self", from, "PUT", "/api/chat/conversations/" + one.ConversationID.String() + "/state", `{"state":"blocked"}`, nil, api.CodeInvalid},
	}
	for _, tc := range refused {
		w := call(tc.by, tc.method, tc.path, tc.body, tc.header...)
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != tc.code || p.Status != w.Code {
			t.Errorf("%s: status %d, %s, want code %s", tc.name, w.Code, bytes.TrimSpace(w.Body.Bytes()), tc.code)
		}
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Errorf("a refused request changed something: %s", diff)
	}
	for _, route := range r.s.Routes() {
		if route.Role != httpx.WithDevice {
			t.Errorf("%s %s is open to logins without a device", route.Method, route.Pattern)
		}
		path := strings.ReplaceAll(route.Pattern, "{id}", c.String())
		req := httptest.NewRequest(route.Method, path, nil)
		w := httptest.NewRecorder()
		if mux.ServeHTTP(w, req); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, w.Code)
		}
	}
}

func answerOf(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

func TestConversationsPage(t *testing.T) {
	r := newRig(t)
	anna := r.person(1)
	var want []api.ConversationID
	for range api.MaxConversations + 3 {
		peer := r.stranger(1)
		c, err := r.s.OpenConversation(context.Background(), anna.devices[0].actor(), api.OpenConversationRequest{Kind: api.KindDirect, Peer: &peer.id})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, c.ConversationID)
	}
	slices.SortFunc(want, compareIDs)
	var got []api.ConversationID
	for cursor := ""; ; {
		page, err := r.s.Conversations(t.Context(), anna.devices[0].actor(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Conversations {
			if len(c.Members) != 2 {
				t.Fatal(c)
			}
			got = append(got, c.ConversationID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
