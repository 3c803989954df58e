package chat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
)

// TestOwed: the last envelope of an account disappears, the sender's devices are asked, and one supplements the message
// for the device that has returned.
func TestOwed(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	from, away := anna.devices[0], ben.devices[0]
	read := from.message(c, anna, ben)
	from.mustSend(read)
	away.mustAck(ackOf(away.mailbox()...))
	var lost []api.Send
	for range 3 {
		lost = append(lost, from.message(c, anna, ben))
		from.mustSend(lost[len(lost)-1])
	}
	socket, ready := anna.devices[1].socket(t)
	if ready.Owed != 0 || ready.Returned {
		t.Errorf("%+v", ready)
	}
	r.clock.Add(idleAfter.Milliseconds() - 1)
	from.connect() // is no stranger after the next step
	r.clock.Add(2)
	if err := r.s.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := func(want int) {
		t.Helper()
		var notice api.OwedNotice
		socket.event(api.EventOwed, &notice)
		if diff := cmp.Diff(api.OwedNotice{AccountID: ben.id, Count: want}, notice); diff != "" {
			t.Error(diff)
		}
	}
	told(3)
	// Meanwhile the account has no device at all: what is sent to it is owed from the beginning.
	ben.out[away.wire] = true
	lost = append(lost, from.message(c, anna, ben))
	sent := from.mustSend(lost[3])
	told(1)
	var want []api.OwedMessage
	for i, send := range lost {
		want = append(want, api.OwedMessage{
			ConversationID: c, MessageID: send.MessageID, Epoch: 1, Seq: uint64(i + 2), AccountID: ben.id, Since: sent.ServerTime,
		})
	}
	if diff := cmp.Diff(want, from.owed()); diff != "" {
		t.Fatal(diff)
	}
	if n, err := r.s.OwedMessages(t.Context()); n != 4 || err != nil {
		t.Errorf("%d messages are owed, %v", n, err)
	}
	if got := from.connect(); got.Owed != 4 || got.Returned {
		t.Errorf("%+v", got)
	}
	if len(away.owed()) != 0 {
		t.Error("the recipient is asked, too")
	}
	delete(ben.out, away.wire)
	if got := away.connect(); !got.Returned || got.Waiting != 0 {
		t.Errorf("%+v", got)
	}
	told(4)
	for i, send := range lost {
		for range 2 {
			from.mustSend(from.more(send, away))
		}
		if n := len(away.mailbox()); n != i+1 {
			t.Fatalf("%d entries after %d supplements", n, i+1)
		}
	}
	from.mustSend(from.more(read, away)) // acknowledged long ago
	if n := len(from.owed()); n != 0 {
		t.Errorf("%d messages are still owed", n)
	}
	if page := away.sync(c, 1); page.Through != 1 || page.Items[1].Entry == nil || page.Items[4].Entry == nil {
		t.Errorf("%+v", page)
	}
	away.mustAck(ackOf(away.mailbox()...))
	if page := away.sync(c, 1); page.Through != 5 || r.s.Holes.Load() != 0 {
		t.Errorf("%+v", page)
	}
}

// TestOwedIsSettled: a device that had read the message before it was cut off brings its record, in an acknowledgement
// or as a record that the server does not have. After 30 days the rest is given up.
func TestOwedIsSettled(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	for range 3 {
		from.mustSend(from.message(c, anna, ben))
	}
	box := to.mailbox()
	if _, err := r.dbExec("UPDATE device SET entries = $1 WHERE account = $2", api.MaxMailboxEntries, ben.id[:]); err != nil {
		t.Fatal(err)
	}
	from.mustSend(from.message(c, anna, ben))
	if n := len(from.owed()); n != 4 {
		t.Fatalf("%d messages are owed", n)
	}
	to.connect()
	notes := r.listen(anna)
	to.mustAck(ackOf(box[0]))
	want := &api.Delivered{ConversationID: c, AccountID: ben.id, MessageIDs: []api.MessageID{box[0].MessageID}}
	if diff := cmp.Diff(want, notes.delivered(t)); diff != "" {
		t.Error(diff)
	}
	if _, err := to.putRecord(record(c, box[1].MessageID), 0); err != nil {
		t.Fatal(err)
	}
	if owed := from.owed(); len(owed) != 2 || owed[0].MessageID != box[2].MessageID {
		t.Errorf("%+v", owed)
	}
	for i, want := range []int{2, 0} {
		r.clock.Add((29 * 24 * time.Hour).Milliseconds())
		if err := r.s.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := r.count("SELECT COUNT(*) FROM owed"); n != want {
			t.Errorf("%d messages are owed after %d days", n, 29*(i+1))
		}
	}
	to.connect()
	if page := to.sync(c, 1); page.Items[3].Reason != api.ReasonBefore || page.Through != 4 {
		t.Errorf("%+v", page)
	}
	for _, bad := range []string{"x", "1", "1-x", "-"} {
		_, err := r.s.Owed(t.Context(), from.actor(), bad, 1)
		wantCode(t, err, api.CodeInvalid)
	}
	for _, limit := range []int{0, api.MaxOwedPage + 1} {
		_, err := r.s.Owed(t.Context(), from.actor(), "", limit)
		wantCode(t, err, api.CodeInvalid)
	}
}

// TestRemovedDeviceOwes: what a removed device had not acknowledged is owed, unless another device of the account has it.
func TestRemovedDeviceOwes(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(2)
	c := r.talk(anna, ben)
	from, gone, stays := anna.devices[0], ben.devices[0], ben.devices[1]
	from.mustSend(from.message(c, anna, ben))
	stays.mustAck(ackOf(stays.mailbox()...))
	ben.dropDevice(gone)
	ben.sign()
	r.publish(ben)
	if n := len(from.owed()); n != 0 {
		t.Errorf("%d messages are owed that another device has", n)
	}
	lost := from.message(c, anna, ben)
	from.mustSend(lost)
	notes := r.listen(anna)
	ben.dropDevice(stays)
	fresh := ben.addDevice()
	ben.sign()
	r.publish(ben)
	for heard := false; !heard; {
		select {
		case n := <-notes:
			heard = n.Owed != nil && n.Owed.AccountID == ben.id && n.Owed.Count == 1
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told")
		}
	}
	fresh.connect()
	if owed := from.owed(); len(owed) != 1 || owed[0].MessageID != lost.MessageID {
		t.Fatalf("%+v", owed)
	}
	from.mustSend(from.more(lost, fresh))
	if len(from.owed()) != 0 || len(fresh.mailbox()) != 1 {
		t.Errorf("owed %+v, %d entries", from.owed(), len(fresh.mailbox()))
	}
}
