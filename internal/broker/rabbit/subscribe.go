package rabbit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"sotto/internal/broker"
	"sotto/internal/event"
	"sotto/internal/fault"
)

// subscription takes the events of one queue in this process.
type subscription struct {
	b       *Broker
	queue   string
	types   []event.Type
	handler broker.Handler
	log     *slog.Logger
}

// Subscribe makes handler receive the events of these types on behalf of the queue, until ctx ends. Other processes that
// subscribe to the queue share its events. A broker that cannot be reached yet is no error; one that refuses the queue
// is.
func (b *Broker) Subscribe(ctx context.Context, queue string, types []event.Type, handler broker.Handler) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.queues[queue]; ok && old.Err() == nil {
		return fmt.Errorf("queue %s has a subscriber", queue)
	}
	s := &subscription{
		b: b, queue: queue, types: slices.Clone(types), handler: handler,
		log: b.log.With(slog.String("queue", queue)),
	}
	ch, deliveries, err := s.open(ctx)
	if _, settled := errors.AsType[*settledError](err); settled {
		return err
	}
	if err != nil {
		s.log.WarnContext(ctx, "the queue is not read yet", slog.Any("err", err))
	}
	b.queues[queue] = ctx
	b.running.Go(func() { s.run(ctx, ch, deliveries) })
	return nil
}

// open declares the queue, binds it and begins to consume.
func (s *subscription) open(ctx context.Context) (*amqp.Channel, <-chan amqp.Delivery, error) {
	ch, err := s.b.consume.channel(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := declareExchange(ch); err != nil {
		return nil, nil, err
	}
	if err := declareQueue(ch, s.queue); err != nil {
		return nil, nil, err
	}
	name := queueName(s.queue)
	for _, typ := range s.types {
		if err := ch.QueueBind(name, string(typ), exchange, false, nil); err != nil {
			return nil, nil, explain("binding queue "+name, err)
		}
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return nil, nil, explain("prefetch of queue "+name, err)
	}
	deliveries, err := ch.Consume(name, "", false, false, false, false, nil)
	if err != nil {
		return nil, nil, explain("reading queue "+name, err)
	}
	return ch, deliveries, nil
}

// run reads until ctx ends, over as many connections as that takes. It starts with an open channel or nil.
func (s *subscription) run(ctx context.Context, ch *amqp.Channel, deliveries <-chan amqp.Delivery) {
	wait := s.b.firstWait
	for {
		if ch != nil {
			wait = s.b.firstWait
			s.read(ctx, deliveries)
			// What was delivered and not acknowledged goes back to the queue.
			_ = ch.Close()
		}
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, s.b.longestWait)
		var err error
		if ch, deliveries, err = s.open(ctx); err != nil {
			ch = nil
			s.log.WarnContext(ctx, "the queue is not read", slog.Any("err", err))
		}
	}
}

// read handles up to prefetch deliveries at a time, until the channel or ctx ends, and waits for those under way.
func (s *subscription) read(ctx context.Context, deliveries <-chan amqp.Delivery) {
	ctx, cancel := context.WithCancel(ctx)
	var handling sync.WaitGroup
	defer handling.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case d, open := <-deliveries:
			if !open {
				return
			}
			handling.Go(func() { s.take(ctx, d) })
		}
	}
}

// take offers one event until it is handled or buried, and acknowledges it, or until ctx ends: then it goes back to the
// queue with the channel.
func (s *subscription) take(ctx context.Context, d amqp.Delivery) {
	err := s.offer(ctx, d)
	for wait := s.b.firstWait; err != nil; wait = min(2*wait, s.b.longestWait) {
		if ctx.Err() != nil {
			return
		}
		buried := s.bury(ctx, d, err)
		if buried == nil {
			s.log.ErrorContext(ctx, "event became a dead letter", slog.String("type", d.Type), slog.String("event", d.MessageId),
				slog.Any("err", err))
			break
		}
		s.log.WarnContext(ctx, "a dead letter is not kept yet", slog.Any("err", buried))
		pause(ctx, wait)
	}
	fault.Point("consumer after commit before acknowledgement")
	_ = d.Ack(false) // it fails with the channel, and the event comes again
}

// offer makes up to broker.MaxTries tries. A refusal that says nothing about the event is not counted.
func (s *subscription) offer(ctx context.Context, d amqp.Delivery) error {
	var e event.Event
	if err := json.Unmarshal(d.Body, &e); err != nil {
		return fmt.Errorf("not an event: %w", err)
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("not an event: %w", err)
	}
	wait := s.b.firstWait
	for refusals := 0; ; wait = min(3*wait, s.b.longestWait) {
		err := broker.Handle(ctx, s.handler, e)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !broker.Later(err) {
			refusals++
		}
		if refusals == broker.MaxTries {
			return err
		}
		s.log.InfoContext(ctx, "event is tried again", slog.String("type", d.Type), slog.String("event", d.MessageId), slog.Any("err", err))
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// pause waits between half and one and a half of d, and tells whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
