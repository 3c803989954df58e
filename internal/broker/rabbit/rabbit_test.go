package rabbit_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"sotto/internal/broker"
	"sotto/internal/broker/brokertest"
	"sotto/internal/broker/rabbit"
	"sotto/internal/event"
	"sotto/internal/testenv"
)

// node is shared by the whole package: each test has a virtual host of its own.
var node *testenv.RabbitMQ

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-rabbit")
	if err == nil {
		defer os.RemoveAll(dir)
		node, err = testenv.NewRabbitMQ(dir)
	}
	if err == nil {
		defer node.Close()
		err = node.Up(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func open(t *testing.T) *rabbit.Broker { return openAt(t, node.URL(), nil) }

func openAt(t *testing.T, url string, logs *bytes.Buffer) *rabbit.Broker {
	t.Helper()
	o := rabbit.Options{URL: url, Now: time.Now}
	if logs != nil {
		o.Logger = slog.New(slog.NewTextHandler(logs, nil))
	}
	b, err := rabbit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Hurry()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestContract(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Broker { return open(t) })
}

// taken is a handler's notebook.
type taken struct {
	mu     sync.Mutex
	events []event.Event
}

func (k *taken) handle(_ context.Context, e event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, e)
	return nil
}

func (k *taken) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.events)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

var logins = []event.Type{event.LoginEnded}

func subscribe(ctx context.Context, t *testing.T, b *rabbit.Broker, queue string, handler broker.Handler) {
	t.Helper()
	if err := b.Subscribe(ctx, queue, logins, handler); err != nil {
		t.Fatal(err)
	}
}

