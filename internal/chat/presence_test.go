package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
)

// TestContactsAndBlocks: presence and deliveries are told from the moment on that a conversation is accepted on both
// sides. A block looks as if the account had gone away, and a block of a request tells nothing at all.
func TestContactsAndBlocks(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	from := anna.devices[0]
	open := func(with *person) api.ConversationID {
		c, err := r.s.OpenConversation(t.Context(), from.actor(), api.OpenConversationRequest{Kind: api.KindDirect, Peer: &with.id})
		if err != nil {
			t.Fatal(err)
		}
		return c.ConversationID
	}
	presence := func(p *person) []api.Presence {
		a, err := r.s.Presence(t.Context(), p.devices[0].actor())
		if err != nil {
			t.Fatal(err)
		}
		return a.Presence
	}
	set := func(p *person, id api.ConversationID, state api.MemberState) {
		if _, err := r.s.SetMemberState(t.Context(), p.devices[0].actor(), id, api.MemberStateRequest{State: state}); err != nil {
			t.Fatal(err)
		}
	}
	// take lets somebody acknowledge everything, and returns which of anna's messages she is told as delivered.
	take := func(p *person, id api.ConversationID, sent api.Send) []api.MessageID {
		d := p.devices[0]
		for _, e := range d.mailbox() {
			d.mustAck(api.Ack{Entries: []int64{e.EntryID}, Records: []api.Record{p.record(e.ConversationID, e.MessageID)}})
		}
		a, err := r.s.Delivered(t.Context(), from.actor(), api.DeliveredRequest{ConversationID: id, MessageIDs: []api.MessageID{sent.MessageID}})
		if err != nil {
			t.Fatal(err)
		}
		return a.MessageIDs
	}
	withBen, withCarl := open(ben), open(carl)
	toBen, toCarl := from.message(withBen, anna, ben), from.message(withCarl, anna, carl)
	from.mustSend(toBen)
	from.mustSend(toCarl)
	if told := append(take(ben, withBen, toBen), take(carl, withCarl, toCarl)...); len(told) != 0 {
		t.Errorf("strangers have %v", told)
	}
	if p := append(presence(anna), presence(ben)...); len(p) != 0 {
		t.Errorf("strangers see %+v", p)
	}
	set(carl, withCarl, api.MemberBlocked)
	set(ben, withBen, api.MemberAccepted)
	if told := take(carl, withCarl, toCarl); len(told) != 0 {
		t.Errorf("a request that was blocked tells %v", told)
	}
	if diff := cmp.Diff([]api.MessageID{toBen.MessageID}, take(ben, withBen, toBen)); diff != "" {
		t.Error(diff)
	}
	if p := presence(anna); len(p) != 1 || p[0].AccountID != ben.id || p[0].LastSeen%60_000 != 0 {
		t.Errorf("anna sees %+v", p)
	}
	set(ben, withBen, api.MemberBlocked)
	blocked := presence(anna)
	if len(blocked) != 1 || blocked[0].Online {
		t.Errorf("after the block anna sees %+v", blocked)
	}
	r.clock.Add(3_600_000)
	ben.devices[0].connect()
	if diff := cmp.Diff(blocked, presence(anna)); diff != "" {
		t.Errorf("the block shows:\n%s", diff)
	}
	if p := presence(ben); len(p) != 0 {
		t.Errorf("who blocks sees %+v", p)
	}
}
