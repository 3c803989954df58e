package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// hideLists keeps a person from hearing of newer device lists.
func (p *person) hideLists() {
	p.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			if strings.HasSuffix(r.URL, "/api/user/lists") {
				res.Body = []byte(`{"accounts":[]}`)
			}
			return nil
		}
		n.read = func(text []byte) ([]byte, error) {
			if bytes.HasPrefix(text, []byte(`42["`+api.EventLists+`"`)) {
				return []byte("2"), nil
			}
			return text, nil
		}
	})
}

// TestHiddenList: the server hides that bob has a new device. ada learns it from the pins in bob's messages and is
// warned; what the unlisted device writes is not shown before its account vouches for it.
func TestHiddenList(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.hideLists()
	events := ada.Events()
	defer events.Close()
	ada.connect()
	bob.connect()
	bob.sent(bob.send(id, "one device"))
	ada.reads(id, 1)
	second := w.person("second")
	if err := second.Login(t.Context(), login("bob")); err != nil {
		t.Fatal(err)
	}
	// A send that was refused for the new device is repaired with the envelope that ada's device has already, pins and
	// all. The next one names the new list for sure.
	bob.sent(bob.send(id, "two devices"))
	bob.sent(bob.send(id, "two devices still"))
	if e := ada.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeListMissing {
		t.Errorf("alert %v", e.Err)
	}
	ada.reads(id, 3) // authentic all the same
	second.connect()
	second.sent(second.send(id, "from the hidden one"))
	if e := ada.event(events, client.EventNotice); e.Notice.Code != client.CodeListMissing {
		t.Errorf("notice %+v, %v", e.Notice, e.Err)
	}
	if got := ada.texts(id); len(got) != 3 {
		t.Errorf("ada reads %q", got)
	}
	ada.net.honest()
	ada.reopen()
	ada.connect()
	want := []string{"one device", "two devices", "two devices still", "from the hidden one"}
	if diff := cmp.Diff(want, ada.reads(id, 4)); diff != "" {
		t.Errorf("ada reads (-want +got):\n%s", diff)
	}
	if notices, err := ada.Notices(); err != nil || len(notices) > 0 {
		t.Errorf("notices %+v, %v", notices, err)
	}
}

// TestForkSeenInPins: the server shows bob another list of ada than the one she uses. Nobody can forge her signature
// but she herself, so the test signs it with her key; bob is warned by the pins of her messages.
func TestForkSeenInPins(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	me, _ := ada.Account()
	forger := &signer{t: t, id: me.ID, keys: ada.accountKey(), ids: map[uint32]e2ee.PublicKey{}}
	identity, registration, err := ada.Identity()
	if err != nil {
		t.Fatal(err)
	}
	fork := forger.sign(e2ee.DeviceList{
		Account: me.ID, Version: 1, Time: 1, AccountKey: forger.keys.Public,
		Devices: []e2ee.ListedDevice{{ID: 1, RegistrationID: registration, IdentityKey: identity}},
	})
	onAnswer(bob, "/lookup", func(a *api.Account) { a.Lists.Lists = []api.SignedList{fork} })
	id := bob.talk("ada")
	events := bob.Events()
	defer events.Close()
	bob.connect()
	ada.talk("bob")
	ada.connect()
	ada.sent(ada.send(id, "hello"))
	if e := bob.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeListFork || e.Account != me.ID {
		t.Errorf("alert %v about %s", e.Err, e.Account)
	}
}

