package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	moveRows  = 500     // rows read at once, and written in one transaction
	moveBytes = 4 << 20 // or fewer rows of about this many bytes
)

// ErrMoveUnfinished is wrapped by CheckMove when rows are still to come.
var ErrMoveUnfinished = errors.New("a move into this database was begun and is not finished; run `sottod migrate-store` again")

// TableCount tells how far a move is.
type TableCount struct {
	Table string
	Rows  int64 // there now
}

// Move copies every row of a SQLite database into a migrated PostgreSQL one, table by table, and compares both by number
// of rows and checksum. Nobody may write to either meanwhile. It can be broken off at any point and called again: what was
// copied is remembered in the transaction that copied it.
//
// fresh is a SQLite database that was migrated and nothing else. Move refuses a target that it has not begun and that
// holds more than that.
func Move(ctx context.Context, from, to, fresh *DB, report func(TableCount)) error {
	if !from.dialect.oneWriter || to.dialect.oneWriter {
		return errors.New("moving: it goes from SQLite to PostgreSQL")
	}
	tables, err := from.tables(ctx)
	if err != nil {
		return fmt.Errorf("moving: %w", err)
	}
	done, err := beginMove(ctx, to, fresh, tables)
	if err != nil {
		return fmt.Errorf("moving: %w", err)
	}
	if done { // and perhaps in use since
		return nil
	}
	for _, t := range tables {
		if err := moveTable(ctx, from, to, t, report); err != nil {
			return fmt.Errorf("moving table %s: %w", t.name, err)
		}
	}
	if err := moveSequences(ctx, from, to); err != nil {
		return fmt.Errorf("moving: %w", err)
	}
	for _, t := range tables {
		if err := compareTable(ctx, from, to, t); err != nil {
			return fmt.Errorf("comparing table %s: %w", t.name, err)
		}
	}
	return to.runTx(ctx, to.owner, "end move", func(tx *Tx) error {
		_, err := tx.Exec(ctx, "UPDATE store_migration SET done = 1")
		return err
	})
}

const sqlMoveBegun = "SELECT to_regclass($1) IS NOT NULL"

// CheckMove is nil unless a move into the database was begun and not finished.
func (db *DB) CheckMove(ctx context.Context) error {
	if db.dialect.oneWriter {
		return nil
	}
	var begun bool
	if err := db.QueryRow(ctx, sqlMoveBegun, db.schema+".store_migration").Scan(&begun); err != nil || !begun {
		return err
	}
	var open int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM store_migration WHERE done = 0").Scan(&open); err != nil {
		return fmt.Errorf("looking for a move: %w", err)
	}
	if open > 0 {
		return ErrMoveUnfinished
	}
	return nil
}

// table is what a move needs to know of one.
type table struct {
	name    string
	columns string // quoted and separated by commas
	width   int    // columns
}

