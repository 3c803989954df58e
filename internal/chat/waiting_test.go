package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/sqldb"
)

// announced takes the message.waiting events out of the outbox.
func (r *rig) announced() map[api.AccountID][]event.Waiting {
	r.t.Helper()
	all := make(map[api.AccountID][]event.Waiting)
	rows, err := r.db.Query(r.t.Context(), `SELECT account, body FROM outbox WHERE type = 'message.waiting' ORDER BY position`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var account api.AccountID
		var e event.Event
		var body string
		if err := rows.Scan(sqldb.Blob(account[:]), &body); err != nil {
			r.t.Fatal(err)
		}
		e.Body = []byte(body)
		var w event.Waiting
		if err := e.Decode(&w); err != nil {
			r.t.Fatal(err)
		}
		all[account] = append(all[account], w)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.dbExec(`DELETE FROM outbox`); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) sweepAll(s *Service) {
	r.t.Helper()
	for more := true; more; {
		var err error
		if more, err = s.sweepOnce(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestWaiting: ten messages that nobody acknowledges are one event after ten seconds; the next one follows only after
// everything of before was acknowledged. What an online device acknowledged is not announced for it.
func TestWaiting(t *testing.T) {
	r := storing(t)
	anna, ben, carl := r.person(1), r.person(2), r.person(1)
	c, other := r.talk(anna, ben), r.talk(carl, ben)
	from := anna.devices[0]
	expect := func(what string, want map[api.AccountID][]event.Waiting) {
		t.Helper()
		r.sweepAll(r.s)
		if diff := cmp.Diff(want, r.announced()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	none := map[api.AccountID][]event.Waiting{}
	waiting := func(inTalk, inOther int) map[api.AccountID][]event.Waiting {
		return map[api.AccountID][]event.Waiting{ben.id: {{Conversations: []event.ConversationWaiting{
			{ConversationID: c, Count: inTalk}, {ConversationID: other, Count: inOther},
		}}}}
	}
	for range 10 {
		from.mustSend(from.message(c, anna, ben))
	}
	carl.devices[0].mustSend(carl.devices[0].message(other, carl, ben))
	expect("too early", none)
	r.clock.Add(waitingAfter.Milliseconds() - 1)
	expect("a moment too early", none)
	r.clock.Add(1)
	expect("after ten seconds", waiting(10, 1))
	from.mustSend(from.message(c, anna, ben))
	r.clock.Add(waitingAfter.Milliseconds())
	expect("already announced", none)
	for _, d := range ben.devices[:1] {
		d.mustAck(ackOf(d.mailbox()...))
	}
	from.mustSend(from.message(c, anna, ben))
	r.clock.Add(waitingAfter.Milliseconds())
	// The second device has acknowledged nothing; for the first one the newest message is news.
	expect("after a device acknowledged", waiting(12, 1))
	for _, d := range ben.devices {
		d.mustAck(ackOf(d.mailbox()...))
	}
	from.mustSend(from.message(c, anna, ben))
	for _, d := range ben.devices {
		d.mustAck(ackOf(d.mailbox()...))
	}
	r.clock.Add(waitingAfter.Milliseconds())
	expect("acknowledged in time", none)
}

// TestWaitingOfTwoReplicas: the one without the lease does nothing, and takes over when the other has gone.
func TestWaitingOfTwoReplicas(t *testing.T) {
	r := storing(t)
	second := r.service()
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	wait := func() {
		from.mustSend(from.message(c, anna, ben))
		r.clock.Add(waitingAfter.Milliseconds())
	}
	wait()
	r.sweepAll(r.s)
	if n := len(r.announced()); n != 1 {
		t.Fatalf("%d announced", n)
	}
	to.mustAck(ackOf(to.mailbox()...))
	from.mustSend(from.message(c, anna, ben))
	r.clock.Add(3000) // long enough for the lease to be renewed
	if held, err := r.s.sweeping.Take(t.Context(), r.db, r.s.Now()); !held || err != nil {
		t.Fatal(held, err)
	}
	r.clock.Add(8000)
	r.sweepAll(second)
	if n := len(r.announced()); n != 0 {
		t.Errorf("a replica without the lease announced %d", n)
	}
	r.clock.Add(3000) // the first one's lease is over
	r.sweepAll(second)
	if n := len(r.announced()); n != 1 {
		t.Errorf("%d announced after the lease was over", n)
	}
	// The first one wakes up and believes in its lease.
	to.mustAck(ackOf(to.mailbox()...))
	wait()
	err := r.db.Tx(t.Context(), "late", func(tx *sqldb.Tx) error { return r.s.sweeping.Keep(t.Context(), tx, r.s.Now()) })
	if err == nil {
		t.Error("a lost lease was kept")
	}
}

// TestWaitingIsAnnouncedOnceWhateverFails: the events, the marks and the position are one transaction.
func TestWaitingIsAnnouncedOnceWhateverFails(t *testing.T) {
	for name, fault := range map[string]sqldb.Fault{"lost": sqldb.FailLost, "stored": sqldb.FailStored} {
		t.Run(name, func(t *testing.T) {
			r := storing(t)
			anna, ben := r.person(1), r.person(1)
			c := r.talk(anna, ben)
			from := anna.devices[0]
			from.mustSend(from.message(c, anna, ben))
			r.clock.Add(waitingAfter.Milliseconds())
			r.failNext("sweep", fault)
			if _, err := r.s.sweepOnce(t.Context()); err == nil {
				t.Error("the fault did not happen")
			}
			r.sweepAll(r.s)
			if got := r.announced()[ben.id]; len(got) != 1 {
				t.Errorf("%d events", len(got))
			}
		})
	}
}
