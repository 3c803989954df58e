package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/fault"
)

const (
	maxBatch = 64  // jobs in one transaction
	maxQueue = 256 // jobs that wait; one more is refused as unavailable. Each holds at most api.MaxSendBody bytes
)

// errFull refuses a job before anything was done with it.
var errFull = errs.New(errs.Unavailable, api.CodeUnavailable, "The server has too much to store at the moment. Try again.").
	WithRetryAfter(busyRetryAfter)

// batcher commits jobs in groups: whatever waits when the previous commit ends goes into the next transaction. There is
// no timer, so a lonely job does not wait for company. One goroutine, that of run, owns everything but the queue.
type batcher[Q, A any] struct {
	queue  chan job[Q, A]
	ended  chan struct{} // closed when run has returned: what is still queued gets no answer from it
	log    *slog.Logger
	store  func(ctx context.Context, jobs []Q) ([]A, error)
	stored func(answers []A) // after the commit and the answers; must not wait
}

type job[Q, A any] struct {
	query  Q
	answer chan<- outcome[A] // has room for the one answer
}

type outcome[A any] struct {
	answer A
	err    error
}

func newBatcher[Q, A any](log *slog.Logger, store func(context.Context, []Q) ([]A, error), stored func([]A)) *batcher[Q, A] {
	return &batcher[Q, A]{
		queue: make(chan job[Q, A], maxQueue), ended: make(chan struct{}),
		log: log, store: store, stored: stored,
	}
}

// submit queues a job without waiting. Jobs of one goroutine are stored in the order of its calls.
func (b *batcher[Q, A]) submit(q Q) (<-chan outcome[A], error) {
	answer := make(chan outcome[A], 1)
	select {
	case b.queue <- job[Q, A]{q, answer}:
		return answer, nil
	default:
		return nil, errFull
	}
}

// wait returns the answer to a submitted job. When it does not come, the job may or may not be stored.
func (b *batcher[Q, A]) wait(ctx context.Context, answer <-chan outcome[A]) (A, error) {
	select {
	case o := <-answer:
		return o.answer, o.err
	case <-ctx.Done():
		var none A
		return none, errUnknownOutcome.Because(ctx.Err())
	case <-b.ended:
	}
	// The last round may have answered just before the end.
	select {
	case o := <-answer:
		return o.answer, o.err
	default:
		var none A
		return none, errUnknownOutcome.Because(errors.New("the service has stopped"))
	}
}

// do is submit and wait.
func (b *batcher[Q, A]) do(ctx context.Context, q Q) (A, error) {
	answer, err := b.submit(q)
	if err != nil {
		var none A
		return none, err
	}
	return b.wait(ctx, answer)
}

// run stores until ctx ends, and then what is queued already.
func (b *batcher[Q, A]) run(ctx context.Context) {
	defer close(b.ended)
	last := context.WithoutCancel(ctx)
	for {
		select {
		case first := <-b.queue:
			b.round(last, b.gather(first))
		case <-ctx.Done():
			select {
			case first := <-b.queue:
				b.round(last, b.gather(first))
			default:
				return
			}
		}
	}
}

func (b *batcher[Q, A]) gather(first job[Q, A]) []job[Q, A] {
	jobs := []job[Q, A]{first}
	for len(jobs) < maxBatch {
		select {
		case next := <-b.queue:
			jobs = append(jobs, next)
		default:
			return jobs
		}
	}
	return jobs
}

// round stores the jobs together. When that fails for a reason that one of them may have brought in, such as a unique
// violation, everything was rolled back and each is tried alone, so that only the bad one fails. A commit with an unknown
// outcome is not tried again here: the clients repeat, and the look-up of duplicates tells them what happened.
func (b *batcher[Q, A]) round(ctx context.Context, jobs []job[Q, A]) {
	answers, err := b.guarded(ctx, jobs)
	if err == nil {
		fault.Point("after commit before answer")
		for i, j := range jobs {
			j.answer <- outcome[A]{answer: answers[i]}
		}
		fault.Point("after answer before hint")
		b.stored(answers)
		return
	}
	if len(jobs) > 1 && errs.As(err).Code != api.CodeUnavailable {
		for _, j := range jobs {
			b.round(ctx, []job[Q, A]{j})
		}
		return
	}
	b.log.ErrorContext(ctx, "a batch was not stored", slog.Int("jobs", len(jobs)), slog.Any("err", err))
	for _, j := range jobs {
		j.answer <- outcome[A]{err: err}
	}
}

// guarded turns a panic into an error: one bad job must not take the process down with everyone else's.
func (b *batcher[Q, A]) guarded(ctx context.Context, jobs []job[Q, A]) (answers []A, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.ErrorContext(ctx, "panic while storing", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic while storing: %v", p)
		}
	}()
	queries := make([]Q, len(jobs))
	for i, j := range jobs {
		queries[i] = j.query
	}
	return b.store(ctx, queries)
}
