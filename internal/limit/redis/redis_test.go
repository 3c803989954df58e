package redis_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/limit"
	"sotto/internal/limit/limittest"
	"sotto/internal/limit/redis"
	"sotto/internal/testenv"
)

var server *testenv.Redis

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-redis")
	if err == nil {
		defer os.RemoveAll(dir)
		server, err = testenv.NewRedis(dir)
	}
	if err == nil {
		defer server.Kill9()
		err = server.Up(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func client(t *testing.T) *goredis.Client {
	t.Helper()
	o, err := goredis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestContract(t *testing.T) {
	c := client(t)
	limittest.Run(t, func(now func() time.Time, rates map[limit.Name]limit.Rate) (limittest.Limiter, error) {
		if err := c.FlushAll(context.Background()).Err(); err != nil {
			return nil, err
		}
		return redis.New(c, now, rates, nil)
	})
}

// TestProcessesShareACount is what Redis is for; and nothing is kept for longer than it counts.
func TestProcessesShareACount(t *testing.T) {
	now := time.Unix(1000, 0)
	rates := map[limit.Name]limit.Rate{"login": {Count: 1, Per: time.Minute, Burst: 4}}
	var processes [2]*redis.Limiter
	c := client(t)
	c.FlushAll(t.Context())
	for i := range processes {
		var err error
		if processes[i], err = redis.New(client(t), func() time.Time { return now }, rates, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		_, ok, err := processes[i%2].Allow(t.Context(), "login", "alice")
		if err != nil || ok != (i < 4) {
			t.Errorf("action %d: %t, %v", i, ok, err)
		}
	}
	if ttl := c.TTL(t.Context(), "sotto:limit:login:alice").Val(); ttl <= 3*time.Minute || ttl > 4*time.Minute {
		t.Errorf("the count is kept for %s", ttl)
	}
}

// TestWithoutRedis: what is open is counted here, the rest is refused, and neither waits for long.
func TestWithoutRedis(t *testing.T) {
	now := time.Unix(1000, 0)
	rate := limit.Rate{Count: 1, Per: time.Hour, Burst: 3}
	open := rate
	open.Open = true
	l, err := redis.New(client(t), func() time.Time { return now }, map[limit.Name]limit.Rate{"login": rate, "read": open}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Kill9(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, ok, err := l.Allow(t.Context(), "login", "alice"); ok || !errs.Is(err, api.CodeUnavailable) || errs.As(err).RetryAfter == 0 {
			t.Errorf("a sign-in that cannot be counted: %t, %v", ok, err)
		}
		if _, ok, err := l.Allow(t.Context(), "read", "alice"); err != nil || ok != (i < 3) {
			t.Errorf("reading, action %d: %t, %v", i, ok, err)
		}
	}
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, ok, err := l.Allow(t.Context(), "login", "alice"); ok && err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("Redis is back and not asked")
		}
	}
}
