package sqldb_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// moved has what a move must get right: references, a counter, every type, NULL, a row that the migration makes.
var moved = sqldbtest.Series{Name: "moved", Files: fstest.MapFS{"0001_moved.sql": {Data: []byte(`
CREATE TABLE z_parent (id $serial, name TEXT NOT NULL) $strict;
CREATE TABLE a_child (id $blob PRIMARY KEY, parent $int NOT NULL REFERENCES z_parent (id), note TEXT, data $blob) $strict;
CREATE TABLE single (one $int PRIMARY KEY, epoch $int NOT NULL) $strict;
INSERT INTO single (one, epoch) VALUES (1, 1);
`)}}}

func exec(t *testing.T, db *sqldb.DB, statement string, args ...any) {
	t.Helper()
	if err := db.Tx(t.Context(), "exec", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// move runs Move and turns the death of the process into an error.
func move(t *testing.T, from, to, fresh *sqldb.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = p.(error)
		}
	}()
	return sqldb.Move(t.Context(), from, to, fresh, func(sqldb.TableCount) {})
}

func TestMove(t *testing.T) {
	target := sqldbtest.Open(t, moved)
	if sqldbtest.On(t) == sqldbtest.SQLite {
		if err := sqldb.Move(t.Context(), target, target, target, nil); err == nil {
			t.Error("moved to SQLite")
		}
		return
	}
	sqlite := func(name string) *sqldb.DB {
		db, err := sqldb.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), name), sqldb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if err := db.Migrate(t.Context(), moved.Name, moved.Files); err != nil {
			t.Fatal(err)
		}
		return db
	}
	fresh, source := sqlite("fresh.db"), sqlite("source.db")
	for i := range 1200 {
		exec(t, source, "INSERT INTO z_parent (name) VALUES ($1)", fmt.Sprintf("name %d", i))
		exec(t, source, "INSERT INTO a_child (id, parent, note, data) VALUES ($1, $2, $3, $4)",
			[]byte{byte(i >> 8), byte(i)}, i+1, []any{nil, "note"}[i%2], []any{nil, []byte{}, []byte{1}}[i%3])
	}
	exec(t, source, "DELETE FROM a_child WHERE parent = 1200")
	exec(t, source, "DELETE FROM z_parent WHERE id = 1200") // its number must not come back
	exec(t, source, "UPDATE single SET epoch = 7")

	// Broken off around every commit, in both flavours, and begun again.
	const times = 40
	for interruptions := range times {
		commits := 0
		target.InjectCommitFaults(func(string) sqldb.Fault {
			if commits++; commits == 1+interruptions%4 {
				return []sqldb.Fault{sqldb.PanicStored, sqldb.PanicLost}[interruptions/4%2]
			}
			return sqldb.NoFault
		})
		if err := move(t, source, target, fresh); !errors.Is(err, sqldb.ErrInjected) {
			t.Fatal(err)
		}
		if interruptions == 1 {
			if err := target.CheckMove(t.Context()); !errors.Is(err, sqldb.ErrMoveUnfinished) {
				t.Errorf("in the middle: %v", err)
			}
		}
	}
	target.InjectCommitFaults(nil)
	exec(t, source, "UPDATE a_child SET note = 'changed' WHERE parent = 5")
	if err := move(t, source, target, fresh); err == nil || !strings.Contains(err.Error(), "begin again") {
		t.Errorf("a source that changed: %v", err)
	}
	exec(t, source, "UPDATE a_child SET note = NULL WHERE parent = 5")
	if err := move(t, source, target, fresh); err != nil {
		t.Fatal(err)
	}
	if err := target.CheckMove(t.Context()); err != nil {
		t.Error(err)
	}
	var epoch, id int64
	if err := target.QueryRow(t.Context(), "SELECT epoch FROM single").Scan(&epoch); err != nil || epoch != 7 {
		t.Errorf("epoch %d, %v", epoch, err)
	}
	if err := target.Tx(t.Context(), "next", func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), "INSERT INTO z_parent (name) VALUES ('next') RETURNING id").Scan(&id)
	}); err != nil || id != 1201 {
		t.Errorf("the next number is %d, %v", id, err)
	}
	// The target is in use from now on, and another run leaves it alone.
	exec(t, target, "UPDATE a_child SET note = 'changed' WHERE parent = 5")
	if err := move(t, source, target, fresh); err != nil {
		t.Errorf("a move that is finished: %v", err)
	}
}

func TestMoveRefusesATargetInUse(t *testing.T) {
	target := sqldbtest.Open(t, moved)
	if sqldbtest.On(t) == sqldbtest.SQLite {
		return
	}
	exec(t, target, "INSERT INTO z_parent (name) VALUES ('somebody')")
	source, err := sqldb.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "source.db"), sqldb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := source.Migrate(t.Context(), moved.Name, moved.Files); err != nil {
		t.Fatal(err)
	}
	if err := move(t, source, target, source); err == nil || !strings.Contains(err.Error(), "name an empty database") {
		t.Errorf("moved into a database in use: %v", err)
	}
	var n int
	if err := target.QueryRow(t.Context(), "SELECT count(*) FROM z_parent").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}
