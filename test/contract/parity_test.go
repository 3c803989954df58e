package contract_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"sotto/api"
	"sotto/internal/notification/notificationtest"
	"sotto/internal/testenv"
	"sotto/test/contract"
	"sotto/test/contract/rest"
)

// script is a run over plain REST that calls every operation and causes every documented refusal.
type script struct {
	*testing.T
	*rest.Server
	codes map[string]bool // seen in problem documents
}

// notProvoked are codes that need a fault of the server or of the machine, or a restore of its data; the services' own
// tests cause them.
var notProvoked = []string{api.CodeInternal, api.CodeUnavailable, api.CodePasswordRequired}

// needOperator are operations that begin with a code of `sottod admin reset`, which no client can get, or are for a server
// that was restored from a backup.
var needOperator = []string{"resetStart", "reset", "restoredStart", "restoredDevice", "restoredLists", "restoredBundle"}

// TestParity: everything can be done over plain REST, and the contract tells the truth about every answer on the way.
func TestParity(t *testing.T) {
	mails := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	logo, picture := aLogo(t)
	proxy := start(t, "SOTTO_MAIL_LOGO="+logo, "SOTTO_SMTP_HOST="+mails.Host, fmt.Sprintf("SOTTO_SMTP_PORT=%d", mails.Port), "SOTTO_SMTP_TLS=none",
		"SOTTO_SMTP_FROM=sotto@example.org", "SOTTO_ASSET_QUOTA=16777216",
		"SOTTO_FCM_CREDENTIALS="+notificationtest.FCMCredentials("http://127.0.0.1:1/token"))
	s := &script{T: t, Server: &rest.Server{URL: proxy.URL}, codes: map[string]bool{}}
	alice, bob := s.accounts()
	s.logins(alice)
	s.keys(alice, bob)
	second := s.devices(alice)
	s.conversations(alice, bob)
	s.messages(alice, second, bob)
	s.mailbox(second, bob)
	s.archive(bob)
	s.state(alice)
	s.recovery()
	s.notifications(bob)
	s.assets(alice, bob)
	s.image(s.email(bob, mails), picture)
	s.limits(bob)
	s.Call(t, http.MethodPost, "/api/user/logout", second.Login.Token, nil, nil)
	s.refused(api.CodeUnauthenticated, http.MethodGet, "/api/user/me", second.Login.Token, nil)

	for _, finding := range proxy.Findings() {
		t.Error(finding)
	}
	for _, operation := range proxy.Unanswered() {
		if !slices.Contains(needOperator, operation) {
			t.Errorf("the operation %s never succeeded", operation)
		}
	}
	for _, code := range documentedCodes(t) {
		if s.codes[code] == slices.Contains(notProvoked, code) {
			t.Errorf("code %s: seen %v", code, s.codes[code])
		}
	}
	t.Logf("codes seen: %v", slices.Sorted(maps.Keys(s.codes)))
}

