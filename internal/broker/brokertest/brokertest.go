// Package brokertest holds every broker to the contract of package broker.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/broker"
	"sotto/internal/errs"
	"sotto/internal/event"
)

// Broker is what services need of a broker.
type Broker interface {
	Publish(ctx context.Context, e event.Event) error
	Subscribe(ctx context.Context, queue string, types []event.Type, handler broker.Handler) error
	DeadLetters(ctx context.Context, queue string, limit int) ([]broker.DeadLetter, error)
	Purge(ctx context.Context, queue string) (dropped int64, err error)
}

// patience is how long the suite waits for what a broker must do; it is far more than any needs.
const patience = 10 * time.Second

// Event makes an event of type login.ended whose id ends with n.
func Event(n byte) event.Event {
	return event.Event{
		ID: api.EventID{15: n}, Type: event.LoginEnded, Account: api.AccountID{0: 7, 15: n},
		Time: 1_700_000_000_000 + int64(n),
		Body: fmt.Appendf(nil, `{"login_id":"00000000-0000-4000-8000-0000000000%02x","until":%d}`, n, n),
	}
}

// Run runs the suite; open gives each case a broker without queues.
func Run(t *testing.T, open func(t *testing.T) Broker) {
	t.Run("EveryQueueThatAsksGetsIt", func(t *testing.T) { testRouting(t, open(t)) })
	t.Run("NobodyAsks", func(t *testing.T) { testUnroutable(t, open(t)) })
	t.Run("RefusedThenTaken", func(t *testing.T) { testRedelivery(t, open(t)) })
	t.Run("DeadLetters", func(t *testing.T) { testDeadLetters(t, open(t)) })
	t.Run("PanicIsARefusal", func(t *testing.T) { testPanic(t, open(t)) })
	t.Run("UnavailableIsNotCounted", func(t *testing.T) { testLater(t, open(t)) })
	t.Run("ManyPublishers", func(t *testing.T) { testConcurrent(t, open(t)) })
	t.Run("BadEventsAreRefused", func(t *testing.T) { testInvalid(t, open(t)) })
}

// publish does what a relay does: offer the event until it is confirmed.
func publish(t *testing.T, b Broker, e event.Event) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := b.Publish(t.Context(), e)
		if err == nil {
			return
		}
		if errors.Is(err, broker.ErrUnroutable) || time.Now().After(deadline) {
			t.Errorf("publishing %s: %v", e.ID, err)
			return
		}
	}
}

// record is a handler that keeps what it got.
type record struct {
	mu     sync.Mutex
	events map[api.EventID]event.Event
	calls  int
	news   chan struct{}
}

func subscribe(t *testing.T, b Broker, queue string, types ...event.Type) *record {
	t.Helper()
	return subscribeFunc(t, b, queue, func(event.Event, int) error { return nil }, types...)
}

// subscribeFunc calls decide before it keeps an event, with the number of the call.
func subscribeFunc(
	t *testing.T, b Broker, queue string, decide func(event.Event, int) error, types ...event.Type,
) *record {
	t.Helper()
	r := &record{events: make(map[api.EventID]event.Event), news: make(chan struct{}, 1)}
	handler := func(_ context.Context, e event.Event) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls++
		if err := decide(e, r.calls); err != nil {
			return err
		}
		r.events[e.ID] = e
		select {
		case r.news <- struct{}{}:
		default:
		}
		return nil
	}
	if err := b.Subscribe(t.Context(), queue, types, handler); err != nil {
		t.Fatal(err)
	}
	return r
}

// wait returns when the handler kept n different events.
func (r *record) wait(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		have := len(r.events)
		r.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-r.news:
		case <-timeout:
			t.Fatalf("%d of %d events came", have, n)
		}
	}
}

func testRouting(t *testing.T, b Broker) {
	both := subscribe(t, b, "both", event.LoginEnded, event.DevicesChanged)
	logins := subscribe(t, b, "logins", event.LoginEnded)
	devices := subscribe(t, b, "devices", event.DevicesChanged)
	login, device := Event(1), Event(2)
	device.Type = event.DevicesChanged
	publish(t, b, login)
	publish(t, b, device)
	for name, c := range map[string]struct {
		got  *record
		want []event.Event
	}{
		"both":    {both, []event.Event{login, device}},
		"logins":  {logins, []event.Event{login}},
		"devices": {devices, []event.Event{device}},
	} {
		c.got.wait(t, len(c.want))
		want := make(map[api.EventID]event.Event)
		for _, e := range c.want {
			want[e.ID] = e
		}
		c.got.mu.Lock()
		if diff := cmp.Diff(want, c.got.events); diff != "" {
			t.Errorf("queue %s (-want +got):\n%s", name, diff)
		}
		c.got.mu.Unlock()
	}
}

