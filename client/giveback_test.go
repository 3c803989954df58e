package client_test

import (
	"slices"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// TestForgottenPassword: the password was changed after the backup. The restored server knows the older one; the device
// works on, asks for the current one once, and then that signs in and the older one does not.
func TestForgottenPassword(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	ada.connect()
	ada.until("the connection", func() bool { e, err := ada.ServerEpoch(); return err == nil && e == 1 })
	backup := w.backup()
	const newer = "the sun is a lantern"
	if _, err := ada.ChangePassword(t.Context(), client.PasswordOptions{Password: password, NewPassword: newer}); err != nil {
		t.Fatal(err)
	}
	w.restore(backup, ada)
	events := ada.Events()
	defer events.Close()
	ada.connect()
	ada.event(events, client.EventPassword)
	self := ada.talk("ada")
	ada.sent(ada.send(self, "it goes on meanwhile"))
	if needed, err := ada.PasswordRequired(); err != nil || !needed {
		t.Fatal(needed, err)
	}
	if err := ada.GiveBack(t.Context(), password); client.CodeOf(err) != api.CodeWrongLogin {
		t.Errorf("the older password: %v", err)
	}
	if err := ada.GiveBack(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	if needed, err := ada.PasswordRequired(); err != nil || needed {
		t.Error(needed, err)
	}
	second := w.person("second")
	if err := second.Login(t.Context(), login("ada")); client.CodeOf(err) != api.CodeWrongLogin {
		t.Errorf("signing in with the older password: %v", err)
	}
	o := login("ada")
	o.Password = newer
	if err := second.Login(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	second.connect()
	second.reads(self, 1)
	if n := ada.counters(); n.Alerts != 0 {
		t.Errorf("%+v", n)
	}
}

// TestForgottenAccount: the account was made after the backup. Its device is told to ask for the password, gives the
// account back, and everything that it and its peer have is there again.
func TestForgottenAccount(t *testing.T) {
	w := newWorld(t)
	backup := w.backup()
	carol, ada := w.person("carol"), w.person("ada")
	if _, err := carol.Register(t.Context(), client.RegisterOptions{Username: "carol", Password: password, DeviceName: "first"}); err != nil {
		t.Fatal(err)
	}
	id := carol.talk("ada")
	carol.connect()
	ada.connect()
	carol.sent(carol.send(id, "hello"))
	ada.reads(id, 1)
	ada.sent(ada.send(id, "welcome"))
	carol.reads(id, 2)
	if err := ada.SetVerified(ada.safety("carol"), true); err != nil {
		t.Fatal(err)
	}
	w.restore(backup, carol, ada)
	ada.connect()
	carol.connect()
	if err := carol.ended(); client.CodeOf(err) != api.CodePasswordRequired {
		t.Fatalf("Run ended with %v", err)
	}
	if err := carol.GiveBack(t.Context(), "not the password of carol"); client.CodeOf(err) != api.CodeWrongLogin {
		t.Errorf("another password: %v", err)
	}
	if err := carol.GiveBack(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	carol.connect()
	carol.until("the own message", func() bool {
		return slices.ContainsFunc(carol.positions(id), func(p client.Position) bool { return p.Epoch > 1 })
	})
	if err := ada.disconnect(); err != nil { // it tries again with the next connection, or within a minute
		t.Fatal(err)
	}
	ada.connect()
	agree(id, []string{"hello", "welcome"}, 0, ada, carol)
	if s := ada.safety("carol"); !s.Verified || s.Stopped {
		t.Errorf("%+v", s)
	}
	ada.sent(ada.send(id, "and on"))
	agree(id, []string{"hello", "welcome", "and on"}, 0, ada, carol)
}

// TestGiveBackAfterACrash: the process ends at every step of giving back, before or after it was made durable, and begins
// again. Nothing is lost, nothing is there twice.
func TestGiveBackAfterACrash(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "kept"))
	bob.reads(id, 1)
	backup := w.backup()
	want := []string{"kept"}
	for _, text := range []string{"one", "two", "three", "four"} {
		ada.sent(ada.send(id, text))
		want = append(want, text)
	}
	bob.reads(id, len(want))
	w.restore(backup, ada, bob)
	bob.connect()
	for n := 1; n <= 24; n++ {
		ada.store.crashAt(n%12+1, n > 12)
		ada.connect()
		settled := func() bool {
			all, err := ada.Messages(id, client.Position{}, client.MaxHistory)
			q, queueErr := ada.Queue()
			return err == nil && queueErr == nil && q == 0 && all[len(all)-1].Position.Epoch > 1
		}
		ada.until("the crash, or the end", func() bool { return ada.store.hasCrashed() || settled() })
		ada.reopen()
	}
	ada.connect()
	agree(id, want, 1, ada, bob)
	if n, err := ada.Queue(); err != nil || n != 0 {
		t.Errorf("%d in the queue, %v", n, err)
	}
	if _, err := ada.Send(t.Context(), id, e2ee.TextBody("five")); err != nil {
		t.Fatal(err)
	}
	agree(id, append(want, "five"), 1, ada, bob)
}
