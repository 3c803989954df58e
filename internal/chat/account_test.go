package chat

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/sqldb"
)

// states are the devices of a person as chat knows them.
func (r *rig) states(p *person) map[api.WireDeviceID]string {
	r.t.Helper()
	devices, err := readDevicesOf(r.t.Context(), r.db, []api.AccountID{p.id})
	if err != nil {
		r.t.Fatal(err)
	}
	found := make(map[api.WireDeviceID]string)
	for _, d := range devices {
		found[d.wire] = d.state
	}
	return found
}

// TestListsInAnyOrder hands over four versions in every kind of order and more than once, by calls and events mixed. The
// newest decides.
func TestListsInAnyOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 8 {
		r := newRig(t)
		p := r.stranger(1)
		all := []api.AccountLists{p.lists()}
		p.addDevice()
		p.sign()
		all = append(all, p.lists())
		p.dropDevice(p.devices[0])
		p.sign()
		all = append(all, p.lists())
		p.addDevice()
		p.sign()
		all = append(all, p.lists())
		r.users.set(p.lists())
		all = append(all, all...)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, lists := range all {
			if i%2 == 0 {
				if err := r.s.DevicesChanged(t.Context(), lists); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				continue
			}
			r.handle(event.DevicesChanged, p.id, lists)
		}
		want := map[api.WireDeviceID]string{1: stateActive, 2: stateActive}
		if diff := cmp.Diff(want, r.states(p)); diff != "" {
			t.Errorf("seed %d: %s", seed, diff)
		}
		if n := r.count("SELECT list_version FROM account"); n != 4 {
			t.Errorf("seed %d: version %d", seed, n)
		}
	}
}

