package user_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

const registerPath = "/api/user/register"

func TestRegistrationAnswersTheSameBytesWithTheFirstAnswer(t *testing.T) {
	w, _, _ := newWorld(t)
	carol := newPerson(t, w.rand, "Carol")
	req := carol.registration(1)
	body := marshal(t, req)
	var first, again api.Login
	if p := w.decode(w.send(http.MethodPost, registerPath, "", body), &first); p != nil {
		t.Fatal(p)
	}
	if first.Username != "carol" || first.AccountID != carol.id || *first.DeviceID != carol.devices[0].id || first.WireDeviceID != 1 {
		t.Errorf("registered as %+v", first)
	}
	before := w.dump()
	w.clock.advance(time.Minute)
	if p := w.decode(w.send(http.MethodPost, registerPath, "", body), &again); p != nil {
		t.Fatal(p)
	}
	if again.LoginID != first.LoginID || again.AccountID != first.AccountID || w.dump() != before {
		t.Errorf("the second answer is %+v, the first was %+v", again, first)
	}
	var me api.Me
	w.must(http.MethodGet, "/api/user/me", again.Token, nil, &me)

	req.Device.Name = "another name"
	w.refused(api.CodeConflict, http.MethodPost, registerPath, "", req)

	dave := newPerson(t, w.rand, "CAROL")
	w.refused(api.CodeExists, http.MethodPost, registerPath, "", dave.registration(0))

	w.must(http.MethodPost, "/api/user/logout", first.Token, nil, nil)
	if p := w.decode(w.send(http.MethodPost, registerPath, "", body), &again); p == nil || p.Code != api.CodeConflict {
		t.Errorf("a registration whose login has ended: %+v", p)
	}
}

func TestRegistrationIsRepeatedAtTheSameTime(t *testing.T) {
	w, _, _ := newWorld(t)
	body := marshal(t, newPerson(t, w.rand, "carol").registration(1))
	answers := make([]*httptest.ResponseRecorder, 3)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = w.send(http.MethodPost, registerPath, "", body) })
	}
	wg.Wait()
	ids := map[api.LoginID]bool{}
	for _, a := range answers {
		var login api.Login
		if p := w.decode(a, &login); p != nil {
			t.Fatalf("%+v", p)
		}
		ids[login.LoginID] = true
	}
	if len(ids) != 1 || w.count("SELECT count(*) FROM account") != 3 || w.count("SELECT count(*) FROM login") != 3 {
		t.Errorf("%d different logins of one registration", len(ids))
	}
}

func TestOneOfManyGetsTheName(t *testing.T) {
	w, _, _ := newWorld(t)
	var bodies [][]byte
	for range 3 {
		bodies = append(bodies, marshal(t, newPerson(t, w.rand, "carol").registration(0)))
	}
	codes := make([]int, len(bodies))
	var wg sync.WaitGroup
	for i, body := range bodies {
		wg.Go(func() { codes[i] = w.send(http.MethodPost, registerPath, "", body).Code })
	}
	wg.Wait()
	won := 0
	for _, code := range codes {
		switch code {
		case http.StatusOK:
			won++
		case http.StatusConflict:
		default:
			t.Errorf("status %d", code)
		}
	}
	if won != 1 || w.count("SELECT count(*) FROM account") != 3 {
		t.Errorf("%d registrations won", won)
	}
}

func TestRegistrationIsReadyOnlyWhenChatKnowsTheDevice(t *testing.T) {
	w, _, _ := newWorld(t)
	req := newPerson(t, w.rand, "carol").registration(0)
	w.chat.down = true
	if p := w.call(http.MethodPost, registerPath, "", req, &api.Login{}); p == nil || p.Code != api.CodeUnavailable || p.RetryAfter == 0 {
		t.Fatalf("%+v", p)
	}
	w.chat.down = false
	w.must(http.MethodPost, registerPath, "", req, &api.Login{})
	if len(w.chat.changed) != 1 || w.chat.changed[0].AccountID != req.AccountID || len(w.chat.changed[0].Lists) != 1 {
		t.Errorf("chat was told %+v", w.chat.changed)
	}
}

