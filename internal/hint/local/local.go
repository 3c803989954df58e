// Package local carries hints within one process.
package local

import (
	"context"
	"sync"
	"time"

	"sotto/api"
	"sotto/internal/hint"
)

// queueLen is how many hints one subscriber may have waiting. When it is full, the newest hint is dropped: the one
// before it makes the subscriber look at the store anyway.
const queueLen = 256

// maxValues bounds the expiring map. When it is full, expired values go first, then any one.
const maxValues = 100_000

// Hints is safe for concurrent use.
type Hints struct {
	now func() time.Time

	mu          sync.Mutex // guards what follows; never held while a subscriber runs
	subscribers map[api.AccountID]map[*subscriber]struct{}
	values      map[string]value
}

// subscriber owns one goroutine, which ends when its queue is closed by cancel under Hints.mu.
type subscriber struct {
	queue chan []byte
	done  chan struct{} // closed when the goroutine has ended
}

type value struct {
	bytes   []byte
	expires time.Time
}

// New makes an empty set of hints.
func New(now func() time.Time) *Hints {
	return &Hints{
		now:         now,
		subscribers: make(map[api.AccountID]map[*subscriber]struct{}),
		values:      make(map[string]value),
	}
}

// Publish hands payload to every subscriber of the account that has room, without waiting. The payload must not be
// changed afterwards.
func (h *Hints) Publish(_ context.Context, account api.AccountID, payload []byte) error {
	if len(payload) > hint.MaxPayload {
		return hint.ErrTooLarge
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers[account] {
		select {
		case s.queue <- payload:
		default:
		}
	}
	return nil
}

// Subscribe calls fn for each hint of the account, one at a time and in order, on a goroutine of its own, until cancel.
// fn must not change the payload. Cancel waits for a running fn, so fn must not call it; calling it twice is fine.
func (h *Hints) Subscribe(account api.AccountID, fn func(payload []byte)) (cancel func()) {
	s := &subscriber{queue: make(chan []byte, queueLen), done: make(chan struct{})}
	h.mu.Lock()
	if h.subscribers[account] == nil {
		h.subscribers[account] = make(map[*subscriber]struct{})
	}
	h.subscribers[account][s] = struct{}{}
	h.mu.Unlock()
	go func() {
		defer close(s.done)
		for payload := range s.queue {
			fn(payload)
		}
	}()
	return func() { h.cancel(account, s) }
}

func (h *Hints) cancel(account api.AccountID, s *subscriber) {
	h.mu.Lock()
	if _, ok := h.subscribers[account][s]; ok {
		delete(h.subscribers[account], s)
		if len(h.subscribers[account]) == 0 {
			delete(h.subscribers, account)
		}
		close(s.queue)
	}
	h.mu.Unlock()
	<-s.done
}

// Set keeps a copy of val under key for ttl, replacing what was there.
func (h *Hints) Set(_ context.Context, key string, val []byte, ttl time.Duration) error {
	if len(key) > hint.MaxKey || len(val) > hint.MaxPayload {
		return hint.ErrTooLarge
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if _, ok := h.values[key]; !ok && len(h.values) >= maxValues {
		h.makeRoom(now)
	}
	h.values[key] = value{bytes: append([]byte(nil), val...), expires: now.Add(ttl)}
	return nil
}

// makeRoom is called with mu held. It looks at every value, but only once per maxValues new keys when they expire.
func (h *Hints) makeRoom(now time.Time) {
	for k, v := range h.values {
		if !v.expires.After(now) {
			delete(h.values, k)
		}
	}
	for k := range h.values {
		if len(h.values) < maxValues {
			return
		}
		delete(h.values, k)
	}
}

// Get returns what Set kept, unless it expired, was deleted or was dropped for lack of room.
func (h *Hints) Get(_ context.Context, key string) (val []byte, ok bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.values[key]
	if !ok || !v.expires.After(h.now()) {
		delete(h.values, key)
		return nil, false, nil
	}
	return append([]byte(nil), v.bytes...), true, nil
}

// Delete forgets a key; forgetting an unknown one is no error.
func (h *Hints) Delete(_ context.Context, key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.values, key)
	return nil
}
