package security_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/test/contract/rest"
)

// target is everybody that bad input is tried on. Mallory has a conversation with bob; the one of bob and carol is
// foreign to her.
type target struct {
	t                   *testing.T
	mallory, bob, carol *rest.Device
	shared, foreign     api.ConversationID
	first               api.Send // stored in shared, by mallory
	socket              *rest.Socket
}

func newTarget(t *testing.T, prefix string) *target {
	t.Helper()
	register := func(name string) *rest.Device { return server.Register(t, prefix+"-"+name).Devices[0] }
	w := &target{t: t, mallory: register("mallory"), bob: register("bob"), carol: register("carol")}
	server.Connect(t, w.bob)
	server.Connect(t, w.carol)
	w.shared, w.foreign = server.Talk(t, w.mallory, w.bob), server.Talk(t, w.bob, w.carol)
	server.Connect(t, w.mallory)
	w.socket = server.Socket(t, w.mallory) // its generation counts for REST, too
	w.first = w.mallory.Message(t, w.shared, w.mallory.Owner, w.bob.Owner)
	server.Write(t, w.mallory, "/api/chat/send", w.first, nil)
	server.Write(t, w.bob, "/api/chat/send", w.bob.Message(t, w.foreign, w.bob.Owner, w.carol.Owner), nil)
	return w
}

// valid returns a request that would succeed, for every operation that takes a body. Nobody sends it: only what was
// done to it.
func (w *target) valid() map[string]rest.Request {
	post := func(path, token string, body any) rest.Request {
		return rest.Request{
			Method: http.MethodPost, Path: path, Token: token, Generation: w.mallory.Generation, Body: rest.JSON(w.t, body),
		}
	}
	put := func(path, token string, body any) rest.Request {
		r := post(path, token, body)
		r.Method = http.MethodPut
		return r
	}
	me, bob := w.mallory.Login.Token, w.bob.Owner.ID
	entry := api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{rest.RecordOf(w.shared, w.first.MessageID)}}
	return map[string]rest.Request{
		"register":   post("/api/user/register", "", rest.NewPerson(w.t, "bad-new").Registration(w.t)),
		"loginStart": post("/api/user/login/start", "", loginStart("bad-bob")),
		"loginFinish": post("/api/user/login/finish", "", api.LoginFinishRequest{
			Attempt: server.Start(w.t, w.bob.Owner.Name).Attempt, Proof: w.bob.Owner.Auth, RenewalHash: make([]byte, 32),
		}),
		"loginRenew": post("/api/user/login/renew", "",
			api.RenewRequest{LoginID: w.bob.Login.LoginID, Renewal: w.bob.Renewal[:]}),
		"lookup": post("/api/user/lookup", me, api.LookupRequest{Username: w.bob.Owner.Name}),
		"find":   post("/api/user/find", me, api.FindRequest{Prefix: w.bob.Owner.Name}),
		"delivered": post("/api/chat/delivered", me,
			api.DeliveredRequest{ConversationID: w.shared, MessageIDs: []api.MessageID{w.first.MessageID}}),
		"lists":     post("/api/user/lists", me, api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: bob}}}),
		"addDevice": post("/api/user/devices", "", w.bob.Owner.Addition(w.t, w.bob.Owner.NewDevice(w.t))),
		"claimPreKeys": post("/api/user/prekeys/claim", me,
			api.ClaimRequest{AccountID: bob, DeviceIDs: []api.WireDeviceID{1}}),
		"putBundle": put("/api/user/bundle", me, w.mallory.Owner.Seal(w.t, 2)),

		"uploadPreKeys":    post("/api/user/prekeys", w.bob.Login.Token, w.bob.Upload(w.t, 1)),
		"openConversation": post("/api/chat/conversations", me, direct(w.carol.Owner.ID)),
		"memberState": put("/api/chat/conversations/"+w.shared.String()+"/state", me,
			api.MemberStateRequest{State: api.MemberBlocked}),
		"connection": post("/api/chat/connection", me, api.ConnectionRequest{Generation: w.mallory.Generation + 1}),
		"send":       post("/api/chat/send", me, w.mallory.Message(w.t, w.shared, w.mallory.Owner, w.bob.Owner)),
		"ack":        post("/api/chat/ack", me, entry),
	}
}

