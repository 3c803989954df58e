package security_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"sotto/api"
	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

// roles in the order of the table's cells. "plain" has signed in with the owner's password and has no device yet;
// "stranger" is a member of nothing; "member" and "owner" share a conversation, which the owner opened; "ended" has logged
// out; "expired" and "forged" hold the owner's token from an hour ago and under another key.
var roles = []string{"anonymous", "plain", "stranger", "member", "owner", "ended", "expired", "forged"}

// Cells: the status, and the code of a refusal.
const (
	ok         = "200"
	done       = "204"
	bad        = "400 invalid"
	signature  = "400 signature"
	noToken    = "401 unauthenticated"
	wrongCode  = "401 wrong_login"
	wrongProof = "403 wrong_login"
	noDevice   = "403 forbidden"
	forbidden  = "403 forbidden"
	notFound   = "404 not_found"
	conflict   = "409 conflict"
	taken      = "409 exists"
)

type cells [8]string

// everyone answers every role alike: the route looks at no token.
func everyone(c string) cells { return cells{c, c, c, c, c, c, c, c} }

// signedIn is for routes that need a login; plain is the answer to one without a device.
func signedIn(plain, stranger, member, owner string) cells {
	return cells{noToken, plain, stranger, member, owner, noToken, noToken, noToken}
}

// withDevice is for routes that need a login with a device.
func withDevice(stranger, member, owner string) cells {
	return signedIn(noDevice, stranger, member, owner)
}

// row is one operation on one object. Of two rows with the objects "foreign" and "random", refusals must be the same
// byte for byte: nobody can find out what exists.
type row struct {
	operation, object string
	request           func(as *role) rest.Request
	want              cells
}

type role struct {
	name   string
	token  string
	device *rest.Device // whose keys the requests are made with; for roles without one, the owner's
	alive  bool         // the device's own login
}

// cast is everybody in the table.
type cast struct {
	t                         *testing.T
	alice, bob, carol, dave   *rest.Device // alice and bob share ours, carol and dave theirs
	ours, theirs              api.ConversationID
	ourMessage, theirMessage  api.MessageID
	newcomer                  *rest.Device // not registered: whatever is theirs is random to the server
	roles                     map[string]*role
	randomConversation        api.ConversationID
	randomAccount, knownOther api.AccountID
}

func newCast(t *testing.T) *cast {
	t.Helper()
	c := &cast{t: t, randomConversation: rest.Random[api.ConversationID](t), randomAccount: rest.Random[api.AccountID](t)}
	register := func(name string) *rest.Device { return server.Register(t, "roles-"+name).Devices[0] }
	c.alice, c.bob, c.carol, c.dave = register("alice"), register("bob"), register("carol"), register("dave")
	stranger, gone := register("erin"), register("gone")
	c.newcomer = rest.NewPerson(t, "roles-nobody").Devices[0]
	for _, d := range []*rest.Device{c.alice, c.bob, c.carol, c.dave, stranger} {
		server.Connect(t, d)
	}
	c.ours, c.theirs = server.Talk(t, c.alice, c.bob), server.Talk(t, c.carol, c.dave)
	ours, theirs := c.alice.Message(t, c.ours, c.alice.Owner, c.bob.Owner), c.carol.Message(t, c.theirs, c.carol.Owner,
		c.dave.Owner)
	server.Write(t, c.alice, "/api/chat/send", ours, nil)
	server.Write(t, c.carol, "/api/chat/send", theirs, nil)
	c.ourMessage, c.theirMessage, c.knownOther = ours.MessageID, theirs.MessageID, c.carol.Owner.ID
	server.Call(t, http.MethodPost, "/api/user/logout", gone.Login.Token, nil, nil)
	c.roles = map[string]*role{
		"anonymous": {device: c.alice},
		"plain":     {token: server.SignIn(t, c.alice.Owner).Token, device: c.alice},
		"stranger":  {token: stranger.Login.Token, device: stranger, alive: true},
		"member":    {token: c.bob.Login.Token, device: c.bob, alive: true},
		"owner":     {token: c.alice.Login.Token, device: c.alice, alive: true},
		"ended":     {token: gone.Login.Token, device: c.alice},
		"expired":   {token: sign(t, c.alice, serverSecret(t), time.Now().Add(-time.Hour)), device: c.alice},
		"forged":    {token: sign(t, c.alice, bytes.Repeat([]byte{7}, 32), time.Now()), device: c.alice},
	}
	for name, as := range c.roles {
		as.name = name
	}
	return c
}

