package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"sotto/internal/broker"
	"sotto/internal/event"
	"sotto/internal/sqldb"
)

const (
	relayEvery   = time.Second            // how often rows are looked for without being woken
	relayBatch   = 100                    // rows read, and deleted, at once
	maxFailures  = 3                      // events in a row that the broker refuses before the relay waits
	firstBackoff = 100 * time.Millisecond // wait after a failed round; doubles up to maxBackoff
	maxBackoff   = 10 * time.Second
	publishTime  = 3 * time.Second // for the broker to confirm one event
	publishSpan  = 4 * time.Second // then what was confirmed is deleted; with publishTime below leaseTime
	deleteTime   = 2 * time.Second // for the last delete and for freeing the lease when the process stops
	cleanEvery   = time.Hour       // between deletions of old inbox rows
)

// Publisher is the broker. A nil error means that the event is kept by the broker or was handled by every subscriber.
type Publisher interface {
	Publish(ctx context.Context, e event.Event) error
}

// RelayConfig holds what a Relay needs.
type RelayConfig struct {
	DB        *sqldb.DB
	Publisher Publisher
	Now       func() time.Time
	Rand      io.Reader    // for the holder id
	Logger    *slog.Logger // nil means silence
	// Optional lists the types that may have no reader: they are dropped when no queue asks for them.
	Optional []event.Type
}

// Relay publishes the outbox of one service. Several processes may run one for the same database: the lease lets one of
// them work. Its fields belong to the goroutine in Run, except wake.
type Relay struct {
	db        *sqldb.DB
	publisher Publisher
	now       func() time.Time
	log       *slog.Logger
	optional  []event.Type
	lease     *Lease
	cleaned   time.Time
	wake      chan struct{} // holds one token at most: any number of wake-ups is one more round
}

// NewRelay makes a relay that does nothing before Run.
func NewRelay(c RelayConfig) (*Relay, error) {
	r := &Relay{
		db: c.DB, publisher: c.Publisher, now: c.Now,
		log: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)), optional: c.Optional,
		wake: make(chan struct{}, 1),
	}
	var err error
	r.lease, err = NewLease("relay", c.Rand, r.log)
	return r, err
}

// Wake makes the relay look for rows at once. It never waits; forgetting to call it costs a second.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends and then frees the lease. Start it once, and only after the consumers have subscribed.
func (r *Relay) Run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		wait := relayEvery
		wake := r.wake
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "outbox is not emptied", slog.Any("err", err))
			// While the broker is away a wake-up does not shorten the wait.
			wait, wake = backoff/2+rand.N(backoff), nil //nolint:gosec // jitter
			backoff = min(2*backoff, maxBackoff)
		} else {
			backoff = firstBackoff
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(wait):
		}
	}
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTime)
	defer cancel()
	if err := r.lease.Release(free, r.db); err != nil {
		r.log.InfoContext(ctx, "relay's lease was left to expire", slog.Any("err", err))
	}
}

// row is one event with its place in the outbox.
type row struct {
	position int64
	event    event.Event
}

// round offers every row that is there to the broker once, in the order they were added, and reports the first event
// that the broker refused. It writes nothing when there is nothing to do.
func (r *Relay) round(ctx context.Context) error {
	rows, err := r.read(ctx, 0)
	cleaning := r.now().Sub(r.cleaned) >= cleanEvery
	if err != nil || len(rows) == 0 && !cleaning {
		return err
	}
	held, err := r.lease.Take(ctx, r.db, r.now())
	if err != nil || !held {
		return err
	}
	if cleaning {
		if err := r.clean(ctx); err != nil {
			return err
		}
	}
	var failed error
	for len(rows) > 0 {
		offered, confirmed, err := r.publish(ctx, rows)
		failed = cmp.Or(failed, err)
		if err := r.delete(ctx, confirmed); err != nil {
			return err
		}
		if offered == 0 {
			return failed
		}
		if rows, err = r.read(ctx, rows[offered-1].position); err != nil {
			return err
		}
	}
	return failed
}

// publish offers rows one by one, until they end, or publishSpan is over, or the broker is away: then offered is 0. One
// event that the broker refuses must not hold up the others, but a broker that refuses several in a row is away. An
// event that no queue asks for yet says nothing about the broker.
func (r *Relay) publish(ctx context.Context, rows []row) (offered int, confirmed []any, failed error) {
	started := r.now()
	failures := 0
	for i, row := range rows {
		err := r.publishOne(ctx, row.event)
		switch {
		case err == nil:
			confirmed = append(confirmed, row.position)
			failures = 0
		case ctx.Err() != nil:
			return 0, confirmed, ctx.Err()
		case !errors.Is(err, broker.ErrUnroutable):
			failures++
		}
		failed = cmp.Or(failed, err)
		if failures == maxFailures {
			return 0, confirmed, failed
		}
		if r.now().Sub(started) > publishSpan {
			return i + 1, confirmed, failed
		}
	}
	return len(rows), confirmed, failed
}

func (r *Relay) publishOne(ctx context.Context, e event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	err := r.publisher.Publish(ctx, e)
	if errors.Is(err, broker.ErrUnroutable) && slices.Contains(r.optional, e.Type) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("publishing %s %s: %w", e.Type, e.ID, err)
	}
	return nil
}

const sqlReadOutbox = `
SELECT position, id, type, account, at, body FROM outbox WHERE position > $1 ORDER BY position LIMIT $2`

func (r *Relay) read(ctx context.Context, after int64) ([]row, error) {
	rows, err := r.db.Query(ctx, sqlReadOutbox, after, relayBatch)
	if err != nil {
		return nil, fmt.Errorf("reading the outbox: %w", err)
	}
	defer rows.Close()
	var out []row
	for rows.Next() {
		var at row
		var id, account []byte
		var body string
		if err := rows.Scan(&at.position, &id, &at.event.Type, &account, &at.event.Time, &body); err != nil {
			return nil, fmt.Errorf("reading the outbox: %w", err)
		}
		copy(at.event.ID[:], id)
		copy(at.event.Account[:], account)
		at.event.Body = []byte(body)
		out = append(out, at)
	}
	return out, rows.Err()
}

const sqlDeleteOutbox = `DELETE FROM outbox WHERE position IN %s`

// delete removes confirmed rows, unless the lease was lost: then the new holder has them and publishes them again. It
// goes on when ctx ends, so that a process that stops leaves no confirmed rows behind.
func (r *Relay) delete(ctx context.Context, positions []any) error {
	if len(positions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTime)
	defer cancel()
	return r.db.Tx(ctx, "delete from outbox", func(tx *sqldb.Tx) error {
		if err := r.lease.Keep(ctx, tx, r.now()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(sqlDeleteOutbox, sqldb.In(1, len(positions))), positions...)
		return err
	})
}

// clean deletes one batch of old inbox rows, and comes back next round while there are more.
func (r *Relay) clean(ctx context.Context) error {
	now := r.now()
	return r.db.Tx(ctx, "clean inbox", func(tx *sqldb.Tx) error {
		if n, err := CleanInbox(ctx, tx, now); err != nil || n == cleanBatch {
			return err
		}
		r.cleaned = now
		return nil
	})
}
