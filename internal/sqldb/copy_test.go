package sqldb_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

var copied = fstest.MapFS{"0001_pair.sql": &fstest.MapFile{Data: []byte(`
CREATE TABLE parent (id $int NOT NULL PRIMARY KEY) $strict;
CREATE TABLE child (id $int NOT NULL PRIMARY KEY, parent $int NOT NULL REFERENCES parent (id)) $strict;`)}}

// TestCopyIsOneMoment copies while pairs of rows are written: no copy has half a pair.
func TestCopyIsOneMoment(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	dir := t.TempDir()
	db := sqldbtest.OpenAt(t, filepath.Join(dir, "from.db"), sqldbtest.Series{Name: "pair", Files: copied})
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		for i := 1; ; i++ {
			err := db.Tx(ctx, "pair", func(tx *sqldb.Tx) error {
				if _, err := tx.Exec(ctx, "INSERT INTO parent (id) VALUES ($1)", i); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, "INSERT INTO child (id, parent) VALUES ($1, $1)", i)
				return err
			})
			if err != nil {
				written <- err
				return
			}
		}
	}()
	for i := range 5 {
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := db.CopyTo(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if err := db.CopyTo(t.Context(), path); err == nil {
			t.Error("a copy was overwritten")
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
		c := sqldbtest.OpenAt(t, path, sqldbtest.Series{Name: "pair", Files: copied})
		var parents, children int
		err := c.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM child)").Scan(&parents, &children)
		if err != nil || parents != children {
			t.Errorf("%d parents, %d children, %v", parents, children, err)
		}
		if faults, err := c.Check(t.Context()); err != nil || len(faults) != 0 {
			t.Error(faults, err)
		}
	}
	stop()
	if err := <-written; ctx.Err() == nil {
		t.Error(err)
	}
}

// TestCheckFindsLostRows plants a child without a parent, by a connection that checks no foreign keys.
func TestCheckFindsLostRows(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	path := filepath.Join(t.TempDir(), "lost.db")
	db := sqldbtest.OpenAt(t, path, sqldbtest.Series{Name: "pair", Files: copied})
	unchecked, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unchecked.ExecContext(t.Context(), "INSERT INTO child (id, parent) VALUES (1, 2)"); err != nil {
		t.Fatal(err)
	}
	if err := unchecked.Close(); err != nil {
		t.Fatal(err)
	}
	faults, err := db.Check(t.Context())
	if err != nil || len(faults) != 1 || !strings.Contains(faults[0], "1 rows of child") {
		t.Error(faults, err)
	}
}

func TestCheckMigratedChangesNothing(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	db := sqldbtest.Open(t, sqldbtest.Series{Name: "pair", Files: copied})
	if err := db.CheckMigrated(t.Context(), "pair", copied); err != nil {
		t.Error(err)
	}
	newer := fstest.MapFS{"0002_more.sql": &fstest.MapFile{Data: []byte("CREATE TABLE more (id $int) $strict;")}}
	for name, file := range copied {
		newer[name] = file
	}
	err := db.CheckMigrated(t.Context(), "pair", newer)
	if err == nil || !strings.Contains(err.Error(), "1 of 2 steps") {
		t.Error(err)
	}
	if err := db.CheckMigrated(t.Context(), "pair", copied); err != nil {
		t.Error("something was changed:", err)
	}
}
