package chat

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
)

func TestOpenConversation(t *testing.T) {
	r := newRig(t)
	anna, ben := r.person(1), r.stranger(1) // chat has never heard of ben
	open := func(by *phone, peer api.AccountID) api.Conversation {
		c, err := r.s.OpenConversation(t.Context(), by.actor(), api.OpenConversationRequest{Kind: api.KindDirect, Peer: &peer})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	byAnna := open(anna.devices[0], ben.id)
	if byAnna.State != api.MemberAccepted || len(byAnna.Members) != 2 || byAnna.ConversationID[6]>>4 != 8 {
		t.Errorf("%+v", byAnna)
	}
	ben.devices[0].connect()
	byBen := open(ben.devices[0], anna.id)
	if byBen.ConversationID != byAnna.ConversationID || byBen.State != api.MemberRequested {
		t.Errorf("the other member found %+v", byBen)
	}
	if again := open(anna.devices[0], ben.id); !cmp.Equal(again, byAnna) {
		t.Errorf("opened again: %s", cmp.Diff(byAnna, again))
	}
}

// TestMessageRequest: until the recipient answers or accepts, the sender learns nothing of deliveries.
func TestMessageRequest(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c, err := r.s.OpenConversation(t.Context(), anna.devices[0].actor(), api.OpenConversationRequest{Kind: api.KindDirect, Peer: &ben.id})
	if err != nil {
		t.Fatal(err)
	}
	notes := r.listen(anna)
	from, to := anna.devices[0], ben.devices[0]
	from.mustSend(from.message(c.ConversationID, anna, ben))
	to.mustAck(ackOf(to.mailbox()...))
	reply := to.message(c.ConversationID, anna, ben)
	to.mustSend(reply)
	if got, err := r.s.Conversation(t.Context(), to.actor(), c.ConversationID); err != nil || got.State != api.MemberAccepted {
		t.Errorf("after an answer: %+v, %v", got, err)
	}
	second := from.message(c.ConversationID, anna, ben)
	from.mustSend(second)
	to.mustAck(ackOf(to.mailbox()...))
	want := &api.Delivered{ConversationID: c.ConversationID, AccountID: ben.id, MessageIDs: []api.MessageID{second.MessageID}}
	if diff := cmp.Diff(want, notes.delivered(t)); diff != "" {
		t.Errorf("the first note is not of the message after the answer: %s", diff)
	}
}

// TestBlocked: the blocked sender sees no difference, the blocking account gets nothing, and its positions have a reason.
func TestBlocked(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	before := from.mustSend(from.message(c, anna, ben))
	r.setState(ben, c, api.MemberBlocked)
	send := from.message(c, anna, ben)
	sent := from.mustSend(send)
	if sent.Seq != before.Seq+1 || !slices.Equal(sent.Devices, before.Devices) {
		t.Errorf("the answer %+v differs from %+v", sent, before)
	}
	if again := from.mustSend(send); !cmp.Equal(again, sent) {
		t.Error(cmp.Diff(sent, again))
	}
	incomplete := from.message(c, anna, ben)
	incomplete.Envelopes = incomplete.Envelopes[:1]
	_, err := from.send(incomplete)
	wantCode(t, err, api.CodeDeviceSet)
	from.mustSend(from.silent(c, to))
	if n := len(to.mailbox()); n != 1 {
		t.Errorf("%d entries, want the one from before", n)
	}
	if n := len(anna.devices[1].mailbox()); n != 2 {
		t.Errorf("the sender's own device has %d entries", n)
	}
	page := to.sync(c, 1)
	if len(page.Items) != 2 || page.Items[0].Entry == nil || page.Items[1].Reason != api.ReasonWithheld || page.Through != 0 {
		t.Errorf("%+v", page)
	}
	_, err = to.send(to.message(c, anna, ben))
	wantCode(t, err, api.CodeForbidden)
	r.setState(ben, c, api.MemberAccepted)
	from.mustSend(from.message(c, anna, ben))
	if n := len(to.mailbox()); n != 2 {
		t.Errorf("%d entries after the end of the block", n)
	}
}

// TestSyncReasons has one position for each reason.
func TestSyncReasons(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, old := anna.devices[0], ben.devices[0]
	from.mustSend(from.message(c, anna, ben)) // 1: before the second device
	fresh := ben.addDevice()
	ben.sign()
	r.publish(ben)
	fresh.connect()
	from.mustSend(from.message(c, anna, ben)) // 2: acknowledged
	fresh.mustAck(ackOf(fresh.mailbox()...))
	fresh.mustSend(fresh.message(c, anna, ben)) // 3: own
	expiring := from.message(c, anna, ben)
	expiring.EraseAfter = startOfTime - startOfTime%hour + hour
	from.mustSend(expiring)                   // 4: expired
	from.mustSend(from.message(c, anna, ben)) // 5: waits
	r.clock.Add(2 * hour)
	if err := r.s.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := fresh.sync(c, 1)
	var got []api.Reason
	for _, item := range page.Items {
		got = append(got, item.Reason)
	}
	want := []api.Reason{api.ReasonElsewhere, api.ReasonAcknowledged, api.ReasonOwn, api.ReasonExpired, ""}
	if diff := cmp.Diff(want, got); diff != "" || page.Items[4].Entry == nil || page.Through != 0 || page.LastSeq != 5 {
		t.Errorf("%s\n%+v", diff, page)
	}
	first := old.sync(c, 1).Items[0]
	if first.Entry == nil || r.s.Holes.Load() != 0 {
		t.Fatalf("%+v, %d holes", first, r.s.Holes.Load())
	}
	old.mustAck(ackOf(*first.Entry))
	if page = fresh.sync(c, 1); page.Items[0].Reason != api.ReasonBefore || page.Through != 4 {
		t.Errorf("what another device has brought into the archive: %+v", page)
	}
	if n := r.count("SELECT entries FROM device WHERE account = $1 AND wire_id = 1", ben.id[:]); n != len(old.mailbox()) {
		t.Errorf("the device counts %d entries after an expiry", n)
	}
	// Damage: an entry that nobody acknowledged vanishes. It is counted, and shown to the client as what it is.
	if _, err := r.dbExec("DELETE FROM message WHERE conversation = $1 AND seq = 2", c[:]); err == nil {
		t.Fatal("a message that others name could be deleted")
	}
	if _, err := r.dbExec("UPDATE message SET devices = $2 WHERE conversation = $1 AND seq = 2", c[:], []byte{}); err != nil {
		t.Fatal(err)
	}
	if item := fresh.sync(c, 2).Items[0]; item.Reason != "" || item.Entry != nil || r.s.Holes.Load() != 1 {
		t.Errorf("%+v, %d holes", item, r.s.Holes.Load())
	}
}

// TestAckNeedsRecord: nothing leaves a mailbox before it is in the archive, once per account.
func TestAckNeedsRecord(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	from.mustSend(from.message(c, anna, ben))
	first, second := ben.devices[0], ben.devices[1]
	box := first.mailbox()
	bare := api.Ack{Entries: []int64{box[0].EntryID}}
	want := api.Acked{Removed: []int64{}, Refused: []api.AckRefusal{{EntryID: box[0].EntryID, Code: api.CodeRecordRequired}}}
	if diff := cmp.Diff(want, first.mustAck(bare)); diff != "" {
		t.Fatal(diff)
	}
	first.mustAck(ackOf(box...))
	if again := first.mustAck(ackOf(box...)); len(again.Removed) != 1 {
		t.Errorf("a repeated acknowledgement: %+v", again)
	}
	// The account has a record now, so the other device needs none, and one that it brings is not taken.
	other := second.mailbox()
	late := ackOf(other...)
	late.Records[0].Sealed = []byte("another one")
	if acked := second.mustAck(late); len(acked.Removed) != 1 {
		t.Errorf("%+v", acked)
	}
	if n := r.count("SELECT COUNT(*) FROM archive WHERE account = $1 AND sealed = $2", ben.id[:], []byte("another one")); n != 0 {
		t.Error("a record was overwritten")
	}
	// An account without an archive needs none.
	if _, err := r.dbExec("UPDATE account SET keeps_archive = 0 WHERE id = $1", ben.id[:]); err != nil {
		t.Fatal(err)
	}
	from.mustSend(from.message(c, anna, ben))
	if acked := first.mustAck(api.Ack{Entries: []int64{first.mailbox()[0].EntryID}}); len(acked.Removed) != 1 {
		t.Errorf("%+v", acked)
	}
}

// TestArchiveEpoch: the first record under a newer archive key ends the older ones, in sends and acknowledgements alike.
func TestArchiveEpoch(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	newer := from.message(c, anna, ben)
	newer.Record.KeyEpoch = 3
	from.mustSend(newer)
	_, err := from.send(from.message(c, anna, ben))
	wantCode(t, err, api.CodeArchiveEpoch)

	next := to.message(c, anna, ben)
	next.Record.KeyEpoch = 2
	to.mustSend(next)
	box := to.mailbox()
	acked := to.mustAck(ackOf(box...))
	if len(acked.Refused) != 1 || acked.Refused[0].Code != api.CodeArchiveEpoch {
		t.Errorf("%+v", acked)
	}
	sealedAnew := ackOf(box...)
	sealedAnew.Records[0].KeyEpoch = 2
	if acked := to.mustAck(sealedAnew); len(acked.Removed) != 1 || len(acked.Refused) != 0 {
		t.Errorf("%+v", acked)
	}
}

func TestSharedCiphertextIsStoredOnce(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	send := anna.devices[0].message(c, anna, ben)
	send.Shared = []byte("for all of them")
	send.Envelopes[1].Type, send.Envelopes[1].Bytes = 0, nil
	anna.devices[0].mustSend(send)
	with, without := ben.devices[0].mailbox()[0], ben.devices[1].mailbox()[0]
	if string(with.Shared) != "for all of them" || len(with.Bytes) == 0 || string(without.Shared) != "for all of them" ||
		without.Type != 0 || without.Bytes != nil {
		t.Errorf("%+v\n%+v", with, without)
	}
	if n := r.count("SELECT COUNT(*) FROM message WHERE shared IS NOT NULL"); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

func TestMailboxPages(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	const large = 200_000
	for range 6 {
		send := anna.devices[0].message(c, anna, ben)
		send.Envelopes[0].Bytes = make([]byte, large)
		anna.devices[0].mustSend(send)
	}
	to := ben.devices[0]
	page, err := r.s.Mailbox(t.Context(), to.actor(), api.MailboxRequest{Limit: api.MaxMailboxPage})
	if err != nil || len(page.Entries) != api.MaxMailboxPageSize/large || page.Next != page.Entries[len(page.Entries)-1].EntryID {
		t.Errorf("%d entries, next %d, %v", len(page.Entries), page.Next, err)
	}
	if page, err = r.s.Mailbox(t.Context(), to.actor(), api.MailboxRequest{Limit: 2}); err != nil || len(page.Entries) != 2 || page.Next == 0 {
		t.Errorf("%d entries, next %d, %v", len(page.Entries), page.Next, err)
	}
	if box := to.mailbox(); len(box) != 6 || !slices.IsSortedFunc(box, func(a, b api.Entry) int { return int(a.Seq) - int(b.Seq) }) {
		t.Errorf("%d entries, or not in order", len(box))
	}
	if items := to.sync(c, 1).Items; len(items) != api.MaxMailboxPageSize/large {
		t.Errorf("%d positions in a page", len(items))
	}
}

// TestFullMailbox: the sender is not refused, the device becomes dormant and leaves the device set, and what nobody else
// of the account has is owed. The device comes back by connecting.
func TestFullMailbox(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	from, full, other := anna.devices[0], ben.devices[0], ben.devices[1]
	from.mustSend(from.message(c, anna, ben)) // 1: the other device has acknowledged it
	other.mustAck(ackOf(other.mailbox()...))
	from.mustSend(from.message(c, anna, ben)) // 2: it waits for the other device, too
	if _, err := r.dbExec("UPDATE device SET entries = $1 WHERE account = $2 AND wire_id = $3", api.MaxMailboxEntries, ben.id[:], full.wire); err != nil {
		t.Fatal(err)
	}
	sent := from.mustSend(from.message(c, anna, ben)) // 3
	if len(sent.Devices) != 2 {
		t.Errorf("%+v", sent)
	}
	if n := len(full.mailbox()); n != 0 {
		t.Errorf("%d entries", n)
	}
	if n := r.count("SELECT COUNT(*) FROM owed"); n != 0 {
		t.Errorf("%d messages are owed though the other device has them", n)
	}
	_, err := from.send(from.message(c, anna, ben))
	wantCode(t, err, api.CodeDeviceSet)
	ben.out[full.wire] = true                 // what a client learns from the refusal
	from.mustSend(from.message(c, anna, ben)) // 4
	ben.dropDevice(other)
	ben.sign()
	r.publish(ben) // the last envelopes of 2, 3 and 4 are gone
	if n := r.count("SELECT COUNT(*) FROM owed WHERE account = $1 AND sender = $2", ben.id[:], anna.id[:]); n != 3 {
		t.Errorf("%d messages are owed, want 3", n)
	}
	delete(ben.out, full.wire)
	full.connect()
	from.mustSend(from.message(c, anna, ben)) // 5
	page := full.sync(c, 1)
	var reasons []api.Reason
	for _, item := range page.Items {
		reasons = append(reasons, item.Reason)
	}
	want := []api.Reason{api.ReasonBefore, api.ReasonOwed, api.ReasonOwed, api.ReasonOwed, ""}
	if diff := cmp.Diff(want, reasons); diff != "" || page.Through != 1 {
		t.Errorf("through %d: %s", page.Through, diff)
	}
}

// TestIdle: 45 days without contact make a device dormant; reading the mailbox is contact.
func TestIdle(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	anna.devices[0].mustSend(anna.devices[0].message(c, anna, ben))
	quiet, reader := ben.devices[0], ben.devices[1]
	for range 50 {
		r.clock.Add((24 * time.Hour).Milliseconds() + 1)
		reader.mailbox()
		anna.devices[0].mailbox()
		if err := r.s.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	state := func(d *phone) string {
		found, err := readDevice(context.Background(), r.db, d.owner.id, d.wire)
		if err != nil {
			t.Fatal(err)
		}
		return found.state
	}
	if state(quiet) != stateDormant || state(reader) != stateActive || len(reader.mailbox()) != 1 || len(quiet.mailbox()) != 0 {
		t.Errorf("%s and %s", state(quiet), state(reader))
	}
}

// TestSilent: no position, no complete set, forgotten after 30 days.
func TestSilent(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(2)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	send := from.silent(c, ben.devices[1], anna.devices[1])
	sent := from.mustSend(send)
	if sent.Seq != 0 || len(sent.Tag) != api.TagSize || len(sent.Devices) != 2 || !cmp.Equal(sent, from.mustSend(send)) {
		t.Errorf("%+v", sent)
	}
	if len(ben.devices[0].mailbox()) != 0 || len(anna.devices[1].mailbox()) != 1 {
		t.Error("the wrong devices have it")
	}
	box := ben.devices[1].mailbox()
	if box[0].Class != api.ClassSilent || box[0].Seq != 0 {
		t.Errorf("%+v", box[0])
	}
	if acked := ben.devices[1].mustAck(ackOf(box...)); len(acked.Removed) != 1 {
		t.Errorf("%+v", acked)
	}
	gone := from.silent(c, ben.devices[0])
	gone.Envelopes[0].RegistrationID++
	_, err := from.send(gone)
	wantCode(t, err, api.CodeDeviceSet)
	r.clock.Add(silentKept.Milliseconds() + 1)
	if err := r.s.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.count("SELECT COUNT(*) FROM message"); n != 0 || len(anna.devices[1].mailbox()) != 0 {
		t.Errorf("%d messages are left", n)
	}
	if n := r.count("SELECT SUM(entries + bytes) FROM device"); n != 0 {
		t.Errorf("the devices count %d", n)
	}
}