// handle delivers an event twice, as a broker may.
func (r *rig) handle(typ event.Type, account api.AccountID, body any) {
	r.t.Helper()
	e, err := event.New(newID[api.EventID](r), typ, account, r.now(), body)
	if err != nil {
		r.t.Fatal(err)
	}
	for range 2 {
		if err := r.s.HandleEvent(r.t.Context(), e); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestRefusedLists(t *testing.T) {
	r := newRig(t)
	p, other := r.person(1), r.stranger(1)
	fork := *p
	fork.devices = slices.Clone(p.devices)
	fork.addDevice()
	fork.sign() // version 2 …
	p.addDevice()
	p.sign()
	r.publish(p) // … and another version 2
	sameVersion := fork.lists()
	fork.sign() // version 3 upon the wrong version 2
	before := r.dump()
	forged := p.lists()
	forged.Lists = []api.SignedList{{List: p.signed.List, Signature: make([]byte, 64)}}
	foreign := p.lists()
	foreign.AccountID = other.id
	otherKey := p.lists()
	otherKey.AccountKey = other.key.Public[:]
	for name, tc := range map[string]struct {
		lists api.AccountLists
		code  string
	}{
		"fork": {sameVersion, api.CodeListVersion}, "upon a fork": {fork.lists(), api.CodeListVersion},
		"forged": {forged, api.CodeSignature}, "another account's": {foreign, api.CodeInvalid},
		"another key": {otherKey, api.CodeSignature}, "none": {api.AccountLists{AccountID: p.id}, api.CodeInvalid},
		"no key": {api.AccountLists{AccountID: p.id, Lists: []api.SignedList{p.signed}}, api.CodeInvalid},
	} {
		if err := r.s.DevicesChanged(t.Context(), tc.lists); code(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	kept := &person{r: r, id: p.id, key: keyPair(t), version: p.version, previous: p.previous, devices: p.devices}
	kept.sign()
	wantCode(t, r.s.DevicesChanged(t.Context(), kept.lists()), api.CodeListVersion)
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
}

// TestReset: an account that was reset goes on under its new key, without any device of before.
func TestReset(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	if _, err := anna.devices[0].send(anna.devices[0].message(c, anna, ben)); err != nil {
		t.Fatal(err)
	}
	old := anna.devices[0]
	anna.key, anna.devices, anna.epoch = keyPair(t), nil, anna.version+1
	fresh := anna.addDevice()
	anna.sign()
	if err := r.s.DevicesChanged(t.Context(), anna.lists()); err != nil {
		t.Fatal(err)
	}
	if _, err := old.send(old.message(c, anna, ben)); code(err) != api.CodeDeviceGone {
		t.Errorf("a device of before sends: %v", err)
	}
	fresh.connect()
	if _, err := fresh.send(fresh.message(c, anna, ben)); err != nil {
		t.Errorf("the new device sends: %v", err)
	}
	if _, err := ben.devices[0].send(ben.devices[0].message(c, anna, ben)); err != nil {
		t.Errorf("somebody writes to the new device: %v", err)
	}
}

// TestNewerListIsFetched: a send that names a list chat has not been handed yet is not refused for it.
func TestNewerListIsFetched(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	ben.addDevice()
	ben.sign()
	send := from.message(c, anna, ben)
	before := r.dump()
	r.users.down.Store(true)
	_, err := from.send(send)
	wantCode(t, err, api.CodeUnavailable)
	r.users.down.Store(false)
	_, err = from.send(send) // nobody has that list: the server's own is what counts
	wantCode(t, err, api.CodeDeviceSet)
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
	r.users.set(ben.lists())
	asked := r.users.asked.Load()
	if sent := from.mustSend(send); len(sent.Devices) != 2 || r.users.asked.Load() != asked+1 {
		t.Errorf("%+v after asking %d times", sent, r.users.asked.Load()-asked)
	}
	// A device that was never handed over may connect: chat asks for its list, too.
	anna.addDevice()
	anna.sign()
	r.users.set(anna.lists())
	anna.devices[1].connect()
	stranger := r.stranger(1)
	delete(r.users.lists, stranger.id)
	_, err = r.s.Connect(t.Context(), stranger.devices[0].actor(), api.ConnectionRequest{Generation: 1})
	wantCode(t, err, api.CodeDeviceGone)
}

// TestRefusalTeaches: what a refused sender gets is enough to send again.
func TestRefusalTeaches(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	send := from.message(c, anna, ben)
	gone := ben.devices[0]
	ben.dropDevice(gone)
	added := ben.addDevice() // takes the number of the one that left
	ben.sign()
	r.publish(ben)
	_, err := from.send(send)
	wantCode(t, err, api.CodeDeviceSet)
	want := api.DeviceSetDetails{
		Lists:   []api.AccountLists{ben.lists()},
		Missing: []api.DeviceRef{{AccountID: ben.id, DeviceID: added.wire}}, Extra: []api.DeviceRef{{AccountID: ben.id, DeviceID: gone.wire}},
	}
	if diff := cmp.Diff(want, details(t, err)); diff != "" {
		t.Error(diff)
	}
	again := from.message(c, anna, ben)
	send.ListVersions, send.Envelopes = again.ListVersions, again.Envelopes
	from.mustSend(send)
	added.connect()
	if n := len(added.mailbox()); n != 1 {
		t.Errorf("the new device has %d entries", n)
	}
	if _, err := gone.send(send); code(err) != "" && code(err) != api.CodeDeviceGone {
		t.Error(err)
	}
	_, err = gone.ack(api.Ack{Entries: []int64{1}})
	wantCode(t, err, api.CodeDeviceGone)
}

// TestSignedOut: a signed-out device gets nothing new until it connects again. A late event cannot sign it out anew.
func TestSignedOut(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	from, away := anna.devices[0], ben.devices[1]
	ben.out[away.wire] = true
	late := ben.lists()
	r.publish(ben)
	if sent := from.mustSend(from.message(c, anna, ben)); len(sent.Devices) != 1 {
		t.Errorf("%+v", sent)
	}
	delete(ben.out, away.wire)
	r.users.set(ben.lists())
	away.connect()
	r.handle(event.DevicesChanged, ben.id, late)
	if diff := cmp.Diff(map[api.WireDeviceID]string{1: stateActive, 2: stateActive}, r.states(ben)); diff != "" {
		t.Error(diff)
	}
	from.mustSend(from.message(c, anna, ben))
	if items := away.sync(c, 1).Items; items[0].Reason != api.ReasonElsewhere || items[1].Entry == nil {
		t.Errorf("%+v", items)
	}
}

// TestDeviceAddedWhileSending races the recording of a device against sends: each message either has an envelope for the
// device or lies before its start, and the device is told which.
func TestDeviceAddedWhileSending(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	added := ben.addDevice()
	old := *ben
	old.devices = ben.devices[:1]
	ben.sign()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.publish(ben)
	}()
	for range 40 {
		if _, err := from.send(from.message(c, anna, &old)); err != nil {
			wantCode(t, err, api.CodeDeviceSet)
			from.mustSend(from.message(c, anna, ben))
		}
	}
	<-done
	added.connect()
	page := added.sync(c, 1)
	start := slices.IndexFunc(page.Items, func(i api.SyncItem) bool { return i.Entry != nil })
	for i, item := range page.Items {
		if before := start < 0 || i < start; (item.Entry != nil) == before || before && item.Reason != api.ReasonElsewhere {
			t.Errorf("position %d of %d, first entry at %d: %+v", i, len(page.Items), start, item.Reason)
		}
	}
	if len(page.Items) != 40 {
		t.Errorf("%d positions", len(page.Items))
	}
}

// TestFaultsOfListsAndLogins: when the commit fails, the same call again ends in the same state.
func TestFaultsOfListsAndLogins(t *testing.T) {
	for _, fault := range []sqldb.Fault{sqldb.FailLost, sqldb.FailStored} {
		r := newRig(t)
		p := r.person(1)
		p.addDevice()
		p.sign()
		r.users.set(p.lists())
		r.failNext("devices changed", fault)
		wantCode(t, r.s.DevicesChanged(t.Context(), p.lists()), api.CodeUnavailable)
		r.publish(p)
		if diff := cmp.Diff(map[api.WireDeviceID]string{1: stateActive, 2: stateActive}, r.states(p)); diff != "" {
			t.Error(diff)
		}
		r.failNext("login ended", fault)
		wantCode(t, r.s.LoginEnded(t.Context(), p.id, p.devices[0].login), api.CodeUnavailable)
		if err := r.s.LoginEnded(t.Context(), p.id, p.devices[0].login); err != nil {
			t.Fatal(err)
		}
		_, err := r.s.Verify(t.Context(), p.devices[0].token())
		wantCode(t, err, api.CodeUnauthenticated)
		// A generation whose fate is unknown is not used again: the next one is accepted.
		r.failNext("connect", fault)
		_, err = r.s.Connect(t.Context(), p.devices[0].actor(), api.ConnectionRequest{Generation: 2})
		wantCode(t, err, api.CodeUnavailable)
		if _, err = r.s.Connect(t.Context(), p.devices[0].actor(), api.ConnectionRequest{Generation: 3}); err != nil {
			t.Error(err)
		}
	}
}
