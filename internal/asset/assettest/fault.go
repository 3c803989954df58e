package assettest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/asset"
)

// Gate stands before a server and spoils its answers.
type Gate struct {
	Next http.Handler

	mu     sync.Mutex
	status int  // answered instead, when it is not 0
	hang   bool // never answers
}

// Spoil makes every answer from now on this status, or none at all. 0 and false end it.
func (g *Gate) Spoil(status int, hang bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status, g.hang = status, hang
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	status, hang := g.status, g.hang
	g.mu.Unlock()
	switch {
	case hang:
		_, _ = io.Copy(io.Discard, r.Body) // only then net/http notices that the client has gone
		<-r.Context().Done()
	case status != 0:
		w.WriteHeader(status)
	default:
		g.Next.ServeHTTP(w, r)
	}
}

// Remote holds a backend behind a network to what it does when that, or the other side, fails: an error, in time, that is
// not taken for an object that is not there and that says nothing secret. wrong has credentials that the server refuses.
func Remote(t *testing.T, g *Gate, b, wrong asset.Backend, secrets ...string) {
	name, content := Name(), Content(1_000)
	must(t, b.Put(t.Context(), name, content))
	each := func(t *testing.T, b asset.Backend, within time.Duration) (all []error) {
		for _, do := range operations(b, name, content) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			all = append(all, do(ctx))
			cancel()
		}
		return all
	}
	t.Run("Broken", func(t *testing.T) {
		for _, status := range []int{500, 502, 503, 429, 301} {
			g.Spoil(status, false)
			for i, err := range each(t, b, 20*time.Second) {
				if err == nil || missing(err) {
					t.Errorf("operation %d at %d: %v", i, status, err)
				}
			}
		}
		g.Spoil(0, false)
		wantRange(t, b, name, content, 0, 1_000)
	})
	t.Run("Hanging", func(t *testing.T) {
		g.Spoil(0, true)
		for i, err := range each(t, b, 200*time.Millisecond) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("operation %d: %v", i, err)
			}
		}
		g.Spoil(0, false)
		wantRange(t, b, name, content, 0, 1_000)
	})
	t.Run("Credentials", func(t *testing.T) {
		errs := []error{wrong.Put(t.Context(), Name(), content), wrong.Delete(t.Context(), name), wrong.Check(t.Context())}
		for i, err := range errs {
			if err == nil || !strings.Contains(err.Error(), "SOTTO_ASSET_KEY") {
				t.Errorf("operation %d: %v", i, err)
			}
			for _, secret := range secrets {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("operation %d shows the secret: %v", i, err)
				}
			}
		}
		wantRange(t, b, name, content, 0, 1_000) // nothing was deleted
	})
}

func missing(err error) bool { return strings.Contains(err.Error(), "does not exist") }

func operations(b asset.Backend, name string, content []byte) []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error { return b.Put(ctx, name, content) },
		func(ctx context.Context) error { _, err := read(ctx, b, name, 0, 10); return err },
		func(ctx context.Context) error { return b.Delete(ctx, name) },
		b.Check,
	}
}