// tables lists those of a SQLite database so that each comes after the ones that its rows refer to.
func (db *DB) tables(ctx context.Context) ([]table, error) {
	names, err := db.texts(ctx, `SELECT name FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'schema_migration' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	waiting := map[string][]string{}
	for _, name := range names {
		parents, err := db.texts(ctx, `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1) WHERE "table" <> $1`, name)
		if err != nil {
			return nil, err
		}
		waiting[name] = parents
	}
	var tables []table
	for len(waiting) > 0 {
		i := slices.IndexFunc(names, func(name string) bool {
			parents, ok := waiting[name]
			return ok && !slices.ContainsFunc(parents, func(p string) bool { _, ok := waiting[p]; return ok })
		})
		if i < 0 {
			return nil, fmt.Errorf("tables refer to each other in a circle: %v", slices.Sorted(maps.Keys(waiting)))
		}
		delete(waiting, names[i])
		columns, err := db.texts(ctx, `SELECT name FROM pragma_table_info($1) ORDER BY cid`, names[i])
		if err != nil {
			return nil, err
		}
		tables = append(tables, table{name: names[i], columns: `"` + strings.Join(columns, `", "`) + `"`, width: len(columns)})
	}
	return tables, nil
}

func (db *DB) texts(ctx context.Context, statement string, args ...any) (all []string, err error) {
	rows, err := db.readers.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// beginMove remembers that this database is the target, unless it is already, and tells whether everything was moved
// before. The rows that migrations made are deleted: those of the source take their place.
func beginMove(ctx context.Context, to, fresh *DB, tables []table) (done bool, err error) {
	err = to.migrateTx(ctx, func(tx *Tx) error {
		var begun bool
		if err := tx.QueryRow(ctx, sqlMoveBegun, to.schema+".store_migration").Scan(&begun); err != nil {
			return err
		}
		if begun {
			return tx.QueryRow(ctx, "SELECT count(*) = 0 FROM store_migration WHERE done = 0").Scan(&done)
		}
		for _, t := range slices.Backward(tables) {
			var have, made int64
			count := "SELECT count(*) FROM " + t.name
			if err := tx.QueryRow(ctx, count).Scan(&have); err != nil {
				return err
			}
			if err := fresh.readers.QueryRowContext(ctx, count).Scan(&made); err != nil {
				return err
			}
			if have > made {
				return fmt.Errorf("the target is in use: its table %s.%s has %d rows; name an empty database", to.schema, t.name, have)
			}
			if _, err := tx.Exec(ctx, "DELETE FROM "+t.name); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `CREATE TABLE store_migration (
			name TEXT PRIMARY KEY, last BIGINT NOT NULL, copied BIGINT NOT NULL, done BIGINT NOT NULL)`); err != nil {
			return err
		}
		for _, t := range tables {
			if _, err := tx.Exec(ctx, "INSERT INTO store_migration (name, last, copied, done) VALUES ($1, $2, 0, 0)",
				t.name, int64(-1)<<62); err != nil {
				return err
			}
		}
		return to.dialect.grant(ctx, tx)
	})
	return done, err
}

func moveTable(ctx context.Context, from, to *DB, t table, report func(TableCount)) error {
	for more := true; more; {
		var count TableCount
		if err := to.runTx(ctx, to.writer, "move", func(tx *Tx) error {
			var last, copied int64
			if err := tx.QueryRow(ctx, "SELECT last, copied FROM store_migration WHERE name = $1", t.name).Scan(&last, &copied); err != nil {
				return err
			}
			rows, last, err := readPart(ctx, from, t, last)
			if err != nil {
				return err
			}
			more = len(rows) > 0
			n := int64(len(rows) / t.width)
			for part := range slices.Chunk(rows, max(1, MaxValues/t.width)*t.width) {
				insert := "INSERT INTO " + t.name + " (" + t.columns + ") VALUES " + Values(1, len(part)/t.width, t.width) //nolint:gosec // names are those of the schema
				if _, err := tx.tx.ExecContext(ctx, insert, part...); err != nil {
					return err
				}
			}
			count = TableCount{Table: t.name, Rows: copied + n}
			_, err = tx.Exec(ctx, "UPDATE store_migration SET last = $2, copied = copied + $3 WHERE name = $1", t.name, last, n)
			return err
		}); err != nil {
			return err
		}
		report(count)
	}
	return nil
}

// readPart reads the rows that follow one in SQLite's own order, and returns them one after the other with the place of
// the last.
func readPart(ctx context.Context, from *DB, t table, after int64) (values []any, last int64, err error) {
	statement := "SELECT rowid, " + t.columns + " FROM " + t.name + " WHERE rowid > $1 ORDER BY rowid LIMIT $2" //nolint:gosec // names are those of the schema
	rows, err := from.readers.QueryContext(ctx, statement, after, moveRows)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	last = after
	for size := 0; size < moveBytes && rows.Next(); {
		row, err := scanRow(rows, t.width+1)
		if err != nil {
			return nil, 0, err
		}
		last = row[0].(int64)
		values = append(values, row[1:]...)
		for _, v := range row {
			size += len(encodeValue(nil, v))
		}
	}
	return values, last, rows.Err()
}

// scanRow reads a row of integers, texts, blobs and NULLs.
func scanRow(rows *sql.Rows, width int) ([]any, error) {
	row, into := make([]any, width), make([]any, width)
	for i := range row {
		into[i] = &row[i]
	}
	err := rows.Scan(into...)
	for i := range row {
		if b, ok := row[i].([]byte); ok && len(b) == 0 {
			row[i] = []byte{} // a nil slice would be NULL on the other side
		}
	}
	return row, err
}

// moveSequences lets the target count on where the source stopped, so that no number is used twice.
func moveSequences(ctx context.Context, from, to *DB) error {
	rows, err := from.readers.QueryContext(ctx, "SELECT name, seq FROM sqlite_sequence WHERE seq > 0")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var last int64
		if err := rows.Scan(&name, &last); err != nil {
			return err
		}
		column, err := from.texts(ctx, "SELECT name FROM pragma_table_info($1) WHERE pk = 1", name)
		if err != nil || len(column) != 1 {
			return fmt.Errorf("the key of %s: %v, %w", name, column, err)
		}
		if _, err := to.owner.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence($1, $2), $3)",
			to.schema+"."+name, column[0], last); err != nil {
			return fmt.Errorf("the numbers of %s: %w", name, err)
		}
	}
	return rows.Err()
}

// compareTable holds the rows of both against each other, in any order.
func compareTable(ctx context.Context, from, to *DB, t table) error {
	want, wantSum, err := sumTable(ctx, from, t)
	if err != nil {
		return err
	}
	have, haveSum, err := sumTable(ctx, to, t)
	if err != nil {
		return err
	}
	if want != have || wantSum != haveSum {
		return fmt.Errorf("%d rows became %d, or their checksum differs: the source was changed since the move began; "+
			"run DROP SCHEMA %s CASCADE on the target and begin again", want, have, to.schema)
	}
	return nil
}

// sumTable counts the rows and adds up their hashes bit by bit; no two rows are equal, because each has a key.
func sumTable(ctx context.Context, db *DB, t table) (n int64, sum [sha256.Size]byte, err error) {
	statement := "SELECT " + t.columns + " FROM " + t.name //nolint:gosec // names are those of the schema
	rows, err := db.readers.QueryContext(ctx, statement)
	if err != nil {
		return 0, sum, err
	}
	defer rows.Close()
	var encoded []byte
	for ; rows.Next(); n++ {
		row, err := scanRow(rows, t.width)
		if err != nil {
			return 0, sum, err
		}
		encoded = encoded[:0]
		for _, v := range row {
			encoded = encodeValue(encoded, v)
		}
		hash := sha256.Sum256(encoded)
		for i := range sum {
			sum[i] ^= hash[i]
		}
	}
	return n, sum, rows.Err()
}

// encodeValue appends a value so that different rows are different bytes, and the same row is the same on both engines.
func encodeValue(b []byte, value any) []byte {
	var content []byte
	kind := byte('n')
	switch v := value.(type) {
	case int64:
		kind, content = 'i', binary.BigEndian.AppendUint64(nil, uint64(v))
	case string:
		kind, content = 't', []byte(v)
	case []byte:
		kind, content = 'b', v
	}
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}
