package rabbit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"sotto/internal/broker"
	"sotto/internal/event"
	"sotto/internal/fault"
)

// outChannel is a channel in confirm mode.
type outChannel struct {
	*amqp.Channel
	returned chan amqp.Return // holds the one that belongs to the publishing under way
}

// Publish returns when the broker has confirmed that the event is kept in every queue that asks for its type. With no
// queue it returns broker.ErrUnroutable. One event is under way at a time: a return belongs to the publishing that holds
// the slot.
func (b *Broker) Publish(ctx context.Context, e event.Event) error {
	if err := e.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing %s: %w", e.Type, err)
	}
	return b.send(ctx, exchange, string(e.Type), amqp.Publishing{
		ContentType: "application/json", MessageId: e.ID.String(), Type: string(e.Type), Body: body,
	})
}

// errRefused is a negative confirmation: the queue is full or its node is in trouble.
var errRefused = errors.New("RabbitMQ did not keep the event; a queue may be full")

func (b *Broker) send(ctx context.Context, exchange, key string, p amqp.Publishing) error {
	select {
	case b.publishing <- struct{}{}:
		defer func() { <-b.publishing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := b.openOut(ctx); err != nil {
		return err
	}
	p.DeliveryMode, p.Timestamp = amqp.Persistent, b.options.Now()
	confirmation, err := b.out.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, p)
	if err != nil {
		b.closeOut()
		return fmt.Errorf("publishing to RabbitMQ: %w", err)
	}
	fault.Point("relay after publish before confirm")
	acked, err := confirmation.WaitContext(ctx)
	if err != nil {
		b.closeOut() // a late confirmation or return must not be taken for that of the next event
		return fmt.Errorf("waiting for RabbitMQ's confirmation: %w", err)
	}
	select {
	case _, open := <-b.out.returned: // comes before its confirmation
		if open {
			return broker.ErrUnroutable
		}
	default:
	}
	if !acked {
		if b.out.IsClosed() {
			b.closeOut()
			return errors.New("the connection to RabbitMQ ended before the confirmation")
		}
		return errRefused
	}
	return nil
}

// openOut makes sure that there is a channel to publish on.
func (b *Broker) openOut(ctx context.Context) error {
	if b.out.Channel != nil && !b.out.IsClosed() {
		return nil
	}
	ch, err := b.publish.channel(ctx)
	if err != nil {
		return err
	}
	if err := declareExchange(ch); err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return explain("confirm mode", err)
	}
	b.out = outChannel{Channel: ch, returned: ch.NotifyReturn(make(chan amqp.Return, 1))}
	return nil
}

// closeOut gives the channel up without waiting for the broker, which may hang.
func (b *Broker) closeOut() {
	ch := b.out.Channel
	b.out = outChannel{}
	go func() { _ = ch.Close() }()
}