// table declares every cell. Rows that end something come last.
func (c *cast) table() []row {
	get := func(path string) func(*role) rest.Request {
		return func(as *role) rest.Request { return rest.Request{Method: http.MethodGet, Path: path} }
	}
	with := func(method, path string, body func(as *role) any) func(*role) rest.Request {
		return func(as *role) rest.Request {
			return rest.Request{Method: method, Path: path, Generation: as.device.Generation, Body: rest.JSON(c.t, body(as))}
		}
	}
	post := func(path string, body func(as *role) any) func(*role) rest.Request {
		return with(http.MethodPost, path, body)
	}
	rows := []row{
		{"info", "", get("/api/info"), everyone(ok)},
		{"register", "taken id", post("/api/user/register", func(*role) any {
			p := rest.NewPerson(c.t, "roles-new")
			p.ID, p.List.Account = c.carol.Owner.ID, c.carol.Owner.ID
			p.Signed = p.Sign(c.t, p.List)
			return p.Registration(c.t)
		}), everyone(conflict)},
		{"register", "taken name", post("/api/user/register", func(*role) any {
			return rest.NewPerson(c.t, "Roles-Carol").Registration(c.t)
		}), everyone(taken)},
		{"loginStart", "known", post("/api/user/login/start", func(*role) any {
			return loginStart("roles-carol")
		}), everyone(ok)},
		{"loginStart", "unknown", post("/api/user/login/start", func(*role) any {
			return loginStart("roles-nobody")
		}), everyone(ok)},
		{"loginFinish", "made-up attempt", post("/api/user/login/finish", func(*role) any {
			return api.LoginFinishRequest{Attempt: "x", Proof: c.alice.Owner.Auth, RenewalHash: make([]byte, 32)}
		}), everyone(bad)},
		{"me", "", get("/api/user/me"), signedIn(ok, ok, ok, ok)},
		{"lookup", "foreign", post("/api/user/lookup", func(*role) any {
			return api.LookupRequest{Username: "roles-carol"}
		}), withDevice(ok, ok, ok)},
		{"lookup", "random", post("/api/user/lookup", func(*role) any {
			return api.LookupRequest{Username: "roles-nobody"}
		}), withDevice(notFound, notFound, notFound)},
		{"devices", "", get("/api/user/devices"), signedIn(ok, ok, ok, ok)},
		{"countPreKeys", "", get("/api/user/prekeys"), withDevice(ok, ok, ok)},
		{"bundle", "", get("/api/user/bundle"), signedIn(ok, ok, ok, ok)},
		{"conversations", "", get("/api/chat/conversations"), withDevice(ok, ok, ok)},
		{"mailbox", "", get("/api/chat/mailbox"), withDevice(ok, ok, ok)},
		{"connection", "", post("/api/chat/connection", func(as *role) any {
			if as.alive {
				as.device.Generation++
			}
			return api.ConnectionRequest{Generation: as.device.Generation}
		}), withDevice(ok, ok, ok)},
		{"uploadPreKeys", "own", post("/api/user/prekeys", func(as *role) any {
			return as.device.Upload(c.t, 1)
		}), withDevice(ok, ok, ok)},
		{"uploadPreKeys", "foreign", post("/api/user/prekeys", func(*role) any {
			return c.carol.Upload(c.t, 1)
		}), withDevice(signature, signature, signature)},
		{"uploadPreKeys", "random", post("/api/user/prekeys", func(*role) any {
			return c.newcomer.Upload(c.t, 1)
		}), withDevice(signature, signature, signature)},
		{"putBundle", "own", with(http.MethodPut, "/api/user/bundle", func(as *role) any {
			if as.alive {
				as.device.Owner.Version++
			}
			return as.device.Owner.Seal(c.t, as.device.Owner.Version)
		}), withDevice(done, done, done)},
		{"putBundle", "foreign", with(http.MethodPut, "/api/user/bundle", func(*role) any {
			return c.carol.Owner.Seal(c.t, 2)
		}), withDevice(bad, bad, bad)},
		{"putBundle", "random", with(http.MethodPut, "/api/user/bundle", func(*role) any {
			return c.newcomer.Owner.Seal(c.t, 2)
		}), withDevice(bad, bad, bad)},
		{"ack", "own", post("/api/chat/ack", ackOf(c.ours, c.ourMessage)), withDevice(notFound, ok, ok)},
		{"ack", "foreign", post("/api/chat/ack", ackOf(c.theirs, c.theirMessage)), withDevice(notFound, notFound, notFound)},
		{"ack", "random", post("/api/chat/ack", ackOf(c.theirs, rest.Random[api.MessageID](c.t))),
			withDevice(notFound, notFound, notFound)},
		{"openConversation", "oneself", post("/api/chat/conversations", func(as *role) any {
			return direct(as.device.Owner.ID)
		}), withDevice(bad, bad, bad)},
		{"openConversation", "foreign", post("/api/chat/conversations", func(*role) any {
			return direct(c.knownOther)
		}), withDevice(ok, ok, ok)},
		{"openConversation", "random", post("/api/chat/conversations", func(*role) any {
			return direct(c.randomAccount)
		}), withDevice(notFound, notFound, notFound)},
	}
	for object, id := range map[string]api.AccountID{"own": c.alice.Owner.ID, "foreign": c.knownOther, "random": c.randomAccount} {
		claimed := ok
		if object == "random" {
			claimed = notFound
		}
		rows = append(rows,
			row{"lists", object, post("/api/user/lists", func(*role) any {
				return api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: id}}}
			}), withDevice(ok, ok, ok)},
			row{"claimPreKeys", object, post("/api/user/prekeys/claim", func(*role) any {
				return api.ClaimRequest{AccountID: id}
			}),
				withDevice(claimed, claimed, claimed)})
	}
	for object, id := range map[string]api.LoginID{
		"own": c.alice.Login.LoginID, "foreign": c.carol.Login.LoginID, "random": rest.Random[api.LoginID](c.t),
	} {
		rows = append(rows, row{"loginRenew", object, post("/api/user/login/renew", func(*role) any {
			return api.RenewRequest{LoginID: id, Renewal: make([]byte, 32)}
		}), everyone(noToken)})
	}
	for object, id := range map[string]api.ConversationID{"own": c.ours, "foreign": c.theirs, "random": c.randomConversation} {
		want := withDevice(notFound, notFound, notFound)
		if object == "own" {
			want = withDevice(notFound, ok, ok)
		}
		path := "/api/chat/conversations/" + id.String()
		rows = append(rows,
			row{"conversation", object, get(path), want},
			row{"sync", object, get(path + "/sync?from=1"), want},
			row{"epochs", object, get(path + "/epochs"), want},
			row{"memberState", object, with(http.MethodPut, path+"/state", func(*role) any {
				return api.MemberStateRequest{State: api.MemberAccepted}
			}), want},
			row{"send", object, post("/api/chat/send", func(as *role) any {
				return as.device.Message(c.t, id, c.alice.Owner, c.bob.Owner)
			}), want})
	}
	rows = append(append(append(rows, c.moreRows()...), c.notificationRows()...), c.assetRows()...)
	return append(rows,
		row{"conversation", "malformed", get("/api/chat/conversations/" + strings.ToUpper(c.theirs.String())),
			withDevice(notFound, notFound, notFound)},
		row{"addDevice", "foreign", post("/api/user/devices", func(*role) any {
			return c.carol.Owner.Addition(c.t, c.carol.Owner.NewDevice(c.t))
		}), signedIn(signature, conflict, conflict, conflict)},
		row{"addDevice", "random", post("/api/user/devices", func(*role) any {
			return c.newcomer.Owner.Addition(c.t, c.newcomer.Owner.NewDevice(c.t))
		}), signedIn(signature, conflict, conflict, conflict)},
		row{"addDevice", "own", post("/api/user/devices", func(as *role) any {
			return as.device.Owner.Addition(c.t, as.device.Owner.NewDevice(c.t))
		}), signedIn(ok, conflict, conflict, conflict)},
		row{"logout", "", with(http.MethodPost, "/api/user/logout", func(*role) any {
			return nil
		}), signedIn(done, done, done, done)},
		row{"me", "after logout", get("/api/user/me"), signedIn(noToken, noToken, noToken, noToken)},
		row{"mailbox", "after logout", get("/api/chat/mailbox"), signedIn(noToken, noToken, noToken, noToken)},
	)
}

