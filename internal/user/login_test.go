package user_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"sotto/api"
	"sotto/internal/limit/local"
	"sotto/internal/user"
)

const (
	startPath  = "/api/user/login/start"
	finishPath = "/api/user/login/finish"
	renewPath  = "/api/user/login/renew"
	logoutPath = "/api/user/logout"
	mePath     = "/api/user/me"
)

func (w *world) loginStart(name string) api.LoginStartResponse {
	w.t.Helper()
	var res api.LoginStartResponse
	w.must(http.MethodPost, startPath, "", api.LoginStartRequest{Name: name, Methods: []string{api.MethodSplitPBKDF2}}, &res)
	return res
}

// finish is the request that proves p's password, for d when that is not nil.
func (w *world) finish(p *person, d *device) api.LoginFinishRequest {
	w.t.Helper()
	req := api.LoginFinishRequest{Attempt: w.loginStart(p.name).Attempt, Proof: p.auth, RenewalHash: make([]byte, 32)}
	if d != nil {
		hash := sha256.Sum256(d.renewal[:])
		req.RenewalHash, req.Device = hash[:], d.proof(req.Attempt)
	}
	return req
}

func (d *device) proof(attempt string) *api.DeviceProof {
	t := d.owner.t
	t.Helper()
	signature, err := d.keys.Private.Sign(d.owner.rand, append([]byte("sotto login v1"), attempt...))
	if err != nil {
		t.Fatal(err)
	}
	return &api.DeviceProof{DeviceID: d.id, Signature: signature[:]}
}

// logIn signs p in without a device.
func (w *world) logIn(p *person) api.Login {
	w.t.Helper()
	var login api.Login
	w.must(http.MethodPost, finishPath, "", w.finish(p, nil), &login)
	return login
}

func TestLoginGivesWhatANewDeviceNeeds(t *testing.T) {
	w, alice, _ := newWorld(t)
	started := w.loginStart("ALICE")
	if started.Method != api.MethodSplitPBKDF2 || !bytes.Equal(started.Parameters.Salt, alice.parameters.Salt[:]) || started.Parameters.Iterations != api.MinIterations {
		t.Errorf("started with %+v", started)
	}
	login := w.logIn(alice)
	want := api.AccountLists{AccountID: alice.id, AccountKey: alice.key.Public[:], Lists: []api.SignedList{api.SignedList(alice.signed)}}
	if login.Lists == nil || login.Bundle == nil {
		t.Fatal("no lists or no bundle")
	}
	if diff := cmp.Diff(want, *login.Lists); diff != "" {
		t.Error(diff)
	}
	if login.Bundle.Version != 1 || login.DeviceID != nil || login.WireDeviceID != 0 || login.Username != "alice" {
		t.Errorf("%+v", login)
	}
	var me api.Me
	w.must(http.MethodGet, mePath, login.Token, nil, &me)
	if diff := cmp.Diff(api.Me{AccountID: alice.id, Username: "alice", CreatedAt: start.UnixMilli()}, me); diff != "" {
		t.Error(diff)
	}
	// Before it has a device, a login may only look at the account itself and add one.
	for _, route := range w.service.Routes() {
		p := w.call(route.Method, route.Pattern, login.Token, struct{}{}, &map[string]any{})
		forbidden := p != nil && p.Code == api.CodeForbidden
		if wantForbidden := route.Role == 0; forbidden != wantForbidden {
			t.Errorf("%s %s without a device: %+v", route.Method, route.Pattern, p)
		}
		if route.Pattern == logoutPath {
			login = w.logIn(alice)
		}
	}
}

