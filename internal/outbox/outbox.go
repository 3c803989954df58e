// Package outbox makes events as durable as the change that caused them. A service adds its event in the transaction of
// the change; one Relay per service hands the rows to the broker and deletes each after the broker confirmed it. The
// consumer records the event id in the transaction of its own change (Once), so that what arrives twice happens once.
//
// Crash windows: before the commit, neither change nor event exist. After the commit and before the broker's confirm,
// the row is still there and is published again. After the confirm and before the delete, it is published again and the
// consumer's inbox absorbs it.
package outbox

import (
	"context"
	"embed"
	"fmt"
	"time"

	"sotto/internal/event"
	"sotto/internal/sqldb"
)

// Series is the name of Migrations in sqldb.DB.Migrate.
const Series = "outbox"

// Migrations make the tables outbox, inbox and lease in the service's own database.
//
//go:embed migrations/*.sql
var Migrations embed.FS

const sqlAdd = `INSERT INTO outbox (id, type, account, at, body) VALUES ($1, $2, $3, $4, $5)`

// Add writes an event that becomes true when tx commits. Wake the relay after the commit.
func Add(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	if err := e.Validate(); err != nil {
		return fmt.Errorf("adding to the outbox: %w", err)
	}
	if _, err := tx.Exec(ctx, sqlAdd, e.ID[:], string(e.Type), e.Account[:], e.Time, string(e.Body)); err != nil {
		return fmt.Errorf("adding %s to the outbox: %w", e.Type, err)
	}
	return nil
}

// inboxKept is how long an event id is remembered. No broker redelivers for that long.
const inboxKept = 7 * 24 * time.Hour

const sqlOnce = `INSERT INTO inbox (consumer, event, at) VALUES ($1, $2, $3) ON CONFLICT (consumer, event) DO NOTHING`

// Once tells whether tx is the first to handle the event on behalf of consumer, and remembers it if tx commits. When it
// is not, the consumer changes nothing and reports success to the broker. Ids are remembered for seven days.
func Once(ctx context.Context, tx *sqldb.Tx, consumer string, e event.Event, now time.Time) (first bool, err error) {
	res, err := tx.Exec(ctx, sqlOnce, consumer, e.ID[:], now.UnixMilli())
	if err != nil {
		return false, fmt.Errorf("recording %s in the inbox: %w", e.Type, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

const cleanBatch = 1000 // inbox rows deleted in one transaction

const sqlCleanInbox = `
DELETE FROM inbox WHERE (consumer, event) IN (SELECT consumer, event FROM inbox WHERE at < $1 ORDER BY at LIMIT $2)`

// CleanInbox deletes a batch of old inbox rows and tells how many. The relay does it for its service; a service without
// a relay calls it now and then.
func CleanInbox(ctx context.Context, tx *sqldb.Tx, now time.Time) (n int, err error) {
	res, err := tx.Exec(ctx, sqlCleanInbox, now.Add(-inboxKept).UnixMilli(), cleanBatch)
	if err != nil {
		return 0, fmt.Errorf("cleaning the inbox: %w", err)
	}
	deleted, err := res.RowsAffected()
	return int(deleted), err
}
