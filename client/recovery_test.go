package client_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/internal/app"
	"sotto/internal/config"
)

const newPassword = "a baboon at noon in june"

func (p *person) newCode() string {
	p.t.Helper()
	code, err := p.NewRecoveryCode()
	if err != nil {
		p.t.Fatal(err)
	}
	return code
}

func recovery(name, code, next string) client.RecoverOptions {
	return client.RecoverOptions{
		Username: name, RecoveryCode: code, NewPassword: newPassword, NewCode: next, DeviceName: "another",
	}
}

// requests counts what a person asks of paths that end like this.
func (p *person) requests(suffix string) *int {
	n := new(int)
	p.net.set(func(net *network) {
		net.response = func(r client.Request, _ *client.Response) error {
			if strings.HasSuffix(r.URL, suffix) {
				*n++
			}
			return nil
		}
	})
	return n
}

// TestChangePassword: the new password is in force and the old one is not; other devices are signed out if that is
// wished, and sign in again; a new recovery code replaces the old one.
func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	second := w.device("second", "ada")
	if _, err := ada.ChangePassword(t.Context(), client.PasswordOptions{Password: "wrong password", NewPassword: newPassword}); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("with a wrong password: %v", err)
	}
	if _, err := ada.ChangePassword(t.Context(), client.PasswordOptions{Password: password, NewPassword: "aaaaaaaaaaaa"}); client.CodeOf(err) != client.CodePassword {
		t.Errorf("with a weak new password: %v", err)
	}
	epoch := ada.archiveEpoch()
	next := ada.newCode()
	o := client.PasswordOptions{Password: password, NewPassword: newPassword, RecoveryCode: next, SignOutOthers: true}
	if pending, err := ada.ChangePassword(t.Context(), o); err != nil || pending {
		t.Fatalf("pending %v, %v", pending, err)
	}
	if now := ada.archiveEpoch(); now != epoch+1 {
		t.Errorf("archive epoch %d follows %d", now, epoch)
	}
	if all := ada.devices(); len(all) != 2 || all[1].State != api.DeviceSignedOut || all[0].State != api.DeviceActive {
		t.Errorf("devices %+v", all)
	}
	if err := second.Run(t.Context()); !errors.Is(err, client.ErrLoginEnded) {
		t.Errorf("the other device's Run: %v", err)
	}
	if err := second.Login(t.Context(), login("ada")); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("signing in with the old password: %v", err)
	}
	o2 := login("ada")
	o2.Password = newPassword
	if err := second.Login(t.Context(), o2); err != nil {
		t.Fatal(err)
	}
	if me, _ := second.Account(); me.WireDevice != 2 || second.archiveEpoch() != epoch+1 {
		t.Errorf("signed in as %+v, archive epoch %d", me, second.archiveEpoch())
	}
	second.connect()
	bob.connect()
	second.sent(second.send(id, "under the new epoch"))
	bob.reads(id, 1)
	fresh := w.person("fresh")
	if err := fresh.Recover(t.Context(), recovery("ada", template.recoveryCodes["ada"], ada.newCode())); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("recovering with the old code: %v", err)
	}
	if err := ada.ConfirmRecoveryCode(template.recoveryCodes["ada"], nil); client.CodeOf(err) != client.CodeRecoveryOther {
		t.Errorf("confirming the old code: %v", err)
	}
	if err := ada.ConfirmRecoveryCode(next, nil); err != nil {
		t.Errorf("confirming the new code: %v", err)
	}
}

