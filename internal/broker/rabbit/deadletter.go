package rabbit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"sotto/api"
	"sotto/internal/broker"
	"sotto/internal/event"
)

const (
	headerReason = "x-sotto-reason"
	headerTime   = "x-sotto-time" // milliseconds
	buryTime     = 5 * time.Second
)

// bury keeps a copy of a delivery among the dead letters, confirmed, before it is acknowledged.
func (s *subscription) bury(ctx context.Context, d amqp.Delivery, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, buryTime)
	defer cancel()
	return s.b.send(ctx, "", deadName(s.queue), amqp.Publishing{
		ContentType: d.ContentType, MessageId: d.MessageId, Type: d.Type, Body: d.Body,
		Headers: amqp.Table{headerReason: reasonOf(cause), headerTime: s.b.options.Now().UnixMilli()},
	})
}

// DeadLetters lists the oldest dead letters of a queue, at most limit and at most broker.MaxDeadLetters. It takes them
// from the queue and puts them back; another listing at the same time misses them.
func (b *Broker) DeadLetters(ctx context.Context, queue string, limit int) ([]broker.DeadLetter, error) {
	ch, err := b.consume.channel(ctx)
	if err != nil {
		return nil, err
	}
	var letters []broker.DeadLetter
	var last uint64
	seen := make(map[api.EventID]bool)
	for range min(limit, broker.MaxDeadLetters) {
		d, ok, err := ch.Get(deadName(queue), false)
		if err != nil {
			return nil, explain("queue "+deadName(queue), err)
		}
		if !ok {
			break
		}
		last = d.DeliveryTag
		if letter := letterOf(queue, d); letter.Event.ID == (api.EventID{}) || !seen[letter.Event.ID] {
			seen[letter.Event.ID] = true
			letters = append(letters, letter)
		}
	}
	if last > 0 {
		if err := ch.Nack(last, true, true); err != nil {
			return nil, explain("putting dead letters back", err)
		}
		// The answer to this comes after they are back.
		if _, err := ch.QueueDeclarePassive(deadName(queue), true, false, false, false, nil); err != nil {
			return nil, explain("queue "+deadName(queue), err)
		}
	}
	return letters, ch.Close()
}

// letterOf reads what bury wrote, or what RabbitMQ put there because the event was delivered too often. What is no event
// is shown as the text that it is.
func letterOf(queue string, d amqp.Delivery) broker.DeadLetter {
	letter := broker.DeadLetter{Queue: queue, Time: d.Timestamp.UnixMilli()}
	if err := json.Unmarshal(d.Body, &letter.Event); err != nil || letter.Event.Validate() != nil {
		text, _ := json.Marshal(string(d.Body[:min(len(d.Body), event.MaxBody)])) // a string can be written
		letter.Event = event.Event{Type: event.Type(d.Type), Body: text}
	}
	if reason, ok := d.Headers[headerReason].(string); ok {
		letter.Reason = reason
	} else {
		letter.Reason = fmt.Sprintf("delivered %d times without an answer", maxDelivered)
	}
	if at, ok := d.Headers[headerTime].(int64); ok {
		letter.Time = at
	}
	return letter
}