var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-contract-")
	if err == nil {
		defer os.RemoveAll(dir)
		binaries = filepath.Join(dir, "bin")
		err = testenv.Build(binaries, "sottod", "sotto")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start brings up a server behind a proxy that knows the contract.
func start(t *testing.T, env ...string) *contract.Proxy {
	t.Helper()
	env = append(env, "SOTTO_TRUSTED_PROXIES=127.0.0.1/32")
	server, err := testenv.NewServe(binaries, filepath.Join(t.TempDir(), "data"), env...)
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy, err := contract.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

// documentedCodes are the constants of package api, which the contract repeats.
func documentedCodes(t *testing.T) (codes []string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(testenv.Root(), "api", "problem.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^\tCode\w+ += "(\w+)"`).FindAllSubmatch(source, -1) {
		codes = append(codes, string(match[1]))
	}
	if len(codes) < 20 {
		t.Fatalf("only %d codes", len(codes))
	}
	return codes
}

func (s *script) do(code string, r rest.Request) {
	s.Helper()
	answer := s.Do(s, r)
	got := answer.Code(s)
	if got != code {
		s.Errorf("%s %s: %q, want %q: %.300s", r.Method, r.Path, got, code, answer.Body)
	}
	s.codes[got] = true
}

func (s *script) refused(code, method, path, token string, body any) {
	s.Helper()
	s.do(code, rest.Request{Method: method, Path: path, Token: token, Body: rest.JSON(s, body)})
}

// write is refused for writes that name a generation.
func (s *script) write(code string, d *rest.Device, path string, body any) {
	s.Helper()
	s.do(code, rest.Request{
		Method: http.MethodPost, Path: path, Token: d.Login.Token, Generation: d.Generation, Body: rest.JSON(s, body),
	})
}

func (s *script) accounts() (alice, bob *rest.Device) {
	const path = "/api/user/register"
	s.Call(s, http.MethodGet, "/api/info", "", nil, &api.Info{})
	p := rest.NewPerson(s, "alice")
	registration := p.Registration(s)
	for range 2 { // the answer to the first may be lost
		s.Call(s, http.MethodPost, path, "", registration, &p.Devices[0].Login)
	}
	other := rest.NewPerson(s, "Alice")
	s.refused(api.CodeExists, http.MethodPost, path, "", other.Registration(s))
	changed := registration
	changed.Username = "alice2"
	s.refused(api.CodeConflict, http.MethodPost, path, "", changed)
	changed.List.Signature = make([]byte, 64)
	s.refused(api.CodeSignature, http.MethodPost, path, "", changed)
	changed.Iterations = 1
	s.refused(api.CodeInvalid, http.MethodPost, path, "", changed)
	s.do(api.CodeTooLarge, rest.Request{Method: http.MethodPost, Path: path, Body: bytes.Repeat([]byte(" "), api.MaxRegistrationBody+1)})
	s.refused(api.CodeMethod, http.MethodDelete, path, "", nil)
	s.refused(api.CodeNotFound, http.MethodGet, "/api/user/nothing", "", nil)
	return p.Devices[0], s.Register(s, "bob").Devices[0]
}

func (s *script) logins(d *rest.Device) {
	const finish, renew = "/api/user/login/finish", "/api/user/login/renew"
	request := api.LoginFinishRequest{
		Attempt: s.Start(s, "alice").Attempt, Proof: rest.NewPerson(s, "x").Auth, RenewalHash: d.RenewalHash(),
	}
	s.refused(api.CodeWrongLogin, http.MethodPost, finish, "", request)
	request.Proof = d.Owner.Auth
	request.Device = rest.NewPerson(s, "x").Devices[0].Prove(s, request.Attempt)
	s.refused(api.CodeDeviceGone, http.MethodPost, finish, "", request)
	s.SignInDevice(s, d)
	s.Call(s, http.MethodPost, renew, "", api.RenewRequest{LoginID: d.Login.LoginID, Renewal: d.Renewal[:]}, &d.Login)
	s.refused(api.CodeUnauthenticated, http.MethodPost, renew, "", api.RenewRequest{LoginID: d.Login.LoginID, Renewal: make([]byte, 32)})
	s.Call(s, http.MethodGet, "/api/user/me", d.Login.Token, nil, &api.Me{})
	s.do(api.CodeUpgradeRequired, rest.Request{
		Method: http.MethodGet, Path: "/api/user/me", Token: d.Login.Token, Header: http.Header{api.HeaderProtocol: {"99"}},
	})
}

func (s *script) keys(alice, bob *rest.Device) {
	token := alice.Login.Token
	s.Call(s, http.MethodPost, "/api/user/lookup", token, api.LookupRequest{Username: "BOB"}, &api.Account{})
	s.Call(s, http.MethodPost, "/api/user/find", token, api.FindRequest{Prefix: "BOB"}, &api.FindAnswer{})
	s.refused(api.CodeInvalid, http.MethodPost, "/api/user/find", token, api.FindRequest{Prefix: "bo"})
	s.Call(s, http.MethodPost, "/api/user/lists", token, api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: bob.Owner.ID}}}, &api.ListsResponse{})
	s.Call(s, http.MethodPost, "/api/user/prekeys", token, alice.Upload(s, 3), &api.PreKeyCount{})
	s.Call(s, http.MethodGet, "/api/user/prekeys", token, nil, &api.PreKeyCount{})
	for range 3 { // bob has two one-time prekeys of each sort; the third bundle does without
		s.Call(s, http.MethodPost, "/api/user/prekeys/claim", token, api.ClaimRequest{AccountID: bob.Owner.ID}, &api.ClaimResponse{})
	}
	s.Call(s, http.MethodGet, "/api/user/bundle", token, nil, &api.Bundle{})
	alice.Owner.Version++
	s.Call(s, http.MethodPut, "/api/user/bundle", token, alice.Owner.Seal(s, alice.Owner.Version), nil)
	s.refused(api.CodeBundleVersion, http.MethodPut, "/api/user/bundle", token, alice.Owner.Seal(s, alice.Owner.Version))
}

