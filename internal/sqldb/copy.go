package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// CopyTo writes the database as it is at one moment into a new file, readable only by its owner, while this and other
// processes go on reading and writing. The file is on disk when CopyTo returns; after an error it is of no use.
func (db *DB) CopyTo(ctx context.Context, path string) error {
	if !db.dialect.oneWriter {
		return errors.New("copying the database: PostgreSQL is copied with pg_dump")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	if _, err := db.writer.ExecContext(ctx, "VACUUM INTO $1", path); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	// SQLite does not sync what VACUUM INTO wrote.
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("copying the database: %w", err)
	}
	return nil
}

// maxFaults bounds how many faults of each kind Check lists.
const maxFaults = 20

// Check reads the whole database and returns what is damaged, a line each: pages, indexes, constraints of columns, rows
// whose foreign keys lead nowhere. Nothing means that all is well.
//
// PostgreSQL looks after its pages and keys itself; there is nothing that a client could read to check them.
func (db *DB) Check(ctx context.Context) (faults []string, err error) {
	if !db.dialect.oneWriter {
		return nil, nil
	}
	rows, err := db.readers.QueryContext(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", maxFaults))
	if err != nil {
		return nil, fmt.Errorf("checking the database: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("checking the database: %w", err)
		}
		if line != "ok" {
			faults = append(faults, line)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("checking the database: %w", err)
	}
	broken, err := db.brokenReferences(ctx)
	return append(faults, broken...), err
}

func (db *DB) brokenReferences(ctx context.Context) (faults []string, err error) {
	rows, err := db.readers.QueryContext(ctx,
		"SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2")
	if err != nil {
		return nil, fmt.Errorf("checking foreign keys: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var table, parent string
		var n int
		if err := rows.Scan(&table, &parent, &n); err != nil {
			return nil, fmt.Errorf("checking foreign keys: %w", err)
		}
		faults = append(faults, fmt.Sprintf("%d rows of %s name a row of %s that is not there", n, table, parent))
	}
	return faults, rows.Err()
}

// CheckMigrated is nil when exactly the steps of files have run, and changes nothing: it is for programs that look at
// the database of a server that may be running.
func (db *DB) CheckMigrated(ctx context.Context, series string, files fs.FS) error {
	steps, err := readMigrations(files)
	if err != nil {
		return fmt.Errorf("reading the migrations of %s: %w", series, err)
	}
	return explainPostgres(db.Tx(ctx, "check migrations", func(tx *Tx) error {
		applied, err := tx.checkApplied(ctx, series, steps)
		if err == nil && applied < len(steps) {
			err = fmt.Errorf("the database has %d of %d steps of %s; start this version of the server once",
				applied, len(steps), series)
		}
		return err
	}))
}
