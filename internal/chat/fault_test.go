package chat

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/sqldb"
)

// TestCommitFaults fails each commit of a send and of an acknowledgement in every flavour: lost or stored, reported as a
// failure or by the end of the process. The client repeats the same request, as it must, and the outcome is the same as
// without a fault: one message, one entry, one answer.
func TestCommitFaults(t *testing.T) {
	faults := map[string]sqldb.Fault{
		"fails and is lost": sqldb.FailLost, "fails and is stored": sqldb.FailStored,
		"dies and is lost": sqldb.PanicLost, "dies and is stored": sqldb.PanicStored,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			r := running(t)
			anna, ben := r.person(1), r.person(1)
			c := r.talk(anna, ben)
			from, to := anna.devices[0], ben.devices[0]
			send := from.message(c, anna, ben)
			r.failNext("store sends", fault)
			if _, err := from.send(send); err == nil {
				t.Fatal("a failed commit was reported as a success")
			}
			stored := fault == sqldb.FailStored || fault == sqldb.PanicStored
			if n := len(to.mailbox()); (n == 1) != stored {
				t.Fatalf("%d entries after the fault", n)
			}
			sent := from.mustSend(send)
			again := from.mustSend(send)
			if diff := cmp.Diff(sent, again); diff != "" || sent.Seq != 1 {
				t.Fatal(sent.Seq, diff)
			}
			box := to.mailbox()
			if len(box) != 1 {
				t.Fatalf("%d entries", len(box))
			}
			r.failNext("store acks", fault)
			if _, err := to.ack(ackOf(box...)); err == nil {
				t.Fatal("a failed commit was reported as a success")
			}
			if n := len(to.mailbox()); (n == 0) != stored {
				t.Fatalf("%d entries after the fault", n)
			}
			if acked := to.mustAck(ackOf(box...)); len(acked.Removed) != 1 || len(acked.Refused) != 0 {
				t.Fatalf("%+v", acked)
			}
			if n := r.count("SELECT COUNT(*) FROM archive"); n != 2 {
				t.Errorf("%d archive records, want one of each account", n)
			}
		})
	}
}

// failNext makes the next commit of the named transaction fail.
func (r *rig) failNext(tx string, fault sqldb.Fault) {
	var done atomic.Bool
	r.db.InjectCommitFaults(func(name string) sqldb.Fault {
		if name != tx || done.Swap(true) {
			return sqldb.NoFault
		}
		return fault
	})
	r.t.Cleanup(func() { r.db.InjectCommitFaults(nil) })
}

