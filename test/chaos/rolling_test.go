package chaos_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// retryAfter is how long a client waits before it repeats a request, once. Where a process has no second beside it, and
// the machine takes longer to start it, the client waits until it is there.
const retryAfter = time.Second

// probe is a request that a service answers in some way, whoever asks.
type probe struct {
	method, path, body string
	status             int
}

var probes = []probe{
	{http.MethodGet, "/api/info", "", http.StatusOK},
	{http.MethodPost, "/api/user/logout", "{}", http.StatusUnauthorized},
	{http.MethodPost, "/api/chat/send", `{"a":"` + strings.Repeat("x", 4000) + `"}`, http.StatusUnauthorized},
	{http.MethodGet, "/api/chat/conversations", "", http.StatusUnauthorized},
	{http.MethodGet, "/api/notifications", "", http.StatusUnauthorized},
}

func (p probe) ask(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, p.method, url+p.path, strings.NewReader(p.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != p.status {
		return fmt.Errorf("%s %s: %s", p.method, p.path, res.Status)
	}
	return nil
}

// TestRollingRestart: every process is asked to stop and started again while people write and requests come. A client
// that repeats a request once sees no failure, nothing is lost, and nobody has to do anything.
func TestRollingRestart(t *testing.T) {
	seed := number(t, "SOTTO_SEED", uint64(time.Now().UnixNano())%1_000_000)
	shape := shapeNamed([]string{"split", "2chat/nginx"}[(seed+1)%2]) // the one that TestKills does not have
	w := newWorld(t, shape, seed)
	w.recovered()
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var restarting sync.RWMutex // held for as long as a process is not there
	var mu sync.Mutex
	asked, repeated := 0, 0
	for _, p := range probes {
		asking.Go(func() {
			for ctx.Err() == nil {
				err := p.ask(t.Context(), w.server.URL)
				again := err != nil
				if again {
					time.Sleep(retryAfter)
					restarting.RLock()
					second := p.ask(t.Context(), w.server.URL)
					restarting.RUnlock()
					if second != nil {
						t.Errorf("failed twice: %v, then %v", err, second)
					}
				}
				mu.Lock()
				asked++
				if again {
					repeated++
				}
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for _, p := range w.server.Processes {
		if p.Name == "nginx" {
			continue
		}
		restarting.Lock()
		start := time.Now()
		w.check(p.Stop())
		stopped := time.Since(start)
		w.check(program{w.server, p}.Up(t.Context()))
		restarting.Unlock()
		t.Logf("%s restarted: stopped after %.1f s, works %.1f s later", p.Name, stopped.Seconds(), w.recovered().Seconds())
	}
	cancel()
	asking.Wait()
	t.Logf("%d requests over %s, %d of them repeated", asked, shape.Name, repeated)
	w.settle()
}
