package token

import (
	"context"
	"sync"
	"time"
)

const (
	keysFor     = time.Minute // until the keys are asked for again
	keysTimeout = 5 * time.Second
)

// KeyCache keeps the user service's public keys for a minute, and longer while that service does not answer.
type KeyCache struct {
	ask func(context.Context) ([]PublicKey, error)
	now func() time.Time

	mu   sync.Mutex // held while asking, so that one asks for all
	keys []PublicKey
	read time.Time
}

// NewKeyCache asks when keys are first needed.
func NewKeyCache(ask func(context.Context) ([]PublicKey, error), now func() time.Time) *KeyCache {
	return &KeyCache{ask: ask, now: now}
}

// Get is for NewVerifier.
func (k *KeyCache) Get() []PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); k.keys == nil || now.Sub(k.read) >= keysFor {
		ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
		defer cancel()
		if keys, err := k.ask(ctx); err == nil {
			k.keys, k.read = keys, now
		}
	}
	return k.keys
}
