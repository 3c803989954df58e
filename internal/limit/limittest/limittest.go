// Package limittest holds every counter of rate limits to the same behaviour.
package limittest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sotto/internal/limit"
)

// Limiter is what services need.
type Limiter interface {
	Allow(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error)
}

// Open makes a limiter that has counted nothing.
type Open func(now func() time.Time, rates map[limit.Name]limit.Rate) (Limiter, error)

const login limit.Name = "login"

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("BurstThenRate", func(t *testing.T) { testBurst(t, open) })
	t.Run("Refusals", func(t *testing.T) { testRefusals(t, open) })
	t.Run("NeverMoreThanTheRate", func(t *testing.T) { testRate(t, open) })
	t.Run("ConcurrentActionsShareOneBurst", func(t *testing.T) { testConcurrent(t, open) })
}

func newLimiter(t *testing.T, open Open, now *time.Time, rate limit.Rate) Limiter {
	t.Helper()
	l, err := open(func() time.Time { return *now }, map[limit.Name]limit.Rate{login: rate, "other": rate})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testBurst(t *testing.T, open Open) {
	now := time.Unix(1000, 0)
	l := newLimiter(t, open, &now, limit.Rate{Count: 6, Per: time.Minute, Burst: 3})
	step := func(wantOK bool, wantWait time.Duration) {
		t.Helper()
		wait, ok, err := l.Allow(t.Context(), login, "alice")
		if err != nil || ok != wantOK || wait != wantWait {
			t.Errorf("at %s: %t, wait %s, %v", now.Sub(time.Unix(1000, 0)), ok, wait, err)
		}
	}
	step(true, 0)
	step(true, 0)
	step(true, 0)
	step(false, 10*time.Second)
	step(false, 10*time.Second) // a refused action costs nothing
	now = now.Add(9 * time.Second)
	step(false, time.Second)
	now = now.Add(time.Second)
	step(true, 0)
	step(false, 10*time.Second)
	now = now.Add(time.Hour)
	step(true, 0)
	step(true, 0)
	step(true, 0)
	step(false, 10*time.Second)
	now = now.Add(-time.Hour) // a clock that was set back
	if _, ok, _ := l.Allow(t.Context(), login, "bob"); !ok {
		t.Error("another key was refused")
	}
	if _, ok, _ := l.Allow(t.Context(), "other", "alice"); !ok {
		t.Error("another name was refused")
	}
}

func testRefusals(t *testing.T, open Open) {
	now := time.Unix(1000, 0)
	l := newLimiter(t, open, &now, limit.Rate{Count: 1, Per: time.Minute, Burst: 1})
	for name, c := range map[string]struct {
		name limit.Name
		key  string
	}{
		"unknown name": {"nonsense", "alice"},
		"long key":     {login, strings.Repeat("x", 257)},
	} {
		if _, ok, err := l.Allow(t.Context(), c.name, c.key); ok || err == nil {
			t.Errorf("%s: %t, %v", name, ok, err)
		}
	}
	if _, err := open(time.Now, map[limit.Name]limit.Rate{login: {}}); err == nil {
		t.Error("a useless rate was taken")
	}
}

// testRate: in any window, at most burst + window/every actions are allowed, and whoever waits as told
// is allowed.
func testRate(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := limit.Rate{
			Count: rapid.IntRange(1, 100).Draw(rt, "count"), Burst: rapid.IntRange(1, 20).Draw(rt, "burst"),
			Per: time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(rt, "per")),
		}
		now := time.Unix(1000, 0)
		l := newLimiter(t, open, &now, rate)
		var allowed []time.Time
		for range rapid.IntRange(1, 200).Draw(rt, "actions") {
			// In microseconds: no counter is more exact than that.
			now = now.Add(time.Duration(rapid.Int64Range(0, 2*rate.Every().Microseconds()).Draw(rt, "pause")) * time.Microsecond)
			wait, ok, err := l.Allow(t.Context(), login, "alice")
			if err != nil {
				rt.Fatal(err)
			}
			if !ok {
				now = now.Add(wait)
				if _, ok, _ := l.Allow(t.Context(), login, "alice"); !ok {
					rt.Fatalf("refused after the wait of %s", wait)
				}
			}
			allowed = append(allowed, now)
			for i, from := range allowed {
				if n := len(allowed) - i; n > rate.Burst+int(now.Sub(from)/rate.Every()) {
					rt.Fatalf("%d actions in %s at %+v", n, now.Sub(from), rate)
				}
			}
		}
	})
}

func testConcurrent(t *testing.T, open Open) {
	now := time.Unix(1000, 0)
	l := newLimiter(t, open, &now, limit.Rate{Count: 1, Per: time.Hour, Burst: 50})
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, ok, err := l.Allow(t.Context(), login, "alice"); err == nil && ok {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := allowed.Load(); n != 50 {
		t.Errorf("%d of 160 were allowed, want 50", n)
	}
}