// TestConfirmRecoveryCode: nothing but the right code confirms, in whole or by groups, and nothing of it is stored.
func TestConfirmRecoveryCode(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	code := template.recoveryCodes["ada"]
	groups := strings.Split(code, "-")
	state := func() client.RecoveryState {
		s, err := ada.RecoveryState()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if state() != client.RecoveryUnconfirmed {
		t.Errorf("after registration: %q", state())
	}
	typo := []byte(code)
	if typo[0] = '7'; code[0] == '7' {
		typo[0] = '8'
	}
	for name, tc := range map[string]struct {
		code   string
		groups map[int]string
		want   string
	}{
		"a typing error":  {string(typo), nil, client.CodeRecoveryTypo},
		"half":            {code[:19], nil, client.CodeRecoveryTypo},
		"somebody else's": {template.recoveryCodes["bob"], nil, client.CodeRecoveryOther},
		"a wrong group":   {code, map[int]string{3: groups[2], 8: "0000"}, client.CodeRecoveryTypo},
		"no such group":   {code, map[int]string{9: groups[7]}, client.CodeRecoveryTypo},
	} {
		if err := ada.ConfirmRecoveryCode(tc.code, tc.groups); client.CodeOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if state() != client.RecoveryUnconfirmed {
		t.Errorf("after wrong codes: %q", state())
	}
	if err := ada.ConfirmRecoveryCode(code, map[int]string{3: strings.ToLower(groups[2]), 8: " " + groups[7]}); err != nil {
		t.Errorf("the groups: %v", err)
	}
	if ada.reopen(); state() != client.RecoveryConfirmed {
		t.Errorf("after the groups: %q", state())
	}
	if err := ada.ConfirmRecoveryCode(strings.ReplaceAll(strings.ToLower(code), "-", " "), nil); err != nil {
		t.Errorf("the whole code as people type it: %v", err)
	}
	items, err := ada.store.Scan(nil, nil, client.MaxScan)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		for _, group := range groups {
			if strings.Contains(string(it.Value), `"`+group) || strings.Contains(string(it.Value), group+"-") {
				t.Errorf("item %q holds a group of the code", it.Key)
			}
		}
	}
}

// TestRecover: password forgotten, all devices lost; the recovery code brings the account back.
func TestRecover(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	id := bob.talk("ada")
	p := w.person("new")
	code := template.recoveryCodes["ada"]
	next := p.newCode()

	asked := p.requests("")
	bad := recovery("ada", code[:len(code)-1]+"0", next)
	if bad.RecoveryCode == code {
		bad.RecoveryCode = code[:len(code)-1] + "1"
	}
	if err := p.Recover(t.Context(), bad); client.CodeOf(err) != client.CodeRecoveryTypo || *asked != 0 {
		t.Errorf("a typing error: %v, %d requests", err, *asked)
	}
	p.net.honest()
	for name, o := range map[string]client.RecoverOptions{
		"somebody else's code": recovery("ada", template.recoveryCodes["bob"], next),
		"an unknown name":      recovery("nobody", code, next),
	} {
		if err := p.Recover(t.Context(), o); !errors.Is(err, client.ErrWrongLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Recover(t.Context(), recovery("Ada", code, next)); err != nil {
		t.Fatal(err)
	}
	if me, ok := p.Account(); !ok || me.Username != "ada" || me.WireDevice != 2 {
		t.Errorf("signed in as %+v", me)
	}
	if s, err := p.RecoveryState(); err != nil || s != client.RecoveryUnconfirmed {
		t.Errorf("state %q, %v", s, err)
	}
	p.connect()
	bob.connect()
	bob.sent(bob.send(id, "welcome back"))
	if diff := cmp.Diff([]string{"welcome back"}, p.reads(id, 1)); diff != "" {
		t.Error(diff)
	}
	p.sent(p.send(id, "thanks"))
	if err := p.ConfirmRecoveryCode(next, nil); err != nil {
		t.Errorf("confirming: %v", err)
	}
	// The first device still is one; its login goes on.
	if all := p.devices(); len(all) != 2 {
		t.Errorf("devices %+v", all)
	}
}

// TestRecoverCutShort: the recovery ends at each of its requests. Before the new password is stored it begins again with
// the same code; afterwards the new password is good.
func TestRecoverCutShort(t *testing.T) {
	for _, at := range []string{"/recovery/finish", "/password", "/login/finish", "/devices"} {
		t.Run(at[1:], func(t *testing.T) {
			w := newWorld(t)
			p := w.person("new")
			p.net.set(func(n *network) {
				n.response = func(r client.Request, _ *client.Response) error {
					if strings.HasSuffix(r.URL, at) {
						return errBroken
					}
					return nil
				}
			})
			next := p.newCode()
			o := recovery("ada", template.recoveryCodes["ada"], next)
			if err := p.Recover(t.Context(), o); client.CodeOf(err) != client.CodeNetwork {
				t.Fatalf("recovering: %v", err)
			}
			p.net.honest()
			p.reopen()
			err := p.Recover(t.Context(), o)
			if at != "/recovery/finish" {
				if !errors.Is(err, client.ErrWrongLogin) {
					t.Errorf("with a used code: %v", err)
				}
				again := login("ada")
				again.Password = newPassword
				err = p.Login(t.Context(), again)
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := len(p.devices()); n != 2 {
				t.Errorf("%d devices", n)
			}
			if err := p.ConfirmRecoveryCode(next, nil); err != nil {
				t.Errorf("the code that was shown: %v", err)
			}
		})
	}
}

// TestReset: nobody can open the account any more. The operator's code gives it a new key, its devices of before are
// gone, and its store keeps the history.
func TestReset(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "before"))
	bob.reads(id, 1)
	for _, p := range []*person{ada, bob} {
		p.disconnect()
	}
	code := w.resetCode("ada")
	o := client.ResetOptions{Code: code, NewPassword: newPassword, NewCode: ada.newCode(), DeviceName: "new"}
	if _, err := ada.Reset(t.Context(), o); client.CodeOf(err) != client.CodeSignedIn {
		t.Errorf("resetting while signed in: %v", err)
	}
	fresh := w.person("fresh")
	wrong := o
	wrong.Code = "reset-AAAAAAAAAAAAAAAAAAAAAA"
	if _, err := fresh.Reset(t.Context(), wrong); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("with a wrong code: %v", err)
	}
	name, err := fresh.Reset(t.Context(), o)
	if err != nil || name != "ada" {
		t.Fatalf("%q, %v", name, err)
	}
	if _, err := fresh.Reset(t.Context(), o); err == nil {
		t.Error("a code was good twice")
	}
	if all := fresh.devices(); len(all) != 1 || all[0].WireDevice != 1 {
		t.Errorf("devices %+v", all)
	}
	if err := ada.Run(t.Context()); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("a device of before: %v", err)
	}
	self := fresh.talk("ada")
	fresh.connect()
	fresh.sent(fresh.send(self, "to myself, under the new archive key"))
	if v, err := bob.Conversation(t.Context(), "ada"); err != nil || !v.Changed {
		t.Errorf("bob is not told: %+v, %v", v, err)
	}
	// The store of before belongs to the account still, and becomes a device of it again.
	again := login("ada")
	again.Password = newPassword
	if err := ada.Login(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"before"}, ada.texts(id)); diff != "" {
		t.Errorf("the history of the store (-want +got):\n%s", diff)
	}
}