func loginStart(name string) api.LoginStartRequest {
	return api.LoginStartRequest{Name: name, Methods: []string{api.MethodSplitPBKDF2}}
}

func direct(peer api.AccountID) api.OpenConversationRequest {
	return api.OpenConversationRequest{Kind: api.KindDirect, Peer: &peer}
}

// ackOf brings a record of a message with an entry that is nobody's.
func ackOf(conversation api.ConversationID, message api.MessageID) func(*role) any {
	return func(*role) any {
		return api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{rest.RecordOf(conversation, message)}}
	}
}

// TestEveryRouteAndRole tries every cell of the table, and that the table has a row for every operation of the contract.
func TestEveryRouteAndRole(t *testing.T) {
	c := newCast(t)
	covered, tried := map[string]bool{}, 0
	refusals := map[string][]byte{} // by operation, role and object
	for _, r := range c.table() {
		covered[r.operation] = true
		for i, name := range roles {
			as := c.roles[name]
			req := r.request(as)
			req.Token = as.token
			answer := server.Do(t, req)
			got := fmt.Sprint(answer.Status)
			if answer.Status >= 300 {
				got += " " + answer.Code(t)
				refusals[r.operation+" "+name+" "+r.object] = withoutRequestID(t, answer)
			}
			if tried++; got != r.want[i] {
				t.Errorf("%s %s as %s: %s, want %s: %.300s", r.operation, r.object, name, got, r.want[i], answer.Body)
			}
		}
	}
	for key, foreign := range refusals {
		random, found := strings.CutSuffix(key, " foreign")
		if !found {
			continue
		}
		if other, ok := refusals[random+" random"]; !ok || !bytes.Equal(foreign, other) {
			t.Errorf("%s: foreign answers\n%s\nrandom answers\n%s", random, foreign, other)
		}
	}
	for _, operation := range operations(t) {
		if !covered[operation] {
			t.Errorf("the operation %s has no row", operation)
		}
		delete(covered, operation)
	}
	if len(covered) > 0 {
		t.Errorf("rows for operations that do not exist: %v", slices.Collect(maps.Keys(covered)))
	}
	c.nothingTaken(t)
	t.Logf("%d cells", tried)
}