// TestTwoProcessesShareAQueue: each event goes to one of them, and what one held when it ended goes to the other.
func TestTwoProcessesShareAQueue(t *testing.T) {
	url := node.URL()
	first, second := openAt(t, url, nil), openAt(t, url, nil)
	ctx, stop := context.WithCancel(t.Context())
	started := make(chan struct{}, 64)
	subscribe(ctx, t, first, "q", func(ctx context.Context, _ event.Event) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	for n := range byte(3) {
		if err := first.Publish(t.Context(), brokertest.Event(n+1)); err != nil {
			t.Fatal(err)
		}
		<-started
	}
	var k taken
	subscribe(t.Context(), t, second, "q", k.handle)
	stop()
	eventually(t, "the second process takes over", func() bool { return k.count() == 3 })
	if n, err := second.Length(t.Context(), "q.dead"); n != 0 || err != nil {
		t.Errorf("stopping counted as a refusal: %d dead letters, %v", n, err)
	}
}

// TestPoison: what is no event is buried with its text and does not hold up what follows.
func TestPoison(t *testing.T) {
	url := node.URL()
	b := openAt(t, url, nil)
	var k taken
	subscribe(t.Context(), t, b, "q", k.handle)
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"{", `{"id":"x"}`, "", `{"id":"00000000-0000-0000-0000-000000000001","type":"","body":{}}`} {
		if err := ch.PublishWithContext(t.Context(), "sotto", string(event.LoginEnded), true, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish(t.Context(), brokertest.Event(7)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event after the poison is handled", func() bool { return k.count() == 1 })
	eventually(t, "the poison is buried", func() bool {
		n, err := b.Length(t.Context(), "q.dead")
		return err == nil && n == 4
	})
	letters, err := b.DeadLetters(t.Context(), "q", 10)
	if err != nil || len(letters) != 4 {
		t.Fatal(letters, err)
	}
	for _, l := range letters {
		if !strings.HasPrefix(l.Reason, "not an event") || l.Time == 0 || !strings.HasPrefix(string(l.Event.Body), `"`) {
			t.Errorf("%+v", l)
		}
	}
	if n, err := b.PurgeQueue(t.Context(), "q.dead"); n != 4 || err != nil {
		t.Error(n, err)
	}
}

// TestAnEventThatEndsItsProcessIsBuried: deliveries without an answer are bounded by the broker itself.
func TestAnEventThatEndsItsProcessIsBuried(t *testing.T) {
	url := node.URL()
	b := openAt(t, url, nil)
	ctx, stop := context.WithCancel(t.Context())
	subscribe(ctx, t, b, "q", func(context.Context, event.Event) error { return nil })
	stop()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := b.Publish(t.Context(), brokertest.Event(1)); err != nil {
		t.Fatal(err)
	}
	deliveries := 0
	eventually(t, "the event is buried", func() bool {
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := ch.Get("sotto.q", false); err != nil {
			t.Fatal(err)
		} else if got {
			deliveries++
		}
		if err := ch.Close(); err != nil { // as a process that dies
			t.Fatal(err)
		}
		n, err := b.Length(t.Context(), "q.dead")
		return err == nil && n == 1
	})
	letters, err := b.DeadLetters(t.Context(), "q", 10)
	if err != nil || len(letters) != 1 || letters[0].Event.ID != brokertest.Event(1).ID || letters[0].Reason == "" {
		t.Errorf("after %d deliveries: %+v, %v", deliveries, letters, err)
	}
}

// TestOtherArguments: a queue that another program made is left alone, and the sentence says what to do.
func TestOtherArguments(t *testing.T) {
	url := node.URL()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("sotto.q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	b := openAt(t, url, nil)
	err = b.Subscribe(t.Context(), "q", logins, new(taken).handle)
	if err == nil || !strings.Contains(err.Error(), "queue sotto.q: it is there with other properties") {
		t.Errorf("subscribing: %v", err)
	}
	if err := b.Publish(t.Context(), brokertest.Event(1)); !errors.Is(err, broker.ErrUnroutable) {
		t.Errorf("the queue of another program was bound: %v", err)
	}
}

func TestSentences(t *testing.T) {
	if _, err := rabbit.New(rabbit.Options{URL: "http://sotto:hush@127.0.0.1"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a URL of another kind: %v", err)
	}
	url := node.URL()
	for want, bad := range map[string]string{
		"password is wrong":       strings.Replace(url, "sotto:sotto", "sotto:wrong", 1),
		"rabbitmqctl add_vhost":   url + "nowhere",
		"connection refused":      "amqp://sotto:hush@127.0.0.1:1/",
		"queue nowhere":           "",
		"it does not exist; the ": "",
	} {
		var err error
		if bad == "" {
			_, err = open(t).Length(t.Context(), "nowhere")
		} else {
			err = openAt(t, bad, nil).Ping(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTLS(t *testing.T) {
	pem, err := os.ReadFile(node.Certificates.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	url := node.TLSURL()
	b, err := rabbit.New(rabbit.Options{URL: url, Now: time.Now, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := openAt(t, url, nil).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that the system does not trust: %v", err)
	}
}

// TestTheNodeGoesAndComesBack kills the node between and during everything. It is the last test of the file: the others
// of this package wait for nothing that it breaks, because tests of a package run one after another.
func TestTheNodeGoesAndComesBack(t *testing.T) {
	b := open(t)
	var k taken
	subscribe(t.Context(), t, b, "q", k.handle)
	var last error
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last publishing: %v; the node:\n%s", last, node.Log())
		}
	})
	confirmed := 0
	publish := func(n byte) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if last = b.Publish(ctx, brokertest.Event(n)); last != nil {
			return false
		}
		confirmed++
		return true
	}
	for n := range byte(20) {
		if !publish(n + 1) {
			t.Fatal("not confirmed by a healthy node")
		}
	}
	// RabbitMQ 3.10 saves the registration of a new queue half a second after it was made. One that is killed before has
	// the queue without its log for ever, which no operator meets and no client can mend.
	time.Sleep(3 * time.Second)
	if err := node.Kill9(); err != nil {
		t.Fatal(err)
	}
	if publish(100) {
		t.Error("confirmed by nobody")
	}
	late := openAt(t, node.URL(), nil)
	subscribe(t.Context(), t, late, "late", k.handle)
	if err := node.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "publishing works again", func() bool { return publish(101) })
	if !publish(102) {
		t.Error("not confirmed after the node came back")
	}
	eventually(t, "everything confirmed is handled", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		ids := make(map[byte]bool)
		for _, e := range k.events {
			ids[e.ID[15]] = true
		}
		delete(ids, 100) // its outcome was unknown
		return len(ids) == confirmed
	})
	eventually(t, "a queue that was subscribed to while the node was away is read", func() bool {
		return late.Publish(t.Context(), brokertest.Event(1)) == nil
	})
}