// spoiled is what can be done to any JSON object, all of it refused as invalid.
func spoiled(t *testing.T, body []byte) map[string]string {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	inner := string(body[1 : len(body)-1])
	out := map[string]string{
		"unknown field":  `{"surprise":1,` + inner + "}",
		"an array":       "[" + string(body) + "]",
		"a string":       `"` + strings.Repeat("x", 20) + `"`,
		"a number":       "7",
		"null":           "null",
		"no fields":      "{}",
		"not UTF-8":      `{"\xff":"` + "\xff" + `",` + inner + "}",
		"too deep":       `{"surprise":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "," + inner + "}",
		"a huge number":  `{"surprise":1e999,` + inner + "}",
		"prototype keys": `{"__proto__":{"role":"operator"},"constructor":{},` + inner + "}",
	}
	for field := range fields {
		changed := func(key, value string) string {
			rest := map[string]json.RawMessage{}
			for k, v := range fields {
				if k != field {
					rest[k] = v
				}
			}
			b, err := json.Marshal(rest)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("{%q:%s,%s", key, value, b[1:])
			return strings.Replace(text, ",}", "}", 1)
		}
		if v := string(fields[field]); v != "true" && v != "false" {
			out[field+" is a boolean"] = changed(field, "true")
		}
		out[field+" is an object"] = changed(field, `{"x":{"y":1}}`)
		out[field+" is text"] = changed(field, `"\u0000'; DROP TABLE account; --"`)
		out[field+" is huge"] = changed(field, "99999999999999999999999")
		out[field+" in upper case"] = changed(strings.ToUpper(field), string(fields[field]))
		out[field+" is given twice"] = fmt.Sprintf("{%q:%s,%s}", field, fields[field], inner)
	}
	return out
}

// otherwise are the spoilings that are not refused as invalid: text where text belongs, the account that nobody has, and
// what is not looked at because the code of a reset is wrong or this server was never restored.
var otherwise = map[string]string{
	"loginStart name is text": "", "recoveryStart name is text": "",
	"claimPreKeys null": api.CodeNotFound, "claimPreKeys no fields": api.CodeNotFound,
	"resetStart null": api.CodeWrongLogin, "resetStart no fields": api.CodeWrongLogin, "resetStart code is text": api.CodeWrongLogin,
	"reset null": api.CodeWrongLogin, "reset no fields": api.CodeWrongLogin, "reset code is text": api.CodeWrongLogin,
	"restoredStart null": api.CodeForbidden, "restoredStart no fields": api.CodeForbidden,
	"restoredDevice null": api.CodeForbidden, "restoredDevice no fields": api.CodeForbidden,
	"restoredDevice attempt is text": api.CodeForbidden,
	"restoredLists null":             api.CodeForbidden, "restoredLists no fields": api.CodeForbidden,
	"restoredBundle null": api.CodeForbidden, "restoredBundle no fields": api.CodeForbidden,
	"reset auth is text": api.CodeWrongLogin, "reset method is text": api.CodeWrongLogin,
}

// malformed is no JSON, or more than that.
func malformed(body []byte) map[string]string {
	s := string(body)
	return map[string]string{
		"nothing": "", "cut": s[:len(s)-1], "trailing data": s + " {}", "trailing brace": s + "}", "form": "a=b&c=d", "NaN": strings.Replace(s, ":", ":NaN,", 1),
	}
}

// TestMalformedAndMisfitting spoils a valid request of every operation in every way. Each is refused as invalid, over
// REST and over the socket, and nothing changes.
func TestMalformedAndMisfitting(t *testing.T) {
	w := newTarget(t, "bad")
	requests := w.valid()
	w.moreValid(requests)
	w.validNotifications(requests)
	w.validAssets(requests)
	// These may be tried 20 or 30 times in a row by one account, so three take turns.
	type turn struct{ token, path string }
	many := map[string][]turn{}
	for _, d := range []*rest.Device{w.mallory, w.bob, w.carol} {
		own := "/api/user/devices/" + d.ID.String()
		for operation, path := range map[string]string{
			"uploadPreKeys": "", "putSettings": "", "startEmail": "", "putEmail": "", "removeEmail": "", "renameDevice": own, "removeDevice": own + "/remove",
		} {
			many[operation] = append(many[operation], turn{d.Login.Token, path})
		}
		many["addDevice"] = append(many["addDevice"], turn{token: server.SignIn(t, d.Owner).Token})
	}
	before := dump(t)
	tried := 0
	for operation, valid := range requests {
		refuse := func(what string, r rest.Request, want string) {
			t.Helper()
			tried++
			if turns := many[operation]; len(turns) > 0 {
				next := turns[tried%len(turns)]
				r.Token = next.token
				if next.path != "" {
					r.Path = next.path
				}
			}
			if got := server.Do(t, r).Code(t); got != want {
				t.Errorf("%s, %s: %q, want %s", operation, what, got, want)
			}
		}
		all := spoiled(t, valid.Body)
		for what, body := range all {
			r := valid
			r.Body = []byte(body)
			want, ok := otherwise[operation+" "+what]
			if !ok {
				want = api.CodeInvalid
			}
			refuse(what, r, want)
			if event := socketEvents[operation]; event != "" && !strings.Contains(what, "UTF-8") {
				w.sameOnSocket(event, what, r, body)
			}
		}
		for what, body := range malformed(valid.Body) {
			r := valid
			r.Body = []byte(body)
			refuse(what, r, api.CodeInvalid)
		}
		r := valid
		r.Header = http.Header{"Content-Type": {"text/plain"}}
		refuse("content type", r, api.CodeInvalid)
		r = valid
		r.Body = append(bytes.Repeat([]byte(" "), bound(operation)), valid.Body...)
		refuse("oversize", r, api.CodeTooLarge)
		if changed := difference(before, dump(t)); changed != "" {
			t.Errorf("%s: something was changed:\n%s", operation, changed)
			before = dump(t)
		}
	}
	for _, operation := range operationsWithBody(t) {
		if requests[operation].Path == "" {
			t.Errorf("the operation %s is not tried", operation)
		}
	}
	t.Logf("%d requests", tried)
}

// bound is the stated size of an operation's body.
func bound(operation string) int {
	switch operation {
	case "register", "addDevice", "uploadPreKeys", "reset", "restoredDevice", "restoredLists":
		return api.MaxRegistrationBody
	case "send", "ack", "putRecord":
		return api.MaxSendBody
	}
	return api.MaxBody
}

var socketEvents = map[string]string{"send": api.EventSend, "ack": api.EventAck}

// sameOnSocket holds the acknowledgement of an event against the problem document of the same request.
func (w *target) sameOnSocket(event, what string, r rest.Request, argument string) {
	w.t.Helper()
	want := server.Do(w.t, r).Problem(w.t)
	want.RequestID = ""
	if r.Method == http.MethodGet { // a query has other words for what is no number
		want.Detail = ""
	}
	reply, err := w.socket.Ask(event, argument)
	if err != nil {
		w.t.Fatalf("%s, %s: %v", event, what, err)
	}
	if reply.Error == nil {
		w.t.Errorf("%s, %s: the socket takes it: %s", event, what, *reply.Ok)
		return
	}
	if want.Detail == "" {
		reply.Error.Detail = ""
	}
	if d := cmp.Diff(want, *reply.Error); d != "" {
		w.t.Errorf("%s, %s: REST and socket differ (-REST +socket):\n%s", event, what, d)
	}
}

func operationsWithBody(t *testing.T) (ids []string) {
	t.Helper()
	for _, item := range contract(t).Paths.Map() {
		for _, operation := range item.Operations() {
			if operation.RequestBody != nil && operation.RequestBody.Value.Content.Get("application/json") != nil {
				ids = append(ids, operation.OperationID)
			}
		}
	}
	return ids
}

// TestBrokenPackets: what is no packet at all ends the socket, without a trace; the device comes back.
func TestBrokenPackets(t *testing.T) {
	d := server.Register(t, "packets").Devices[0]
	for _, text := range []string{
		`42["send",{]`, `42["send"`, `42`, `421x["send",{}]`, `429999999999999999999["send",{}]`, `42{"send":1}`, `42[1,2]`, `42["connect",{}]`,
		`451-["send",{"_placeholder":true,"num":0}]`, `4599-["send"]`, `47`, `9`, "", "42[\"send\",\"\xff\"]",
		"42" + strings.Repeat("[", 100_000), `42["send","` + strings.Repeat("x", api.MaxSendBody) + `"]`,
	} {
		k := server.Socket(t, d)
		before := dump(t)
		if err := k.Write(text); err != nil {
			t.Fatal(err)
		}
		// A packet that only awaits its attachment is not broken yet.
		if strings.HasPrefix(text, "451-") {
			if err := k.Write("42[]"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.End(); err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
		if changed := difference(before, dump(t)); changed != "" {
			t.Errorf("%.40q: something was changed:\n%s", text, changed)
		}
	}
	before := dump(t)
	server.Connect(t, d)
	if dump(t) == before {
		t.Error("the dumps do not see what a request changes")
	}
}
