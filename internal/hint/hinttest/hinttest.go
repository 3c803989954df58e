// Package hinttest holds every carrier of hints to the same behaviour.
package hinttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/hint"
)

// Hints is what services need.
type Hints interface {
	Publish(ctx context.Context, account api.AccountID, payload []byte) error
	Subscribe(account api.AccountID, fn func(payload []byte)) (cancel func())
	Set(ctx context.Context, key string, val []byte, ttl time.Duration) error
	Get(ctx context.Context, key string) (val []byte, ok bool, err error)
	Delete(ctx context.Context, key string) error
}

// Pair is one carrier as two processes see it; within one process both are the same. Pass lets time pass for the map.
type Pair struct {
	Here, There Hints
	Pass        func(time.Duration)
}

const patience = 20 * time.Second

var alice, bob = api.AccountID{15: 1}, api.AccountID{15: 2}

// Inbox keeps what one subscriber got.
type Inbox struct {
	mu  sync.Mutex
	got []string
}

// Take is the subscriber.
func (i *Inbox) Take(payload []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got = append(i.got, string(payload))
}

// List is what came so far.
func (i *Inbox) List() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got)
}

// Run runs the suite; open gives each case a carrier without subscribers and values.
func Run(t *testing.T, open func(t *testing.T) Pair) {
	t.Run("ReachTheAccountsSubscribers", func(t *testing.T) { testReach(t, open(t)) })
	t.Run("CancelWaitsForTheSubscriber", func(t *testing.T) { testCancel(t, open(t)) })
	t.Run("ASlowSubscriberDelaysNobody", func(t *testing.T) { testSlow(t, open(t)) })
	t.Run("ExpiringMap", func(t *testing.T) { testMap(t, open(t)) })
	t.Run("Bounds", func(t *testing.T) { testBounds(t, open(t)) })
}

// Publish fails the test when a hint is refused.
func Publish(t *testing.T, h Hints, account api.AccountID, payload string) {
	t.Helper()
	if err := h.Publish(t.Context(), account, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until ok.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// Settle publishes at here until a subscriber at there hears it: a subscription may take its time to be known.
func Settle(t *testing.T, here, there Hints, account api.AccountID) {
	t.Helper()
	var got Inbox
	defer there.Subscribe(account, got.Take)()
	Eventually(t, "a subscription is known", func() bool {
		Publish(t, here, account, "settle")
		return len(got.List()) > 0
	})
}

func testReach(t *testing.T, p Pair) {
	var first, second, own, other Inbox
	cancel := p.There.Subscribe(alice, first.Take)
	defer p.There.Subscribe(alice, second.Take)()
	defer p.Here.Subscribe(alice, own.Take)()
	defer p.There.Subscribe(bob, other.Take)()
	Settle(t, p.Here, p.There, alice)
	Settle(t, p.Here, p.There, bob)
	const n = 50
	for i := range n {
		Publish(t, p.Here, alice, fmt.Sprint(i))
	}
	Publish(t, p.Here, bob, "for bob")
	tail := func(i *Inbox) []string {
		return slices.DeleteFunc(i.List(), func(s string) bool { return s == "settle" })
	}
	for name, i := range map[string]*Inbox{"first": &first, "second": &second, "own": &own} {
		Eventually(t, name+" gets everything", func() bool { return len(tail(i)) >= n })
		if got := tail(i); len(got) != n || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) || got[n-1] != fmt.Sprint(n-1) {
			t.Errorf("%s got %v", name, got)
		}
	}
	Eventually(t, "bob gets his", func() bool { return slices.Equal(tail(&other), []string{"for bob"}) })
	cancel()
	cancel()
	before := len(first.List())
	Publish(t, p.Here, alice, "after")
	Eventually(t, "the others still hear", func() bool { return slices.Contains(second.List(), "after") })
	if len(first.List()) != before {
		t.Error("a cancelled subscriber got a hint")
	}
}

func testCancel(t *testing.T, p Pair) {
	var running, calls int
	var mu sync.Mutex
	started, release := make(chan struct{}, 100), make(chan struct{})
	cancel := p.Here.Subscribe(alice, func([]byte) {
		mu.Lock()
		running, calls = running+1, calls+1
		mu.Unlock()
		started <- struct{}{}
		<-release
		mu.Lock()
		running--
		mu.Unlock()
	})
	Publish(t, p.Here, alice, "1")
	<-started
	time.AfterFunc(20*time.Millisecond, func() { close(release) })
	cancel()
	mu.Lock()
	defer mu.Unlock()
	if running != 0 {
		t.Error("the subscriber runs after cancel")
	}
}

func testSlow(t *testing.T, p Pair) {
	var quick Inbox
	release := make(chan struct{})
	cancel := p.There.Subscribe(alice, func([]byte) { <-release })
	defer func() { close(release); cancel() }()
	defer p.There.Subscribe(alice, quick.Take)()
	Settle(t, p.Here, p.There, alice)
	for i := range 1000 {
		Publish(t, p.Here, alice, fmt.Sprint(i))
		if i%50 == 49 { // hints may be lost, but not by somebody else's slowness
			Eventually(t, "the quick one hears", func() bool { return slices.Contains(quick.List(), fmt.Sprint(i)) })
		}
	}
}

func testMap(t *testing.T, p Pair) {
	get := func(h Hints) string {
		v, ok, err := h.Get(t.Context(), "k")
		if err != nil || !ok {
			return fmt.Sprint("none ", err)
		}
		return string(v)
	}
	val := []byte("v1")
	const ttl = 2 * time.Second
	if err := p.Here.Set(t.Context(), "k", val, ttl); err != nil {
		t.Fatal(err)
	}
	val[0] = 'x' // the map keeps a copy
	if got := get(p.There); got != "v1" {
		t.Errorf("after Set: %s", got)
	}
	p.Pass(ttl / 2)
	if err := p.There.Set(t.Context(), "k", []byte("v2"), time.Hour); err != nil {
		t.Fatal(err)
	}
	p.Pass(ttl)
	if got := get(p.Here); got != "v2" {
		t.Errorf("after it was set again for longer: %s", got)
	}
	if err := p.Here.Set(t.Context(), "k", []byte("v3"), ttl/2); err != nil {
		t.Fatal(err)
	}
	p.Pass(ttl/2 + ttl/4)
	if got := get(p.Here); got != "none <nil>" {
		t.Errorf("after its time: %s", got)
	}
	if err := errors.Join(p.Here.Set(t.Context(), "k", nil, time.Minute), p.There.Delete(t.Context(), "k"), p.There.Delete(t.Context(), "k")); err != nil {
		t.Fatal(err)
	}
	if got := get(p.Here); got != "none <nil>" {
		t.Errorf("after Delete: %s", got)
	}
}

func testBounds(t *testing.T, p Pair) {
	var got Inbox
	cancel := p.Here.Subscribe(alice, got.Take)
	large := bytes.Repeat([]byte{1}, hint.MaxPayload+1)
	for name, err := range map[string]error{
		"payload": p.Here.Publish(t.Context(), alice, large),
		"value":   p.Here.Set(t.Context(), "k", large, time.Minute),
		"key":     p.Here.Set(t.Context(), string(large), nil, time.Minute),
	} {
		if !errors.Is(err, hint.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cancel()
	if len(got.List()) != 0 {
		t.Error("a hint above the bound was delivered")
	}
}
