// Package broker holds the words of publish and subscribe between services. An event is delivered to every queue that
// asks for its type, at least once, in any order, and again after a crash. What a queue's handler keeps refusing
// becomes a dead letter of that queue. broker/local delivers within one process, broker/rabbit over RabbitMQ; brokertest
// holds every broker to the contract.
package broker

import (
	"context"
	"errors"
	"fmt"

	"sotto/internal/errs"
	"sotto/internal/event"
)

// Handler takes one event on behalf of a queue. A nil error means that its effects are committed. It may be called
// again with an event it has handled, and for several events at the same time.
type Handler func(ctx context.Context, e event.Event) error

// MaxTries is how often a handler is offered one event before it becomes a dead letter.
const MaxTries = 5

// ErrUnroutable is returned by Publish when no queue asks for the type. The publisher keeps the event and tries again:
// a consumer may not have subscribed yet.
var ErrUnroutable = errors.New("no queue asks for this event")

// MaxDeadLetters bounds what DeadLetters lists at once.
const MaxDeadLetters = 1000

// DeadLetter is an event that a queue's handler refused MaxTries times.
type DeadLetter struct {
	Queue  string
	Event  event.Event
	Reason string // the last error, at most MaxReason bytes
	Time   int64  // of the last try, milliseconds since 1970 UTC
}

// MaxReason bounds DeadLetter.Reason.
const MaxReason = 1000 // bytes

// Later tells whether a handler's error says nothing about the event, because something that the handler needs is away:
// it is not counted as a try, and the event is offered until it passes.
func Later(err error) bool { return errs.As(err).Kind == errs.Unavailable }

// Handle makes a panic of the handler one more refusal: an event must not stop the process again after each restart.
func Handle(ctx context.Context, handler Handler, e event.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return handler(ctx, e)
}
