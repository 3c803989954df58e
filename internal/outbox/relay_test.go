package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/api"
	"sotto/internal/broker"
	"sotto/internal/broker/local"
	"sotto/internal/event"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// script is a broker that does what the test says and keeps what it confirmed, in order.
type script struct {
	mu     sync.Mutex
	decide func(ctx context.Context, e event.Event) error // nil confirms everything
	tried  []byte
	got    []byte
}

func (s *script) Publish(ctx context.Context, e event.Event) error {
	s.mu.Lock()
	s.tried = append(s.tried, e.ID[15])
	s.mu.Unlock()
	if s.decide != nil {
		if err := s.decide(ctx, e); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, e.ID[15])
	return nil
}

func (s *script) confirmed() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.got)
}

// start runs a relay until the returned function is called, which waits for its end.
func start(t *testing.T, db *sqldb.DB, p outbox.Publisher, holder byte) (relay *outbox.Relay, stop func()) {
	t.Helper()
	relay, err := outbox.NewRelay(outbox.RelayConfig{
		DB: db, Publisher: p, Now: time.Now, Rand: bytes.NewReader(bytes.Repeat([]byte{holder}, 16)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay.Run(ctx)
	}()
	return relay, func() {
		cancel()
		<-done
	}
}

func TestRelayPublishesInOrderAndEmptiesTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		p := &script{}
		for n := range byte(250) { // more than two batches
			add(t, db, makeEvent(t, n+1))
		}
		_, stop := start(t, db, p, 1)
		defer stop()
		synctest.Wait()
		got := p.confirmed()
		for i, n := range got {
			if n != byte(i+1) {
				t.Fatalf("event %d came at place %d", n, i)
			}
		}
		if len(got) != 250 || count(t, db, "outbox") != 0 {
			t.Errorf("%d published, %d left", len(got), count(t, db, "outbox"))
		}
	})
}

func TestWakeIsAtOnceAndForgettingItCostsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		p := &script{}
		relay, stop := start(t, db, p, 1)
		defer stop()
		synctest.Wait()
		started := time.Now()
		add(t, db, makeEvent(t, 1))
		relay.Wake()
		synctest.Wait()
		if len(p.confirmed()) != 1 || time.Since(started) != 0 {
			t.Errorf("woken: %d published after %s", len(p.confirmed()), time.Since(started))
		}
		add(t, db, makeEvent(t, 2))
		time.Sleep(time.Second)
		synctest.Wait()
		if len(p.confirmed()) != 2 {
			t.Error("not published without being woken")
		}
	})
}

func TestAnIdleRelayWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		commits := 0
		_, stop := start(t, db, &script{}, 1)
		defer stop()
		synctest.Wait() // the first round cleans
		db.InjectCommitFaults(func(string) sqldb.Fault { commits++; return sqldb.NoFault })
		time.Sleep(time.Minute)
		synctest.Wait()
		if commits != 0 {
			t.Errorf("%d transactions in an idle minute", commits)
		}
	})
}

func TestOneRefusedEventHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		p := &script{decide: func(_ context.Context, e event.Event) error {
			if e.ID[15] <= 3 {
				return broker.ErrUnroutable
			}
			if e.ID[15] == 5 {
				return errors.New("poison")
			}
			return nil
		}}
		for n := byte(1); n <= 6; n++ {
			add(t, db, makeEvent(t, n))
		}
		_, stop := start(t, db, p, 1)
		defer stop()
		synctest.Wait()
		if got := p.confirmed(); !bytes.Equal(got, []byte{4, 6}) || count(t, db, "outbox") != 4 {
			t.Errorf("published %v, %d left", got, count(t, db, "outbox"))
		}
	})
}

func TestABrokerThatIsAwayIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		var back atomic.Bool
		p := &script{decide: func(context.Context, event.Event) error {
			if !back.Load() {
				return errors.New("no broker")
			}
			return nil
		}}
		for n := byte(1); n <= 10; n++ {
			add(t, db, makeEvent(t, n))
		}
		relay, stop := start(t, db, p, 1)
		defer stop()
		for range 600 {
			time.Sleep(time.Second)
			relay.Wake() // must not shorten the wait
		}
		synctest.Wait()
		p.mu.Lock()
		tries := len(p.tried)
		p.mu.Unlock()
		back.Store(true)
		// Ten minutes in waits of at most 15 s, three events each; the first waits are short.
		if tries < 3*40 || tries > 3*140 {
			t.Errorf("%d tries in ten minutes", tries)
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if got := p.confirmed(); len(got) != 10 {
			t.Errorf("%d events published after the broker came back", len(got))
		}
	})
}

func TestABrokerThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		add(t, db, makeEvent(t, 1), makeEvent(t, 2))
		p := &script{decide: func(ctx context.Context, e event.Event) error {
			if e.ID[15] == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		_, stop := start(t, db, p, 1)
		defer stop()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := p.confirmed(); !bytes.Equal(got, []byte{2}) {
			t.Errorf("published %v", got)
		}
	})
}

