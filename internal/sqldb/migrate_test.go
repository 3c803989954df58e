package sqldb_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

func files(texts ...string) fstest.MapFS {
	fs := make(fstest.MapFS)
	for i, text := range texts {
		fs["sql/000"+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	return fs
}

const (
	stepA = "CREATE TABLE a (id $int PRIMARY KEY) $strict; INSERT INTO a (id) VALUES (1)"
	stepB = "CREATE TABLE b (id $blob PRIMARY KEY) $strict; INSERT INTO a (id) VALUES (2)"
)

func rowsOfA(t *testing.T, db *sqldb.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM a").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMigrateRunsEachStepOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := sqldbtest.OpenAt(t, path)
	for range 2 {
		if err := db.Migrate(t.Context(), "s", files(stepA)); err != nil || rowsOfA(t, db) != 1 {
			t.Fatalf("%v, %d rows", err, rowsOfA(t, db))
		}
	}
	again := sqldbtest.OpenAt(t, path)
	if err := again.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil || rowsOfA(t, again) != 2 {
		t.Errorf("%v, %d rows", err, rowsOfA(t, again))
	}
	if err := again.Migrate(t.Context(), "other", files("CREATE TABLE c (id $int) $strict")); err != nil {
		t.Errorf("another series: %v", err)
	}
}

func TestMigrateRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		files fstest.MapFS
		is    error // nil for any
	}{
		"an edited step":  {files(stepA+" ", stepB), nil},
		"a gap":           {fstest.MapFS{"0001_a.sql": {Data: []byte(stepA)}, "0003_b.sql": {Data: []byte(stepB)}}, nil},
		"a strange name":  {fstest.MapFS{"first.sql": {Data: []byte(stepA)}}, nil},
		"no files":        {fstest.MapFS{}, nil},
		"an unknown type": {files(stepA, stepB, "CREATE TABLE d (id $uuid)"), nil},
		"a broken step":   {files(stepA, stepB, "INSERT INTO a (id) VALUES (3); nonsense"), nil},
	} {
		db := sqldbtest.Open(t, sqldbtest.Series{Name: "s", Files: files(stepA, stepB)})
		err := db.Migrate(t.Context(), "s", c.files)
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
		if n := rowsOfA(t, db); n != 2 {
			t.Errorf("%s: changed something: %d rows", name, n)
		}
		if err := db.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil {
			t.Errorf("%s: unusable afterwards: %v", name, err)
		}
	}
}

// TestNewerSchema: a program goes on with tables that a newer one has added to, and refuses those that it took from.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := sqldbtest.OpenAt(t, path, sqldbtest.Series{Name: "s", Files: files(stepA, stepB)})
	old := files(stepA)
	for name, check := range map[string]func() error{
		"migrating": func() error { return db.Migrate(t.Context(), "s", old) },
		"checking":  func() error { return db.CheckMigrated(t.Context(), "s", old) },
	} {
		if err := check(); err != nil {
			t.Errorf("%s after a step that only added: %v", name, err)
		}
	}
	taking := "-- compatible: 2\nDROP TABLE b"
	if err := db.Migrate(t.Context(), "s", files(stepA, stepB, taking)); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil {
		t.Errorf("a program that knows the step before: %v", err)
	}
	if err := db.Migrate(t.Context(), "s", old); !errors.Is(err, sqldb.ErrNewerSchema) {
		t.Errorf("a program that is too old: %v", err)
	}
	if err := db.CheckMigrated(t.Context(), "s", old); !errors.Is(err, sqldb.ErrNewerSchema) {
		t.Errorf("checking with a program that is too old: %v", err)
	}
	if err := db.Migrate(t.Context(), "t", files("-- compatible: 2\n"+stepA)); err == nil {
		t.Error("a step that is newer than itself ran")
	}
}

// TestMigratesATableOfBefore: the record of steps itself gets its new column.
func TestMigratesATableOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := sqldbtest.OpenAt(t, path, sqldbtest.Series{Name: "s", Files: files(stepA)})
	drop := "ALTER TABLE schema_migration DROP COLUMN compatible"
	if sqldbtest.On(t) == sqldbtest.Postgres {
		drop = "SET ROLE sotto; " + drop
	}
	if _, err := db.Writer().Exec(drop); err != nil {
		t.Fatal(err)
	}
	again := sqldbtest.OpenAt(t, path)
	if err := again.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil || rowsOfA(t, again) != 2 {
		t.Errorf("%v, %d rows", err, rowsOfA(t, again))
	}
}

// TestMigrateCrash dies around every commit of a migration, in both flavours, and starts again.
func TestMigrateCrash(t *testing.T) {
	for _, fault := range []sqldb.Fault{sqldb.PanicLost, sqldb.PanicStored} {
		for at := range 4 {
			path := filepath.Join(t.TempDir(), "test.db")
			commits, died := 0, false
			func() {
				db := sqldbtest.OpenAt(t, path)
				db.InjectCommitFaults(func(string) sqldb.Fault {
					if commits++; commits == at+1 {
						return fault
					}
					return sqldb.NoFault
				})
				defer func() { died = recover() == sqldb.ErrInjected }() //nolint:errorlint // the very value that was thrown
				_ = db.Migrate(t.Context(), "s", files(stepA, stepB))
			}()
			db := sqldbtest.OpenAt(t, path)
			if err := db.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil || !died || rowsOfA(t, db) != 2 {
				t.Errorf("fault %d at commit %d: died %t, %v, %d rows", fault, at, died, err, rowsOfA(t, db))
			}
		}
	}
}

func TestTwoProcessesMigrateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var wg sync.WaitGroup
	for range 4 {
		db := sqldbtest.OpenAt(t, path)
		wg.Go(func() {
			if err := db.Migrate(t.Context(), "s", files(stepA, stepB)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if db := sqldbtest.OpenAt(t, path); rowsOfA(t, db) != 2 {
		t.Errorf("%d rows", rowsOfA(t, db))
	}
}