// nothingTaken: what foreign accounts tried has left carol's and dave's things alone.
func (c *cast) nothingTaken(t *testing.T) {
	t.Helper()
	var page api.MailboxPage
	server.Call(t, http.MethodGet, "/api/chat/mailbox", c.dave.Login.Token, nil, &page)
	if len(page.Entries) != 1 || page.Entries[0].MessageID != c.theirMessage {
		t.Errorf("dave's mailbox holds %+v", page.Entries)
	}
	var bundle api.Bundle
	server.Call(t, http.MethodGet, "/api/user/bundle", c.carol.Login.Token, nil, &bundle)
	var devices api.Devices
	server.Call(t, http.MethodGet, "/api/user/devices", c.carol.Login.Token, nil, &devices)
	var v api.Conversation
	server.Call(t, http.MethodGet, "/api/chat/conversations/"+c.theirs.String(), c.carol.Login.Token, nil, &v)
	if bundle.Version != 1 || len(devices.Devices) != 1 || v.LastSeq != 1 {
		t.Errorf("carol has bundle %d, %d devices, %d messages", bundle.Version, len(devices.Devices), v.LastSeq)
	}
}

func withoutRequestID(t *testing.T, a rest.Answer) []byte {
	t.Helper()
	p := a.Problem(t)
	if p.RequestID == "" || p.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("request id %q in the body, %q in the header", p.RequestID, a.Header.Get("X-Request-Id"))
	}
	return bytes.Replace(a.Body, []byte(p.RequestID), nil, 1)
}

