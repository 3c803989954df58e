// Package redis carries hints between processes over Redis 7 and later, or what speaks like it: sharded pub/sub, one
// channel an account, and keys that expire.
//
// Nothing here waits for Redis but the map: Publish puts the hint into a bounded queue, and Subscribe is true for this
// process at once and for others when Redis has heard of it. The subscribers of the publishing process get their hint
// without Redis, so that a single process loses nothing when it is away.
package redis

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sotto/api"
	"sotto/internal/hint"
	"sotto/internal/hint/local"
)

const (
	publishQueue = 4096 // hints that wait for Redis; beyond it hints are dropped
	publishBatch = 128  // hints in one round trip
	publishTime  = time.Second
	receiveQueue = 4096            // hints received and not handed out yet; beyond it hints are dropped
	pingEvery    = 5 * time.Second // how soon a connection that has died silently is noticed
	chunk        = 500             // channels in one command
	settleAfter  = time.Second     // before subscriptions that Redis did not take are tried again

	channelPrefix = "sotto:hint:"
	valuePrefix   = "sotto:value:"
	originSize    = 16 // random name of this Hints, before every payload: its own hints come back and are ignored
)

// Options holds what Hints needs.
type Options struct {
	Client *redis.Client
	Now    func() time.Time
	Rand   io.Reader
	Logger *slog.Logger // nil means silence
}

// Hints is safe for concurrent use. It works between Run's beginning and end; before and after, only this process hears
// its hints.
type Hints struct {
	client *redis.Client
	log    *slog.Logger
	origin [originSize]byte
	local  *local.Hints // hands hints to the subscribers of this process
	queue  chan message

	// Dropped counts hints that other processes did not get.
	Dropped atomic.Int64

	mu      sync.Mutex // guards what follows
	wanted  map[api.AccountID]int
	changed map[api.AccountID]struct{} // subscribed or not, Redis has to be told
	wake    chan struct{}              // any number of changes is one more look
}

type message struct {
	account api.AccountID
	payload []byte
}

// New makes hints that reach only this process until Run.
func New(o Options) (*Hints, error) {
	h := &Hints{
		client: o.Client, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), local: local.New(o.Now),
		queue: make(chan message, publishQueue), wanted: make(map[api.AccountID]int),
		changed: make(map[api.AccountID]struct{}), wake: make(chan struct{}, 1),
	}
	if _, err := io.ReadFull(o.Rand, h.origin[:]); err != nil {
		return nil, fmt.Errorf("naming the hints of this process: %w", err)
	}
	return h, nil
}

// Run talks to Redis until ctx ends, however often it goes away.
func (h *Hints) Run(ctx context.Context) {
	in := h.client.SSubscribe(ctx)
	defer in.Close() //nolint:errcheck // nothing is kept
	var wg sync.WaitGroup
	wg.Go(func() { h.send(ctx) })
	wg.Go(func() { h.subscribe(ctx, in) })
	received := in.Channel(redis.WithChannelSize(receiveQueue), redis.WithChannelHealthCheckInterval(pingEvery))
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case m := <-received:
			if m != nil {
				h.receive(ctx, m)
			}
		}
	}
}

// Publish hands payload to every subscriber of the account in this process and queues it for the others. The payload
// must not be changed afterwards.
func (h *Hints) Publish(ctx context.Context, account api.AccountID, payload []byte) error {
	if err := h.local.Publish(ctx, account, payload); err != nil {
		return err
	}
	select {
	case h.queue <- message{account, payload}:
	default:
		h.Dropped.Add(1)
	}
	return nil
}

// send empties the queue. What Redis does not take is dropped: it would be late.
func (h *Hints) send(ctx context.Context) {
	away := false
	for {
		var batch []message
		select {
		case <-ctx.Done():
			return
		case m := <-h.queue:
			batch = append(batch, m)
		}
		for more := true; more && len(batch) < publishBatch; {
			select {
			case m := <-h.queue:
				batch = append(batch, m)
			default:
				more = false
			}
		}
		err := h.sendBatch(ctx, batch)
		if err != nil {
			h.Dropped.Add(int64(len(batch)))
		}
		if (err != nil) != away && ctx.Err() == nil {
			away = err != nil
			h.log.WarnContext(ctx, "hints to other processes", slog.Bool("lost", away), slog.Any("err", err))
		}
	}
}

