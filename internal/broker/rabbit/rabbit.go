// Package rabbit is the broker over RabbitMQ 3.10 and later. Every process of every service connects to it; a queue's
// events are shared among the processes that subscribe to it.
//
// One durable direct exchange takes every event under its type. Each consumer has a quorum queue bound to the types it
// asks for, and beside it a quorum queue of dead letters. Publish returns after the broker's confirmation, thus after a
// majority of nodes wrote the event to disk. A consumer acknowledges after its handler committed. Connections are made
// again for ever, with jittered waits.
//
// Crash windows: a publisher that dies before the confirmation publishes again (package outbox). A consumer that dies
// before its acknowledgement gets the event again; its inbox absorbs it. One that dies between burying and acknowledging
// buries twice; the listing shows one.
package rabbit

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"sotto/internal/broker"
)

const (
	dialTime     = 5 * time.Second // to connect and shake hands
	heartbeat    = 5 * time.Second // a silent node is given up after about two
	prefetch     = 64              // events that one process works on at a time
	maxWaiting   = 1_000_000       // events of one queue; beyond it publishers are refused and keep them in their outbox
	maxKept      = 10_000          // dead letters of one queue; beyond it the oldest goes
	maxDelivered = 20              // deliveries without an answer, as when a handler ends its process
	firstWait    = 100 * time.Millisecond
	longestWait  = 10 * time.Second // between tries of one event, and between connections
)

// Options holds what a Broker needs.
type Options struct {
	URL    string      // amqp:// or amqps://, with user, password and virtual host
	TLS    *tls.Config // for amqps; nil trusts the system's authorities
	Now    func() time.Time
	Logger *slog.Logger // nil means silence
}

// Broker is safe for concurrent use.
type Broker struct {
	options Options
	log     *slog.Logger
	publish link // publishers and consumers have a connection each: a busy node slows down those that publish
	consume link

	firstWait, longestWait time.Duration // firstWait and longestWait; less in tests

	publishing chan struct{} // one slot: held from a publishing to its confirmation
	out        outChannel    // belongs to whoever has the slot

	mu     sync.Mutex
	queues map[string]context.Context // subscribed here, until their end

	running sync.WaitGroup // subscriptions
}

// New makes a broker that connects when it is used. It fails on a URL that cannot be one.
func New(o Options) (*Broker, error) {
	uri, err := amqp.ParseURI(o.URL)
	if err != nil {
		return nil, errors.New("the broker's URL cannot be read; write it like amqp://user:password@host:5672/ or amqps://…")
	}
	b := &Broker{
		options: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		firstWait: firstWait, longestWait: longestWait,
		publishing: make(chan struct{}, 1), queues: make(map[string]context.Context),
	}
	for _, l := range []*link{&b.publish, &b.consume} {
		*l = link{uri: uri, url: o.URL, tls: o.TLS, slot: make(chan struct{}, 1)}
	}
	return b, nil
}

// Close ends the connections. Subscriptions end by their contexts, and are waited for.
func (b *Broker) Close() error {
	b.running.Wait()
	b.publish.close()
	b.consume.close()
	return nil
}

// Ping tells whether the broker can be reached.
func (b *Broker) Ping(ctx context.Context) error {
	ch, err := b.publish.channel(ctx)
	if err != nil {
		return err
	}
	return ch.Close()
}

const exchange = "sotto"

// queueName and deadName are what operators see. Purge and Length take these names without the exchange's.
func queueName(queue string) string { return exchange + "." + queue }
func deadName(queue string) string  { return queueName(queue) + deadSuffix }

const deadSuffix = ".dead"

// declareExchange is repeated on every channel that publishes or subscribes: it changes nothing when it is there.
func declareExchange(ch *amqp.Channel) error {
	err := ch.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil)
	return explain("exchange "+exchange, err)
}

// declareQueue makes a queue and its dead letters, or finds them as they should be.
func declareQueue(ch *amqp.Channel, queue string) error {
	dead, name := deadName(queue), queueName(queue)
	if _, err := ch.QueueDeclare(dead, true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-max-length": maxKept, "x-overflow": "drop-head",
		"x-delivery-limit": 1 << 30, // listing counts as a delivery
	}); err != nil {
		return explain("queue "+dead, err)
	}
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{
		"x-queue-type": "quorum", "x-max-length": maxWaiting, "x-overflow": "reject-publish",
		"x-delivery-limit": maxDelivered, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
		"x-dead-letter-strategy": "at-least-once",
	})
	return explain("queue "+name, err)
}

