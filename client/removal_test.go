package client_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

func (p *person) devices() []client.Device {
	p.t.Helper()
	all, err := p.Devices(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func (p *person) archiveEpoch() uint64 {
	p.t.Helper()
	epoch, err := p.ArchiveEpoch()
	if err != nil {
		p.t.Fatal(err)
	}
	return epoch
}

// hasKeysOf waits until a device has the newest archive key of another one of its account.
func (p *person) hasKeysOf(other *person) {
	p.t.Helper()
	p.until("the archive keys", func() bool {
		n, err := p.ArchiveEpoch()
		want, otherErr := other.ArchiveEpoch()
		return err == nil && otherErr == nil && n == want
	})
}

// TestRemoveDevice: a removed device learns that it is gone, connected or not; nobody encrypts for it any more; the
// others go on, their records under the new archive epoch.
func TestRemoveDevice(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := bob.talk("ada")
	second := w.device("second", "ada")
	if err := ada.RenameDevice(t.Context(), 2, "lost phone"); err != nil {
		t.Fatal(err)
	}
	all := ada.devices()
	if len(all) != 2 || all[1].Name != "lost phone" || all[1].State != api.DeviceActive || all[1].Current || !all[0].Current {
		t.Errorf("devices %+v", all)
	}
	ada.connect()
	bob.connect()
	second.connect()
	bob.sent(bob.send(id, "for both"))
	ada.reads(id, 1)
	second.reads(id, 1)

	if _, err := ada.RemoveDevice(t.Context(), 2, "another password"); !errors.Is(err, client.ErrWrongLogin) {
		t.Errorf("removing with a wrong password: %v", err)
	}
	if _, err := ada.RemoveDevice(t.Context(), 3, password); client.CodeOf(err) != api.CodeNotFound {
		t.Errorf("removing nothing: %v", err)
	}
	if len(ada.devices()) != 2 {
		t.Error("something was removed")
	}
	epoch := ada.archiveEpoch()
	pending, err := ada.RemoveDevice(t.Context(), 2, password)
	if err != nil || pending {
		t.Fatalf("removing: pending %v, %v", pending, err)
	}
	if now := ada.archiveEpoch(); now != epoch+1 {
		t.Errorf("archive epoch %d follows %d", now, epoch)
	}
	if err := second.ended(); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("the removed device's Run: %v", err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("its Run again: %v", err)
	}
	sends := bob.watchSends()
	bob.sent(bob.send(id, "for one"))
	ada.reads(id, 2)
	all2 := sends()
	last := all2[len(all2)-1]
	for _, e := range last.Envelopes {
		if e.DeviceID == 2 {
			t.Error("an envelope for the removed device")
		}
	}
	ada.until("the acknowledgements", func() bool { return ada.settled(id, 2) })
	ada.sent(ada.send(id, "under the new epoch"))
	bob.reads(id, 3)
	if len(ada.devices()) != 1 {
		t.Error("it is still listed")
	}
	// With the password its store becomes a new device, under the freed number, and keeps its history.
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	second.connect()
	bob.sent(bob.send(id, "for both again"))
	want := []string{"for both", "for one", "under the new epoch", "for both again"} // those in the middle from the archive
	if diff := cmp.Diff(want, second.reads(id, 4)); diff != "" {
		t.Errorf("the store that was gone reads (-want +got):\n%s", diff)
	}
}

// TestRemoveOffline: the removed device was off, and learns it from its first request.
func TestRemoveOffline(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	second := w.device("second", "ada")
	second.reopen()
	if _, err := ada.RemoveDevice(t.Context(), 2, password); err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("Run: %v", err)
	}
	if _, err := second.Devices(t.Context()); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("listing: %v", err)
	}
	// And a device can remove itself.
	if _, err := ada.RemoveDevice(t.Context(), 1, password); err != nil {
		t.Fatal(err)
	}
	if err := ada.Run(t.Context()); !errors.Is(err, client.ErrDeviceGone) {
		t.Errorf("Run of the one that removed itself: %v", err)
	}
}