func (h *Hints) sendBatch(ctx context.Context, batch []message) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	_, err := h.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range batch {
			p.SPublish(ctx, channel(m.account), append(h.origin[:len(h.origin):len(h.origin)], m.payload...))
		}
		return nil
	})
	return err
}

// receive hands a hint of another process to the subscribers here.
func (h *Hints) receive(ctx context.Context, m *redis.Message) {
	account, err := api.ParseAccountID(strings.TrimPrefix(m.Channel, channelPrefix))
	payload := []byte(m.Payload)
	if err != nil || len(payload) < originSize || bytes.Equal(payload[:originSize], h.origin[:]) {
		return
	}
	if err := h.local.Publish(ctx, account, payload[originSize:]); err != nil {
		h.log.WarnContext(ctx, "a hint is ignored", slog.Any("err", err))
	}
}

func channel(account api.AccountID) string { return channelPrefix + account.String() }

// Subscribe calls fn for each hint of the account, one at a time and in order, on a goroutine of its own, until cancel.
// fn must not change the payload. Cancel waits for a running fn, so fn must not call it; calling it twice is fine.
func (h *Hints) Subscribe(account api.AccountID, fn func(payload []byte)) (cancel func()) {
	unsubscribe := h.local.Subscribe(account, fn)
	h.change(account, 1)
	var once sync.Once
	return func() {
		unsubscribe()
		once.Do(func() { h.change(account, -1) })
	}
}

func (h *Hints) change(account api.AccountID, by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.wanted[account]
	if h.wanted[account] += by; h.wanted[account] == 0 {
		delete(h.wanted, account)
	}
	if before == 0 || before+by == 0 {
		h.changed[account] = struct{}{}
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// subscribe tells Redis what changed. It is the only one to do so, so that an account's last change is told last.
func (h *Hints) subscribe(ctx context.Context, in *redis.PubSub) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		add, drop := h.takeChanges()
		// What fails here the client remembers and repeats on its next connection.
		var failed error
		for len(add) > 0 {
			n := min(chunk, len(add))
			failed = cmp.Or(failed, in.SSubscribe(ctx, add[:n]...))
			add = add[n:]
		}
		for len(drop) > 0 {
			n := min(chunk, len(drop))
			failed = cmp.Or(failed, in.SUnsubscribe(ctx, drop[:n]...))
			drop = drop[n:]
		}
		if failed != nil {
			select {
			case <-ctx.Done():
			case <-time.After(settleAfter):
			}
		}
	}
}

func (h *Hints) takeChanges() (add, drop []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for account := range h.changed {
		if h.wanted[account] > 0 {
			add = append(add, channel(account))
		} else {
			drop = append(drop, channel(account))
		}
	}
	clear(h.changed)
	return add, drop
}

// Set keeps a copy of val under key for ttl, replacing what was there.
func (h *Hints) Set(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if len(key) > hint.MaxKey || len(val) > hint.MaxPayload {
		return hint.ErrTooLarge
	}
	if err := h.client.Set(ctx, valuePrefix+key, val, ttl).Err(); err != nil {
		return fmt.Errorf("keeping a value in Redis: %w", err)
	}
	return nil
}

// Get returns what Set kept, unless it expired, was deleted or was lost.
func (h *Hints) Get(ctx context.Context, key string) (val []byte, ok bool, err error) {
	val, err = h.client.Get(ctx, valuePrefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading a value in Redis: %w", err)
	}
	return val, true, nil
}

// Delete forgets a key; forgetting an unknown one is no error.
func (h *Hints) Delete(ctx context.Context, key string) error {
	if err := h.client.Del(ctx, valuePrefix+key).Err(); err != nil {
		return fmt.Errorf("forgetting a value in Redis: %w", err)
	}
	return nil
}
