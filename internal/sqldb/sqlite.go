package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const busyTimeout = 5000 // milliseconds that SQLite waits for another process's lock

var sqliteDialect = dialect{
	types: strings.NewReplacer(
		"$int", "INTEGER",
		"$blob", "BLOB",
		"$serial", "INTEGER PRIMARY KEY AUTOINCREMENT",
		"$strict", "STRICT",
	),
	oneWriter: true,
	classify:  classifySQLite,
	scans:     scansSQLite,
	begun:     begunSQLite,

	addCompatible: addCompatibleSQLite,
	prepare:       func(context.Context, *DB) error { return nil },
	lock:          func(context.Context, *Tx) error { return nil }, // the transaction began with the write lock
	grant:         func(context.Context, *Tx) error { return nil },
}

// sqlitePragmas are set on every connection and read back. synchronous 2 is FULL: a commit returns after fsync.
// temp_store 2 is memory: nothing of ours reaches a temporary file.
var sqlitePragmas = []struct{ name, value string }{
	{"busy_timeout", strconv.Itoa(busyTimeout)}, // first, so that setting the others waits too
	{"journal_mode", "wal"},
	{"synchronous", "2"},
	{"foreign_keys", "1"},
	{"temp_store", "2"},
}

// openSQLite opens one connection for writing, which begins its transactions with the write lock so that they never
// have to be upgraded, and a pool that can only read.
func openSQLite(ctx context.Context, u *url.URL, readers int) (writer, reader *sql.DB, err error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return nil, nil, errors.New(
			"opening the database: write sqlite:///absolute/path/user.db, with three slashes and no options")
	}
	if err := createPrivate(u.Path); err != nil {
		return nil, nil, fmt.Errorf("opening the database: %w", err)
	}
	if writer, err = sql.Open("sqlite", sqliteDSN(u.Path, "_txlock=immediate")); err != nil {
		return nil, nil, fmt.Errorf("opening the database: %w", err)
	}
	writer.SetMaxOpenConns(1)
	if err := checkSQLite(ctx, writer); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the database %s: %w", u.Path, err), writer.Close())
	}
	if reader, err = sql.Open("sqlite", sqliteDSN(u.Path, "_pragma=query_only(1)")); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the database: %w", err), writer.Close())
	}
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return writer, reader, nil
}

// createPrivate makes the file before SQLite does, because SQLite would make it readable for everybody. The write-ahead
// log and its index get the file's mode from SQLite.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func sqliteDSN(path, extra string) string {
	var q strings.Builder
	for _, p := range sqlitePragmas {
		fmt.Fprintf(&q, "_pragma=%s(%s)&", p.name, p.value)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.String() + extra}).String()
}

// checkSQLite reads every pragma back: a file system without shared memory, for one, silently keeps another journal
// mode.
func checkSQLite(ctx context.Context, db *sql.DB) error {
	for _, p := range sqlitePragmas {
		var got string
		if err := db.QueryRowContext(ctx, "PRAGMA "+p.name).Scan(&got); err != nil {
			return fmt.Errorf("reading %s back: %w", p.name, err)
		}
		if got != p.value {
			return fmt.Errorf("%s is %s where %s is needed to keep what was acknowledged; "+
				"put the data directory on a local file system", p.name, got, p.value)
		}
	}
	return nil
}

func classifySQLite(err error) errorClass {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return classOther
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return classUnique
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return classForeignKey
	case sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_CONSTRAINT_DATATYPE:
		return classCheck
	}
	const primary = 0xff // the low byte is the primary result code, the rest says why
	switch e.Code() & primary {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return classBusy
	case sqlite3.SQLITE_FULL: // the disk; there may be room again
		return classAway
	}
	return classOther
}

func begunSQLite(ctx context.Context, db *DB) (begun bool, err error) {
	err = db.readers.QueryRowContext(ctx,
		"SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_migration') WHERE name = 'compatible')").Scan(&begun)
	return begun, err
}

func addCompatibleSQLite(ctx context.Context, tx *Tx) error {
	var there bool
	err := tx.QueryRow(ctx,
		"SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_migration') WHERE name = 'compatible')").Scan(&there)
	if err != nil || there {
		return err
	}
	_, err = tx.Exec(ctx, "ALTER TABLE schema_migration ADD COLUMN compatible INTEGER NOT NULL DEFAULT 1")
	return err
}

// A step that begins with SCAN reads every row of what it names. Rows that the statement itself brings are no table.
var (
	scanStep = regexp.MustCompile(`^SCAN `)
	ownRows  = regexp.MustCompile(`^SCAN (CONSTANT ROW|[0-9]+-ROW VALUES CLAUSE|\()`)
)

func scansSQLite(ctx context.Context, db *DB, statement string, n int) ([]string, error) {
	statement = rowLock.ReplaceAllString(statement, "")
	rows, err := db.writer.QueryContext(ctx, "EXPLAIN QUERY PLAN "+statement, make([]any, n)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var scans []string
	for rows.Next() {
		var id, parent, unused int64
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			return nil, err
		}
		if scanStep.MatchString(step) && !ownRows.MatchString(step) {
			scans = append(scans, step)
		}
	}
	return scans, rows.Err()
}
