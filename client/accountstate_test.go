package client_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// settledState waits until everything is written.
func (p *person) settledState() {
	p.t.Helper()
	p.until("account state to be written", func() bool {
		n, err := p.Unwritten()
		return err == nil && n == 0
	})
}

// conversation is how a person sees the conversation.
func (p *person) conversation(id api.ConversationID) client.Conversation {
	p.t.Helper()
	all, err := p.Conversations()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, v := range all {
		if v.ID == id {
			return v
		}
	}
	return client.Conversation{}
}

// TestAccountStateMerges: in whatever order devices learn of facts, they end with the same.
func TestAccountStateMerges(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 3))
	for range 500 {
		var values []string
		for range 1 + random.IntN(6) {
			var facts []string
			for _, name := range []string{"a", "b", "c"} {
				if random.IntN(2) == 0 {
					facts = append(facts, fmt.Sprintf(`%q:{"rank":[%d,%d],"value":%d}`, name, random.IntN(3), random.IntN(2), random.IntN(3)))
				}
			}
			values = append(values, "{"+strings.Join(facts, ",")+"}")
		}
		want, err := client.MergeFacts(values...)
		if err != nil {
			t.Fatal(err)
		}
		again := append(values[:len(values):len(values)], values...)
		random.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if got, err := client.MergeFacts(again...); err != nil || got != want {
			t.Fatalf("%v give %s, in another order %s, %v", values, want, got, err)
		}
	}
}

// TestAccountState: what two devices change, also at once and offline, and when the server's answers are lost, is the same
// on both afterwards, and on a third that comes later.
func TestAccountState(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	id := ada.talk("bob")
	two := w.device("two", "ada")
	two.talk("bob")
	ada.connect()
	two.connect()
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(ada.MarkRead(id, client.Position{Epoch: 1, Seq: 7}))
	must(ada.SetConversation(id, client.ConversationSettings{MutedUntil: 99}))
	two.until("what the other device set", func() bool {
		v := two.conversation(id)
		return v.Read.Seq == 7 && v.Settings.MutedUntil == 99
	})

	ada.disconnect()
	two.disconnect()
	must(ada.MarkRead(id, client.Position{Epoch: 1, Seq: 9}), ada.SetConversation(id, client.ConversationSettings{Pinned: true, MutedUntil: 99}))
	must(two.MarkRead(id, client.Position{Epoch: 1, Seq: 8}), two.SetConversation(id, client.ConversationSettings{Hidden: true, MutedUntil: 99}))
	must(two.MarkRead(id, client.Position{Epoch: 1, Seq: 3}))
	must(two.SetProfile(client.Profile{DisplayName: "Ada L.", Status: "busy"}))
	lost := map[string]bool{}
	ada.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if r.Method == "PUT" && !lost[r.URL] {
				lost[r.URL] = true
				return errBroken
			}
			return nil
		}
	})
	ada.connect()
	ada.settledState()
	two.connect()
	two.settledState()
	want := ada.conversation(id)
	want.Read = client.Position{Epoch: 1, Seq: 9}
	want.Settings = client.ConversationSettings{MutedUntil: 99, Pinned: true, Hidden: true}
	three := w.device("three", "ada")
	three.talk("bob")
	three.connect()
	for _, p := range []*person{ada, two, three} {
		p.until("the same state", func() bool {
			profile, err := p.Profile()
			return err == nil && profile.DisplayName == "Ada L." && p.conversation(id).Settings.Hidden && p.conversation(id).Settings.Pinned
		})
		if diff := cmp.Diff(want, p.conversation(id)); diff != "" {
			t.Error(diff)
		}
		if n := p.counters().Alerts; n > 0 {
			t.Errorf("%d alerts", n)
		}
	}
}

