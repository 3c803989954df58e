// Package local counts rate limits within this process, in a bounded amount of memory.
package local

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"sotto/internal/limit"
)

// maxKeys bounds the pairs of name and key that are remembered, about 20 MB. When it is full, the pair that acted least
// recently is forgotten and thus starts afresh. An attacker who can spend that many keys (addresses) to be forgotten
// could as well have used each of them once.
const maxKeys = 100_000

// Limiter is a limit by the generic cell rate algorithm: each pair of name and key has one time, when its bucket would
// be full again, and an action is allowed while that time is at most Burst-1 steps ahead. A refused action costs
// nothing.
type Limiter struct {
	now   func() time.Time
	rates map[limit.Name]limit.Rate

	mu      sync.Mutex // guards what follows
	entries map[pair]*list.Element
	recent  *list.List // of *entry, most recently allowed first
}

type pair struct {
	name limit.Name
	key  string
}

type entry struct {
	pair pair
	full time.Time
}

// New makes a limiter for these names. Rates are fixed for its life.
func New(now func() time.Time, rates map[limit.Name]limit.Rate) (*Limiter, error) {
	for name, rate := range rates {
		if err := rate.Validate(); err != nil {
			return nil, fmt.Errorf("limit %s: %w", name, err)
		}
	}
	return &Limiter{
		now: now, rates: maps.Clone(rates),
		entries: make(map[pair]*list.Element), recent: list.New(),
	}, nil
}

// Allow counts one action of key, for example an account id or a client address, and tells whether it may happen now.
// If not, it may happen after retryAfter. An unknown name is an error: the caller refuses.
func (l *Limiter) Allow(_ context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error) {
	rate, known := l.rates[name]
	if !known {
		return 0, false, fmt.Errorf("limit %q has no rate", string(name))
	}
	if len(key) > limit.MaxKey {
		return 0, false, errors.New("limit key of more than 256 bytes")
	}
	p := pair{name, key}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	full := now
	element, seen := l.entries[p]
	if seen && element.Value.(*entry).full.After(now) {
		full = element.Value.(*entry).full
	}
	step := rate.Every()
	if wait := full.Sub(now) - step*time.Duration(rate.Burst-1); wait > 0 {
		return wait, false, nil
	}
	full = full.Add(step)
	if seen {
		element.Value.(*entry).full = full
		l.recent.MoveToFront(element)
		return 0, true, nil
	}
	if len(l.entries) >= maxKeys {
		oldest := l.recent.Back()
		delete(l.entries, oldest.Value.(*entry).pair)
		l.recent.Remove(oldest)
	}
	l.entries[p] = l.recent.PushFront(&entry{pair: p, full: full})
	return 0, true, nil
}