// TestUpkeep: prekeys that run low are replenished, and old ones rotate; what was made with a retired one still
// decrypts.
func TestUpkeep(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	// ada encrypts with bob's prekeys, but her message stays on its way.
	id := ada.talk("bob")
	ada.net.set(func(n *network) {
		n.write = func(text []byte) error {
			if f, ok := event(text); ok && f.name == api.EventSend {
				return errBroken
			}
			return nil
		}
	})
	ada.connect()
	ada.send(id, "made with the old prekeys")
	events := ada.Events()
	ada.event(events, client.EventDisconnected)
	events.Close()
	ada.disconnect()

	uploads, low := make(chan api.PreKeyUpload, 10), true
	bob.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			switch {
			case r.Method == "POST" && strings.HasSuffix(r.URL, "/api/user/prekeys"):
				var up api.PreKeyUpload
				if err := json.Unmarshal(r.Body, &up); err != nil {
					return err
				}
				if res.Status != 200 {
					t.Errorf("the upload was refused: %s", res.Body)
				}
				uploads <- up
			case low && strings.HasSuffix(r.URL, "/api/user/prekeys"):
				low = false // the server has room for this many more, but not twice
				res.Body = []byte(`{"one_time_prekeys":3,"kyber_prekeys":1}`)
			}
			return nil
		}
	})
	before, err := bob.PreKeyState()
	if err != nil {
		t.Fatal(err)
	}
	bob.connect()
	up := <-uploads
	if len(up.OneTimePreKeys) != 97 || len(up.KyberPreKeys) != 19 || up.SignedPreKey.ID != before.SignedID {
		t.Errorf("%d and %d prekeys were added, the signed one is %d", len(up.OneTimePreKeys), len(up.KyberPreKeys), up.SignedPreKey.ID)
	}
	bob.disconnect()

	if err := bob.AgePreKeys(8 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	bob.connect()
	if up = <-uploads; up.SignedPreKey.ID == before.SignedID || up.LastResort.ID == before.LastResortID {
		t.Error("nothing was rotated")
	}
	ada.net.honest()
	ada.connect()
	if diff := cmp.Diff([]string{"made with the old prekeys"}, bob.reads(id, 1)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.disconnect()
	if err := bob.AgePreKeys(61 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	bob.connect()
	<-uploads
	bob.disconnect()
	after, err := bob.PreKeyState()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range after.Retired {
		if r.ID == before.SignedID || r.ID == before.LastResortID {
			t.Errorf("prekey %d is kept after its time", r.ID)
		}
	}
}

// TestStates: the receiver of a first message is asked; an accepted conversation is accepted for all of the account's
// devices, a blocked one delivers nothing, and the sender cannot tell.
func TestStates(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	state := func(p *person) api.MemberState {
		all, err := p.Conversations()
		if err != nil || len(all) != 1 {
			t.Fatalf("conversations %+v, %v", all, err)
		}
		return all[0].State
	}
	if a, b := state(ada), state(bob); a != api.MemberAccepted || b != api.MemberRequested {
		t.Errorf("ada's state is %s, bob's %s", a, b)
	}
	if err := bob.Accept(t.Context(), id); err != nil || state(bob) != api.MemberAccepted {
		t.Errorf("accepting: %s, %v", state(bob), err)
	}
	if err := bob.Block(t.Context(), id); err != nil || state(bob) != api.MemberBlocked {
		t.Errorf("blocking: %s, %v", state(bob), err)
	}
	ada.sent(ada.send(id, "unheard"))
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ada.sent(ada.send(id, "heard"))
	if diff := cmp.Diff([]string{"one", "heard"}, bob.reads(id, 2)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	bob.reopen()
	bob.connect()
	ada.sent(ada.send(id, "again"))
	bob.reads(id, 3)
	if n := bob.counters(); n.Holes != 0 {
		t.Errorf("a withheld message counts as a hole: %+v", n)
	}
}

// TestSlowSubscriber: events that nobody reads give way to one that says so; others are not held up.
func TestSlowSubscriber(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	slow := ada.Events()
	id := ada.talk("ada")
	ada.connect()
	var last api.MessageID
	for i := range 300 {
		last = ada.send(id, fmt.Sprint(i))
	}
	ada.sent(last)
	seen := map[client.EventType]int{}
	n := 0
	for len(slow.C) > 0 {
		seen[(<-slow.C).Type]++
		n++
	}
	if seen[client.EventResync] != 1 || n > 256 {
		t.Errorf("%d events wait, %v", n, seen)
	}
	slow.Close()
	slow.Close()
	for range slow.C { // what came since it was emptied; it ends, because it is closed
	}
}
