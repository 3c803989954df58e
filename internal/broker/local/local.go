// Package local is the broker within one process. It keeps no events of its own: the durable truth is the row in the
// publisher's outbox, and Publish confirms only after every queue's handler committed or the event became a dead
// letter.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sotto/api"
	"sotto/internal/broker"
	"sotto/internal/event"
	"sotto/internal/sqldb"
)

// maxCounted bounds the failed tries that are remembered. When it is full, some count is forgotten, and its event is
// tried more often than MaxTries.
const maxCounted = 10_000

// Options holds what a Broker needs.
type Options struct {
	DB     *sqldb.DB // for dead letters; migrated with Migrations
	Now    func() time.Time
	Logger *slog.Logger // nil means silence
	// Chaos, unless 0, is the seed of what RabbitMQ may do and a quiet process never does: events are refused so that
	// later ones overtake them, handled and not confirmed, and handled again long after they were confirmed.
	Chaos uint64
}

// Broker is safe for concurrent use.
type Broker struct {
	db    *sqldb.DB
	now   func() time.Time
	log   *slog.Logger
	chaos *chaos // nil outside of tests

	mu     sync.Mutex // guards what follows; never held while a handler runs
	queues map[string]queue
	failed map[try]int
}

type queue struct {
	types   []event.Type
	handler broker.Handler
	ctx     context.Context //nolint:containedctx // the life of the subscription, not of a call
}

// try names what failures are counted for.
type try struct {
	queue string
	event api.EventID
}

// New makes a broker without queues.
func New(o Options) *Broker {
	return &Broker{
		db: o.DB, now: o.Now, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), chaos: newChaos(o.Chaos),
		queues: make(map[string]queue), failed: make(map[try]int),
	}
}

// Subscribe makes handler receive the events of these types on behalf of the queue, until ctx ends. After that, events
// of these types are not confirmed until the queue is subscribed again.
func (b *Broker) Subscribe(ctx context.Context, name string, types []event.Type, handler broker.Handler) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.queues[name]; ok && old.ctx.Err() == nil {
		return fmt.Errorf("queue %s has a subscriber", name)
	}
	b.queues[name] = queue{types: slices.Clone(types), handler: handler, ctx: ctx}
	return nil
}

// Publish offers the event once to each queue that asks for its type. It fails when one refuses, so that the publisher
// offers it again later; queues that had taken it see it again. After MaxTries refusals it is that queue's dead letter,
// which counts as taken. With no queue it returns broker.ErrUnroutable.
func (b *Broker) Publish(ctx context.Context, e event.Event) error {
	if err := e.Validate(); err != nil {
		return err
	}
	if b.chaos != nil {
		return b.chaos.publish(e, func(e event.Event) error { return b.deliver(ctx, e) })
	}
	return b.deliver(ctx, e)
}

func (b *Broker) deliver(ctx context.Context, e event.Event) error {
	asking := b.asking(e.Type)
	if len(asking) == 0 {
		return broker.ErrUnroutable
	}
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(asking)) {
		if err := b.offer(ctx, name, asking[name], e); err != nil {
			refused = append(refused, fmt.Errorf("queue %s: %w", name, err))
		}
	}
	return errors.Join(refused...)
}

func (b *Broker) asking(typ event.Type) map[string]queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	asking := make(map[string]queue)
	for name, q := range b.queues {
		if slices.Contains(q.types, typ) {
			asking[name] = q
		}
	}
	return asking
}

// offer makes one try. A try that was cut short because a side stops, or that broker.Later excuses, says nothing about
// the event and is not counted.
func (b *Broker) offer(ctx context.Context, name string, q queue, e event.Event) error {
	if err := q.ctx.Err(); err != nil {
		return err
	}
	this := try{name, e.ID}
	err := broker.Handle(ctx, q.handler, e)
	if err == nil {
		b.forget(this)
		return nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) || q.ctx.Err() != nil {
		return err
	}
	if broker.Later(err) || b.count(this) < broker.MaxTries {
		return err
	}
	if lost := b.bury(context.WithoutCancel(ctx), name, e, err); lost != nil {
		return errors.Join(err, lost)
	}
	b.log.ErrorContext(ctx, "event became a dead letter", slog.String("queue", name),
		slog.String("type", string(e.Type)), slog.String("event", e.ID.String()), slog.Any("err", err))
	b.forget(this)
	return nil
}

func (b *Broker) count(t try) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.failed[t]; !ok && len(b.failed) >= maxCounted {
		for other := range b.failed {
			delete(b.failed, other)
			break
		}
	}
	b.failed[t]++
	return b.failed[t]
}

func (b *Broker) forget(t try) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failed, t)
}
