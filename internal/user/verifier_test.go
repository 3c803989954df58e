package user_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/user"
)

func TestHashingRefusesWhatItCannotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 2
		var running, most atomic.Int32
		finish := make(chan struct{})
		h := user.NewHashing(slots, func(_, _ []byte) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-finish
			running.Add(-1)
			return nil
		})
		results := make(chan error, slots+user.MaxHashingWaiters)
		for range slots + user.MaxHashingWaiters {
			go func() { results <- user.CheckAnything(t.Context(), h) }()
		}
		synctest.Wait()
		if got := running.Load(); got != slots {
			t.Errorf("%d comparisons run at once, want %d", got, slots)
		}
		err := user.CheckAnything(t.Context(), h)
		if !errs.Is(err, api.CodeLimited) || errs.As(err).RetryAfter == 0 {
			t.Errorf("one request too many: %v", err)
		}
		close(finish)
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if err := user.CheckAnything(t.Context(), h); err != nil || most.Load() != slots {
			t.Errorf("after the rush: %v, at most %d ran at once", err, most.Load())
		}
	})
}

func TestHashingForgetsWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		h := user.NewHashing(1, func(_, _ []byte) error { <-finish; return nil })
		first := make(chan error, 1)
		go func() { first <- user.CheckAnything(t.Context(), h) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, user.MaxHashingWaiters)
		for range user.MaxHashingWaiters {
			go func() { gone <- user.CheckAnything(ctx, h) }()
		}
		synctest.Wait()
		cancel()
		for range user.MaxHashingWaiters {
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("a request that gave up: %v", err)
			}
		}
		next := make(chan error, 1)
		go func() { next <- user.CheckAnything(t.Context(), h) }()
		close(finish)
		if err := errors.Join(<-first, <-next); err != nil {
			t.Error(err)
		}
	})
}