// TestRemovalRaces: while one device is about to be removed another is added, and the removal begins again.
func TestRemovalRaces(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	w.device("second", "ada")
	third := w.person("third")
	once := false
	ada.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if !once && strings.HasSuffix(r.URL, "/api/user/bundle") {
				once = true
				return third.Login(t.Context(), login("ada"))
			}
			return nil
		}
	})
	if _, err := ada.RemoveDevice(t.Context(), 2, password); err != nil {
		t.Fatal(err)
	}
	var left []api.WireDeviceID
	for _, d := range ada.devices() {
		left = append(left, d.WireDevice)
	}
	if diff := cmp.Diff([]api.WireDeviceID{1, 3}, left); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

// TestArchiveKeysReachOwnDevices: after a removal the others get the key of the new archive epoch, also one that was
// off, or signed out by a change of password; what they write and acknowledge meanwhile waits for it.
func TestArchiveKeysReachOwnDevices(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := bob.talk("ada")
	second := w.device("second", "ada")
	third := w.device("third", "ada")
	w.device("fourth", "ada")
	ada.connect()
	third.connect()
	bob.connect()
	epoch := ada.archiveEpoch()
	if _, err := ada.RemoveDevice(t.Context(), 4, password); err != nil {
		t.Fatal(err)
	}
	bob.sent(bob.send(id, "for all"))
	ada.sent(ada.send(id, "under the new epoch"))
	third.until("the key", func() bool { return third.archiveEpoch() == epoch+1 })
	third.sent(third.send(id, "by the third"))
	third.until("its acknowledgements", func() bool { return third.settled(id, 3) })
	second.connect()
	second.sent(second.send(id, "by the second"))
	second.until("its acknowledgements", func() bool { return second.settled(id, 4) })

	o := client.PasswordOptions{Password: password, NewPassword: newPassword, SignOutOthers: true}
	if _, err := ada.ChangePassword(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := second.ended(); !errors.Is(err, client.ErrLoginEnded) {
		t.Errorf("the second's Run: %v", err)
	}
	if second.archiveEpoch() != epoch+1 {
		t.Error("a device that is signed out has the new key")
	}
}

// TestRemovalCutShort: the answer is lost together with the process. The next start finds out that the server has
// stored the change, and has the new archive key.
func TestRemovalCutShort(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	w.device("second", "ada")
	id := ada.talk("bob")
	epoch := ada.archiveEpoch()
	ada.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if strings.HasSuffix(r.URL, "/remove") {
				ada.store.crashAt(1, false)
				return errBroken
			}
			return nil
		}
	})
	if _, err := ada.RemoveDevice(t.Context(), 2, password); err == nil {
		t.Fatal("the removal got its answer")
	}
	ada.net.honest()
	ada.reopen()
	if now := ada.archiveEpoch(); now != epoch {
		t.Errorf("archive epoch %d before the server was asked", now)
	}
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "hello"))
	bob.reads(id, 1)
	ada.until("the new epoch", func() bool { return ada.archiveEpoch() == epoch+1 })
	ada.sent(ada.send(id, "and on"))
	if n := len(ada.devices()); n != 1 {
		t.Errorf("%d devices", n)
	}
}

// evilAccount are answers by which a server shows something else than the account as it is.
type evilAccount struct {
	name   string
	bundle func(b *api.Bundle)
	lists  func(l *[]api.SignedList)
	code   string
}

