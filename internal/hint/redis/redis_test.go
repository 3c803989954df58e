package redis_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"sotto/api"
	"sotto/internal/hint/hinttest"
	"sotto/internal/hint/redis"
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

func client(t *testing.T, url string) *goredis.Client {
	t.Helper()
	o, err := goredis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// start runs hints as one process has them.
func start(t *testing.T) *redis.Hints {
	t.Helper()
	h, err := redis.New(redis.Options{Client: client(t, server.URL), Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return h
}

func TestContractBetweenProcesses(t *testing.T) {
	hinttest.Run(t, func(t *testing.T) hinttest.Pair {
		client(t, server.URL).FlushAll(t.Context())
		return hinttest.Pair{Here: start(t), There: start(t), Pass: time.Sleep}
	})
}

func TestContractWithinAProcess(t *testing.T) {
	hinttest.Run(t, func(t *testing.T) hinttest.Pair {
		client(t, server.URL).FlushAll(t.Context())
		h := start(t)
		return hinttest.Pair{Here: h, There: h, Pass: time.Sleep}
	})
}

// TestWithoutRedis: a process still hears its own hints, nothing waits, and afterwards all is as before.
func TestWithoutRedis(t *testing.T) {
	here, there := start(t), start(t)
	alice := api.AccountID{15: 1}
	var own, other hinttest.Inbox
	defer here.Subscribe(alice, own.Take)()
	defer there.Subscribe(alice, other.Take)()
	hinttest.Settle(t, here, there, alice)
	if err := server.Kill9(); err != nil {
		t.Fatal(err)
	}
	before := len(own.List())
	for i := range 10_000 { // more than the queue holds
		hinttest.Publish(t, here, alice, fmt.Sprint(i))
	}
	hinttest.Eventually(t, "own hints without Redis", func() bool { return len(own.List()) > before })
	var late hinttest.Inbox
	bob := api.AccountID{15: 2}
	defer there.Subscribe(bob, late.Take)()
	if _, ok, err := here.Get(t.Context(), "k"); ok || err == nil {
		t.Errorf("a value of nowhere: %t, %v", ok, err)
	}
	hinttest.Eventually(t, "what waits for Redis is dropped", func() bool { return here.Dropped.Load() > 0 })
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		account api.AccountID
		inbox   *hinttest.Inbox
	}{"as before": {alice, &other}, "subscribed meanwhile": {bob, &late}} {
		before := len(c.inbox.List())
		hinttest.Eventually(t, "after Redis came back, "+name, func() bool {
			hinttest.Publish(t, here, c.account, "again")
			time.Sleep(10 * time.Millisecond)
			return len(c.inbox.List()) > before
		})
	}
}

func TestTLS(t *testing.T) {
	pem, err := os.ReadFile(server.Certificates.CA)
	if err != nil {
		t.Fatal(err)
	}
	o, err := goredis.ParseURL(server.TLSURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := goredis.NewClient(o).Ping(t.Context()).Err(); err == nil {
		t.Error("an authority that the system does not trust was accepted")
	}
	o.TLSConfig.RootCAs = x509.NewCertPool()
	o.TLSConfig.RootCAs.AppendCertsFromPEM(pem)
	o.TLSConfig.MinVersion = tls.VersionTLS12
	if err := goredis.NewClient(o).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}