func (s *script) devices(alice *rest.Device) *rest.Device {
	stale := alice.Owner.Addition(s, alice.Owner.NewDevice(s))
	d := s.AddDevice(s, alice.Owner)
	s.Call(s, http.MethodGet, "/api/user/devices", d.Login.Token, nil, &api.Devices{})
	plain := s.SignIn(s, alice.Owner).Token
	s.refused(api.CodeListVersion, http.MethodPost, "/api/user/devices", plain, stale)
	s.refused(api.CodeForbidden, http.MethodGet, "/api/chat/mailbox", plain, nil)
	return d
}

func (s *script) conversations(alice, bob *rest.Device) {
	s.Call(s, http.MethodPost, "/api/chat/conversations", alice.Login.Token, api.OpenConversationRequest{Kind: api.KindSelf}, &api.Conversation{})
	id := s.Talk(s, alice, bob)
	var page api.Conversations
	s.Call(s, http.MethodGet, "/api/chat/conversations", alice.Login.Token, nil, &page)
	if len(page.Conversations) != 2 {
		s.Errorf("%d conversations", len(page.Conversations))
	}
	s.Call(s, http.MethodGet, "/api/chat/conversations?cursor="+id.String(), alice.Login.Token, nil, &page)
	s.Call(s, http.MethodGet, "/api/chat/conversations/"+id.String(), alice.Login.Token, nil, &api.Conversation{})
	s.Call(s, http.MethodGet, "/api/chat/conversations/"+id.String()+"/epochs", alice.Login.Token, nil, &api.ConversationEpochs{})
}

