package sqldb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"time"

	"sotto/internal/fault"
)

// ErrNewerSchema is wrapped by Migrate when a newer program has changed this database so that this one cannot use it.
var ErrNewerSchema = errors.New(
	"the database is newer than this program; start the newer program again, or restore a backup")

const sqlCreateSchemaMigration = `
CREATE TABLE IF NOT EXISTS schema_migration (
	series TEXT NOT NULL,
	version $int NOT NULL CHECK (version > 0),
	name TEXT NOT NULL,
	checksum $blob NOT NULL CHECK (length(checksum) = 32),
	applied_at $int NOT NULL,
	-- The oldest program that may use the tables after this step, by the last step that it knows.
	compatible $int NOT NULL DEFAULT 1 CHECK (compatible > 0),
	PRIMARY KEY (series, version)
) $strict`

type migration struct {
	version  int64
	name     string // of the file
	text     string
	checksum []byte // SHA-256 of the text with its tokens, thus the same on every engine

	compatible int64 // see the column
}

// Migrate brings one series of tables to the version of this program. A database holds several series: the service's
// own and those of packages like outbox. Every file named NNNN_name.sql within files is one step, numbered from 0001
// without gaps. A step runs once, in a transaction of its own together with its record, so a crash leaves the database
// before or after it. Two processes may migrate at once.
//
// A step is written once for every engine: $int is the 64-bit integer, $blob the byte string, $serial a primary key
// that counts up and is never used again, and $strict ends each CREATE TABLE.
//
// On PostgreSQL the steps run as the login of the URL, which owns the tables, in the schema of Options; the service gets a
// role that may read and write rows there and nothing else.
//
// Steps only add, so that the program of before goes on with the new tables. One that takes something away holds a line
// "-- compatible: N": programs that do not know step N must not use the database after it.
//
// Migrate refuses a step that was changed after it ran, and with ErrNewerSchema a database that has steps for which this
// program is too old. Other steps that it does not know it leaves alone.
func (db *DB) Migrate(ctx context.Context, series string, files fs.FS) error {
	steps, err := readMigrations(files)
	if err != nil {
		return fmt.Errorf("reading the migrations of %s: %w", series, err)
	}
	return explainPostgres(db.migrate(ctx, series, steps))
}

func (db *DB) migrate(ctx context.Context, series string, steps []migration) error {
	if current, err := db.isCurrent(ctx, series, steps); err != nil || current {
		return err
	}
	if err := db.dialect.prepare(ctx, db); err != nil {
		return fmt.Errorf("migrating %s: %w", series, err)
	}
	if err := db.migrateTx(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, db.dialect.types.Replace(sqlCreateSchemaMigration)); err != nil {
			return err
		}
		return db.dialect.addCompatible(ctx, tx)
	}); err != nil {
		return err
	}
	for done := false; !done; {
		if err := db.migrateTx(ctx, func(tx *Tx) (err error) {
			done, err = tx.migrateOne(ctx, series, steps)
			return err
		}); err != nil {
			return fmt.Errorf("migrating %s: %w", series, err)
		}
	}
	return nil
}

// isCurrent tells that there is nothing to do, for which the rights of the service are enough.
func (db *DB) isCurrent(ctx context.Context, series string, steps []migration) (current bool, err error) {
	if begun, err := db.dialect.begun(ctx, db); err != nil || !begun {
		return false, err
	}
	err = db.runTx(ctx, db.owner, "check migrations", func(tx *Tx) error {
		applied, err := tx.checkApplied(ctx, series, steps)
		current = applied >= len(steps)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("migrating %s: %w", series, err)
	}
	return current, nil
}

// migrateTx runs fn as the owner of the tables, while no other process migrates.
func (db *DB) migrateTx(ctx context.Context, fn func(*Tx) error) error {
	return db.runTx(ctx, db.owner, "migrate", func(tx *Tx) error {
		if err := db.dialect.lock(ctx, tx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// migrateOne reads what was done within the transaction that does the next step, so that of two processes one waits and
// then finds nothing to do.
func (tx *Tx) migrateOne(ctx context.Context, series string, steps []migration) (done bool, err error) {
	applied, err := tx.checkApplied(ctx, series, steps)
	if err != nil || applied >= len(steps) {
		return true, err
	}
	m := steps[applied]
	text := tx.db.dialect.types.Replace(m.text)
	if token := unknownToken.FindString(text); token != "" {
		return true, fmt.Errorf("%s: unknown token %s", m.name, token)
	}
	if _, err := tx.Exec(ctx, text); err != nil {
		return true, fmt.Errorf("%s: %w", m.name, err)
	}
	if err := tx.recordMigration(ctx, series, m); err != nil {
		return true, err
	}
	fault.Point("migration before commit")
	return false, tx.db.dialect.grant(ctx, tx)
}

var unknownToken = regexp.MustCompile(`\$[a-z]+`)

const sqlRecordMigration = `
INSERT INTO schema_migration (series, version, name, checksum, applied_at, compatible) VALUES ($1, $2, $3, $4, $5, $6)`

func (tx *Tx) recordMigration(ctx context.Context, series string, m migration) error {
	_, err := tx.Exec(ctx, sqlRecordMigration, series, m.version, m.name, m.checksum, time.Now().UnixMilli(), m.compatible)
	return err
}

const sqlAppliedMigrations = `
SELECT version, name, checksum, compatible FROM schema_migration WHERE series = $1 ORDER BY version`

// checkApplied returns how many of the steps have run.
func (tx *Tx) checkApplied(ctx context.Context, series string, steps []migration) (applied int, err error) {
	rows, err := tx.Query(ctx, sqlAppliedMigrations, series)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); applied++ {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum, &m.compatible); err != nil {
			return 0, err
		}
		if applied >= len(steps) {
			if m.compatible > int64(len(steps)) {
				return 0, fmt.Errorf("%w: it has step %s, this program ends with %s",
					ErrNewerSchema, m.name, steps[len(steps)-1].name)
			}
			continue
		}
		if want := steps[applied]; m.version != want.version || !slices.Equal(m.checksum, want.checksum) {
			return 0, fmt.Errorf("step %s ran as %s with another text; a step that has run is never edited",
				want.name, m.name)
		}
	}
	return applied, rows.Err()
}

var compatibleLine = regexp.MustCompile(`(?m)^-- compatible: ([0-9]{1,4})$`)

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

func readMigrations(files fs.FS) ([]migration, error) {
	var steps []migration
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".sql" {
			return err
		}
		name := migrationName.FindStringSubmatch(d.Name())
		if name == nil {
			return fmt.Errorf("%s is not named NNNN_name.sql", p)
		}
		text, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		version, err := strconv.ParseInt(name[1], 10, 64)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		steps = append(steps, migration{version: version, name: d.Name(), text: string(text), checksum: sum[:]})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(steps, func(a, b migration) int { return int(a.version - b.version) })
	for i, m := range steps {
		if m.version != int64(i+1) {
			return nil, fmt.Errorf("%s is step %d, expected step %d", m.name, m.version, i+1)
		}
		steps[i].compatible = 1
		if i > 0 {
			steps[i].compatible = steps[i-1].compatible
		}
		if line := compatibleLine.FindStringSubmatch(m.text); line != nil {
			if steps[i].compatible, err = strconv.ParseInt(line[1], 10, 64); err != nil || steps[i].compatible > m.version {
				return nil, fmt.Errorf("%s is compatible with a step that does not exist", m.name)
			}
		}
	}
	if len(steps) == 0 {
		return nil, errors.New("there are none")
	}
	return steps, nil
}