// resetCode is what the operator's command prints.
func (w *world) resetCode(name string) string {
	w.t.Helper()
	var out strings.Builder
	if err := app.ResetCode(w.t.Context(), config.Config{DataDir: filepath.Join(w.dir, "data")}, name, &out); err != nil {
		w.t.Fatal(err)
	}
	code, _, _ := strings.Cut(out.String(), "\n")
	return code
}

// TestCarryOver: a copy of ada's store moves on, and the original is refused. What waited in its queue is sent once,
// by whichever of the two comes first, and its history stays.
func TestCarryOver(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	ada.disconnect()
	ada.send(id, "queued before the copy")
	ada.close()
	w.copyStore("ada", "copy")
	copied := w.person("copy")
	copied.connect()
	bob.reads(id, 2)
	copied.until("an empty queue", func() bool {
		n, err := copied.Queue()
		return err == nil && n == 0
	})
	ada.open()
	ada.send(id, "queued after the copy")
	ada.connect()
	if err := ada.ended(); !errors.Is(err, client.ErrDeviceCloned) {
		t.Fatalf("Run: %v", err)
	}
	if err := ada.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	if me, _ := ada.Account(); me.WireDevice != 2 {
		t.Errorf("signed in as %+v", me)
	}
	if n, err := ada.Queue(); err != nil || n != 2 {
		t.Errorf("%d messages wait, %v", n, err)
	}
	ada.connect()
	ada.until("an empty queue", func() bool {
		n, err := ada.Queue()
		return err == nil && n == 0
	})
	ada.sent(ada.send(id, "by the new device"))
	want := []string{"one", "queued before the copy", "queued after the copy", "by the new device"}
	for name, p := range map[string]*person{"ada": ada, "bob": bob, "the copy": copied} {
		if diff := cmp.Diff(want, p.reads(id, 4)); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
		if n := p.counters(); n.Unreadable+n.Misdelivery+n.Holes != 0 {
			t.Errorf("%s counts %+v", name, n)
		}
	}
	bob.sent(bob.send(id, "to both"))
	ada.reads(id, 5)
	copied.reads(id, 5)
}
