package chat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/event"
)

func (d *phone) choose(set api.ChatSettings) {
	d.owner.r.t.Helper()
	if _, err := d.owner.r.s.SetSettings(d.owner.r.t.Context(), d.actor(), set); err != nil {
		d.owner.r.t.Fatal(err)
	}
	got, err := d.owner.r.s.Settings(d.owner.r.t.Context(), d.actor())
	if diff := cmp.Diff(set, got); err != nil || diff != "" {
		d.owner.r.t.Fatal(err, diff)
	}
}

// TestArchiveChoice: upkeep erases what each account chose not to keep, and nothing of anybody else.
func TestArchiveChoice(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	c, other := r.talk(anna, ben), r.talk(anna, carl)
	from, to := anna.devices[0], ben.devices[0]
	exchange := func() api.MessageID {
		send := from.message(c, anna, ben)
		from.mustSend(send)
		from.mustSend(from.message(other, anna, carl))
		to.mustAck(ackOf(to.mailbox()...))
		return send.MessageID
	}
	tidy := func() {
		t.Helper()
		if err := r.s.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	exchange()
	if _, err := to.putRecord(record(c, newID[api.MessageID](r)), 0); err != nil { // of a forgotten message
		t.Fatal(err)
	}
	r.clock.Add((3 * 24 * time.Hour).Milliseconds())
	kept := exchange()
	to.choose(api.ChatSettings{Archive: api.ArchiveDays, Days: 4})
	tidy()
	if n := len(to.archive(nil, 10)); n != 3 {
		t.Errorf("%d records after 3 of 4 days", n)
	}
	to.choose(api.ChatSettings{Archive: api.ArchiveDays, Days: 2})
	tidy()
	if diff := cmp.Diff([]api.MessageID{kept}, messagesOf(to.archive(nil, 10))); diff != "" {
		t.Errorf("after 3 of 2 days: %s", diff)
	}
	to.choose(api.ChatSettings{Archive: api.ArchiveNothing})
	r.clock.Add(1)
	tidy()
	exchange()
	to.mustSend(to.message(c, anna, ben))
	if n := len(to.archive(nil, 10)); n != 0 {
		t.Errorf("%d records of an account that keeps none", n)
	}
	_, err := to.putRecord(record(c, kept), 0)
	wantCode(t, err, api.CodeForbidden)
	to.choose(api.ChatSettings{Archive: api.ArchiveEverything})
	exchange()
	tidy()
	if n := len(to.archive(nil, 10)); n != 1 {
		t.Errorf("%d records after the choice of everything", n)
	}
	if n := len(from.archive(nil, 20)); n != 8 {
		t.Errorf("%d records of the other account", n)
	}
	for _, bad := range []api.ChatSettings{
		{}, {Archive: api.ArchiveDays}, {Archive: api.ArchiveDays, Days: api.MaxArchiveDays + 1}, {Archive: api.ArchiveNothing, Days: 1},
	} {
		_, err := r.s.SetSettings(t.Context(), to.actor(), bad)
		wantCode(t, err, api.CodeInvalid)
	}
}

// TestRemovalEndsEpoch: from a removal on the older archive key is refused, before any record under the new one. A record
// that came before the list is under the new key already.
func TestRemovalEndsEpoch(t *testing.T) {
	r := running(t)
	anna, ben := r.person(3), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	epoch := func() int { return r.count("SELECT archive_epoch FROM account WHERE id = $1", anna.id[:]) }
	anna.dropDevice(anna.devices[2])
	anna.sign()
	for range 2 { // a call and an event say the same
		r.publish(anna)
	}
	old := from.message(c, anna, ben)
	old.Record.KeyEpoch = 1
	_, err := from.send(old)
	wantCode(t, err, api.CodeArchiveEpoch)
	from.mustSend(from.message(c, anna, ben))
	if epoch() != 2 {
		t.Errorf("epoch %d after one removal", epoch())
	}
	anna.addDevice()
	anna.sign()
	r.publish(anna)
	if epoch() != 2 {
		t.Errorf("epoch %d after an addition", epoch())
	}
	anna.devices[2].connect()
	early := from.message(c, anna, ben)
	anna.dropDevice(anna.devices[1])
	early.Record.KeyEpoch = anna.epoch
	from.mustSend(early)
	anna.sign()
	r.publish(anna)
	from.mustSend(from.message(c, anna, ben))
	if epoch() != 3 {
		t.Errorf("epoch %d after two removals", epoch())
	}
}

// TestInboxIsCleaned: event ids are forgotten after a week.
func TestInboxIsCleaned(t *testing.T) {
	r := newRig(t)
	p := r.person(1)
	r.handle(event.LoginEnded, p.id, event.LoginEnd{LoginID: p.devices[0].login, Until: startOfTime})
	for i, want := range []int{1, 0} {
		r.clock.Add((6 * 24 * time.Hour).Milliseconds())
		if err := r.s.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := r.count("SELECT COUNT(*) FROM inbox"); n != want {
			t.Errorf("%d event ids after %d days", n, 6*(i+1))
		}
	}
}
