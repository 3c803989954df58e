package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"time"
)

const (
	maxWait    = 5 * time.Second      // for a connection that may write, while other transactions have it
	maxTries   = 5                    // runs of a transaction that meets a busy database
	retryAfter = 5 * time.Millisecond // mean wait before the second run; doubles with each run
)

// ErrCommitUnknown is wrapped by Tx when the engine reported a failure of the commit itself: the changes may or may not
// be there. The caller finds out by reading, or by an operation that may be repeated (the same message id, event id).
var ErrCommitUnknown = errors.New("the outcome of the commit is unknown")

// ErrOvertaken is for the function of a transaction: another one was faster, so that what it read is not true any more. It
// rolls back and runs again.
var ErrOvertaken = errors.New("another transaction was faster")

// errWriterWait is what a transaction gets that found no connection within maxWait.
var errWriterWait = errors.New("the database has too much to write")

// Tx is a running transaction, for the goroutine and the duration of the function that got it.
type Tx struct {
	db   *DB
	tx   *sql.Tx
	name string

	fresh []string // statements that were not prepared
}

// Tx runs fn in a write transaction called name (in logs) and commits when fn returns nil. An error of fn rolls back
// and is returned wrapped, so errors.Is and errors.As see it. A transaction waits at most five seconds for its turn;
// see IsBusy.
//
// fn may run up to five times, because a busy database or a serialization failure rolls back and is tried again: its
// only effects are those of the transaction, and what it assigns to variables outside it assigns anew on each run. A
// commit whose outcome is unknown is never run again; it returns ErrCommitUnknown.
func (db *DB) Tx(ctx context.Context, name string, fn func(*Tx) error) error {
	return db.runTx(ctx, db.writer, name, fn)
}

func (db *DB) runTx(ctx context.Context, pool *sql.DB, name string, fn func(*Tx) error) error {
	started := time.Now()
	err := db.tryTx(ctx, pool, name, fn)
	for try := 1; try < maxTries && classify(err) == classBusy; try++ {
		db.log.InfoContext(ctx, "transaction runs again",
			slog.String("tx", name), slog.Int("try", try), slog.Any("err", err))
		mean := retryAfter << (try - 1)
		select {
		case <-ctx.Done():
			return fmt.Errorf("transaction %s: %w", name, ctx.Err())
		case <-time.After(mean/2 + rand.N(mean)): //nolint:gosec // jitter
		}
		err = db.tryTx(ctx, pool, name, fn)
	}
	if took := time.Since(started); took >= db.slow {
		db.log.WarnContext(ctx, "slow transaction", slog.String("tx", name), slog.Int64("ms", took.Milliseconds()))
	}
	if err != nil {
		return fmt.Errorf("transaction %s: %w", name, err)
	}
	return nil
}

func (db *DB) tryTx(ctx context.Context, pool *sql.DB, name string, fn func(*Tx) error) error {
	conn, err := connOf(ctx, pool)
	if err != nil {
		return err
	}
	var run Tx
	defer func() {
		_ = conn.Close() // gives the connection back; its transaction has ended by then
		for _, statement := range run.fresh {
			db.written.prepare(ctx, statement)
		}
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	run = Tx{db: db, tx: tx, name: name}
	// After a commit this does nothing. Before it, also when fn panics, it frees the only writer.
	defer func() { _ = tx.Rollback() }()
	if err := fn(&run); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.commit(ctx, name, tx)
}

// connOf waits for its turn. The wait is bounded here because not every caller's context is.
func connOf(ctx context.Context, pool *sql.DB) (*sql.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	conn, err := pool.Conn(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, errWriterWait
	}
	return conn, err
}

// commit decides what a failed commit means. A constraint that was checked only now, or a lock, left nothing behind.
// Anything else may have failed before or after the log record reached the disk.
func (db *DB) commit(ctx context.Context, name string, tx *sql.Tx) error {
	err := db.faults.commit(name, tx)
	if class := classify(err); err == nil || class != classOther && class != classAway {
		return err
	}
	db.log.ErrorContext(ctx, "commit failed with an unknown outcome", slog.String("tx", name), slog.Any("err", err))
	return fmt.Errorf("%w: %w", ErrCommitUnknown, err)
}

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	ctx = tx.db.faults.statement(ctx, tx.name, statement)
	r := run{db: tx.db, ctx: ctx, statement: statement}
	var res sql.Result
	var err error
	r.time(func() {
		if stmt := tx.prepared(ctx, statement); stmt != nil {
			res, err = stmt.ExecContext(ctx, args...)
		} else {
			res, err = tx.tx.ExecContext(ctx, statement, args...)
		}
	})
	if r.took >= tx.db.slow {
		if err == nil {
			r.rows, _ = res.RowsAffected() // 0 when the engine does not tell
		}
		r.log()
	}
	return res, err
}

// Query reads rows, or changes rows and returns them (RETURNING). The caller closes the rows before its next statement.
func (tx *Tx) Query(ctx context.Context, statement string, args ...any) (*Rows, error) {
	ctx = tx.db.faults.statement(ctx, tx.name, statement)
	return tx.db.watchRows(ctx, func() {}, statement, func() (*sql.Rows, error) {
		if stmt := tx.prepared(ctx, statement); stmt != nil {
			return stmt.QueryContext(ctx, args...)
		}
		return tx.tx.QueryContext(ctx, statement, args...)
	})
}

// QueryRow reads one row; its Scan returns ErrNoRows when there is none.
func (tx *Tx) QueryRow(ctx context.Context, statement string, args ...any) *Row {
	ctx = tx.db.faults.statement(ctx, tx.name, statement)
	return tx.db.watchRow(ctx, func() {}, statement, func() *sql.Row {
		if stmt := tx.prepared(ctx, statement); stmt != nil {
			return stmt.QueryRowContext(ctx, args...)
		}
		return tx.tx.QueryRowContext(ctx, statement, args...)
	})
}

// Arrays tells whether the engine takes lists as arguments. Then the statements of a batch have a form of their own,
// named sqlSomethingArrays: one statement whatever the number of rows.
func (tx *Tx) Arrays() bool { return tx.db.dialect.arrays }

// rowLock is how a statement for Lock ends.
var rowLock = regexp.MustCompile(`\sFOR NO KEY UPDATE\s*$`)

// Lock waits until no other transaction holds the rows that a statement selects, which ends with FOR NO KEY UPDATE, and
// keeps them until the end of this one. What is read after it is what other transactions left. Where one transaction
// writes at a time there is nothing to do. A transaction that locks several rows does it in one statement, in the order of
// their primary key, before it changes anything: then no two wait for each other.
func (tx *Tx) Lock(ctx context.Context, statement string, args ...any) error {
	if tx.db.dialect.oneWriter {
		return nil
	}
	_, err := tx.Exec(ctx, statement, args...)
	return err
}

// prepared is the statement within this transaction if an earlier one left it prepared; it is closed with the transaction.
func (tx *Tx) prepared(ctx context.Context, statement string) *sql.Stmt {
	stmt := tx.db.written.get(statement)
	if stmt == nil {
		tx.fresh = append(tx.fresh, statement)
		return nil
	}
	return tx.tx.StmtContext(ctx, stmt)
}
