package client_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// showReset makes p see an account of bob that was reset: a list that follows the newest one under another key.
func (p *person) showReset() {
	p.t.Helper()
	var lists api.AccountLists
	onAnswer(p, "/lookup", func(a *api.Account) { lists = a.Lists })
	if _, err := p.Safety(p.t.Context(), "bob"); err != nil {
		p.t.Fatal(err)
	}
	forger := &signer{t: p.t, id: lists.AccountID, ids: map[uint32]e2ee.PublicKey{}}
	forger.keys = forger.pair()
	reset := forger.list(2, &lists.Lists[0], 1)
	onAnswer(p, "/lookup", func(a *api.Account) { a.Lists.Lists = []api.SignedList{reset} })
}

func (p *person) safety(name string) client.Safety {
	p.t.Helper()
	s, err := p.Safety(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// TestIdentityChange: the account key of a contact changes. That is never silent: a notice stays until the user decides,
// the verified mark goes, and what is sent to a verified contact stops, queued or not.
func TestIdentityChange(t *testing.T) {
	for _, tc := range []struct {
		name     string
		verified bool
		policy   client.IdentityPolicy
		stops    bool
	}{
		{"unverified", false, "", false},
		{"verified", true, "", true},
		{"unverified, strict", false, client.IdentityAlways, true},
		{"verified, a bot", true, client.IdentityNotice, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			ada := w.person("ada")
			ada.reopenWith(client.Options{Identity: tc.policy})
			id := ada.talk("bob")
			before := ada.safety("bob")
			if before.Verified || before.Stopped || before.Changes != nil {
				t.Fatalf("%+v", before)
			}
			if tc.verified {
				if err := ada.SetVerified(before, true); err != nil {
					t.Fatal(err)
				}
				if !ada.safety("bob").Verified {
					t.Fatal("no mark")
				}
			}
			queued := ada.send(id, "before the change")
			events := ada.Events()
			defer events.Close()
			ada.showReset()
			after := ada.safety("bob")
			if after.Digits == before.Digits || after.Verified || after.Stopped != tc.stops || len(after.Changes) != 1 ||
				after.Changes[0].Verified != tc.verified || after.Changes[0].Accepted || after.Changes[0].At == 0 {
				t.Errorf("%+v", after)
			}
			seen := false
			for len(events.C) > 0 {
				e := <-events.C
				seen = seen || e.Type == client.EventIdentity && e.Account == before.Account && errors.Is(e.Err, client.ErrIdentity)
			}
			notices, err := ada.Notices()
			if err != nil || !seen || len(notices) != 1 || notices[0].Code != client.CodeIdentity || notices[0].Conversation != id {
				t.Errorf("event %v, notices %+v, %v", seen, notices, err)
			}
			if v := ada.talkView("bob"); !v.Changed || v.Verified || v.Stopped != tc.stops {
				t.Errorf("%+v", v)
			}
			_, err = ada.Send(t.Context(), id, e2ee.TextBody("after it"))
			if errors.Is(err, client.ErrIdentity) != tc.stops || !tc.stops && err != nil {
				t.Errorf("sending: %v", err)
			}
			if !tc.stops {
				return
			}
			ada.connect()
			if _, err := ada.WaitSent(t.Context(), queued); !errors.Is(err, client.ErrIdentity) {
				t.Errorf("waiting: %v", err)
			}
			if n, err := ada.Queue(); err != nil || n != 1 {
				t.Errorf("%d in the queue, %v", n, err)
			}
			if err := ada.SetVerified(before, true); !errors.Is(err, client.ErrIdentity) {
				t.Errorf("marking digits that are no more: %v", err)
			}
			if err := ada.AcceptIdentity(after); err != nil {
				t.Fatal(err)
			}
			decided := ada.safety("bob")
			if notices, err = ada.Notices(); err != nil || len(notices) != 0 || decided.Stopped || decided.Verified || !decided.Changes[0].Accepted {
				t.Errorf("%+v, notices %+v, %v", decided, notices, err)
			}
			if _, err := ada.Send(t.Context(), id, e2ee.TextBody("after it")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVerifyOneself: that means nothing.
func TestVerifyOneself(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	if err := ada.SetVerified(ada.safety("ada"), true); client.CodeOf(err) != client.CodeArgument {
		t.Errorf("verifying oneself: %v", err)
	}
}

func (p *person) talkView(name string) client.Conversation {
	p.t.Helper()
	v, err := p.Conversation(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// TestOwnIdentity: the server shows another key for the own account. It is refused.
func TestOwnIdentity(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob")
	bob.showReset()
	if _, err := bob.Safety(t.Context(), "bob"); !errors.Is(err, client.ErrIdentity) {
		t.Error(err)
	}
	if bob.counters().Alerts != 1 {
		t.Errorf("%+v", bob.counters())
	}
}

// TestRecall: what a lost device knew of a contact, held against what the server shows now.
func TestRecall(t *testing.T) {
	one, two, three := bytes.Repeat([]byte{1}, 33), bytes.Repeat([]byte{2}, 33), bytes.Repeat([]byte{3}, 33)
	for name, tc := range map[string]struct {
		now      []byte
		known    client.PeerState
		changed  bool
		verified bool
	}{
		"the same":                     {one, client.PeerState{Key: one}, false, false},
		"the same, verified":           {one, client.PeerState{Key: one, Verified: true}, false, true},
		"changed":                      {two, client.PeerState{Key: one}, true, false},
		"changed, was verified":        {two, client.PeerState{Key: one, Verified: true}, true, false},
		"changed twice, known of once": {three, client.PeerState{Key: two, Changes: []client.IdentityChange{{OldKey: one, Accepted: true}}}, true, false},
		"changed, noticed by the lost": {two, client.PeerState{Key: two, Changes: []client.IdentityChange{{OldKey: one, Verified: true}}}, false, false},
	} {
		p := client.Pinned{Key: tc.now, Version: 1}
		changed := p.Recall(tc.known)
		if changed != tc.changed || p.Verified != tc.verified {
			t.Errorf("%s: %v, %+v", name, changed, p)
		}
		// A further device that recalls what this one now knows sees no other change, and the same warnings.
		again := client.Pinned{Key: tc.now, Version: 1}
		if again.Recall(p.State()) || again.Verified != p.Verified || !reflect.DeepEqual(again.Changes, p.Changes) {
			t.Errorf("%s: %+v, then %+v", name, p, again)
		}
		if n := len(p.Changes); changed && (n == 0 || p.Changes[n-1].Verified != tc.known.Verified) {
			t.Errorf("%s: %+v", name, p.Changes)
		}
	}
}

// verified tells whether somebody is marked.
func (p *person) verified() bool {
	all, err := p.Conversations()
	return err == nil && slices.ContainsFunc(all, func(v client.Conversation) bool { return v.Verified })
}

// marked is ada, who has verified bob, and another device of hers that knows it.
func (w *world) marked(name string) (ada, other *person) {
	w.t.Helper()
	ada = w.person("ada")
	ada.connect()
	ada.talk("bob")
	if err := ada.SetVerified(ada.safety("bob"), true); err != nil {
		w.t.Fatal(err)
	}
	other = w.device(name, "ada")
	other.connect()
	other.until("the mark", other.verified)
	return ada, other
}

// TestTrustSurvives: a device that was added later, perhaps when all others were lost, shows the verified mark, and that
// another identity is not the one that was verified. What is taken back on one device is taken back on all.
func TestTrustSurvives(t *testing.T) {
	w := newWorld(t)
	ada, second := w.marked("second")
	third := w.device("third", "ada")
	third.connect()
	third.until("the mark", third.verified)
	third.showReset()
	if s := third.safety("bob"); s.Verified || !s.Stopped || len(s.Changes) != 1 || !s.Changes[0].Verified {
		t.Errorf("%+v", s)
	}
	if err := second.SetVerified(second.safety("bob"), false); err != nil {
		t.Fatal(err)
	}
	ada.until("the end of the mark", func() bool { return !ada.verified() })
	if s := third.safety("bob"); !s.Stopped {
		t.Errorf("%+v", s)
	}
}

// reset gives bob another identity, and returns the safety number that ada is shown then.
func (p *person) reset() client.Safety {
	p.t.Helper()
	fresh := p.w.person("fresh")
	o := client.ResetOptions{Code: p.w.resetCode("bob"), NewPassword: newPassword, NewCode: fresh.newCode(), DeviceName: "new"}
	if _, err := fresh.Reset(p.t.Context(), o); err != nil {
		p.t.Fatal(err)
	}
	now := p.safety("bob")
	if !now.Stopped {
		p.t.Fatalf("%+v", now)
	}
	return now
}

// decided fails unless bob is verified under that number, and nothing is left to decide.
func (p *person) decided(now client.Safety) {
	p.t.Helper()
	if s := p.safety("bob"); !s.Verified || s.Digits != now.Digits || s.Stopped || len(s.Changes) != 1 || !s.Changes[0].Accepted {
		p.t.Errorf("%+v", s)
	}
	if notices, err := p.Notices(); err != nil || len(notices) > 0 {
		p.t.Errorf("%+v, %v", notices, err)
	}
}

// TestDecisionOutlastsTheNews: a device that was away while another identity came up and was decided upon takes over the
// decision when it learns of both. It warns of nothing, and takes nobody's mark.
func TestDecisionOutlastsTheNews(t *testing.T) {
	w := newWorld(t)
	ada, away := w.marked("away")
	away.disconnect()
	now := ada.reset()
	if err := ada.SetVerified(now, true); err != nil {
		t.Fatal(err)
	}
	third := w.device("third", "ada") // which tells that the decision is stored
	third.connect()
	third.until("the mark", third.verified)
	if err := ada.SetProfile(client.Profile{DisplayName: "Ada"}); err != nil { // which sorts after what is known of bob
		t.Fatal(err)
	}
	away.connect()
	away.until("the news", func() bool {
		profile, err := away.Profile()
		return err == nil && profile.DisplayName == "Ada"
	})
	for _, p := range []*person{away, third, ada} {
		p.decided(now)
	}
}

// TestDecisionBeatsTheNews: what the user has decided counts, also when another device learns of the new identity later
// than that and earlier than of the decision.
func TestDecisionBeatsTheNews(t *testing.T) {
	w := newWorld(t)
	ada, other := w.marked("other")
	ada.disconnect()
	now := ada.reset()
	if err := ada.SetVerified(now, true); err != nil {
		t.Fatal(err)
	}
	if s := other.safety("bob"); !s.Stopped {
		t.Errorf("%+v", s)
	}
	ada.connect()
	other.until("the decision", other.verified)
	for _, p := range []*person{other, ada} {
		p.decided(now)
	}
}
