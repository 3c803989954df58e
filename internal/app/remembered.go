package app

import (
	"context"
	"sync"
	"time"
)

const rememberFor = time.Minute

// remembered asks a part whose provider counts requests once a minute at most, however many probes there are. Probes that
// come meanwhile wait for the same answer.
type remembered struct {
	ask func(context.Context) error

	mu      sync.Mutex
	running chan struct{} // closed with the answer; nil when nobody asks
	asked   time.Time
	err     error
}

func (r *remembered) check(ctx context.Context) error {
	r.mu.Lock()
	if r.running == nil && (r.asked.IsZero() || time.Since(r.asked) >= rememberFor) {
		r.running = make(chan struct{})
		// A probe that has gone must not make the answer of a minute.
		go r.askNow(context.WithoutCancel(ctx), r.running)
	}
	running := r.running
	r.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *remembered) askNow(ctx context.Context, running chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := r.ask(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.asked, r.running = err, time.Now(), nil
	close(running)
}