// settledError is a refusal that trying again does not mend.
type settledError struct{ text string }

func (e *settledError) Error() string { return e.text }

// explain turns the broker's refusals into what to do about them.
func explain(what string, err error) error {
	var refused *amqp.Error
	if !errors.As(err, &refused) {
		if err != nil {
			return fmt.Errorf("RabbitMQ, %s: %w", what, err)
		}
		return nil
	}
	advice := ""
	switch refused.Code {
	case amqp.PreconditionFailed:
		advice = "it is there with other properties than this version of Sotto gives it; let the version that made it read it " +
			"empty and delete it (rabbitmqctl delete_queue), or use another virtual host"
	case amqp.NotFound:
		advice = "it does not exist; the service that reads it makes it when it starts"
	case amqp.AccessRefused:
		advice = "the user of the broker's URL may not do this, or its password is wrong; it needs configure, write and read " +
			"permission for names that begin with " + exchange
	case amqp.NotAllowed:
		advice = "the virtual host in the broker's URL does not exist or is not open to this user; make it with rabbitmqctl add_vhost"
	default:
		return fmt.Errorf("RabbitMQ, %s: %w", what, err)
	}
	return &settledError{fmt.Sprintf("RabbitMQ, %s: %s (%s)", what, advice, refused.Reason)}
}

// link is one connection that is made when it is needed.
type link struct {
	uri  amqp.URI
	url  string
	tls  *tls.Config
	slot chan struct{} // held while connecting, so that one connects for all
	conn *amqp.Connection
}

// channel opens a channel, over a new connection if there is none.
func (l *link) channel(ctx context.Context) (*amqp.Channel, error) {
	select {
	case l.slot <- struct{}{}:
		defer func() { <-l.slot }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.conn == nil || l.conn.IsClosed() {
		conn, err := l.dial(ctx)
		if err != nil {
			return nil, explain("connecting to "+net.JoinHostPort(l.uri.Host, fmt.Sprint(l.uri.Port)), err)
		}
		l.conn = conn
	}
	ch, err := l.conn.Channel()
	if err != nil {
		return nil, explain("opening a channel", err)
	}
	return ch, nil
}

func (l *link) dial(ctx context.Context) (*amqp.Connection, error) {
	return amqp.DialConfig(l.url, amqp.Config{
		Heartbeat: heartbeat, TLSClientConfig: l.tls, Properties: amqp.Table{"connection_name": exchange},
		Dial: func(network, address string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: dialTime}
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// Until the handshake is over; the heartbeat sets its own.
			return conn, conn.SetDeadline(time.Now().Add(dialTime))
		},
	})
}

// close needs no answer: what was published is confirmed, and what was not acknowledged comes again.
func (l *link) close() {
	l.slot <- struct{}{}
	defer func() { <-l.slot }()
	if l.conn != nil {
		_ = l.conn.CloseDeadline(time.Now().Add(dialTime))
	}
}

// Length tells how many events wait in a queue ("chat"), or how many dead letters it has ("chat.dead").
func (b *Broker) Length(ctx context.Context, queue string) (int, error) {
	ch, err := b.consume.channel(ctx)
	if err != nil {
		return 0, err
	}
	q, err := ch.QueueDeclarePassive(queueName(queue), true, false, false, false, nil)
	if err != nil {
		return 0, explain("queue "+queue, err)
	}
	return q.Messages, ch.Close()
}

// PurgeQueue drops what Length counts, but for events that a process is working on.
func (b *Broker) PurgeQueue(ctx context.Context, queue string) (dropped int64, err error) {
	ch, err := b.consume.channel(ctx)
	if err != nil {
		return 0, err
	}
	n, err := ch.QueuePurge(queueName(queue), false)
	if err != nil {
		return 0, explain("queue "+queue, err)
	}
	return int64(n), ch.Close()
}

// Purge drops all dead letters of a queue and tells how many there were.
func (b *Broker) Purge(ctx context.Context, queue string) (dropped int64, err error) {
	return b.PurgeQueue(ctx, queue+deadSuffix)
}

// reasonOf is what a dead letter says about its cause.
func reasonOf(cause error) string {
	reason := cause.Error()
	return strings.ToValidUTF8(reason[:min(len(reason), broker.MaxReason)], "")
}