func TestOneRelayOfTwoWorksAndTheOtherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "test.db")
		first, second := sqldbtest.OpenAt(t, path, series), sqldbtest.OpenAt(t, path, series)
		p, q := &script{}, &script{}
		_, stopFirst := start(t, first, p, 1)
		add(t, first, makeEvent(t, 1))
		time.Sleep(time.Second)
		synctest.Wait()
		_, stopSecond := start(t, second, q, 2)
		defer stopSecond()
		for n := byte(2); n <= 20; n++ {
			add(t, first, makeEvent(t, n))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if len(p.confirmed()) != 20 || len(q.confirmed()) != 0 {
			t.Errorf("first %v, second %v", p.confirmed(), q.confirmed())
		}
		stopFirst() // frees the lease
		add(t, second, makeEvent(t, 21))
		time.Sleep(time.Second)
		synctest.Wait()
		if got := q.confirmed(); !bytes.Equal(got, []byte{21}) {
			t.Errorf("the second relay published %v", got)
		}
	})
}

// TestASleepingHolderDeletesNothing is the reason for the fence: the first relay sleeps within Publish past the end of
// its lease, the second takes over with the same row still there, and when the first wakes up it must leave the row to
// the second, whose broker has not confirmed it.
func TestASleepingHolderDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "test.db")
		first, second := sqldbtest.OpenAt(t, path, series), sqldbtest.OpenAt(t, path, series)
		add(t, first, makeEvent(t, 1))
		sleepy := &script{decide: func(context.Context, event.Event) error {
			time.Sleep(time.Minute) // as a process that was stopped: no deadline of its own is seen
			return nil
		}}
		refusing := &script{decide: func(context.Context, event.Event) error { return errors.New("not confirmed") }}
		_, stopFirst := start(t, first, sleepy, 1)
		defer stopFirst()
		synctest.Wait()
		_, stopSecond := start(t, second, refusing, 2)
		defer stopSecond()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if len(sleepy.confirmed()) != 1 || len(refusing.tried) == 0 {
			t.Fatalf("the sleeper confirmed %v, the other tried %v", sleepy.confirmed(), refusing.tried)
		}
		if count(t, second, "outbox") != 1 {
			t.Error("a holder that lost its lease deleted a row")
		}
	})
}

// TestCrashes kills the relay around each of its commits, in both flavours: what was committed is published at least
// once, and the consumer's change happens exactly once.
func TestCrashes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		consumer := sqldbtest.Open(t, series, sqldbtest.Series{Name: local.Series, Files: local.Migrations})
		producer := sqldbtest.Open(t, series)
		var mu sync.Mutex
		applied := make(map[api.EventID]int)
		b := local.New(local.Options{DB: consumer, Now: time.Now, Chaos: seed | 1})
		err := b.Subscribe(t.Context(), "q", []event.Type{event.LoginEnded}, func(ctx context.Context, e event.Event) error {
			return handleOnce(ctx, consumer, e, func() {
				mu.Lock()
				defer mu.Unlock()
				applied[e.ID]++
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		faults := make(map[sqldb.Fault]int)
		producer.InjectCommitFaults(func(string) sqldb.Fault {
			mu.Lock()
			defer mu.Unlock()
			fault := []sqldb.Fault{sqldb.NoFault, sqldb.NoFault, sqldb.FailLost, sqldb.FailStored}[rng.IntN(4)]
			faults[fault]++
			return fault
		})
		events := make(map[api.EventID]bool)
		for n := byte(1); n <= 100; n++ {
			e := makeEvent(t, n)
			err := producer.Tx(t.Context(), "change", func(tx *sqldb.Tx) error { return outbox.Add(t.Context(), tx, e) })
			if err == nil {
				events[e.ID] = true
			}
			if n%10 == 0 {
				_, stop := start(t, producer, b, n)
				time.Sleep(3 * time.Second)
				stop()
			}
		}
		producer.InjectCommitFaults(nil)
		_, stop := start(t, producer, b, 200)
		time.Sleep(10 * time.Minute)
		stop()
		if n := count(t, producer, "outbox"); n != 0 {
			t.Errorf("%d rows left", n)
		}
		for id := range events {
			if applied[id] == 0 {
				t.Errorf("event %s was committed and never applied", id)
			}
		}
		for id, n := range applied {
			if n != 1 {
				t.Errorf("event %s was applied %d times", id, n)
			}
		}
		if faults[sqldb.FailLost] == 0 || faults[sqldb.FailStored] == 0 {
			t.Errorf("faults that happened: %v", faults)
		}
	})
}

// handleOnce is how a consumer handles an event: the inbox and its own change in one transaction.
func handleOnce(ctx context.Context, db *sqldb.DB, e event.Event, apply func()) error {
	first := false
	err := db.Tx(ctx, "consume", func(tx *sqldb.Tx) (err error) {
		first, err = outbox.Once(ctx, tx, "q", e, time.Now())
		return err
	})
	if err == nil && first {
		apply()
	}
	return err
}

func TestOldInboxRowsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, series)
		const week = 7 * 24 * time.Hour
		old, recent := time.Now().Add(-week-time.Second), time.Now().Add(-week+time.Minute)
		err := db.Tx(t.Context(), "fill", func(tx *sqldb.Tx) error {
			for n := range 2500 {
				e := makeEvent(t, 1)
				e.ID[0], e.ID[1] = byte(n>>8), byte(n)
				at := old
				if n < 100 {
					at = recent
				}
				if _, err := outbox.Once(t.Context(), tx, "q", e, at); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, stop := start(t, db, &script{}, 1)
		defer stop()
		synctest.Wait()
		if n := count(t, db, "inbox"); n != 1500 {
			t.Errorf("%d ids after the first batch, want 1500", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := count(t, db, "inbox"); n != 100 {
			t.Errorf("%d ids are left, want the 100 that are younger than a week", n)
		}
	})
}
