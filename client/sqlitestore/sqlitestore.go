// Package sqlitestore keeps the state of a client in one SQLite file that only its owner can read.
package sqlitestore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sotto/client"
)

// ErrInUse means that another process, or another store of this process, has the file open.
var ErrInUse = errors.New("the store is in use by another program; close that one first")

// errBounds is wrapped by everything that is refused for its size.
var errBounds = errors.New("over the bounds of a store")

// Store is a [client.Store]. One connection, which holds SQLite's exclusive lock from Open to Close, does everything.
type Store struct {
	db                *sql.DB
	get, scan, scanUp *sql.Stmt
}

var _ client.Store = (*Store)(nil)

// pragmas are set on the connection in this order. The exclusive lock comes before the first access in WAL mode, so that
// SQLite needs no shared memory. secure_delete overwrites what is erased.
var pragmas = []struct{ name, set, want string }{
	{"locking_mode", "exclusive", "exclusive"},
	{"journal_mode", "wal", "wal"},
	{"synchronous", "full", "2"},
	{"secure_delete", "on", "1"},
}

// format is kept in the file, and raised when an older program could no longer read it.
const format = 1

const (
	sqlVersion    = `PRAGMA user_version`
	sqlSetVersion = `PRAGMA user_version = 1`
)

const sqlCreate = `CREATE TABLE IF NOT EXISTS kv (
	key BLOB NOT NULL PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 256),
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID`

// Open opens the store in the file at path, or makes it with mode 0600. The directory must exist. It returns [ErrInUse]
// while somebody else has it open.
func Open(path string) (*Store, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := private(absolute); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	query := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		query.Add("_pragma", p.name+"("+p.set+")")
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute), RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	// One connection for ever: a second one would wait for the lock that the first holds.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	s := &Store{db: db}
	if err := s.prepare(); err != nil {
		_ = db.Close() // the first error is the one that counts
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xFF == sqlite3.SQLITE_BUSY {
			err = ErrInUse
		}
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	return s, nil
}

// private makes the file, so that SQLite and its journal never exist with wider permissions, or narrows those it has.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Chmod(0o600); err != nil {
		_ = f.Close() // nothing was written
		return err
	}
	return f.Close()
}

// prepare takes the lock, which SQLite does at the first write and not before, and reads back what durability rests on.
func (s *Store) prepare() error {
	var version int
	if err := s.db.QueryRow(sqlVersion).Scan(&version); err != nil {
		return err
	}
	if version > format {
		return fmt.Errorf("the file has format %d; this program knows up to %d: use a newer one", version, format)
	}
	if _, err := s.db.Exec(sqlSetVersion); err != nil {
		return err
	}
	if _, err := s.db.Exec(sqlCreate); err != nil {
		return err
	}
	for _, p := range pragmas {
		var got string
		if err := s.db.QueryRow("PRAGMA " + p.name).Scan(&got); err != nil {
			return err
		}
		if got != p.want {
			return fmt.Errorf("SQLite has %s=%s, want %s", p.name, got, p.want)
		}
	}
	for _, st := range []struct {
		to   **sql.Stmt
		text string
	}{{&s.get, sqlGet}, {&s.scan, sqlScan}, {&s.scanUp, sqlScanUp}} {
		var err error
		if *st.to, err = s.db.Prepare(st.text); err != nil { //nolint:sqlclosecheck // closed with the store
			return err
		}
	}
	return nil
}

const sqlGet = `SELECT value FROM kv WHERE key = $1`

// Get implements [client.Store].
func (s *Store) Get(key []byte) ([]byte, error) {
	var value []byte
	err := s.get.QueryRow(key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, client.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	return value, nil
}

const (
	sqlScan   = `SELECT key, value FROM kv WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3`
	sqlScanUp = `SELECT key, value FROM kv WHERE key >= $1 ORDER BY key LIMIT $2`
)

// Scan implements [client.Store].
func (s *Store) Scan(prefix, from []byte, limit int) ([]client.Item, error) {
	if limit < 1 || limit > client.MaxScan {
		return nil, fmt.Errorf("scanning %d items: %w", limit, errBounds)
	}
	low := prefix
	if bytes.Compare(from, prefix) > 0 {
		low = from
	}
	if low == nil {
		low = []byte{}
	}
	var rows *sql.Rows
	var err error
	if high, bounded := successor(prefix); bounded {
		rows, err = s.scan.Query(low, high, limit)
	} else {
		rows, err = s.scanUp.Query(low, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("scanning the store: %w", err)
	}
	defer rows.Close()
	var items []client.Item
	for rows.Next() {
		var it client.Item
		if err := rows.Scan(&it.Key, &it.Value); err != nil {
			return nil, fmt.Errorf("scanning the store: %w", err)
		}
		items = append(items, it)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("scanning the store: %w", err)
	}
	return items, nil
}

// successor is the lowest key above all that begin with prefix; false when there is none.
func successor(prefix []byte) ([]byte, bool) {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return nil, false
	}
	high := bytes.Clone(end)
	high[len(high)-1]++
	return high, true
}

const (
	sqlPut    = `INSERT INTO kv (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	sqlDelete = `DELETE FROM kv WHERE key = $1`
)

// Apply implements [client.Store] with one transaction.
func (s *Store) Apply(b client.Batch) error {
	if err := check(b); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("changing the store: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if len(b.Put) > 0 {
		put, err := tx.Prepare(sqlPut)
		if err != nil {
			return fmt.Errorf("changing the store: %w", err)
		}
		defer put.Close()
		for _, it := range b.Put {
			value := it.Value
			if value == nil {
				value = []byte{}
			}
			if _, err := put.Exec(it.Key, value); err != nil {
				return fmt.Errorf("changing the store: %w", err)
			}
		}
	}
	for _, key := range b.Delete {
		if _, err := tx.Exec(sqlDelete, key); err != nil {
			return fmt.Errorf("changing the store: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing to the store: %w", err)
	}
	return nil
}

func check(b client.Batch) error {
	if len(b.Put)+len(b.Delete) > client.MaxBatchSize {
		return fmt.Errorf("a batch of %d changes: %w", len(b.Put)+len(b.Delete), errBounds)
	}
	for _, it := range b.Put {
		if len(it.Key) == 0 || len(it.Key) > client.MaxKey {
			return fmt.Errorf("a key of %d bytes: %w", len(it.Key), errBounds)
		}
		if len(it.Value) > client.MaxValue {
			return fmt.Errorf("a value of %d bytes: %w", len(it.Value), errBounds)
		}
	}
	return nil
}

// Close implements [client.Store].
func (s *Store) Close() error { return s.db.Close() }
