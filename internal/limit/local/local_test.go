package local_test

import (
	"fmt"
	"testing"
	"time"

	"sotto/internal/limit"
	"sotto/internal/limit/limittest"
	"sotto/internal/limit/local"
)

const login limit.Name = "login"

func TestContract(t *testing.T) {
	limittest.Run(t, func(now func() time.Time, rates map[limit.Name]limit.Rate) (limittest.Limiter, error) {
		return local.New(now, rates)
	})
}

func newLimiter(t *testing.T, now *time.Time, rate limit.Rate) *local.Limiter {
	t.Helper()
	l, err := local.New(func() time.Time { return *now }, map[limit.Name]limit.Rate{login: rate, "other": rate})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMemoryIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(t, &now, limit.Rate{Count: 1, Per: time.Hour, Burst: 1})
	allow := func(key string) bool {
		_, ok, err := l.Allow(t.Context(), login, key)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for i := range local.MaxKeys {
		allow(fmt.Sprint(i))
	}
	if allow("0") || allow("1") {
		t.Fatal("forgotten before the memory was full")
	}
	allow("one more")
	if n := l.Len(); n != local.MaxKeys {
		t.Errorf("%d keys are remembered", n)
	}
	if !allow("0") || allow(fmt.Sprint(local.MaxKeys-1)) {
		t.Error("not the oldest key was forgotten")
	}
}