func flip(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)-1] ^= 1
	return c
}

// badRegistrations changes one thing of a good request each.
func badRegistrations(carol, mallory *person) map[string]struct {
	code   string
	change func(r *api.RegisterRequest)
} {
	sign := func(change func(l *e2ee.DeviceList)) func(r *api.RegisterRequest) {
		return func(r *api.RegisterRequest) {
			l := carol.list
			l.Devices = append([]e2ee.ListedDevice(nil), l.Devices...)
			change(&l)
			r.List = api.SignedList(carol.sign(l))
		}
	}
	type bad = struct {
		code   string
		change func(r *api.RegisterRequest)
	}
	return map[string]bad{
		"no account id":             {api.CodeInvalid, func(r *api.RegisterRequest) { r.AccountID = api.AccountID{} }},
		"foreign account id":        {api.CodeInvalid, func(r *api.RegisterRequest) { r.AccountID = mallory.id }},
		"short name":                {api.CodeInvalid, func(r *api.RegisterRequest) { r.Username = "al" }},
		"long name":                 {api.CodeInvalid, func(r *api.RegisterRequest) { r.Username = strings.Repeat("a", 33) }},
		"name with a space":         {api.CodeInvalid, func(r *api.RegisterRequest) { r.Username = "al ice" }},
		"name in another alphabet":  {api.CodeInvalid, func(r *api.RegisterRequest) { r.Username = "аlice" }},
		"reserved name":             {api.CodeInvalid, func(r *api.RegisterRequest) { r.Username = "Admin" }},
		"taken name":                {api.CodeExists, func(r *api.RegisterRequest) { r.Username = "ALICE" }},
		"other method":              {api.CodeInvalid, func(r *api.RegisterRequest) { r.Method = api.MethodOPAQUE }},
		"short salt":                {api.CodeInvalid, func(r *api.RegisterRequest) { r.Salt = r.Salt[:15] }},
		"no salt":                   {api.CodeInvalid, func(r *api.RegisterRequest) { r.Salt = nil }},
		"too few iterations":        {api.CodeInvalid, func(r *api.RegisterRequest) { r.Iterations = api.MinIterations - 1 }},
		"too many iterations":       {api.CodeInvalid, func(r *api.RegisterRequest) { r.Iterations = api.MaxIterations + 1 }},
		"short proof":               {api.CodeInvalid, func(r *api.RegisterRequest) { r.Auth = r.Auth[:42] }},
		"proof that is no base64":   {api.CodeInvalid, func(r *api.RegisterRequest) { r.Auth = "!" + r.Auth[1:] }},
		"short recovery verifier":   {api.CodeInvalid, func(r *api.RegisterRequest) { r.RecoveryVerifier = r.RecoveryVerifier[:31] }},
		"long renewal hash":         {api.CodeInvalid, func(r *api.RegisterRequest) { r.RenewalHash = append(r.RenewalHash, 0) }},
		"no account key":            {api.CodeInvalid, func(r *api.RegisterRequest) { r.AccountKey = nil }},
		"other account key":         {api.CodeSignature, func(r *api.RegisterRequest) { r.AccountKey = mallory.key.Public[:] }},
		"list signature":            {api.CodeSignature, func(r *api.RegisterRequest) { r.List.Signature = flip(r.List.Signature) }},
		"no list signature":         {api.CodeSignature, func(r *api.RegisterRequest) { r.List.Signature = nil }},
		"list of somebody else":     {api.CodeSignature, func(r *api.RegisterRequest) { r.List = api.SignedList(mallory.signed) }},
		"no list":                   {api.CodeInvalid, func(r *api.RegisterRequest) { r.List = api.SignedList{} }},
		"list version 2":            {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Version, l.Previous = 2, [32]byte{1} })},
		"list for another account":  {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Account = mallory.id })},
		"list without device":       {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices = nil })},
		"list device has number 2":  {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices[0].ID = 2 })},
		"other registration id":     {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices[0].RegistrationID++ })},
		"other identity key":        {api.CodeSignature, sign(func(l *e2ee.DeviceList) { l.Devices[0].IdentityKey = mallory.key.Public })},
		"no device id":              {api.CodeInvalid, func(r *api.RegisterRequest) { r.Device.DeviceID = api.DeviceID{} }},
		"wire device id":            {api.CodeInvalid, func(r *api.RegisterRequest) { r.Device.WireDeviceID = 2 }},
		"long device name":          {api.CodeInvalid, func(r *api.RegisterRequest) { r.Device.Name = strings.Repeat("é", 33) }},
		"control character":         {api.CodeInvalid, func(r *api.RegisterRequest) { r.Device.Name = "lap\x1b[2Jtop" }},
		"no bundle":                 {api.CodeInvalid, func(r *api.RegisterRequest) { r.Bundle = nil }},
		"bundle version 2":          {api.CodeInvalid, func(r *api.RegisterRequest) { r.Bundle = carol.seal(2) }},
		"bundle of somebody else":   {api.CodeInvalid, func(r *api.RegisterRequest) { r.Bundle = mallory.seal(1) }},
		"bundle for another salt":   {api.CodeInvalid, func(r *api.RegisterRequest) { r.Salt = flip(r.Salt) }},
		"bundle of 64 KiB and more": {api.CodeTooLarge, func(r *api.RegisterRequest) { r.Bundle = make([]byte, api.MaxBundleSize+1) }},
	}
}