// TestEvilServerAtChanges: the server shows an old bundle, swapped slots, a truncated bundle, an old list or a fork to
// who is about to sign in, to remove a device, to change the password or to recover. It is refused and told, and
// nothing has changed.
func TestEvilServerAtChanges(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	var old api.Bundle
	onAnswer(ada, "/api/user/bundle", func(b *api.Bundle) { old = *b })
	if _, err := ada.RemoveDevice(t.Context(), 1, "not the password"); err == nil {
		t.Fatal("a wrong password was right")
	}
	ada.net.honest()
	var oldLists []api.SignedList
	onAnswer(ada, "/api/user/lookup", func(a *api.Account) { oldLists = a.Lists.Lists })
	if _, err := ada.Safety(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	ada.net.honest()
	second := w.device("second", "ada")
	me, _ := ada.Account()
	forger := &signer{t: t, id: me.ID, keys: ada.accountKey(), ids: map[uint32]e2ee.PublicKey{}}
	fork := forger.list(2, &oldLists[0], 1, 3)

	cases := []evilAccount{
		{name: "an old bundle", bundle: func(b *api.Bundle) { *b = old }, code: client.CodeBundle},
		{name: "a truncated bundle", bundle: func(b *api.Bundle) { b.Sealed = b.Sealed[:len(b.Sealed)-9] }, code: client.CodeBundle},
		{name: "swapped slots", bundle: swapSlots(t), code: client.CodeBundle},
		{name: "an old list", lists: func(l *[]api.SignedList) { *l = oldLists }, code: client.CodeBundle},
		{name: "a fork", lists: func(l *[]api.SignedList) { *l = []api.SignedList{fork} }, code: client.CodeBundle},
	}
	code, err := ada.NewRecoveryCode()
	if err != nil {
		t.Fatal(err)
	}
	stored := func() []client.Device {
		second.net.honest()
		return second.devices()
	}
	before := stored()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			second.net.set(func(n *network) { n.response = tc.lie })
			alerts := second.counters().Alerts
			if _, err := second.RemoveDevice(t.Context(), 1, password); !refusal(err) {
				t.Errorf("removing: %v", err)
			}
			o := client.PasswordOptions{Password: password, NewPassword: "the sun is a baboon", RecoveryCode: code}
			if _, err := second.ChangePassword(t.Context(), o); !refusal(err) {
				t.Errorf("changing the password: %v", err)
			}
			if now := second.counters().Alerts; now < alerts+2 {
				t.Errorf("%d alerts", now-alerts)
			}
			fresh := w.person("fresh " + tc.name)
			fresh.net.set(func(n *network) { n.response = tc.lie })
			if err := fresh.Login(t.Context(), login("ada")); client.CodeOf(err) != tc.code {
				t.Errorf("signing in: %v", err)
			}
			recovery := client.RecoverOptions{
				Username: "ada", RecoveryCode: template.recoveryCodes["ada"], NewPassword: "the sun is a baboon", NewCode: code,
			}
			if err := fresh.Recover(t.Context(), recovery); client.CodeOf(err) != tc.code {
				t.Errorf("recovering: %v", err)
			}
			if _, ok := fresh.Account(); ok {
				t.Error("signed in after all")
			}
			if diff := cmp.Diff(before, stored()); diff != "" {
				t.Errorf("devices (-before +after):\n%s", diff)
			}
		})
	}
}

// swapSlots exchanges the wrapped keys of a bundle's two slots, which are the last 60 bytes of each.
func swapSlots(t *testing.T) func(b *api.Bundle) {
	return func(b *api.Bundle) {
		var ends []int
		for i := 0; i < len(b.Sealed); {
			tag := b.Sealed[i]
			size, n := binary.Uvarint(b.Sealed[i+1:])
			if i += 1 + n; tag&7 == 0 {
				continue
			}
			if i += int(size); tag == 4<<3|2 {
				ends = append(ends, i)
			}
		}
		if len(ends) != 2 {
			t.Errorf("the bundle has %d slots", len(ends))
			return
		}
		for k := 1; k <= 60; k++ {
			x, y := &b.Sealed[ends[0]-k], &b.Sealed[ends[1]-k]
			*x, *y = *y, *x
		}
	}
}

// refusal tells whether an error is about what the server showed.
func refusal(err error) bool {
	switch client.CodeOf(err) {
	case client.CodeBundle, client.CodeListBack, client.CodeListFork:
		return true
	}
	return false
}

// lie changes answers with the account's bundle and lists.
func (tc evilAccount) lie(r client.Request, res *client.Response) error {
	if res.Status != http.StatusOK {
		return nil
	}
	edit := func(v any, change func()) error {
		if err := json.Unmarshal(res.Body, v); err != nil {
			return err
		}
		change()
		var err error
		res.Body, err = json.Marshal(v)
		return err
	}
	switch {
	case strings.HasSuffix(r.URL, "/api/user/bundle"):
		var b api.Bundle
		return edit(&b, func() {
			if tc.bundle != nil {
				tc.bundle(&b)
			}
		})
	case strings.HasSuffix(r.URL, "/api/user/lists"):
		var l api.ListsResponse
		return edit(&l, func() {
			if tc.lists != nil && len(l.Accounts) > 0 {
				tc.lists(&l.Accounts[0].Lists)
			}
		})
	case strings.HasSuffix(r.URL, "/finish"):
		var l api.Login
		return edit(&l, func() {
			if tc.bundle != nil {
				tc.bundle(l.Bundle)
			}
			if tc.lists != nil {
				tc.lists(&l.Lists.Lists)
			}
		})
	}
	return nil
}
