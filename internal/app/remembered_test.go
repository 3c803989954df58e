package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestOneRequestForManyProbes: health checks of load balancers and people ask a store once a minute, and are told of a
// change within two.
func TestOneRequestForManyProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var broken atomic.Bool
		store := &remembered{ask: func(context.Context) error {
			asked.Add(1)
			time.Sleep(time.Second)
			if broken.Load() {
				return errors.New("away")
			}
			return nil
		}}
		h := &health{optional: []part{{"asset store", store.check}}}
		mux := http.NewServeMux()
		h.register(mux)
		probe := func(path string) string {
			answer := httptest.NewRecorder()
			mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return answer.Body.String()
		}
		for range 50 {
			go probe("/readyz")
			go probe("/health")
		}
		for range 50 {
			time.Sleep(time.Second)
			probe("/health")
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d requests for 100 probes at once and 50 in the minute after", n)
		}
		broken.Store(true)
		start := time.Now()
		for strings.Contains(probe("/health"), "asset store: ok") {
			if time.Since(start) > 2*rememberFor {
				t.Fatal("nobody is told that it is away")
			}
			time.Sleep(time.Second)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("%d requests in two minutes", n)
		}
		broken.Store(false)
		time.Sleep(rememberFor)
		if lines := probe("/health"); !strings.Contains(lines, "asset store: ok") {
			t.Error(lines)
		}
	})
}

// TestImpatientProbe: a probe that goes away neither ends the request for the others nor leaves its own end as the answer,
// and a store that hangs does not hold a probe.
func TestImpatientProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := true
		store := &remembered{ask: func(ctx context.Context) error {
			if hang {
				<-ctx.Done()
				return ctx.Err()
			}
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		start := time.Now()
		if err := store.check(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*checkTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		hang = false
		time.Sleep(rememberFor)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := store.check(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := store.check(t.Context()); err != nil {
			t.Errorf("the one that waited: %v", err)
		}
	})
}
