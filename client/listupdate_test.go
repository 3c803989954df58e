package client_test

import (
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// TestListTold: bob does not hear that ada has a second device. The message that shows it is answered with her list,
// inside the session, and he pins it although the server hides it.
func TestListTold(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	id := ada.talk("bob")
	bob.talk("ada")
	bob.hideLists()
	bob.connect()
	bob.sent(bob.send(id, "to one device"))
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	ada.talk("ada") // learns her own list
	events := bob.Events()
	defer events.Close()
	ada.connect()
	ada.reads(id, 1)
	if e := bob.event(events, client.EventDevices); e.Account != ada.account() {
		t.Errorf("devices of %v", e.Account)
	}
	if v, err := bob.PinnedVersion(ada.account()); v != 2 || err != nil {
		t.Errorf("version %d is pinned, %v", v, err)
	}
	ada.idle()
	if n := ada.counters(); n.Alerts != 0 {
		t.Errorf("ada counts %+v", n)
	}
	if n := bob.counters(); n.Alerts != 1 { // the server has hidden a list
		t.Errorf("bob counts %+v", n)
	}
	bob.sent(bob.send(id, "to two devices"))
	ada.reads(id, 2)
	second.connect()
	second.reads(id, 1)
}

// TestListOld: bob's message was encrypted for a device of ada's that she has removed meanwhile. She is told, and he gets
// the new list.
func TestListOld(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	if err := second.Login(t.Context(), login("ada")); err != nil {
		t.Fatal(err)
	}
	id := ada.talk("bob")
	bob.talk("ada")
	bob.connect()
	bob.sent(bob.send(id, "to two devices"))
	bob.disconnect()
	if pending, err := ada.RemoveDevice(t.Context(), second.ref().DeviceID, password); pending || err != nil {
		t.Fatal(pending, err)
	}
	events := ada.Events()
	defer events.Close()
	ada.connect()
	if e := ada.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeListOld || e.Account != bob.account() {
		t.Errorf("alert %+v", e)
	}
	ada.reads(id, 1)
	ada.idle()
	ada.disconnect()
	bob.hideLists()
	bob.connect()
	bob.until("the new list", func() bool {
		v, err := bob.PinnedVersion(ada.account())
		return err == nil && v == 3
	})
	if n := ada.counters(); n.Alerts != 1 {
		t.Errorf("ada counts %+v", n)
	}
}

// TestListTakenRefused: lists that come inside a session are held against what is pinned like those that the server
// shows.
func TestListTakenRefused(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	var one api.AccountLists
	onAnswer(ada, "/lookup", func(a *api.Account) { one = a.Lists })
	id := ada.talk("bob")
	bob.talk("ada")
	ada.net.honest()
	bobs := &signer{t: t, id: one.AccountID, keys: bob.accountKey(), ids: map[uint32]e2ee.PublicKey{}}
	forger := &signer{t: t, id: one.AccountID, ids: bobs.ids}
	forger.keys = forger.pair()
	stranger := newSigner(t)
	fork := bobs.list(1, nil, 1, 2)
	unsigned := bobs.list(2, &one.Lists[0], 1)
	unsigned.Signature = one.Lists[0].Signature
	good := bobs.list(2, &one.Lists[0], 1, 2)
	ada.connect()
	bob.connect()
	n := 0
	for _, tc := range []struct {
		name    string
		list    api.SignedList
		alerts  int64
		version uint64
	}{
		{"the pinned one", one.Lists[0], 0, 1},
		{"a fork", fork, 1, 1},
		{"a foreign signature", unsigned, 1, 1},
		{"a gap that the server does not fill", bobs.list(4, &fork, 1), 0, 1},
		{"another account key", forger.list(2, &one.Lists[0], 1), 0, 1},
		{"of a stranger", stranger.list(1, nil, 1), 0, 1},
		{"the next one", good, 0, 2},
		{"an old one", one.Lists[0], 0, 2},
	} {
		before := ada.counters().Alerts
		bob.silent(alone, id, e2ee.ListUpdateBody(e2ee.SignedDeviceList(tc.list)), ada.account())
		n++
		ada.takes(n)
		if now := ada.counters().Alerts; now-before != tc.alerts {
			t.Errorf("%s: %d alerts, want %d", tc.name, now-before, tc.alerts)
		}
		if v, err := ada.PinnedVersion(one.AccountID); v != tc.version || err != nil {
			t.Errorf("%s: version %d is pinned, %v", tc.name, v, err)
		}
	}
	if v, err := ada.PinnedVersion(stranger.id); v != 0 || err != nil {
		t.Errorf("version %d of a stranger is pinned, %v", v, err)
	}
}
