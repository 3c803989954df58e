package chat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
)

// owedTo lists what the account's devices are asked to supplement, a page of one message at a time.
func (d *phone) owed() (all []api.OwedMessage) {
	d.owner.r.t.Helper()
	for after := ""; ; {
		page, err := d.owner.r.s.Owed(d.owner.r.t.Context(), d.actor(), after, 1)
		if err != nil {
			d.owner.r.t.Fatal(err)
		}
		all = append(all, page.Owed...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// more is a supplement of a send, made by d for the given devices.
func (d *phone) more(first api.Send, to ...*phone) api.Send {
	s := first
	s.Record, s.Envelopes = nil, []api.Envelope{}
	for _, device := range to {
		e := device.envelope(first.MessageID)
		e.Bytes = append(e.Bytes, "made later"...)
		s.Envelopes = append(s.Envelopes, e)
	}
	return s
}

// TestSupplement: a device that came after the message gets an envelope of it, once, from any device of the sender. The
// position stays.
func TestSupplement(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(2), r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, other := anna.devices[0], anna.devices[1]
	first := from.message(c, anna, ben)
	sent := from.mustSend(first)
	added := ben.addDevice()
	ben.sign()
	r.publish(ben)
	added.connect()
	if again := from.mustSend(first); !cmp.Equal(again, sent) || len(added.mailbox()) != 0 {
		t.Errorf("a repeated send is no supplement: %s", cmp.Diff(sent, again))
	}
	supplement := other.more(first, added)
	want := sent
	want.Devices = append(append([]api.DeviceRef{}, sent.Devices...), api.DeviceRef{AccountID: ben.id, DeviceID: added.wire})
	for range 2 {
		if diff := cmp.Diff(want, other.mustSend(supplement)); diff != "" {
			t.Fatal(diff)
		}
	}
	entry := api.Entry{
		ConversationID: c, MessageID: first.MessageID, Class: api.ClassMessage, Epoch: 1, Seq: 1, ServerTime: startOfTime,
		SenderID: anna.id, SenderDevice: from.wire, EnvelopeDevice: other.wire, Type: api.EnvelopeWhisper,
		Bytes: supplement.Envelopes[0].Bytes, Commitment: first.Commitment, Tag: sent.Tag,
	}
	box := added.mailbox()
	if len(box) != 1 {
		t.Fatalf("%d entries", len(box))
	}
	entry.EntryID = box[0].EntryID
	if diff := cmp.Diff(entry, box[0]); diff != "" {
		t.Error(diff)
	}
	if page := added.sync(c, 1); page.Items[0].Entry == nil || page.LastSeq != 1 {
		t.Errorf("%+v", page)
	}
	added.mustAck(ackOf(box...))
	other.mustSend(supplement)
	from.mustSend(from.more(first, added, ben.devices[0]))
	if n := len(added.mailbox()); n != 0 {
		t.Errorf("%d entries of a message that was acknowledged", n)
	}
	for deadline := time.Now().Add(10 * time.Second); r.s.Supplements.Load() < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // counted after the answer
	}
	if n := r.s.Supplements.Load(); n != 2 { // the second replaced what ben's first device had not acknowledged
		t.Errorf("%d envelopes were added", n)
	}
	before := r.dump()
	for name, send := range map[string]api.Send{
		"for a stranger": from.more(first, carl.devices[0]), "for nobody": from.more(first), "for oneself": from.more(first, from),
	} {
		if diff := cmp.Diff(want, from.mustSend(send)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	old := *other
	old.generation--
	if diff := cmp.Diff(want, old.mustSend(old.more(first, ben.devices...))); diff != "" {
		t.Errorf("by a clone: %s", diff)
	}
	foreign := ben.devices[0].more(first, added)
	_, err := ben.devices[0].send(foreign)
	wantCode(t, err, api.CodeConflict)
	changed := other.more(first, added)
	changed.Commitment = commitment(newID[api.MessageID](r))
	_, err = other.send(changed)
	wantCode(t, err, api.CodeConflict)
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
}

// TestRetry: an envelope that its device could not decrypt, and thus not acknowledge, is replaced by another one.
func TestRetry(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	first := from.message(c, anna, ben)
	from.mustSend(first)
	undeciphered := to.mailbox()[0]
	again := from.more(first, to)
	for range 2 {
		from.mustSend(again)
	}
	box := to.mailbox()
	if len(box) != 1 || box[0].EntryID == undeciphered.EntryID || !cmp.Equal(box[0].Bytes, again.Envelopes[0].Bytes) {
		t.Fatalf("%+v", box)
	}
	row, err := readDevice(t.Context(), r.db, ben.id, to.wire)
	if err != nil || row.entries != 1 || row.bytes != len(box[0].Bytes) {
		t.Errorf("the device counts %d entries and %d bytes, %v", row.entries, row.bytes, err)
	}
	to.mustAck(ackOf(box...))
	from.mustSend(first)
	if n := len(to.mailbox()); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// TestBlockedSupplement: the sender sees no difference, the account gets nothing.
func TestBlockedSupplement(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	r.setState(ben, c, api.MemberBlocked)
	first := from.message(c, anna, ben)
	from.mustSend(first)
	added := ben.addDevice()
	ben.sign()
	r.publish(ben)
	added.connect()
	for _, state := range []api.MemberState{api.MemberBlocked, api.MemberAccepted} {
		r.setState(ben, c, state)
		if sent := from.mustSend(from.more(first, ben.devices...)); len(sent.Devices) != 2 {
			t.Errorf("%s: %+v", state, sent)
		}
		if len(added.mailbox())+len(ben.devices[0].mailbox()) != 0 {
			t.Errorf("%s: a withheld message arrived", state)
		}
	}
}