// TestAccountStateIsNotTheServers: pieces that are older, swapped, cut or of nobody are refused and shown, and the own
// copy stays. When the server is honest again all is well.
func TestAccountStateIsNotTheServers(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	id := ada.talk("bob")
	ada.connect()
	var old []api.State
	remember := func() {
		onStates(ada, func(page *api.States) { old = append([]api.State(nil), page.States...) })
		ada.restate()
		ada.until("the state", func() bool {
			ada.net.mu.Lock()
			defer ada.net.mu.Unlock()
			return len(old) > 0
		})
		ada.net.honest()
	}
	if err := ada.SetConversation(id, client.ConversationSettings{Pinned: true}); err != nil {
		t.Fatal(err)
	}
	ada.settledState()
	remember()
	if err := ada.SetConversation(id, client.ConversationSettings{Hidden: true}); err != nil {
		t.Fatal(err)
	}
	ada.settledState()
	name := "conversation/" + id.String()
	for what, edit := range map[string]func(st *api.State){
		"older": func(st *api.State) {
			for _, o := range old {
				if o.Name == st.Name {
					*st = o
				}
			}
		},
		"another version": func(st *api.State) { st.Version += 3 },
		"cut":             func(st *api.State) { st.Version++; st.Sealed = st.Sealed[:len(st.Sealed)-1] },
		"empty":           func(st *api.State) { st.Version++; st.Sealed = nil },
		"of another name": func(st *api.State) { st.Version++; st.Sealed = old[len(old)-1].Sealed },
	} {
		t.Run(what, func(t *testing.T) {
			before := ada.counters().Alerts
			onStates(ada, func(page *api.States) {
				for i := range page.States {
					if page.States[i].Name == name {
						edit(&page.States[i])
					}
				}
			})
			events := ada.Events()
			defer events.Close()
			ada.restate()
			if e := ada.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeArchive {
				t.Errorf("alert %v", e.Err)
			}
			if got := (ada.conversation(id).Settings); got != (client.ConversationSettings{Hidden: true}) {
				t.Errorf("settings %+v", got)
			}
			if n := ada.counters().Alerts; n != before+1 {
				t.Errorf("%d alerts", n-before)
			}
			ada.net.honest()
		})
	}
	if err := ada.SetConversation(id, client.ConversationSettings{MutedUntil: 5}); err != nil {
		t.Fatal(err)
	}
	ada.settledState()
}

// restate makes the device read all account state again.
func (p *person) restate() {
	p.t.Helper()
	p.disconnect()
	if err := p.RereadStates(); err != nil {
		p.t.Fatal(err)
	}
	p.connect()
}

// onStates edits pages of account state.
func onStates(p *person, edit func(page *api.States)) {
	p.net.set(func(n *network) {
		n.response = func(r client.Request, res *client.Response) error {
			if r.Method != "GET" || !strings.Contains(r.URL, "/api/chat/state?") || res.Status != 200 {
				return nil
			}
			var page api.States
			if err := json.Unmarshal(res.Body, &page); err != nil {
				return err
			}
			edit(&page)
			var err error
			res.Body, err = json.Marshal(page)
			return err
		}
	})
}

// TestRestoredDeviceCompares: a new device of ada is shown another bob than ada's other devices know. It finds out from
// account state, shows it, and pins nothing; with the honest server all is well.
func TestRestoredDeviceCompares(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	ada.settledState()
	me, _ := bob.Account()
	forger := &signer{t: t, id: me.ID, ids: map[uint32]e2ee.PublicKey{}}
	forger.keys = forger.pair()
	honest := bob.accountKey()
	for what, tc := range map[string]struct {
		list func() (api.SignedList, []byte)
		code string
	}{
		"another account key": {func() (api.SignedList, []byte) { return forger.list(1, nil, 1), forger.keys.Public[:] }, client.CodeIdentity},
		"another list": {func() (api.SignedList, []byte) {
			s := &signer{t: t, id: me.ID, keys: honest, ids: map[uint32]e2ee.PublicKey{}}
			return s.list(1, nil, 2), honest.Public[:]
		}, client.CodeListFork},
	} {
		t.Run(what, func(t *testing.T) {
			two := w.device("two "+tc.code, "ada")
			list, key := tc.list()
			onAnswer(two, "/lists", func(r *api.ListsResponse) {
				for i := range r.Accounts {
					if r.Accounts[i].AccountID == me.ID {
						r.Accounts[i].Lists, r.Accounts[i].AccountKey = []api.SignedList{list}, key
					}
				}
			})
			events := two.Events()
			defer events.Close()
			two.connect()
			if e := two.event(events, client.EventAlert); client.CodeOf(e.Err) != tc.code || e.Account != me.ID {
				t.Errorf("alert %v of %s", e.Err, e.Account)
			}
			if v, err := two.PinnedVersion(me.ID); err != nil || v != 0 {
				t.Errorf("version %d is pinned, %v", v, err)
			}
			two.net.honest()
			two.sent(two.send(two.talk("bob"), "hello"))
			if v, err := two.PinnedVersion(me.ID); err != nil || v != 1 || two.talk("bob") != id {
				t.Errorf("version %d is pinned, %v", v, err)
			}
		})
	}
}
