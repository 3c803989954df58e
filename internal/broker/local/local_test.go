package local_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/broker"
	"sotto/internal/broker/brokertest"
	"sotto/internal/broker/local"
	"sotto/internal/event"
	"sotto/internal/sqldb/sqldbtest"
)

func open(t *testing.T) *local.Broker { return openChaos(t, 0) }

func openChaos(t *testing.T, seed uint64) *local.Broker {
	t.Helper()
	db := sqldbtest.Open(t, sqldbtest.Series{Name: local.Series, Files: local.Migrations})
	return local.New(local.Options{DB: db, Now: time.Now, Chaos: seed})
}

func TestContract(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Broker { return open(t) })
}

func TestContractUnderChaos(t *testing.T) {
	seed := rand.Uint64N(1<<63) + 1
	t.Logf("chaos seed %d", seed)
	brokertest.Run(t, func(t *testing.T) brokertest.Broker { return openChaos(t, seed) })
}

func TestStatements(t *testing.T) {
	db := sqldbtest.Open(t, sqldbtest.Series{Name: local.Series, Files: local.Migrations})
	sqldbtest.CheckStatements(t, ".", db, nil)
}

func TestPublishWaitsForEveryHandler(t *testing.T) {
	b := open(t)
	var handled []string
	for _, name := range []string{"a", "b"} {
		err := b.Subscribe(t.Context(), name, []event.Type{event.LoginEnded}, func(context.Context, event.Event) error {
			handled = append(handled, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish(t.Context(), brokertest.Event(1)); err != nil || len(handled) != 2 {
		t.Errorf("confirmed after %v: %v", handled, err)
	}
}

func TestStoppingIsNoRefusal(t *testing.T) {
	b := open(t)
	ctx, stop := context.WithCancel(t.Context())
	calls := 0
	handler := func(ctx context.Context, _ event.Event) error {
		calls++
		stop()
		return ctx.Err()
	}
	if err := b.Subscribe(t.Context(), "q", []event.Type{event.LoginEnded}, handler); err != nil {
		t.Fatal(err)
	}
	for range 2 * broker.MaxTries {
		if err := b.Publish(ctx, brokertest.Event(1)); !errors.Is(err, context.Canceled) {
			t.Fatalf("publish while stopping: %v", err)
		}
	}
	letters, err := b.DeadLetters(t.Context(), "q", 10)
	if err != nil || len(letters) != 0 || calls == 0 {
		t.Errorf("%d calls, dead letters %v, %v", calls, letters, err)
	}
}

func TestEndedSubscriptionHoldsEventsBack(t *testing.T) {
	b := open(t)
	ctx, stop := context.WithCancel(t.Context())
	types := []event.Type{event.LoginEnded}
	if err := b.Subscribe(ctx, "q", types, func(context.Context, event.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := b.Subscribe(t.Context(), "q", types, nil); err == nil {
		t.Error("a queue took a second subscriber")
	}
	stop()
	if err := b.Publish(t.Context(), brokertest.Event(1)); err == nil {
		t.Error("confirmed without a handler")
	}
	got := 0
	if err := b.Subscribe(t.Context(), "q", types, func(context.Context, event.Event) error { got++; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), brokertest.Event(1)); err != nil || got != 1 {
		t.Errorf("after subscribing again: %d, %v", got, err)
	}
}

// TestChaosBites shows that a test under chaos means something: events overtake each other and arrive twice.
func TestChaosBites(t *testing.T) {
	b := openChaos(t, 1)
	var mu sync.Mutex
	var order []api.EventID
	err := b.Subscribe(t.Context(), "q", []event.Type{event.LoginEnded}, func(_ context.Context, e event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, e.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make([]event.Event, 40)
	for i := range waiting {
		waiting[i] = brokertest.Event(byte(i + 1))
	}
	for len(waiting) > 0 {
		var refused []event.Event
		for _, e := range waiting {
			if err := b.Publish(t.Context(), e); err != nil {
				refused = append(refused, e)
			}
		}
		waiting = refused
	}
	first := make(map[api.EventID]int)
	repeats, overtakes, highest := 0, 0, byte(0)
	for _, id := range order {
		if first[id]++; first[id] > 1 {
			repeats++
		} else if id[15] < highest {
			overtakes++
		}
		highest = max(highest, id[15])
	}
	if len(first) != 40 || repeats == 0 || overtakes == 0 {
		t.Errorf("%d events, %d repeats, %d overtaken", len(first), repeats, overtakes)
	}
}