func TestUnknownNamesLookLikeKnownOnes(t *testing.T) {
	w, alice, _ := newWorld(t)
	comparisons := 0
	user.WrapComparison(w.service, func(compare func() error) error {
		comparisons++
		err := compare()
		if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("a comparison ended early: %v", err)
		}
		return err
	})
	before := w.dump()
	known, unknown, again, other := w.loginStart("alice"), w.loginStart("nobody"), w.loginStart("NoBody"), w.loginStart("nobody2")
	if len(known.Attempt) != len(unknown.Attempt) || known.Method != unknown.Method ||
		len(known.Parameters.Salt) != len(unknown.Parameters.Salt) || known.Parameters.Iterations != unknown.Parameters.Iterations {
		t.Errorf("known %+v, unknown %+v", known, unknown)
	}
	if !bytes.Equal(unknown.Parameters.Salt, again.Parameters.Salt) || bytes.Equal(unknown.Parameters.Salt, other.Parameters.Salt) {
		t.Error("the salt of an unknown name depends on something else than the name")
	}
	wrong := strings.Repeat("A", api.AuthLength)
	var problems []*api.Problem
	for i, attempt := range []string{known.Attempt, unknown.Attempt} {
		req := api.LoginFinishRequest{Attempt: attempt, Proof: wrong, RenewalHash: make([]byte, 32)}
		problems = append(problems, w.call(http.MethodPost, finishPath, "", req, &api.Login{}))
		if comparisons != i+1 {
			t.Errorf("%d comparisons after %d proofs", comparisons, i+1)
		}
		// A device proof adds no difference: no device of a stranger is told apart.
		req.Device = alice.devices[0].proof(attempt)
		problems = append(problems, w.call(http.MethodPost, finishPath, "", req, &api.Login{}))
		req.Device.Signature = flip(req.Device.Signature)
		problems = append(problems, w.call(http.MethodPost, finishPath, "", req, &api.Login{}))
		comparisons -= 2
	}
	for _, p := range problems {
		if diff := cmp.Diff(problems[0], p); p.Code != api.CodeWrongLogin || diff != "" {
			t.Errorf("%+v: %s", p, diff)
		}
	}
	if w.dump() != before {
		t.Error("wrong proofs changed the tables")
	}
	// The secret is shared, so another replica gives the same fake.
	replica, _, _ := newWorld(t)
	if !bytes.Equal(replica.loginStart("nobody").Parameters.Salt, unknown.Parameters.Salt) {
		t.Error("another replica gives another salt")
	}
}

func TestAttemptsAreTheServersOwnAndShort(t *testing.T) {
	w, alice, bob := newWorld(t)
	good := w.finish(alice, nil)
	sealed, err := base64.RawURLEncoding.DecodeString(good.Attempt)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, alice.id[:]) {
		t.Error("the attempt shows the account")
	}
	for i := range sealed {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		req := good
		req.Attempt = base64.RawURLEncoding.EncodeToString(c)
		if p := w.call(http.MethodPost, finishPath, "", req, &api.Login{}); p == nil || p.Code != api.CodeInvalid {
			t.Fatalf("byte %d changed: %+v", i, p)
		}
	}
	foreign := good
	foreign.Attempt = w.loginStart(bob.name).Attempt
	w.refused(api.CodeWrongLogin, http.MethodPost, finishPath, "", foreign)
	for name, change := range map[string]func(r *api.LoginFinishRequest){
		"no attempt":    func(r *api.LoginFinishRequest) { r.Attempt = "" },
		"cut attempt":   func(r *api.LoginFinishRequest) { r.Attempt = r.Attempt[1:] },
		"short proof":   func(r *api.LoginFinishRequest) { r.Proof = r.Proof[1:] },
		"renewal hash":  func(r *api.LoginFinishRequest) { r.RenewalHash = r.RenewalHash[1:] },
		"short renewal": func(r *api.LoginFinishRequest) { r.RenewalHash = nil },
	} {
		req := good
		change(&req)
		if p := w.refused(api.CodeInvalid, http.MethodPost, finishPath, "", req); p.Code != api.CodeInvalid {
			t.Error(name)
		}
	}
	for _, req := range []api.LoginStartRequest{
		{Name: "", Methods: []string{api.MethodSplitPBKDF2}}, {Name: strings.Repeat("a", 255), Methods: []string{api.MethodSplitPBKDF2}},
		{Name: "alice"}, {Name: "alice", Methods: []string{api.MethodOPAQUE}}, {Name: "alice", Methods: slices.Repeat([]string{api.MethodSplitPBKDF2}, 17)},
	} {
		w.refused(api.CodeInvalid, http.MethodPost, startPath, "", req)
	}
	w.clock.advance(2 * time.Minute)
	w.refused(api.CodeInvalid, http.MethodPost, finishPath, "", good)
}