func testUnroutable(t *testing.T, b Broker) {
	subscribe(t, b, "devices", event.DevicesChanged)
	deadline := time.Now().Add(patience)
	err := b.Publish(t.Context(), Event(1))
	for err != nil && !errors.Is(err, broker.ErrUnroutable) && time.Now().Before(deadline) {
		err = b.Publish(t.Context(), Event(1))
	}
	if !errors.Is(err, broker.ErrUnroutable) {
		t.Errorf("an event that nobody asked for: %v", err)
	}
}

func testRedelivery(t *testing.T, b Broker) {
	r := subscribeFunc(t, b, "q", func(_ event.Event, call int) error {
		if call < broker.MaxTries {
			return errors.New("not yet")
		}
		return nil
	}, event.LoginEnded)
	publish(t, b, Event(1))
	r.wait(t, 1)
	if letters, err := b.DeadLetters(t.Context(), "q", 10); err != nil || len(letters) != 0 {
		t.Errorf("dead letters of an event that was taken: %v, %v", letters, err)
	}
}

// waitDead waits for n dead letters of a queue.
func waitDead(t *testing.T, b Broker, queue string, n int) []broker.DeadLetter {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		letters, err := b.DeadLetters(t.Context(), queue, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(letters) >= n {
			return letters
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d dead letters", len(letters), n)
		}
	}
}

func testDeadLetters(t *testing.T, b Broker) {
	refuse := func(event.Event, int) error { return errors.New("poison") }
	poisoned := subscribeFunc(t, b, "poisoned", refuse, event.LoginEnded)
	subscribeFunc(t, b, "other", refuse, event.DevicesChanged)
	healthy := subscribe(t, b, "healthy", event.LoginEnded)
	device := Event(2)
	device.Type = event.DevicesChanged
	publish(t, b, Event(1))
	publish(t, b, device)
	healthy.wait(t, 1)
	letters := waitDead(t, b, "poisoned", 1)
	if len(letters) != 1 || letters[0].Queue != "poisoned" || letters[0].Reason != "poison" || letters[0].Time == 0 {
		t.Errorf("dead letters: %+v", letters)
	}
	if diff := cmp.Diff(Event(1), letters[0].Event); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
	poisoned.mu.Lock()
	if poisoned.calls < broker.MaxTries {
		t.Errorf("buried after %d tries", poisoned.calls)
	}
	poisoned.mu.Unlock()
	waitDead(t, b, "other", 1)
	if n, err := b.Purge(t.Context(), "poisoned"); err != nil || n != 1 {
		t.Errorf("purge: %d, %v", n, err)
	}
	if letters, err := b.DeadLetters(t.Context(), "poisoned", 10); err != nil || len(letters) != 0 {
		t.Errorf("after the purge: %v, %v", letters, err)
	}
	waitDead(t, b, "other", 1)
}

func testPanic(t *testing.T, b Broker) {
	subscribeFunc(t, b, "q", func(event.Event, int) error { panic("bug") }, event.LoginEnded)
	publish(t, b, Event(1))
	waitDead(t, b, "q", 1)
}

// testLater: while something that the handler needs is away, an event is offered without end.
func testLater(t *testing.T, b Broker) {
	r := subscribeFunc(t, b, "q", func(_ event.Event, call int) error {
		if call <= broker.MaxTries {
			return errs.New(errs.Unavailable, api.CodeUnavailable, "The database is away.")
		}
		if call <= 2*broker.MaxTries-1 {
			return errors.New("not yet")
		}
		return nil
	}, event.LoginEnded)
	publish(t, b, Event(1))
	r.wait(t, 1)
	if letters, err := b.DeadLetters(t.Context(), "q", 10); err != nil || len(letters) != 0 {
		t.Errorf("dead letters of an event that was taken: %v, %v", letters, err)
	}
}

func testConcurrent(t *testing.T, b Broker) {
	const publishers, each = 8, 25
	r := subscribe(t, b, "q", event.LoginEnded)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				publish(t, b, Event(byte(1+p*each+i)))
			}
		})
	}
	wg.Wait()
	r.wait(t, publishers*each)
}

func testInvalid(t *testing.T, b Broker) {
	r := subscribe(t, b, "q", event.LoginEnded)
	for name, spoil := range map[string]func(*event.Event){
		"no id":    func(e *event.Event) { e.ID = api.EventID{} },
		"no JSON":  func(e *event.Event) { e.Body = []byte("{") },
		"too long": func(e *event.Event) { e.Body = fmt.Appendf(nil, "%*d", event.MaxBody+1, 1) },
	} {
		e := Event(1)
		spoil(&e)
		if err := b.Publish(t.Context(), e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls != 0 {
		t.Errorf("%d bad events were delivered", r.calls)
	}
}
