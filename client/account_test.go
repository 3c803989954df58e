package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// onAnswer edits the answers of one path.
func onAnswer[T any](p *person, path string, edit func(*T)) {
	p.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			if !strings.HasSuffix(r.URL, path) || res.Status != 200 {
				return nil
			}
			var v T
			if err := json.Unmarshal(res.Body, &v); err != nil {
				return err
			}
			edit(&v)
			var err error
			res.Body, err = json.Marshal(v)
			return err
		}
	})
}

func login(name string) client.LoginOptions {
	return client.LoginOptions{Username: name, Password: password, DeviceName: "another"}
}

func TestAccount(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	me, ok := ada.Account()
	if !ok || me.Username != "ada" || me.WireDevice != 1 {
		t.Errorf("signed in as %+v, %v", me, ok)
	}
	if _, err := e2ee.ParseRecoveryCode(template.recoveryCodes["ada"]); err != nil {
		t.Errorf("the recovery code: %v", err)
	}
	devices, err := ada.Devices(t.Context())
	if err != nil || len(devices) != 1 || devices[0].ID != me.Device || devices[0].Name != "first" || !devices[0].Current {
		t.Errorf("devices %+v, %v", devices, err)
	}
	if err := ada.Login(t.Context(), login("ada")); client.CodeOf(err) != client.CodeSignedIn {
		t.Errorf("logging in twice: %v", err)
	}
	if _, err := ada.Register(t.Context(), client.RegisterOptions{Username: "eve", Password: password}); client.CodeOf(err) != client.CodeSignedIn {
		t.Errorf("registering twice: %v", err)
	}
}

func TestSafetyNumbersAgree(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	seen, err := ada.Safety(t.Context(), "bob")
	if err != nil || len(seen.Digits) != 60 {
		t.Fatalf("%+v, %v", seen, err)
	}
	other, err := bob.Safety(t.Context(), "ada")
	if err != nil || other.Digits != seen.Digits {
		t.Errorf("ada sees %s, bob %s, %v", seen.Digits, other.Digits, err)
	}
	if same, err := e2ee.CompareScannable(seen.Scannable, other.Scannable); err != nil || !same {
		t.Errorf("scanning: %v, %v", same, err)
	}
}

func TestNobodySignedIn(t *testing.T) {
	w := newWorld(t)
	p := w.person("empty")
	if _, ok := p.Account(); ok {
		t.Error("an empty store has an account")
	}
	if err := p.Run(t.Context()); !errors.Is(err, client.ErrNotSignedIn) {
		t.Errorf("Run: %v", err)
	}
	if _, err := p.Conversation(t.Context(), "bob"); !errors.Is(err, client.ErrNotSignedIn) {
		t.Errorf("Conversation: %v", err)
	}
	for _, server := range []string{"", "chat.example.org", "ftp://x", "http://", "http://u:p@x", "http://x?y=z"} {
		if _, err := client.Open(client.Options{Server: server, Store: p.store}); client.CodeOf(err) != client.CodeArgument {
			t.Errorf("server %q: %v", server, err)
		}
	}
}

func TestRegisterRefused(t *testing.T) {
	w := newWorld(t)
	p := w.person("eve")
	for _, tc := range []struct {
		username, password, device, code string
	}{
		{"eve", "short", "", client.CodePassword},
		{"eve", "password123", "", client.CodePassword},
		{"ev", password, "", client.CodeArgument},
		{strings.Repeat("e", 33), password, "", client.CodeArgument},
		{"eve", password, strings.Repeat("d", 65), client.CodeArgument},
		{"Ada", password, "", api.CodeExists},
		{"admin", password, "", api.CodeInvalid},
	} {
		o := client.RegisterOptions{Username: tc.username, Password: tc.password, DeviceName: tc.device}
		if _, err := p.Register(t.Context(), o); client.CodeOf(err) != tc.code {
			t.Errorf("%q, %q: %v, want code %s", tc.username, tc.password, err, tc.code)
		}
	}
	if _, ok := p.Account(); ok {
		t.Error("signed in after all")
	}
}

func TestWrongPassword(t *testing.T) {
	w := newWorld(t)
	p := w.person("new")
	for _, name := range []string{"ada", "nobody"} {
		o := login(name)
		o.Password = "not the password at all"
		if err := p.Login(t.Context(), o); !errors.Is(err, client.ErrWrongLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRegisterReplyLost: the account was made, but the reply is lost twice. The same bytes get the first answer.
func TestRegisterReplyLost(t *testing.T) {
	w := newWorld(t)
	p := w.person("cid")
	var bodies []string
	p.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if strings.HasSuffix(r.URL, "/register") {
				bodies = append(bodies, string(r.Body))
				if len(bodies) <= 2 {
					return errBroken
				}
			}
			return nil
		}
	})
	if _, err := p.Register(t.Context(), client.RegisterOptions{Username: "cid", Password: password}); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 3 || bodies[0] != bodies[1] || bodies[1] != bodies[2] {
		t.Errorf("%d requests left, not all the same", len(bodies))
	}
}

