package e2e_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"sotto/internal/testenv"
)

// aRecoveryCode is a line that holds nothing but a code.
var aRecoveryCode = regexp.MustCompile(`(?m)^ +([0-9A-Z]+(?:-[0-9A-Z]+)+)$`)

// does runs a command that has to succeed.
func (w *world) does(state, stdin string, args ...string) string {
	w.t.Helper()
	out, says, status := w.sotto(state, stdin, args...)
	if status != 0 {
		w.t.Fatalf("sotto %v: status %d\n%s%s", args, status, out, says)
	}
	return out
}

// fails runs a command that has to end with a status and a sentence.
func (w *world) fails(status int, want, state, stdin string, args ...string) {
	w.t.Helper()
	out, says, got := w.sotto(state, stdin, args...)
	if got != status || !strings.Contains(out+says, want) {
		w.t.Errorf("sotto %v: status %d, want %d and %q\n%s%s", args, got, status, want, out, says)
	}
}

// TestHousehold is what one person does with an account from a terminal: a confirmed code, a second device, a look at
// whether all is well, a device that is lost, a password that is forgotten. What it asks of the server the other tests ask
// over every topology, so it runs over the first.
func TestHousehold(t *testing.T) {
	if shape.Name != testenv.Shapes[0].Name {
		t.Log("covered by the first topology")
		return
	}
	const next, last = "a baboon at noon in june", "a walrus in the waltz of may"
	w := newWorld(t)
	out := w.does("dora", password+"\n", "register", "dora", "--password-stdin")
	code := aRecoveryCode.FindStringSubmatch(out)
	if code == nil {
		t.Fatalf("no recovery code in\n%s", out)
	}
	w.fails(1, "not confirmed", "dora", "", "doctor")
	w.fails(4, "", "dora", strings.Repeat("2", len(code[1]))+"\n", "recovery-code", "confirm")
	w.does("dora", code[1]+"\n", "recovery-code", "confirm")
	if out := w.does("dora", "", "doctor"); !strings.Contains(out, "recovery code") || !strings.Contains(out, "confirmed") {
		t.Errorf("doctor says\n%s", out)
	}
	var page struct {
		OK       bool `json:"ok"`
		Findings []struct{ Check, Text string }
		Counters map[string]int64 `json:"counters"`
	}
	if err := json.Unmarshal([]byte(w.does("dora", "", "doctor", "--json")), &page); err != nil || !page.OK || len(page.Findings) < 10 {
		t.Errorf("%+v, %v", page, err)
	}
	for _, name := range []string{"sotto_undecryptable_total", "sotto_session_repairs_total", "sotto_prekeys_low", "sotto_owed_messages"} {
		if _, ok := page.Counters[name]; !ok {
			t.Errorf("doctor does not count %s", name)
		}
	}

	w.does("dora", "", "send", "bob", "before the laptop")
	w.does("laptop", password+"\n", "login", "dora", "--password-stdin", "--device=laptop")
	w.does("laptop", "", "devices", "rename", "2", "Küche")
	if out := w.does("dora", "", "devices"); !strings.Contains(out, "Küche") || strings.Count(out, "this device") != 1 {
		t.Errorf("devices:\n%s", out)
	}
	w.fails(4, "", "dora", "not the password at all\n", "devices", "remove", "2", "--password-stdin")
	w.does("dora", password+"\n", "devices", "remove", "2", "--password-stdin")
	w.fails(4, "Sign in again", "laptop", "", "send", "--timeout=20s", "bob", "from the laptop")

	w.does("dora", password+"\n"+next+"\n", "password", "--password-stdin")
	w.fails(4, "", "tablet", password+"\n", "login", "dora", "--password-stdin")
	// The password is forgotten and the device lost: the code brings everything back, once.
	recovered := w.does("phone", code[1]+"\n"+last+"\n", "recover", "dora", "--password-stdin")
	if aRecoveryCode.FindStringSubmatch(recovered) == nil {
		t.Errorf("no new code in\n%s", recovered)
	}
	w.fails(4, "", "other", code[1]+"\n"+last+"\n", "recover", "dora", "--password-stdin")
	phone := w.terminal("phone", "chat", "bob")
	phone.shows("you: before the laptop")
	phone.leaves()

	w.does("phone", "", "history", "keep", "30", "--yes")
	if out := w.does("phone", "", "history"); !strings.Contains(out, "30 days") {
		t.Errorf("history:\n%s", out)
	}
	w.fails(1, "none of them", "phone", "", "history", "keep", "for ever")
	w.does("phone", "", "safety", "bob", "--verify")
	if out := w.does("phone", "", "safety", "bob"); !strings.Contains(out, "You have compared this number") {
		t.Errorf("safety:\n%s", out)
	}
	if out := w.does("phone", "", "email"); !strings.Contains(out, "sotto email add") {
		t.Errorf("email:\n%s", out)
	}
}
