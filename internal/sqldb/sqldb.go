// Package sqldb opens a service's database and is the only package that knows an SQL dialect. It gives the services one
// writer with bounded retries, a pool of readers, migrations written once for every engine, and error classes.
//
// The SQL that services write is the portable subset: $1 placeholders, TEXT, 64-bit integers and blobs in strict
// tables, keyset paging, no SELECT *. Ids are passed as id[:] and kept in blobs of 16 bytes, times are milliseconds
// since 1970 UTC, booleans are 0 or 1. A statement is a package-level constant named sqlSomething directly above the
// method that uses it, so that sqldbtest.CheckStatements finds, prepares and explains every one.
package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"
)

const (
	defaultReaders   = 4                      // connections for reading, for Options without MaxReaders
	defaultWriters   = 4                      // connections for writing, on PostgreSQL
	defaultSlowQuery = 250 * time.Millisecond // for Options without SlowQuery
	readWithin       = 30 * time.Second       // for a statement outside of a transaction, its wait for a connection included
)

// ErrNoRows is what Scan returns after QueryRow found nothing.
var ErrNoRows = sql.ErrNoRows

// Options has a useful zero value, but for Schema on PostgreSQL.
type Options struct {
	Schema      string        // on PostgreSQL the schema of the service, and its role: "sotto_chat"
	MaxReaders  int           // connections for reading; 0 means 4
	MaxWriters  int           // connections for writing on PostgreSQL; 0 means 4. A transaction waits 5 s for one
	Logger      *slog.Logger  // slow statements and retries; nil means silence
	SlowQuery   time.Duration // what takes longer is logged, without arguments; 0 means 250 ms
	AllowUnsafe bool          // on PostgreSQL accept a server that may lose what was committed
}

// DB is one service's database. It is safe for concurrent use. Close it after everything that uses it has stopped.
type DB struct {
	dialect dialect
	writer  *sql.DB // every write transaction; on SQLite exactly one connection
	readers *sql.DB // cannot write
	owner   *sql.DB // for migrations; on SQLite the writer
	schema  string  // on PostgreSQL
	log     *slog.Logger
	slow    time.Duration
	faults  faultHook

	// Statements of the writer are prepared after the transaction that first used them: before its end there is no
	// connection to prepare them on.
	written, read *statements
}

// Querier reads: a Tx sees its own changes, a DB sees what was committed when each statement began.
type Querier interface {
	Query(ctx context.Context, statement string, args ...any) (*Rows, error)
	QueryRow(ctx context.Context, statement string, args ...any) *Row
}

const urlForms = "write sqlite:///absolute/path/user.db or postgres://login:password@host:5432/database"

// Open opens the database that rawURL names: "sqlite:///absolute/path/user.db", which it makes when the folder exists, or
// "postgres://login:password@host:5432/database", which must exist. It refuses, with a sentence that says what to do, a
// database whose durability settings read back differently from what the promises need. No error repeats the password.
func Open(ctx context.Context, rawURL string, o Options) (*DB, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		return nil, errors.New("opening the database: its URL cannot be parsed; " + urlForms)
	}
	db := &DB{
		schema: o.Schema,
		log:    cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		slow:   cmp.Or(o.SlowQuery, defaultSlowQuery),
	}
	o.MaxReaders, o.MaxWriters = cmp.Or(o.MaxReaders, defaultReaders), cmp.Or(o.MaxWriters, defaultWriters)
	switch u.Scheme {
	case "sqlite":
		db.dialect = sqliteDialect
		if db.writer, db.readers, err = openSQLite(ctx, u, o.MaxReaders); err != nil {
			return nil, err
		}
		db.owner = db.writer
		db.written, db.read = newStatements(db.writer), newStatements(db.readers)
	case "postgres", "postgresql":
		db.dialect = postgresDialect
		if err := db.openPostgres(ctx, rawURL, o); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("opening the database: scheme %q is not known; %s", u.Scheme, urlForms)
	}
	return db, nil
}

// Close waits for running statements and closes every connection.
func (db *DB) Close() error {
	db.read.close()
	db.written.close()
	// The readers go first: the last connection to close folds the write-ahead log of SQLite into the file, and only a
	// writer may.
	err := errors.Join(db.readers.Close(), db.writer.Close())
	if db.owner != db.writer {
		err = errors.Join(err, db.owner.Close())
	}
	return err
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.readers.PingContext(ctx); err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	return nil
}

// Query reads committed rows. The caller closes the rows. Waiting for a connection and reading them all end after 30 s.
func (db *DB) Query(ctx context.Context, statement string, args ...any) (*Rows, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	query := func() (*sql.Rows, error) {
		if stmt := db.reading(ctx, statement); stmt != nil {
			return stmt.QueryContext(ctx, args...)
		}
		return db.readers.QueryContext(ctx, statement, args...)
	}
	return db.watchRows(ctx, cancel, statement, query)
}

// QueryRow reads one committed row; its Scan returns ErrNoRows when there is none. Time is bounded as for Query.
func (db *DB) QueryRow(ctx context.Context, statement string, args ...any) *Row {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	query := func() *sql.Row {
		if stmt := db.reading(ctx, statement); stmt != nil {
			return stmt.QueryRowContext(ctx, args...)
		}
		return db.readers.QueryRowContext(ctx, statement, args...)
	}
	return db.watchRow(ctx, cancel, statement, query)
}

func (db *DB) reading(ctx context.Context, statement string) *sql.Stmt {
	if stmt := db.read.get(statement); stmt != nil {
		return stmt
	}
	return db.read.prepare(ctx, statement)
}

// Pool is how busy one pool of connections is.
type Pool struct {
	Name string // "read" or "write"
	sql.DBStats
}

// Pools are the pools of the database, always the same in the same order.
func (db *DB) Pools() []Pool {
	return []Pool{{"read", db.readers.Stats()}, {"write", db.writer.Stats()}}
}