// TestRegisterCutShort: the account was made, but this process ends before it knows. Login with the same store goes on
// as the device that the account lists; with an account that was never made it starts afresh.
func TestRegisterCutShort(t *testing.T) {
	w := newWorld(t)
	p := w.person("cid")
	p.store.crashAt(3, false) // empty store, new device, introduced
	o := client.RegisterOptions{Username: "cid", Password: password}
	if _, err := p.Register(t.Context(), o); client.CodeOf(err) != client.CodeStore {
		t.Fatalf("registering: %v", err)
	}
	p.reopen()
	if _, ok := p.Account(); ok {
		t.Fatal("signed in already")
	}
	if err := p.Login(t.Context(), login("cid")); err != nil {
		t.Fatal(err)
	}
	devices, err := p.Devices(t.Context())
	if err != nil || len(devices) != 1 || !devices[0].Current {
		t.Errorf("devices %+v, %v", devices, err)
	}
}

// TestAddDeviceCutShort does the same with a second device, once before the server has it and once after.
func TestAddDeviceCutShort(t *testing.T) {
	// The store is emptied, takes the new device, and takes that the server has it.
	for name, apply := range map[string]int{"before": 2, "after": 3} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.person("second")
			p.store.crashAt(apply, name == "before")
			if err := p.Login(t.Context(), login("ada")); client.CodeOf(err) != client.CodeStore {
				t.Fatalf("logging in: %v", err)
			}
			p.reopen()
			if err := p.Login(t.Context(), login("ada")); err != nil {
				t.Fatal(err)
			}
			devices, err := p.Devices(t.Context())
			if err != nil || len(devices) != 2 {
				t.Errorf("devices %+v, %v", devices, err)
			}
			me, _ := p.Account()
			if me.WireDevice != 2 {
				t.Errorf("signed in as %+v", me)
			}
		})
	}
}

// TestTwoDevicesAtOnce: two devices are added at the same moment. One of them finds that list and bundle have moved on
// and begins again.
func TestTwoDevicesAtOnce(t *testing.T) {
	w := newWorld(t)
	second, third := w.person("second"), w.person("third")
	once := false
	second.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if !once && strings.HasSuffix(r.URL, "/login/finish") {
				once = true
				return third.Login(t.Context(), login("ada"))
			}
			return nil
		}
	})
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	var ids []api.WireDeviceID
	for _, p := range []*person{second, third} {
		me, _ := p.Account()
		ids = append(ids, me.WireDevice)
	}
	if slices.Sort(ids); !slices.Equal(ids, []api.WireDeviceID{2, 3}) {
		t.Errorf("the devices are %v", ids)
	}
}

// TestLoginAtAnEvilServer: parameters out of bounds are refused before the password is stretched, and keys that do not
// belong together before anything is stored.
func TestLoginAtAnEvilServer(t *testing.T) {
	w := newWorld(t)
	p := w.person("second")
	for name, edit := range map[string]func(*api.LoginStartResponse){
		"few iterations":  func(r *api.LoginStartResponse) { r.Parameters.Iterations = api.MinIterations - 1 },
		"many iterations": func(r *api.LoginStartResponse) { r.Parameters.Iterations = api.MaxIterations + 1 },
		"short salt":      func(r *api.LoginStartResponse) { r.Parameters.Salt = r.Parameters.Salt[:8] },
		"another method":  func(r *api.LoginStartResponse) { r.Method = "plain" },
	} {
		onAnswer(p, "/login/start", edit)
		if err := p.Login(t.Context(), login("ada")); client.CodeOf(err) != client.CodeServer {
			t.Errorf("%s: %v", name, err)
		}
	}
	bob := w.person("bob")
	var bobs api.Account
	onAnswer(bob, "/lookup", func(a *api.Account) { bobs = *a })
	if _, err := bob.Safety(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*api.Login){
		"a changed bundle":      func(r *api.Login) { r.Bundle.Sealed[len(r.Bundle.Sealed)-1] ^= 1 },
		"another version":       func(r *api.Login) { r.Bundle.Version++ },
		"lists of bob":          func(r *api.Login) { r.Lists.Lists = bobs.Lists.Lists },
		"no list":               func(r *api.Login) { r.Lists.Lists = nil },
		"the account of bob":    func(r *api.Login) { r.AccountID = bobs.AccountID },
		"a list with a changed": func(r *api.Login) { l := r.Lists.Lists[0].List; l[len(l)-1] ^= 1 },
	} {
		onAnswer(p, "/login/finish", edit)
		if err := p.Login(t.Context(), login("ada")); client.CodeOf(err) != client.CodeBundle {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.net.honest()
	if _, ok := p.Account(); ok {
		t.Error("signed in after all")
	}
}

// TestRenew: an expired token is renewed, and a request that was refused for its token is made again.
func TestRenew(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	renewed, refused := 0, false
	ada.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			switch {
			case strings.HasSuffix(r.URL, "/renew"):
				renewed++
			case !refused:
				refused = true
				*res = client.Response{Status: 401, Body: []byte(`{"status":401,"code":"unauthenticated"}`)}
			}
			return nil
		}
	})
	if _, err := ada.Devices(t.Context()); err != nil || renewed != 1 {
		t.Errorf("%d renewals, %v", renewed, err)
	}
	if _, err := ada.Devices(t.Context()); err != nil || renewed != 1 {
		t.Errorf("%d renewals, %v", renewed, err)
	}
}

