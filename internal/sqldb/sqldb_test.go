package sqldb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// notes is a small schema with one of every constraint.
var notes = sqldbtest.Series{Name: "notes", Files: fstest.MapFS{
	"0001_notes.sql": {Data: []byte(`
CREATE TABLE note (
	id $blob PRIMARY KEY CHECK (length(id) = 16),
	parent $blob REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED,
	title TEXT NOT NULL UNIQUE,
	at $int NOT NULL
) $strict;
CREATE INDEX note_at ON note (at);
CREATE TABLE counter (id $serial, name TEXT NOT NULL) $strict;
`)},
}}

const insertNote = "INSERT INTO note (id, parent, title, at) VALUES ($1, $2, $3, $4)"

func noteID(b byte) []byte { return append(make([]byte, 15), b) }

func addNote(t *testing.T, db *sqldb.DB, id byte, parent any, title string) error {
	t.Helper()
	return db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), insertNote, noteID(id), parent, title, int64(id))
		return err
	})
}

func titles(t *testing.T, q sqldb.Querier) []string {
	t.Helper()
	rows, err := q.Query(t.Context(), "SELECT title FROM note ORDER BY at, id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestErrorClasses(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	if err := addNote(t, db, 1, nil, "one"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id     byte
		parent any
		title  string
		is     func(error) bool
	}{
		"primary key":            {1, nil, "other", sqldb.IsUnique},
		"unique index":           {2, nil, "one", sqldb.IsUnique},
		"foreign key, at commit": {2, noteID(9), "two", sqldb.IsForeignKey},
	} {
		if err := addNote(t, db, c.id, c.parent, c.title); err == nil || !c.is(err) || errors.Is(err, sqldb.ErrCommitUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if got := titles(t, db); len(got) != 1 {
			t.Errorf("%s: left %v behind", name, got)
		}
	}
	err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), insertNote, noteID(2), nil, "two", "yesterday")
		return err
	})
	if !sqldb.IsCheck(err) || len(titles(t, db)) != 1 {
		t.Errorf("a value of another type: %v", err)
	}
	if err := addNote(t, db, 2, noteID(1), "two"); err != nil {
		t.Errorf("the writer is unusable after errors: %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%3f#.db")
	db, err := sqldb.Open(t.Context(), "sqlite://"+filepath.Dir(path)+"/a%20b%253f%23.db", sqldb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q: %v, %v", suffix, info, err)
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	rows, err := db.Query(t.Context(), insertNote+" RETURNING id", noteID(1), nil, "x", int64(1))
	if err == nil {
		rows.Next()
		err = rows.Err()
		rows.Close()
	}
	if err == nil || len(titles(t, db)) != 0 {
		t.Errorf("a reader wrote: %v, %v", err, titles(t, db))
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{
		"relative":    "sqlite://data/user.db",
		"scheme":      "mysql:///data/user.db",
		"options":     "sqlite://" + dir + "/a.db?_pragma=synchronous(0)",
		"memory":      "sqlite::memory:",
		"no folder":   "sqlite://" + dir + "/none/a.db",
		"no database": "sqlite://" + text,
		"no URL":      "sqlite://%zz:secret@/a.db",
	} {
		db, err := sqldb.Open(t.Context(), url, sqldb.Options{})
		if err == nil {
			t.Errorf("%s: opened %s", name, url)
			db.Close()
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the URL: %v", name, err)
		}
	}
}

func TestPragmasOnEveryConnection(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	db := sqldbtest.Open(t, notes)
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
		var reader, writer string
		err := errors.Join(
			db.QueryRow(t.Context(), "PRAGMA "+name).Scan(&reader),
			db.Tx(t.Context(), "pragma", func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), "PRAGMA "+name).Scan(&writer)
			}))
		if err != nil || reader != want || writer != want {
			t.Errorf("%s: reader %s, writer %s, %v", name, reader, writer, err)
		}
	}
}

func TestPlaceholderLists(t *testing.T) {
	for got, want := range map[string]string{
		sqldb.In(2, 3):        "($2,$3,$4)",
		sqldb.In(1, 1):        "($1)",
		sqldb.Values(1, 2, 3): "($1,$2,$3),($4,$5,$6)",
		sqldb.Values(7, 1, 1): "($7)",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for name, fn := range map[string]func(){
		"empty list":    func() { sqldb.In(1, 0) },
		"long list":     func() { sqldb.In(1, sqldb.MaxIn+1) },
		"no rows":       func() { sqldb.Values(1, 0, 2) },
		"too many rows": func() { sqldb.Values(1, sqldb.MaxValues, 2) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

func TestScans(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	for statement, scans := range map[string]int{
		"SELECT title FROM note WHERE id = $1":                                      0,
		"SELECT title FROM note WHERE at > $1 ORDER BY at LIMIT $2":                 0,
		"INSERT INTO counter (name) VALUES ($1)":                                    0,
		"SELECT title FROM note":                                                    1,
		"SELECT title FROM note WHERE parent = $1":                                  1,
		"SELECT a.title FROM note a JOIN note b ON a.at = b.at WHERE b.parent = $1": 1,
		"UPDATE note SET at = $1 WHERE parent = $2":                                 1,
	} {
		got, err := db.Scans(t.Context(), statement)
		if err != nil || len(got) != scans {
			t.Errorf("%s: %q, %v", statement, got, err)
		}
	}
	if _, err := db.Scans(t.Context(), "SELECT nothing FROM note"); err == nil {
		t.Error("an unknown column was not noticed")
	}
	if got := titles(t, db); len(got) != 0 {
		t.Errorf("explaining ran a statement: %v", got)
	}
}