func TestDeviceSignsInAgain(t *testing.T) {
	w, alice, bob := newWorld(t)
	first := alice.devices[0].login
	w.must(http.MethodPost, logoutPath, first.Token, nil, nil)
	var login api.Login
	w.must(http.MethodPost, finishPath, "", w.finish(alice, alice.devices[0]), &login)
	if *login.DeviceID != alice.devices[0].id || login.WireDeviceID != 1 || len(login.Lists.Status) != 0 {
		t.Errorf("%+v", login)
	}
	if last := w.chat.changed[len(w.chat.changed)-1]; len(last.Status) != 0 {
		t.Errorf("chat was told %+v", last)
	}
	// A second sign-in of the same device replaces the first.
	var second api.Login
	w.must(http.MethodPost, finishPath, "", w.finish(alice, alice.devices[0]), &second)
	w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, login.Token, nil)
	w.must(http.MethodGet, mePath, second.Token, nil, &api.Me{})
	if !slices.Equal(w.chat.ended, []api.LoginID{first.LoginID, login.LoginID}) {
		t.Errorf("chat was told of the end of %v", w.chat.ended)
	}
	if n := w.count("SELECT count(*) FROM outbox WHERE type = 'login.ended'"); n != 2 {
		t.Errorf("%d events of ended logins", n)
	}

	wrong := w.finish(alice, alice.devices[0])
	wrong.Device.Signature = flip(wrong.Device.Signature)
	w.refused(api.CodeSignature, http.MethodPost, finishPath, "", wrong)
	stale := w.finish(alice, alice.devices[0])
	stale.Device = alice.devices[0].proof(w.loginStart("alice").Attempt)
	w.refused(api.CodeSignature, http.MethodPost, finishPath, "", stale)
	w.refused(api.CodeDeviceGone, http.MethodPost, finishPath, "", w.finish(alice, bob.devices[0]))
}

func TestGuessesAreLimitedByNameKnownOrNot(t *testing.T) {
	w, alice, bob := newWorld(t)
	limiter, err := local.New(w.clock.Now, user.Rates())
	if err != nil {
		t.Fatal(err)
	}
	w.service.Allow = limiter.Allow
	restore := user.WrapComparison(w.service, func(func() error) error { return bcrypt.ErrMismatchedHashAndPassword }) // saves time
	guess := func(name string) *api.Problem {
		t.Helper()
		req := api.LoginFinishRequest{Attempt: w.loginStart(name).Attempt, Proof: strings.Repeat("A", api.AuthLength), RenewalHash: make([]byte, 32)}
		return w.call(http.MethodPost, finishPath, "", req, &api.Login{})
	}
	for _, name := range []string{"alice", "nobody"} {
		for range 10 {
			if p := guess(name); p.Code != api.CodeWrongLogin {
				t.Fatalf("%s: %+v", name, p)
			}
		}
		if p := guess(name); p.Code != api.CodeLimited || p.RetryAfter == 0 {
			t.Errorf("%s, guess 11: %+v", name, p)
		}
	}
	if p := w.call(http.MethodPost, finishPath, "", w.finish(alice, nil), &api.Login{}); p == nil || p.Code != api.CodeLimited {
		t.Errorf("the right password after ten wrong ones: %+v", p)
	}
	restore()
	// Nobody is kept out: a listed device counts alone, other names count alone, and time gives new tries.
	w.must(http.MethodPost, finishPath, "", w.finish(alice, alice.devices[0]), &api.Login{})
	w.must(http.MethodPost, finishPath, "", w.finish(bob, nil), &api.Login{})
	w.clock.advance(6 * time.Minute)
	w.must(http.MethodPost, finishPath, "", w.finish(alice, nil), &api.Login{})
}

func TestLoginsWithoutDeviceAreBounded(t *testing.T) {
	w, alice, _ := newWorld(t)
	// Rows as storeLogin makes them; a real one takes a bcrypt each.
	for i := range user.MaxPlainLogins {
		_, err := w.exec("INSERT INTO login (id, account_id, renewal_hash, created_at, renewed_at) VALUES ($1, $2, $3, $4, $4)",
			append(make([]byte, 15), byte(i)), alice.id[:], make([]byte, 32), start.UnixMilli()+int64(i)-1000)
		if err != nil {
			t.Fatal(err)
		}
	}
	login := w.logIn(alice)
	const live = "SELECT count(*) FROM login WHERE account_id = $1 AND device_id IS NULL AND ended_at IS NULL"
	if n := w.count(live, alice.id[:]); n != user.MaxPlainLogins {
		t.Errorf("%d logins without device", n)
	}
	if len(w.chat.ended) != 1 || w.chat.ended[0] != (api.LoginID{}) {
		t.Errorf("ended %v, want the oldest", w.chat.ended)
	}
	w.must(http.MethodGet, mePath, login.Token, nil, &api.Me{})
	w.clock.advance(31 * 24 * time.Hour)
	w.logIn(alice)
	if n := w.count("SELECT count(*) FROM login WHERE id = $1", make([]byte, 16)); n != 0 {
		t.Error("a login that ended a month ago is still there")
	}
}

