package local

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"sotto/internal/broker"
	"sotto/internal/event"
	"sotto/internal/sqldb"
)

// Series is the name of Migrations in sqldb.DB.Migrate.
const Series = "broker"

// Migrations make the table of dead letters.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// maxKept bounds the dead letters of one queue. Beyond it the oldest goes.
const maxKept = 10_000

const sqlBury = `
INSERT INTO dead_letter (queue, id, type, account, at, body, reason, refused_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (queue, id) DO NOTHING`

const sqlTrim = `
DELETE FROM dead_letter WHERE queue = $1 AND position <= (
	SELECT position FROM dead_letter WHERE queue = $1 ORDER BY position DESC LIMIT 1 OFFSET $2)`

// bury makes e a dead letter of the queue. Burying it twice leaves one.
func (b *Broker) bury(ctx context.Context, name string, e event.Event, cause error) error {
	reason := cause.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), broker.MaxReason)], "")
	return b.db.Tx(ctx, "bury", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, sqlBury,
			name, e.ID[:], string(e.Type), e.Account[:], e.Time, string(e.Body), reason, b.now().UnixMilli())
		if err != nil {
			return fmt.Errorf("keeping a dead letter: %w", err)
		}
		_, err = tx.Exec(ctx, sqlTrim, name, maxKept)
		return err
	})
}

const sqlDeadLetters = `
SELECT id, type, account, at, body, reason, refused_at FROM dead_letter WHERE queue = $1 ORDER BY position LIMIT $2`

// DeadLetters lists the oldest dead letters of a queue, at most limit and at most broker.MaxDeadLetters.
func (b *Broker) DeadLetters(ctx context.Context, name string, limit int) ([]broker.DeadLetter, error) {
	rows, err := b.db.Query(ctx, sqlDeadLetters, name, min(limit, broker.MaxDeadLetters))
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	defer rows.Close()
	var letters []broker.DeadLetter
	for rows.Next() {
		d := broker.DeadLetter{Queue: name}
		var id, account []byte
		var typ, body string
		if err := rows.Scan(&id, &typ, &account, &d.Event.Time, &body, &d.Reason, &d.Time); err != nil {
			return nil, fmt.Errorf("listing dead letters: %w", err)
		}
		copy(d.Event.ID[:], id)
		copy(d.Event.Account[:], account)
		d.Event.Type, d.Event.Body = event.Type(typ), []byte(body)
		letters = append(letters, d)
	}
	return letters, rows.Err()
}

const sqlCountDead = `SELECT count(*) FROM dead_letter WHERE queue = $1`

// CountDead tells how many dead letters a queue has.
func (b *Broker) CountDead(ctx context.Context, name string) (n int, err error) {
	if err := b.db.QueryRow(ctx, sqlCountDead, name).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}

const sqlPurge = `DELETE FROM dead_letter WHERE queue = $1`

// Purge drops all dead letters of a queue and tells how many there were.
func (b *Broker) Purge(ctx context.Context, name string) (dropped int64, err error) {
	err = b.db.Tx(ctx, "purge", func(tx *sqldb.Tx) error {
		res, err := tx.Exec(ctx, sqlPurge, name)
		if err != nil {
			return fmt.Errorf("dropping dead letters: %w", err)
		}
		dropped, err = res.RowsAffected()
		return err
	})
	return dropped, err
}