// messages stores messages of every class and sort from alice to her second device and to bob.
func (s *script) messages(alice, second, bob *rest.Device) {
	const send = "/api/chat/send"
	id := s.Talk(s, alice, bob)
	for _, d := range []*rest.Device{alice, second, bob} {
		s.Connect(s, d)
	}
	s.refused(api.CodeDeviceCloned, http.MethodPost, "/api/chat/connection", alice.Login.Token, api.ConnectionRequest{Generation: 1})

	first := alice.Message(s, id, alice.Owner, bob.Owner)
	for range 2 {
		s.Write(s, alice, send, first, &api.Sent{})
	}
	follows := alice.Message(s, id, alice.Owner, bob.Owner)
	follows.After, follows.EraseAfter = &first.MessageID, 3_600_000*1_000_000
	follows.Shared, follows.Envelopes[0].Type, follows.Envelopes[0].Bytes = []byte("for all"), 0, nil
	s.Write(s, alice, send, follows, &api.Sent{})
	s.Write(s, alice, send, alice.Silent(s, id, bob, second), &api.Sent{})
	ephemeral := alice.Silent(s, id, bob)
	ephemeral.Class = api.ClassEphemeral
	s.Write(s, alice, send, ephemeral, &api.Sent{})

	supplement := first
	supplement.Record, supplement.Envelopes = nil, []api.Envelope{bob.Envelope()}
	supplement.Envelopes[0].Bytes = []byte("made later by another device")
	s.Write(s, second, send, supplement, &api.Sent{})
	s.Call(s, http.MethodGet, "/api/chat/presence", alice.Login.Token, nil, &api.PresenceAnswer{})
	asked := api.DeliveredRequest{ConversationID: id, MessageIDs: []api.MessageID{first.MessageID}}
	s.Call(s, http.MethodPost, "/api/chat/delivered", alice.Login.Token, asked, &api.DeliveredAnswer{})
	s.Call(s, http.MethodGet, "/api/chat/owed", alice.Login.Token, nil, &api.OwedMessages{})

	first.Commitment = make([]byte, 32)
	s.write(api.CodeConflict, alice, send, first)
	bad := alice.Message(s, id, alice.Owner, bob.Owner)
	bad.Envelopes = bad.Envelopes[:1]
	s.write(api.CodeDeviceSet, alice, send, bad)
	bad = alice.Message(s, id, alice.Owner, bob.Owner)
	unknown := rest.Random[api.MessageID](s)
	bad.After = &unknown
	s.write(api.CodeOutOfOrder, alice, send, bad)
	bad.After, bad.Record = nil, nil
	s.write(api.CodeRecordRequired, alice, send, bad)
	newer := alice.Message(s, id, alice.Owner, bob.Owner)
	newer.Record.KeyEpoch = 2
	s.Write(s, alice, send, newer, &api.Sent{})
	s.write(api.CodeArchiveEpoch, alice, send, alice.Message(s, id, alice.Owner, bob.Owner))

	// Blocked: bob may not write; what alice writes is answered and withheld.
	state := "/api/chat/conversations/" + id.String() + "/state"
	s.Call(s, http.MethodPut, state, bob.Login.Token, api.MemberStateRequest{State: api.MemberBlocked}, &api.Conversation{})
	s.write(api.CodeForbidden, bob, send, bob.Message(s, id, alice.Owner, bob.Owner))
	withheld := alice.Message(s, id, alice.Owner, bob.Owner)
	withheld.Record.KeyEpoch = 2
	s.Write(s, alice, send, withheld, &api.Sent{})
	s.Call(s, http.MethodPut, state, bob.Login.Token, api.MemberStateRequest{State: api.MemberAccepted}, &api.Conversation{})
}

// mailbox reads what messages stored, page by page, acknowledges it badly and well, and reads the positions.
func (s *script) mailbox(second, bob *rest.Device) {
	var entries []api.Entry
	for after := int64(0); ; {
		var page api.MailboxPage
		s.Call(s, http.MethodGet, "/api/chat/mailbox?limit=2&after="+strconv.FormatInt(after, 10), bob.Login.Token, nil, &page)
		entries = append(entries, page.Entries...)
		if after = page.Next; after == 0 {
			break
		}
	}
	if len(entries) != 4 {
		s.Fatalf("bob has %d entries", len(entries))
	}
	conversation := entries[0].ConversationID
	positions := "/api/chat/conversations/" + conversation.String() + "/sync?from=1&limit=10"
	s.Call(s, http.MethodGet, positions, bob.Login.Token, nil, &api.SyncPage{})
	var acked api.Acked
	s.Write(s, bob, "/api/chat/ack", api.Ack{Entries: []int64{entries[0].EntryID}}, &acked)
	if len(acked.Refused) != 1 || acked.Refused[0].Code != api.CodeRecordRequired {
		s.Errorf("without a record: %+v", acked)
	}
	ack := api.Ack{}
	for _, e := range entries {
		ack.Entries = append(ack.Entries, e.EntryID)
		if e.Class == api.ClassMessage {
			ack.Records = append(ack.Records, rest.RecordOf(e.ConversationID, e.MessageID))
		}
	}
	s.Write(s, bob, "/api/chat/ack", ack, &acked)
	if len(acked.Removed) != len(entries) {
		s.Errorf("with records: %+v", acked)
	}
	ack.Records[0].MessageID = rest.Random[api.MessageID](s)
	s.write(api.CodeNotFound, bob, "/api/chat/ack", ack)
	var page api.SyncPage
	s.Call(s, http.MethodGet, positions, bob.Login.Token, nil, &page)
	var reasons []api.Reason
	for _, item := range page.Items {
		reasons = append(reasons, item.Reason)
	}
	want := []api.Reason{api.ReasonAcknowledged, api.ReasonAcknowledged, api.ReasonAcknowledged, api.ReasonWithheld}
	if !slices.Equal(reasons, want) {
		s.Errorf("reasons %v, want %v", reasons, want)
	}
	s.Call(s, http.MethodGet, positions, second.Login.Token, nil, &page)
}

