package sqldb

import (
	"context"
	"database/sql"
	"log/slog"
	"path"
	"runtime"
	"strings"
	"time"
)

// Rows are rows of a statement, counted and timed. Close is always called.
type Rows struct {
	*sql.Rows

	run    run
	cancel context.CancelFunc
	closed bool
}

// Row is one row, or none.
type Row struct {
	row    *sql.Row
	run    run
	cancel context.CancelFunc
}

// run is one run of a statement.
type run struct {
	db        *DB
	ctx       context.Context //nolint:containedctx // of the statement that runs, for its line in the log
	statement string
	rows      int64
	took      time.Duration // in the database, without what the caller does between rows
}

func (db *DB) watchRows(ctx context.Context, cancel context.CancelFunc, statement string, query func() (*sql.Rows, error)) (*Rows, error) {
	r := &Rows{run: run{db: db, ctx: ctx, statement: statement}, cancel: cancel}
	var err error
	r.run.time(func() { r.Rows, err = query() }) //nolint:rowserrcheck // the caller asks for it
	if err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}

// Next is sql.Rows.Next.
func (r *Rows) Next() (ok bool) {
	r.run.time(func() { ok = r.Rows.Next() })
	if ok {
		r.run.rows++
	}
	return ok
}

// Close ends the statement. Err says what went wrong. Calling it again does nothing.
func (r *Rows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	_ = r.Rows.Close() // the same as Err
	r.run.log()
	r.cancel()
}

func (db *DB) watchRow(ctx context.Context, cancel context.CancelFunc, statement string, query func() *sql.Row) *Row {
	r := &Row{run: run{db: db, ctx: ctx, statement: statement}, cancel: cancel}
	r.run.time(func() { r.row = query() })
	return r
}

// Scan is sql.Row.Scan.
func (r *Row) Scan(into ...any) error {
	defer r.cancel()
	var err error
	r.run.time(func() { err = r.row.Scan(into...) })
	if err == nil {
		r.run.rows = 1
	}
	r.run.log()
	return err
}

func (r *run) time(f func()) {
	began := time.Now()
	f()
	r.took += time.Since(began)
}

const maxLoggedStatement = 200 // bytes

// log logs a statement that took long: the function that runs it, whose constant stands above it, the beginning of its
// text, which holds placeholders, the number of rows, the time. Never arguments.
func (r *run) log() {
	if r.took < r.db.slow {
		return
	}
	text := strings.Join(strings.Fields(r.statement), " ")
	if len(text) > maxLoggedStatement {
		text = text[:maxLoggedStatement] + "…"
	}
	r.db.log.WarnContext(r.ctx, "slow statement", slog.String("name", caller()), slog.String("statement", text),
		slog.Int64("rows", r.rows), slog.Int64("ms", r.took.Milliseconds()))
}

// caller is the first function outside of this package, such as chat.readMailbox.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "sotto/internal/sqldb.") || !more {
			return path.Base(frame.Function)
		}
	}
}