func contract(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(testenv.Root(), "api", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// operations are the operation ids of the contract.
func operations(t *testing.T) (ids []string) {
	t.Helper()
	for _, item := range contract(t).Paths.Map() {
		for _, operation := range item.Operations() {
			ids = append(ids, operation.OperationID)
		}
	}
	if len(ids) < 20 {
		t.Fatalf("only %d operations", len(ids))
	}
	return ids
}

// TestEveryRouteIsInTheContract reads the patterns of the routes from the services' sources: a route that the contract
// leaves out would escape the table above.
func TestEveryRouteIsInTheContract(t *testing.T) {
	doc := contract(t)
	pattern := regexp.MustCompile(`Method: (?:http\.Method)?(\w+), +Pattern: "([^"]+)"`)
	routes := 0
	for _, service := range []string{"user", "chat", "notification"} {
		for _, match := range pattern.FindAllStringSubmatch(source(t, service), -1) {
			routes++
			item := doc.Paths.Value(match[2])
			if item == nil || item.GetOperation(strings.ToUpper(match[1])) == nil {
				t.Errorf("%s %s is not in the contract", match[1], match[2])
			}
		}
	}
	if want := len(operations(t)); routes != want {
		t.Errorf("%d routes, %d operations", routes, want)
	}
}

func source(t *testing.T, service string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testenv.Root(), "internal", service, "routes.go"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSocketRoles is the same for the socket: who may connect, and what events say of foreign and random objects.
func TestSocketRoles(t *testing.T) {
	alice, bob := server.Register(t, "socket-alice").Devices[0], server.Register(t, "socket-bob").Devices[0]
	gone := server.Register(t, "socket-gone").Devices[0]
	server.Connect(t, bob)
	theirs := server.Talk(t, bob, gone)
	server.Call(t, http.MethodPost, "/api/user/logout", gone.Login.Token, nil, nil)
	for name, c := range map[string]struct{ token, code string }{
		"anonymous": {"", api.CodeUnauthenticated},
		"plain":     {server.SignIn(t, alice.Owner).Token, api.CodeForbidden},
		"ended":     {gone.Login.Token, api.CodeUnauthenticated},
		"expired":   {sign(t, alice, serverSecret(t), time.Now().Add(-time.Hour)), api.CodeUnauthenticated},
		"forged":    {sign(t, alice, bytes.Repeat([]byte{7}, 32), time.Now()), api.CodeUnauthenticated},
	} {
		k, err := server.Dial(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = k.Connect(api.SocketAuth{Token: c.token, Generation: 1, Protocol: 1})
		if refused, ok := err.(*rest.Refused); !ok || refused.Code != c.code { //nolint:errorlint // never wrapped
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	k := server.Socket(t, alice)
	ask := func(event string, body any) []byte {
		reply, err := k.Ask(event, string(rest.JSON(t, body)))
		if err != nil {
			t.Fatal(err)
		}
		if reply.Error == nil || reply.Error.Code != api.CodeNotFound {
			t.Errorf("%s: %s %+v", event, reply.Ok, reply.Error)
		}
		b, err := json.Marshal(reply)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	random := rest.Random[api.ConversationID](t)
	for event, body := range map[string]func(id api.ConversationID) any{
		api.EventSync: func(id api.ConversationID) any { return api.SyncRequest{ConversationID: id, From: 1, Limit: 1} },
		api.EventSend: func(id api.ConversationID) any { return alice.Message(t, id, alice.Owner, bob.Owner) },
		api.EventAck:  func(id api.ConversationID) any { return ackOf(id, rest.Random[api.MessageID](t))(nil) },
	} {
		if foreign, unknown := ask(event, body(theirs)), ask(event, body(random)); !bytes.Equal(foreign, unknown) {
			t.Errorf("%s: foreign answers\n%s\nrandom answers\n%s", event, foreign, unknown)
		}
	}
}
