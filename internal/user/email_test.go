package user_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/sqldb"
	tokens "sotto/internal/token"
)

const (
	emailStartPath  = "/api/user/email/start"
	emailPath       = "/api/user/email"
	emailRemovePath = "/api/user/email/remove"
)

// code asks for a code and returns what the mail would say.
func (w *world) code(p *person, address string) api.Recipient {
	w.t.Helper()
	w.must(http.MethodPost, emailStartPath, p.devices[0].login.Token, api.EmailStartRequest{Address: address, Proof: p.auth}, nil)
	to, err := w.service.Recipient(w.t.Context(), p.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return to
}

// emailRequest is complete: p gets an e-mail login of its own and the bundle a slot for it.
func (p *person) emailRequest(code string) api.EmailRequest {
	p.t.Helper()
	p.email = p.newEmailLogin()
	p.version++
	return api.EmailRequest{
		Code: code, Proof: p.auth, Method: api.MethodSplitPBKDF2, Salt: p.email.parameters.Salt[:],
		Iterations: int(p.email.parameters.Iterations), Auth: p.email.auth,
		Bundle: api.Bundle{Version: p.version, Sealed: p.seal(p.version)},
	}
}

// signInAs finishes a login under any name with any proof.
func (w *world) signInAs(name, proof string) *api.Problem {
	w.t.Helper()
	return w.call(http.MethodPost, finishPath, "", api.LoginFinishRequest{
		Attempt: w.loginStart(name).Attempt, Proof: proof, RenewalHash: make([]byte, 32),
	}, &api.Login{})
}

// wrongCode is refused, and all that changes is the count of tries.
func (w *world) wrongCode(token string, req api.EmailRequest) {
	w.t.Helper()
	if p := w.call(http.MethodPut, emailPath, token, req, nil); p == nil || p.Code != api.CodeWrongLogin {
		w.t.Errorf("%+v", p)
	}
}

func TestSignInByEmail(t *testing.T) {
	w, alice, bob := newWorld(t)
	token := alice.devices[0].login.Token
	fake := w.loginStart("Alice@Example.org").Parameters
	to := w.code(alice, "Alice@Example.org")
	if to.Pending != "alice@example.org" || len(to.Code) != api.EmailCodeLength || to.Taken || to.Address != "" {
		t.Fatalf("%+v", to)
	}
	w.must(http.MethodPut, emailPath, token, alice.emailRequest(to.Code), nil)
	var me api.Me
	w.must(http.MethodGet, mePath, token, nil, &me)
	if to, err := w.service.Recipient(t.Context(), alice.id); err != nil || to.Address != "alice@example.org" || to.Pending != "" || me.Email != to.Address {
		t.Fatalf("%+v, %+v, %v", to, me, err)
	}
	// Its own salt, and its own proof: neither opens the other name.
	start := w.loginStart("ALICE@example.org")
	if string(start.Parameters.Salt) == string(alice.parameters.Salt[:]) || string(start.Parameters.Salt) == string(fake.Salt) {
		t.Error("the salt of the address is another one's")
	}
	if p := w.signInAs("alice@example.org", alice.email.auth); p != nil {
		t.Fatalf("%+v", p)
	}
	for _, c := range [][2]string{{"alice@example.org", alice.auth}, {"alice", alice.email.auth}, {"bob@example.org", alice.email.auth}} {
		if p := w.signInAs(c[0], c[1]); p == nil || p.Code != api.CodeWrongLogin {
			t.Errorf("%s: %+v", c[0], p)
		}
	}
	// Somebody else cannot have it, and only the mail says so.
	if to := w.code(bob, "alice@example.org"); !to.Taken || to.Code != "" || to.Pending != "alice@example.org" {
		t.Errorf("%+v", to)
	}
	// A change of password covers it.
	old, oldEmail := alice.auth, alice.email.auth
	alice.newSecrets()
	withoutEmail := alice.change(old)
	w.refused(api.CodeInvalid, http.MethodPut, passwordPath, token, withoutEmail)
	alice.email = alice.newEmailLogin()
	alice.version--
	req := alice.change(old)
	req.Email = &api.EmailPassword{Salt: alice.email.parameters.Salt[:], Iterations: int(alice.email.parameters.Iterations), Auth: alice.email.auth}
	w.must(http.MethodPut, passwordPath, token, req, &api.DevicesChange{})
	if p := w.signInAs("alice@example.org", oldEmail); p == nil {
		t.Error("the old password still opens the address")
	}
	if p := w.signInAs("alice@example.org", alice.email.auth); p != nil {
		t.Errorf("%+v", p)
	}
	// Taken away, the address is as unknown as before.
	email := alice.email
	alice.email = nil
	alice.version++
	w.must(http.MethodPost, emailRemovePath, token,
		api.EmailRemoval{Proof: alice.auth, Bundle: api.Bundle{Version: alice.version, Sealed: alice.seal(alice.version)}}, nil)
	if p := w.signInAs("alice@example.org", email.auth); p == nil || p.Code != api.CodeWrongLogin {
		t.Errorf("%+v", p)
	}
	if again := w.loginStart("alice@example.org").Parameters; string(again.Salt) != string(fake.Salt) {
		t.Error("the address was never unknown")
	}
}

// TestEmailRefuses: nothing of it changes anything but the count of tries.
func TestEmailRefuses(t *testing.T) {
	w, alice, _ := newWorld(t)
	token := alice.devices[0].login.Token
	for _, address := range []string{
		"", "x", "@", "a@b", "a@b.", "a@.b", "@example.org", "a b@example.org", "a@example.org ", "a@b@example.org", "<a@example.org>",
		"A <a@example.org>", "a@example.org,b@example.org", "a@example.org\r\nBcc: b@example.org", "\"a b\"@example.org", "a@[127.0.0.1]",
		"ä@example.org", "a@exämple.org", strings.Repeat("a", 250) + "@b.c", "a@example.org(comment)",
	} {
		w.refused(api.CodeInvalid, http.MethodPost, emailStartPath, token, api.EmailStartRequest{Address: address, Proof: alice.auth})
	}
	w.refused(api.CodeWrongLogin, http.MethodPost, emailStartPath, token,
		api.EmailStartRequest{Address: "a@example.org", Proof: strings.Repeat("A", api.AuthLength)})
	if n := w.count("SELECT count(*) FROM email_request"); n != 0 {
		t.Fatalf("%d requests are stored", n)
	}
	w.refused(api.CodeWrongLogin, http.MethodPut, emailPath, token, alice.emailRequest("12345678")) // none was asked for

	code := w.code(alice, "alice@example.org").Code
	alice.version = 1
	good := alice.emailRequest(code)
	for name, spoil := range map[string]func(*api.EmailRequest){
		"slot":       func(r *api.EmailRequest) { alice.email = nil; r.Bundle.Sealed = alice.seal(2) },
		"other salt": func(r *api.EmailRequest) { r.Salt = make([]byte, api.SaltSize) },
		"salt":       func(r *api.EmailRequest) { r.Salt = nil },
		"method":     func(r *api.EmailRequest) { r.Method = "opaque-v1" },
		"auth":       func(r *api.EmailRequest) { r.Auth = "x" },
	} {
		req := good
		spoil(&req)
		if p := w.refused(api.CodeInvalid, http.MethodPut, emailPath, token, req); p == nil {
			t.Errorf("%s was taken", name)
		}
	}
	wrong := good
	wrong.Proof = strings.Repeat("A", api.AuthLength)
	w.refused(api.CodeWrongLogin, http.MethodPut, emailPath, token, wrong)
	old := good
	old.Bundle.Version = 3
	w.refused(api.CodeInvalid, http.MethodPut, emailPath, token, old)
	// Five wrong codes, and the right one is worth nothing.
	for range 5 {
		guess := good
		guess.Code = "00000000"
		w.wrongCode(token, guess)
	}
	w.wrongCode(token, good)
	if n := w.count("SELECT count(*) FROM login_name WHERE kind = 'email'"); n != 0 {
		t.Error("an address is stored")
	}
}

func TestEmailCodeExpires(t *testing.T) {
	w, alice, _ := newWorld(t)
	token := alice.devices[0].login.Token
	first := w.code(alice, "alice@example.org").Code
	w.clock.advance(time.Minute)
	second := w.code(alice, "alice@example.org").Code
	if first == second {
		t.Error("the same code again")
	}
	req := alice.emailRequest(first)
	w.wrongCode(token, req)
	w.clock.advance(time.Hour)
	d := alice.devices[0]
	token, _, err := w.signer.Sign(tokens.Actor{
		Account: alice.id, Device: d.id, WireDevice: api.WireDeviceID(d.listed.ID), Login: d.login.LoginID,
	})
	if err != nil {
		t.Fatal(err)
	}
	req.Code = second
	w.wrongCode(token, req)
	if to, err := w.service.Recipient(t.Context(), alice.id); err != nil || to.Pending != "" {
		t.Errorf("%+v, %v", to, err)
	}
}

// TestEmailOfUnknownOutcome: the change is there or not, and asking again tells.
func TestEmailOfUnknownOutcome(t *testing.T) {
	w, alice, _ := newWorld(t)
	token := alice.devices[0].login.Token
	req := alice.emailRequest(w.code(alice, "alice@example.org").Code)
	before := w.dump()
	w.injectAtCommit("email", sqldb.FailLost)
	w.refused(api.CodeUnavailable, http.MethodPut, emailPath, token, req)
	w.db.InjectCommitFaults(nil)
	if w.dump() != before {
		t.Error("a lost commit changed the tables")
	}
	w.must(http.MethodPut, emailPath, token, req, nil)
}
