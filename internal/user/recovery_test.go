package user_test

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
)

const (
	recoveryStartPath  = "/api/user/recovery/start"
	recoveryFinishPath = "/api/user/recovery/finish"
	passwordPath       = "/api/user/password"
)

func (w *world) recoveryStart(name string) string {
	w.t.Helper()
	var res api.RecoveryStartResponse
	w.must(http.MethodPost, recoveryStartPath, "", api.RecoveryStartRequest{Name: name}, &res)
	return res.Attempt
}

// recover signs p in with the recovery code. The renewal secret is 32 zero bytes.
func (w *world) recover(p *person) api.Login {
	w.t.Helper()
	hash := sha256.Sum256(make([]byte, 32))
	var login api.Login
	w.must(http.MethodPost, recoveryFinishPath, "", api.RecoveryFinishRequest{
		Attempt: w.recoveryStart(p.name), RecoveryAuth: p.recovery[:], RenewalHash: hash[:],
	}, &login)
	return login
}

// newSecrets gives p another password and another recovery code, as if typed just now.
func (p *person) newSecrets() {
	p.t.Helper()
	var mk [32]byte
	fill(p.t, p.rand, mk[:])
	p.auth, p.kek = e2ee.SplitPassword(mk)
	fill(p.t, p.rand, p.recovery[:])
	p.parameters = must[e2ee.PasswordParameters](p.t)(e2ee.NewPasswordParameters(p.rand))
}

// change is the request that sets p's current secrets; proof is the auth of the password before, or nothing.
func (p *person) change(proof string) api.PasswordRequest {
	p.t.Helper()
	recovery := sha256.Sum256(p.recovery[:])
	p.version++
	return api.PasswordRequest{
		Proof: proof, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:], Iterations: int(p.parameters.Iterations),
		Auth: p.auth, RecoveryVerifier: recovery[:], Bundle: api.Bundle{Version: p.version, Sealed: p.seal(p.version)},
	}
}

// TestForgottenPassword is the whole way back: code, new password and code, then a device, as with any login.
func TestForgottenPassword(t *testing.T) {
	w, alice, _ := newWorld(t)
	login := w.recover(alice)
	if login.DeviceID != nil || login.Bundle == nil || login.Lists == nil || login.Username != "alice" {
		t.Fatalf("%+v", login)
	}
	if diff := cmp.Diff([]api.SignedList{api.SignedList(alice.signed)}, login.Lists.Lists); diff != "" {
		t.Error(diff)
	}
	// Until then every other route refuses the login, and it cannot be renewed.
	for _, route := range w.service.Routes() {
		if route.Role != 2 {
			w.refused(api.CodeForbidden, route.Method, route.Pattern, login.Token, struct{}{})
		}
	}
	renew := api.RenewRequest{LoginID: login.LoginID, Renewal: make([]byte, 32)}
	w.refused(api.CodeForbidden, http.MethodPost, renewPath, "", renew)

	oldAuth := alice.auth
	alice.newSecrets()
	req := alice.change("")
	withoutCode := req
	withoutCode.RecoveryVerifier = nil
	w.refused(api.CodeInvalid, http.MethodPut, passwordPath, login.Token, withoutCode)
	withProof := req
	withProof.Proof = oldAuth
	w.refused(api.CodeInvalid, http.MethodPut, passwordPath, login.Token, withProof)
	body := marshal(t, req)
	var first api.DevicesChange
	if p := w.decode(w.send(http.MethodPut, passwordPath, login.Token, body), &first); p != nil {
		t.Fatalf("%+v", p)
	}
	before := w.dump()
	var again api.DevicesChange
	if p := w.decode(w.send(http.MethodPut, passwordPath, login.Token, body), &again); p != nil || again != first || w.dump() != before {
		t.Errorf("the same bytes again: %+v, %+v", p, again)
	}
	w.must(http.MethodGet, mePath, login.Token, nil, &api.Me{})
	w.must(http.MethodPost, renewPath, "", renew, &api.Login{})
	d := alice.newDevice()
	w.must(http.MethodPost, devicesPath, login.Token, alice.addition(d, 1), &api.Login{})
	w.logIn(alice)
	w.recover(alice)
	for _, n := range []struct{ path, auth string }{{finishPath, oldAuth}} {
		w.refused(api.CodeWrongLogin, http.MethodPost, n.path, "", api.LoginFinishRequest{
			Attempt: w.loginStart("alice").Attempt, Proof: n.auth, RenewalHash: make([]byte, 32),
		})
	}
}

func TestRecoveryTellsNothing(t *testing.T) {
	w, alice, _ := newWorld(t)
	before := w.dump()
	known, unknown := w.recoveryStart("ALICE"), w.recoveryStart("nobody")
	if len(known) != len(unknown) {
		t.Errorf("%d and %d characters", len(known), len(unknown))
	}
	wrong := bytes.Repeat([]byte{1}, 32)
	var problems []*api.Problem
	for _, attempt := range []string{known, unknown} {
		problems = append(problems, w.refused(api.CodeWrongLogin, http.MethodPost, recoveryFinishPath, "",
			api.RecoveryFinishRequest{Attempt: attempt, RecoveryAuth: wrong, RenewalHash: wrong}))
	}
	if diff := cmp.Diff(problems[0], problems[1]); diff != "" {
		t.Error(diff)
	}
	good := api.RecoveryFinishRequest{Attempt: known, RecoveryAuth: alice.recovery[:], RenewalHash: wrong}
	for name, spoil := range map[string]func(*api.RecoveryFinishRequest){
		"attempt of a password": func(r *api.RecoveryFinishRequest) { r.Attempt = w.loginStart("alice").Attempt },
		"no attempt":            func(r *api.RecoveryFinishRequest) { r.Attempt = "" },
		"short auth":            func(r *api.RecoveryFinishRequest) { r.RecoveryAuth = r.RecoveryAuth[:31] },
		"long renewal hash":     func(r *api.RecoveryFinishRequest) { r.RenewalHash = make([]byte, 33) },
	} {
		req := good
		spoil(&req)
		if p := w.refused(api.CodeInvalid, http.MethodPost, recoveryFinishPath, "", req); p.Detail == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	w.refused(api.CodeInvalid, http.MethodPost, finishPath, "", api.LoginFinishRequest{
		Attempt: known, Proof: alice.auth, RenewalHash: wrong,
	})
	for _, name := range []string{"", string(bytes.Repeat([]byte("n"), 255))} {
		w.refused(api.CodeInvalid, http.MethodPost, recoveryStartPath, "", api.RecoveryStartRequest{Name: name})
	}
	w.limits.closed["recovery by account"] = true
	w.refused(api.CodeLimited, http.MethodPost, recoveryFinishPath, "", good)
	delete(w.limits.closed, "recovery by account")
	w.clock.advance(3 * time.Minute)
	w.refused(api.CodeInvalid, http.MethodPost, recoveryFinishPath, "", good)
	if w.dump() != before {
		t.Error("something was stored")
	}
	if counts := w.limits.counts["recovery by account"]; len(counts) != 2 {
		t.Errorf("guesses are counted under %d names", len(counts))
	}
}
