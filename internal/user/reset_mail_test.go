package user_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
)

const resetMailPath = "/api/user/reset/mail"

// withEmail gives p a verified address.
func (w *world) withEmail(p *person, address string) {
	w.t.Helper()
	to := w.code(p, address)
	w.must(http.MethodPut, emailPath, p.devices[0].login.Token, p.emailRequest(to.Code), nil)
}

// askReset asks for a mail and returns the whole answer.
func (w *world) askReset(name string) string {
	w.t.Helper()
	rec := w.send(http.MethodPost, resetMailPath, "", marshal(w.t, api.MailResetRequest{Name: name}))
	header := rec.Result().Header
	header.Del("Date")
	return rec.Result().Status + rec.Body.String() + string(marshal(w.t, header))
}

// mailed is the code that a mail to p would bring.
func (w *world) mailed(p *person) string {
	w.t.Helper()
	to, err := w.service.Recipient(w.t.Context(), p.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return to.Reset
}

// TestMailResetTellsNothing: whoever asks learns nothing, and the server does the same work, whatever there is.
func TestMailResetTellsNothing(t *testing.T) {
	w, alice, bob := newWorld(t)
	w.withEmail(alice, "alice@example.org")
	byOperator := w.resetCode("bob")
	want := ""
	for i, name := range []string{"nobody", "bob", "alice", "ALICE@example.org", "nobody@example.org", "bob"} {
		before := w.dump()
		got := w.askReset(name)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s is answered %s, nobody %s", name, got, want)
		}
		if n := w.count("SELECT count(*) FROM outbox WHERE type = $1", string(event.ResetAsked)); n != i+1 {
			t.Errorf("%d events after %d requests", n, i+1)
		}
		if name == "nobody" && before == w.dump() {
			t.Error("nothing was written for a name that nobody has")
		}
	}
	if w.mailed(alice) == "" || w.mailed(bob) != "" {
		t.Errorf("mails bring %q and %q", w.mailed(alice), w.mailed(bob))
	}
	// The operator's code still works, and is not mailed to an account that gets an address later.
	var start api.ResetStartResponse
	w.must(http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: byOperator}, &start)
	w.withEmail(bob, "bob@example.org")
	w.clock.advance(23*time.Hour + 30*time.Minute)
	w.askReset("bob")
	if w.mailed(bob) != "" {
		t.Error("the code of the operator was mailed, or replaced")
	}
	w.must(http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: byOperator}, &start)
}

// TestMailResetOnce: the code of the mail resets the account once; asking again sends the same one until it is nearly
// over.
func TestMailResetOnce(t *testing.T) {
	w, alice, _ := newWorld(t)
	w.withEmail(alice, "alice@example.org")
	if w.mailed(alice) != "" {
		t.Fatal("a code that nobody asked for")
	}
	w.askReset("alice")
	first := w.mailed(alice)
	w.clock.advance(22 * time.Hour)
	w.askReset("alice@example.org")
	if again := w.mailed(alice); first == "" || again != first {
		t.Errorf("%q, then %q", first, again)
	}
	w.clock.advance(90 * time.Minute)
	w.askReset("alice")
	second := w.mailed(alice)
	if second == first || second == "" {
		t.Errorf("%q, and when that is nearly over %q", first, second)
	}
	w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: first})
	var login api.Login
	w.must(http.MethodPost, resetPath, "", w.reset(alice, second), &login)
	if login.AccountID != alice.id || w.mailed(alice) != "" {
		t.Errorf("%+v, and the mail would bring %q", login, w.mailed(alice))
	}
	w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: second})
	w.askReset("alice")
	if w.mailed(alice) != "" {
		t.Error("the address survived the reset without its password")
	}
}

func TestMailResetExpires(t *testing.T) {
	w, alice, _ := newWorld(t)
	w.withEmail(alice, "alice@example.org")
	w.askReset("alice")
	code := w.mailed(alice)
	w.clock.advance(24 * time.Hour)
	if w.mailed(alice) != "" {
		t.Error("an expired code is mailed")
	}
	w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: code})
}

func TestMailResetBounds(t *testing.T) {
	w, _, _ := newWorld(t)
	before := w.dump()
	for _, name := range []string{"", "al", "alice; --", "alice@", "@example.org", strings.Repeat("a", 250) + "@example.org"} {
		w.refused(api.CodeInvalid, http.MethodPost, resetMailPath, "", api.MailResetRequest{Name: name})
	}
	w.limits.closed["reset mail by name"] = true
	for _, name := range []string{"alice", "nobody"} {
		w.refused(api.CodeLimited, http.MethodPost, resetMailPath, "", api.MailResetRequest{Name: name})
	}
	if len(w.limits.counts["reset mail by name"]) != 2 || w.dump() != before {
		t.Errorf("counted by %v", w.limits.counts["reset mail by name"])
	}
}