func TestBadRegistrationsChangeNothing(t *testing.T) {
	w, _, _ := newWorld(t)
	carol, mallory := newPerson(t, w.rand, "carol"), newPerson(t, w.rand, "mallory")
	good := marshal(t, carol.registration(1))
	for name, bad := range badRegistrations(carol, mallory) {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			var req api.RegisterRequest
			if err := json.Unmarshal(good, &req); err != nil {
				t.Fatal(err)
			}
			bad.change(&req)
			w.refused(bad.code, http.MethodPost, registerPath, "", req)
		})
	}
	var login api.Login
	if p := w.decode(w.send(http.MethodPost, registerPath, "", good), &login); p != nil {
		t.Errorf("the unchanged request: %+v", p)
	}
}

func TestMalformedBodiesChangeNothing(t *testing.T) {
	w, alice, _ := newWorld(t)
	good := string(marshal(t, newPerson(t, w.rand, "carol").registration(0)))
	before := w.dump()
	for name, c := range map[string]struct{ code, body string }{
		"empty":         {api.CodeInvalid, ""},
		"cut":           {api.CodeInvalid, good[:len(good)-1]},
		"trailing":      {api.CodeInvalid, good + "{}"},
		"unknown field": {api.CodeInvalid, `{"admin":true,` + good[1:]},
		"given twice":   {api.CodeInvalid, `{"username":"eve",` + good[1:]},
		"upper case":    {api.CodeInvalid, strings.Replace(good, `"username"`, `"Username"`, 1)},
		"wrong type":    {api.CodeInvalid, strings.Replace(good, `"iterations":600000`, `"iterations":"600000"`, 1)},
		"no base64":     {api.CodeInvalid, strings.Replace(good, `"salt":"`, `"salt":"*`, 1)},
		"no UUID":       {api.CodeInvalid, strings.Replace(good, `"account_id":"`, `"account_id":"x`, 1)},
		"oversize":      {api.CodeTooLarge, good + strings.Repeat(" ", api.MaxRegistrationBody)},
	} {
		var login api.Login
		if p := w.decode(w.send(http.MethodPost, registerPath, "", []byte(c.body)), &login); p == nil || p.Code != c.code {
			t.Errorf("%s: %+v, want %s", name, p, c.code)
		}
	}
	if p := w.decode(w.send(http.MethodPut, "/api/user/bundle", alice.devices[0].login.Token, make([]byte, api.MaxBody+1)), nil); p == nil || p.Code != api.CodeTooLarge {
		t.Errorf("an oversized body of another route: %+v", p)
	}
	if w.dump() != before {
		t.Error("the tables changed")
	}
}