func TestRenew(t *testing.T) {
	w, alice, bob := newWorld(t)
	d := alice.devices[0]
	good := api.RenewRequest{LoginID: d.login.LoginID, Renewal: d.renewal[:]}
	w.clock.advance(2 * time.Hour)
	w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, d.login.Token, nil) // expired
	var renewed api.Login
	w.must(http.MethodPost, renewPath, "", good, &renewed)
	if renewed.LoginID != d.login.LoginID || *renewed.DeviceID != d.id || renewed.WireDeviceID != 1 || renewed.Bundle != nil || renewed.Username != "alice" {
		t.Errorf("%+v", renewed)
	}
	var devices api.Devices
	w.must(http.MethodGet, "/api/user/devices", renewed.Token, nil, &devices)
	want := []api.Device{{DeviceID: d.id, WireDeviceID: 1, Name: "laptop", AddedAt: start.UnixMilli(), Current: true,
		SeenAt: start.Add(2 * time.Hour).Truncate(time.Hour).UnixMilli()}}
	if diff := cmp.Diff(want, devices.Devices); diff != "" {
		t.Error(diff)
	}
	for name, req := range map[string]api.RenewRequest{
		"unknown login":     {LoginID: api.LoginID{1}, Renewal: d.renewal[:]},
		"secret of another": {LoginID: d.login.LoginID, Renewal: bob.devices[0].renewal[:]},
		"no login, no hash": {Renewal: make([]byte, 32)},
	} {
		p := w.refused(api.CodeUnauthenticated, http.MethodPost, renewPath, "", req)
		if p.Detail == "" || strings.Contains(p.Detail, name) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	w.refused(api.CodeInvalid, http.MethodPost, renewPath, "", api.RenewRequest{LoginID: good.LoginID, Renewal: good.Renewal[:31]})
	w.must(http.MethodPost, logoutPath, renewed.Token, nil, nil)
	w.refused(api.CodeUnauthenticated, http.MethodPost, renewPath, "", good)

	idle := api.RenewRequest{LoginID: bob.devices[0].login.LoginID, Renewal: bob.devices[0].renewal[:]}
	w.clock.advance(181 * 24 * time.Hour)
	w.refused(api.CodeUnauthenticated, http.MethodPost, renewPath, "", idle)
}

func TestLogoutEndsTheLoginAndTellsChat(t *testing.T) {
	for _, down := range []bool{false, true} {
		w, alice, bob := newWorld(t)
		w.chat.down = down
		d := alice.devices[0]
		w.must(http.MethodPost, logoutPath, d.login.Token, nil, nil)
		for _, route := range w.service.Routes() {
			if route.Role == 2 {
				continue
			}
			if p := w.call(route.Method, route.Pattern, d.login.Token, struct{}{}, &map[string]any{}); p == nil || p.Code != api.CodeUnauthenticated {
				t.Errorf("%s after logging out: %+v", route.Pattern, p)
			}
		}
		if n := w.count("SELECT count(*) FROM outbox WHERE type = 'login.ended' AND account = $1", alice.id[:]); n != 1 {
			t.Errorf("%d events of the ended login", n)
		}
		if !down && (len(w.chat.ended) != 1 || len(w.chat.changed) != 1 || w.chat.changed[0].Status[0].State != api.DeviceSignedOut) {
			t.Errorf("chat was told %v %+v", w.chat.ended, w.chat.changed)
		}
		var found api.Account
		w.must(http.MethodPost, "/api/user/lookup", bob.devices[0].login.Token, api.LookupRequest{Username: "alice"}, &found)
		if diff := cmp.Diff([]api.DeviceStatus{{DeviceID: 1, State: api.DeviceSignedOut}}, found.Lists.Status); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTokenCookie(t *testing.T) {
	w, alice, _ := newWorld(t)
	rec := w.send(http.MethodPost, finishPath, "", marshal(t, w.finish(alice, alice.devices[0])))
	cookies := rec.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != api.CookieName || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("%+v", cookies)
	}
	var login api.Login
	if p := w.decode(rec, &login); p != nil || login.Token != cookies[0].Value {
		t.Errorf("%+v", p)
	}
	out := w.send(http.MethodPost, logoutPath, login.Token, nil)
	if c := out.Result().Cookies(); out.Code != http.StatusNoContent || len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("status %d, %+v", out.Code, c)
	}
}