// queued hands sends to a service that does not run yet, so that its first batch holds all of them.
func (r *rig) queued(t *testing.T, sends ...send) []<-chan outcome[sendResult] {
	t.Helper()
	var answers []<-chan outcome[sendResult]
	for _, sd := range sends {
		a, err := r.s.sends.submit(sd)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// TestBatchOfFaults: one send that the database refuses, one whose position is taken (a unique violation that no look-up
// can foresee), and good ones of another conversation. The batch is rolled back and each is tried alone.
func TestBatchOfFaults(t *testing.T) {
	r := newRig(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	good, damaged := r.talk(anna, ben), r.talk(anna, carl)
	from := anna.devices[0]
	first := from.message(damaged, anna, carl)
	if res, err := r.s.storeSends(t.Context(), []send{{from.actor(), from.generation, first}}); err != nil || res[0].err != nil {
		t.Fatal(err, res)
	}
	if err := r.db.Tx(t.Context(), "damage", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), "UPDATE conversation SET last_seq = 0 WHERE id = $1", damaged[:])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	refused := from.message(good, anna, ben)
	refused.Record.Sealed = nil // what validateSend would have refused
	var commits atomic.Int64
	r.db.InjectCommitFaults(func(name string) sqldb.Fault {
		if name == "store sends" {
			commits.Add(1)
		}
		return sqldb.NoFault
	})
	answers := r.queued(t,
		send{from.actor(), from.generation, from.message(good, anna, ben)}, send{from.actor(), from.generation, refused},
		send{from.actor(), from.generation, from.message(damaged, anna, carl)}, send{from.actor(), from.generation, from.message(good, anna, ben)})
	r.run(r.s)
	for i, wantSeq := range []uint64{1, 0, 0, 2} {
		got, err := r.s.sends.wait(t.Context(), answers[i])
		if (err == nil) != (wantSeq > 0) || got.sent.Seq != wantSeq {
			t.Errorf("send %d: seq %d, error %v", i, got.sent.Seq, err)
		}
	}
	if commits.Load() != 2 {
		t.Errorf("%d commits, want one for each good send", commits.Load())
	}
	if n := len(ben.devices[0].mailbox()); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

// TestBatchIsOneCommit: sends that wait together are stored together, each with its own outcome.
func TestBatchIsOneCommit(t *testing.T) {
	r := newRig(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	first, second := from.message(c, anna, ben), from.message(c, anna, ben)
	second.After = &first.MessageID
	bad := from.message(c, anna, ben)
	bad.Envelopes = nil
	conflict := first
	conflict.Commitment = commitment(second.MessageID)
	var commits atomic.Int64
	r.db.InjectCommitFaults(func(string) sqldb.Fault { commits.Add(1); return sqldb.NoFault })
	var sends []send
	for _, req := range []api.Send{first, bad, second, first, conflict} {
		sends = append(sends, send{from.actor(), from.generation, req})
	}
	answers := r.queued(t, sends...)
	before := commits.Load()
	go r.s.sends.run(t.Context())
	var got []sendResult
	for _, a := range answers {
		res, err := r.s.sends.wait(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, res)
	}
	if n := commits.Load() - before; n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
	if got[0].sent.Seq != 1 || got[2].sent.Seq != 2 {
		t.Errorf("seqs %d and %d", got[0].sent.Seq, got[2].sent.Seq)
	}
	if diff := cmp.Diff(got[0].sent, got[3].sent); diff != "" {
		t.Errorf("a duplicate within the batch got another answer: %s", diff)
	}
	wantCode(t, got[1].err, api.CodeDeviceSet)
	wantCode(t, got[4].err, api.CodeConflict)
}

// TestConcurrentSends: many at once, from both sides, keep every seq once.
func TestConcurrentSends(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	const each = 60
	var seqs sync.Map
	var wg sync.WaitGroup
	for _, d := range []*phone{anna.devices[0], anna.devices[1], ben.devices[0]} {
		for range each {
			send := d.message(c, anna, ben)
			wg.Go(func() {
				for range 2 { // once more, as after a lost answer
					sent, err := d.send(send)
					if err != nil {
						t.Error(err)
						return
					}
					if other, taken := seqs.LoadOrStore(sent.Seq, send.MessageID); taken && other != send.MessageID {
						t.Errorf("seq %d was given twice", sent.Seq)
					}
				}
			})
		}
	}
	wg.Wait()
	for seq := uint64(1); seq <= 3*each; seq++ {
		if _, ok := seqs.Load(seq); !ok {
			t.Errorf("seq %d was given to nobody", seq)
		}
	}
	if n := len(ben.devices[0].mailbox()); n != 2*each {
		t.Errorf("%d entries, want %d", n, 2*each)
	}
}

// TestQueueIsBounded: what does not fit is refused at once and stored never; at the end every answer is given.
func TestQueueIsBounded(t *testing.T) {
	stored := 0
	b := newBatcher(slog.New(slog.DiscardHandler), func(_ context.Context, jobs []int) ([]int, error) {
		if len(jobs) > maxBatch {
			t.Errorf("a batch of %d", len(jobs))
		}
		stored += len(jobs)
		return jobs, nil
	}, func([]int) {})
	var answers []<-chan outcome[int]
	for i := range maxQueue {
		a, err := b.submit(i)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	_, err := b.submit(0)
	wantCode(t, err, api.CodeUnavailable)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.run(ctx) // what is queued is stored also when the end has come already
	for i, a := range answers {
		if got, err := b.wait(t.Context(), a); err != nil || got != i {
			t.Fatal(got, err)
		}
	}
	if stored != maxQueue {
		t.Errorf("%d stored", stored)
	}
	a, err := b.submit(1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.wait(t.Context(), a)
	wantCode(t, err, api.CodeUnavailable)
	_, err = newBatcher(b.log, b.store, b.stored).wait(ctx, make(chan outcome[int]))
	if wantCode(t, err, api.CodeUnavailable); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStatementFaults: whichever statement of a send or of an acknowledgement fails, everything before it is undone, the
// client is told to repeat, and the repeated request is as good as the first.
func TestStatementFaults(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	for n, more := 0, true; more; n++ {
		send := from.message(c, anna, ben)
		what, failed := r.failStatement("store sends", n)
		_, err := from.send(send)
		r.db.InjectStatementFaults(nil)
		if more = failed.Load(); more != (err != nil) {
			t.Fatalf("statement %d of a send failed: %v; the answer is %v", n, more, err)
		}
		if n := len(to.mailbox()); more && n != 0 {
			t.Fatalf("%d entries are left of a send that failed at %s", n, *what)
		}
		sent := from.mustSend(send)
		if sent.Seq != uint64(n+1) {
			t.Fatalf("seq %d, want %d, after a failure at %s", sent.Seq, n+1, *what)
		}
		box := to.mailbox()
		if len(box) != 1 {
			t.Fatalf("%d entries after a failure at %s", len(box), *what)
		}
		to.mustAck(ackOf(box...))
	}
	box := []api.Entry{}
	for n, more := 0, true; more; n++ {
		if len(box) == 0 {
			from.mustSend(from.message(c, anna, ben))
			box = to.mailbox()
		}
		what, failed := r.failStatement("store acks", n)
		_, err := to.ack(ackOf(box...))
		r.db.InjectStatementFaults(nil)
		if more = failed.Load(); more != (err != nil) {
			t.Fatalf("statement %d of an acknowledgement failed: %v; the answer is %v", n, more, err)
		}
		if left := len(to.mailbox()); more && left != len(box) {
			t.Fatalf("%d entries of %d after a failure at %s", left, len(box), *what)
		}
	}
	if n := len(to.mailbox()); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

// failStatement makes the nth statement of the next such transactions fail, in each run of them; it tells which that was.
func (r *rig) failStatement(tx string, n int) (what *string, failed *atomic.Bool) {
	what, failed = new(string), new(atomic.Bool)
	passed := 0 // transactions of one batcher run one after the other
	r.db.InjectStatementFaults(func(name, statement string) bool {
		if name != tx || failed.Load() {
			return false
		}
		passed++
		if passed <= n {
			return false
		}
		*what = statement
		failed.Store(true)
		return true
	})
	r.t.Cleanup(func() { r.db.InjectStatementFaults(nil) })
	return what, failed
}