// TestLogout empties the store and ends the login on the server, also for whoever has copied the store.
func TestLogout(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	ada.close()
	w.copyStore("ada", "copy")
	ada.open()
	ada.talk("bob")
	if err := ada.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := ada.Account(); ok {
		t.Error("still signed in")
	}
	if items, err := ada.store.Scan(nil, nil, 10); err != nil || len(items) > 0 {
		t.Errorf("%d items are left, %v", len(items), err)
	}
	copied := w.person("copy")
	if err := copied.Run(t.Context()); !errors.Is(err, client.ErrLoginEnded) {
		t.Errorf("the copy's Run: %v", err)
	}
	if err := copied.Run(t.Context()); !errors.Is(err, client.ErrLoginEnded) {
		t.Errorf("the copy's Run again: %v", err)
	}
	// The device is listed, so with the password the copy goes on as that device.
	before, _ := copied.Account()
	if err := copied.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	if after, _ := copied.Account(); after != before {
		t.Errorf("signed in as %+v, before %+v", after, before)
	}
	if err := ada.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	if me, _ := ada.Account(); me.WireDevice != 2 {
		t.Errorf("the emptied store became %+v", me)
	}
}

// TestLogoutLeavesTheApplicationsOwn, however much it is, and nothing else, whatever it begins with.
func TestLogoutLeavesTheApplicationsOwn(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	own := 1_200 // more than are looked at at once
	var b client.Batch
	for i := range own {
		b.Put = append(b.Put, client.Item{Key: fmt.Appendf(nil, "x%04d", i), Value: []byte("1")})
	}
	for first := range 256 {
		if first != 'x' {
			b.Put = append(b.Put, client.Item{Key: []byte{byte(first), 0xff}, Value: []byte("1")})
		}
	}
	if err := ada.store.Apply(b); err != nil {
		t.Fatal(err)
	}
	if err := ada.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	items, err := ada.store.Scan(nil, nil, client.MaxScan)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		if it.Key[0] != 'x' {
			t.Errorf("%q is left", it.Key)
		}
	}
	if len(items) != own {
		t.Errorf("%d items are left, %d are the application's", len(items), own)
	}
}

// copyStore copies a closed store.
func (w *world) copyStore(from, to string) {
	w.t.Helper()
	b, err := os.ReadFile(w.dir + "/" + from)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.dir+"/"+to, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// TestClone: a copied store connects after the original. It is refused, stays refused, and becomes a new device with
// the password.
func TestClone(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := bob.talk("ada")
	ada.close()
	w.copyStore("ada", "copy")
	ada.open()
	ada.connect()
	bob.connect()
	bob.sent(bob.send(id, "one"))
	ada.reads(id, 1)
	copied := w.person("copy")
	copied.connect()
	if err := copied.ended(); !errors.Is(err, client.ErrDeviceCloned) {
		t.Fatalf("the copy's Run: %v", err)
	}
	copied.reopen()
	if err := copied.Run(t.Context()); !errors.Is(err, client.ErrDeviceCloned) {
		t.Errorf("the copy's Run again: %v", err)
	}
	if _, err := copied.Conversation(t.Context(), "bob"); !errors.Is(err, client.ErrDeviceCloned) {
		t.Errorf("a request of the copy: %v", err)
	}
	if err := copied.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	if me, _ := copied.Account(); me.WireDevice != 2 {
		t.Errorf("the copy became %+v", me)
	}
	copied.connect()
	bob.sent(bob.send(id, "two"))
	ada.reads(id, 2)
	copied.reads(id, 1)
}