// archive reads what mailbox acknowledged, page by page, and replaces a record.
func (s *script) archive(bob *rest.Device) {
	var records []api.ArchivedRecord
	for before := ""; ; {
		var page api.ArchivePage
		s.Call(s, http.MethodGet, "/api/chat/archive?limit=2&before="+before, bob.Login.Token, nil, &page)
		records = append(records, page.Records...)
		if before = page.Next; before == "" {
			break
		}
	}
	if len(records) != 3 {
		s.Fatalf("bob has %d records", len(records))
	}
	r := records[0].Record
	s.Call(s, http.MethodGet, "/api/chat/archive?conversation="+r.ConversationID.String(), bob.Login.Token, nil, &api.ArchivePage{})
	path := "/api/chat/archive/" + r.ConversationID.String() + "/" + r.MessageID.String()
	update := api.RecordUpdate{Revision: 1, KeyEpoch: 1, Sealed: []byte("sealed again")}
	s.Call(s, http.MethodPut, path, bob.Login.Token, update, &api.RecordRevision{})
	update.Sealed = []byte("too late")
	s.refused(api.CodeConflict, http.MethodPut, path, bob.Login.Token, update)
	s.Call(s, http.MethodDelete, path, bob.Login.Token, nil, nil)
	s.Call(s, http.MethodDelete, path+"?for_all=true", bob.Login.Token, nil, nil)
}

// state stores account state and chooses what the archive keeps.
func (s *script) state(d *rest.Device) {
	const path, settings = "/api/chat/state", "/api/chat/settings"
	state := api.State{Name: "profile", Version: 1, KeyEpoch: 2, Sealed: []byte("stands for sealed state")}
	s.Call(s, http.MethodPut, path, d.Login.Token, state, nil)
	s.Call(s, http.MethodGet, path, d.Login.Token, nil, &api.States{})
	s.Call(s, http.MethodGet, path+"?name=profile", d.Login.Token, nil, &api.States{})
	state.Version = 3
	s.refused(api.CodeConflict, http.MethodPut, path, d.Login.Token, state)
	var chosen api.ChatSettings
	s.Call(s, http.MethodPut, settings, d.Login.Token, api.ChatSettings{Archive: api.ArchiveDays, Days: 90}, &chosen)
	s.Call(s, http.MethodGet, settings, d.Login.Token, nil, &chosen)
	if chosen.Days != 90 {
		s.Errorf("%+v", chosen)
	}
}

// limits asks until it is too often.
func (s *script) limits(d *rest.Device) {
	for range 200 {
		answer := s.Do(s, rest.Request{
			Method: http.MethodPost, Path: "/api/user/lookup", Token: d.Login.Token, Body: rest.JSON(s, api.LookupRequest{Username: "alice"}),
		})
		if answer.Code(s) == api.CodeLimited {
			s.codes[api.CodeLimited] = true
			if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
				s.Errorf("Retry-After: %q", answer.Header.Get("Retry-After"))
			}
			return
		}
	}
	s.Error("200 look-ups in a row were allowed")
}
