package sqldb_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/testenv"
)

// cluster is a private server whose settings the test chooses, with an empty database "sotto".
func cluster(t *testing.T, settings ...string) *testenv.Postgres {
	t.Helper()
	p, err := testenv.StartPostgres(t.Context(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	p.CleanUp(t)
	if _, err := p.NewDatabase(t.Context(), "sotto", ""); err != nil {
		t.Fatal(err)
	}
	return p
}

func openAs(t *testing.T, rawURL string) (*sqldb.DB, error) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), rawURL, sqldb.Options{Schema: "sotto_test"})
	if err == nil {
		t.Cleanup(func() { _ = db.Close() })
	}
	return db, err
}

// with changes a part of a URL.
func with(t *testing.T, rawURL string, change func(u *url.URL)) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

// TestPostgresRefusals: each mistake gets a sentence that says what to do, and nothing is half done.
func TestPostgresRefusals(t *testing.T) {
	p := cluster(t)
	good := p.URL("sotto")
	sql := func(statements string) {
		t.Helper()
		if err := p.SQL(t.Context(), "sotto", statements); err != nil {
			t.Fatal(err)
		}
	}
	sql("CREATE ROLE plain LOGIN; CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on;" +
		"CREATE ROLE careless LOGIN; ALTER ROLE careless SET synchronous_commit = off; ALTER ROLE plain PASSWORD 'canary'")
	for name, c := range map[string]struct{ url, want string }{
		"a database that is not there":  {p.URL("nowhere"), "create it: CREATE DATABASE"},
		"a login that is not there":     {p.URLFor("nobody", "sotto"), "create the login"},
		"an option with a typo":         {with(t, good, func(u *url.URL) { u.RawQuery = "sslmode=disable&statement_timeou=x" }), "misspelt"},
		"an option with a bad value":    {with(t, good, func(u *url.URL) { u.RawQuery = "sslmode=of&password=canary" }), "sslmode"},
		"a port that is none":           {strings.Replace(good, ":"+url2port(t, good), ":port", 1), "cannot be parsed"},
		"a scheme with a typo":          {with(t, good, func(u *url.URL) { u.Scheme = "postgre" }), "postgres://"},
		"a host with a typo":            {with(t, good, func(u *url.URL) { u.Host = "host.invalid:5432" }), "check host and port"},
		"a read-only database":          {p.URLFor("reader", "sotto"), "is read-only"},
		"commits that are not durable":  {p.URLFor("careless", "sotto"), "synchronous_commit is off"},
		"a server without encryption":   {with(t, good, func(u *url.URL) { u.RawQuery = "sslmode=require" }), "opening the database"},
		"a password that gives nothing": {with(t, p.URLFor("nobody", "sotto"), func(u *url.URL) { u.User = url.UserPassword("nobody", "canary") }), "create the login"},
	} {
		_, err := openAs(t, c.url)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}

	// A login that may neither create the schema nor the role.
	db, err := openAs(t, p.URLFor("plain", "sotto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), notes.Name, notes.Files); err == nil || !strings.Contains(err.Error(), "CREATE ROLE sotto_test") {
		t.Errorf("migrating without rights: %v", err)
	}
	owner, err := openAs(t, good)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.CheckMigrated(t.Context(), notes.Name, notes.Files); err == nil || !strings.Contains(err.Error(), "sottod migrate") {
		t.Errorf("a schema that is missing: %v", err)
	}
	if err := owner.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), notes.Name, notes.Files); err == nil || !strings.Contains(err.Error(), "as the owner") {
		t.Errorf("a login without rights on the schema: %v", err)
	}
}

func url2port(t *testing.T, rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// TestPostgresUnsafeSettings: settings that lose commits are refused, unless the operator says so.
func TestPostgresUnsafeSettings(t *testing.T) {
	for _, setting := range []string{"fsync", "full_page_writes"} {
		p := cluster(t, setting+"=off")
		if _, err := openAs(t, p.URL("sotto")); err == nil || !strings.Contains(err.Error(), setting+" is off") {
			t.Errorf("%s: %v", setting, err)
		}
		db, err := sqldb.Open(t.Context(), p.URL("sotto"), sqldb.Options{Schema: "sotto_test", AllowUnsafe: true})
		if err != nil {
			t.Errorf("%s, allowed: %v", setting, err)
		} else {
			_ = db.Close()
		}
	}
}

// TestServiceRole: a service reads and writes the rows of its schema, and can do nothing else. A login that is only the
// service's role is enough to serve, and its migrations find nothing to do.
func TestServiceRole(t *testing.T) {
	p := cluster(t)
	owner, err := openAs(t, p.URL("sotto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Fatal(err)
	}
	if err := p.SQL(t.Context(), "sotto", "CREATE SCHEMA other; CREATE TABLE other.secret (id int); ALTER ROLE sotto_test LOGIN"); err != nil {
		t.Fatal(err)
	}
	service, err := openAs(t, p.URLFor("sotto_test", "sotto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Errorf("a current schema: %v", err)
	}
	for name, db := range map[string]*sqldb.DB{"owner's login": owner, "service's login": service} {
		if err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO counter (name) VALUES ($1)", name)
			return err
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, statement := range []string{
			"CREATE TABLE sotto_test.more (id int)", "DROP TABLE note", "ALTER TABLE note ADD COLUMN more int", "TRUNCATE note",
			"SELECT id FROM other.secret", "DELETE FROM schema_migration", "CREATE TABLE public.more (id int)",
		} {
			if err := db.Tx(t.Context(), "forbidden", func(tx *sqldb.Tx) error {
				_, err := tx.Exec(t.Context(), statement)
				return err
			}); err == nil {
				t.Errorf("%s may: %s", name, statement)
			}
		}
	}
}

// TestDeadlockRunsAgain: two transactions that lock rows in opposite order both succeed, because the one that PostgreSQL
// ends runs again.
func TestDeadlockRunsAgain(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	for id := byte(1); id <= 2; id++ {
		if err := addNote(t, db, id, nil, string('a'+rune(id))); err != nil {
			t.Fatal(err)
		}
	}
	var both, done sync.WaitGroup
	both.Add(2)
	for _, order := range [][2]byte{{1, 2}, {2, 1}} {
		done.Go(func() {
			runs := 0
			err := db.Tx(t.Context(), "cross", func(tx *sqldb.Tx) error {
				runs++
				for i, id := range order {
					if _, err := tx.Exec(t.Context(), "UPDATE note SET at = at + 1 WHERE id = $1", noteID(id)); err != nil {
						return err
					}
					if i == 0 && runs == 1 && sqldbtest.On(t) == sqldbtest.Postgres {
						both.Done()
						both.Wait()
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	var sum int64
	if err := db.QueryRow(t.Context(), "SELECT sum(at) FROM note").Scan(&sum); err != nil || sum != 1+2+4 {
		t.Errorf("sum %d, %v", sum, err)
	}
}

// TestServerIsKilled: what was committed is there after the server died, statements meanwhile are busy and not broken, and
// the pools find the server again by themselves.
func TestServerIsKilled(t *testing.T) {
	p := cluster(t)
	db, err := openAs(t, p.URL("sotto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Fatal(err)
	}
	if err := addNote(t, db, 1, nil, "before"); err != nil {
		t.Fatal(err)
	}
	err = db.Tx(t.Context(), "cut", func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(t.Context(), insertNote, noteID(9), nil, "lost", int64(9)); err != nil {
			return err
		}
		return p.Kill9()
	})
	if !errors.Is(err, sqldb.ErrCommitUnknown) {
		t.Errorf("a commit without a server: %v", err)
	}
	if err := addNote(t, db, 2, nil, "meanwhile"); !sqldb.IsBusy(err) {
		t.Errorf("without a server: %v", err)
	}
	if db.Ping(t.Context()) == nil {
		t.Error("a server that is not there answers")
	}
	if err := p.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err = addNote(t, db, 3, nil, "after"); err != nil && ctx.Err() == nil; err = addNote(t, db, 3, nil, "after") {
		time.Sleep(50 * time.Millisecond)
	}
	if got := titles(t, db); err != nil || len(got) != 2 || got[0] != "before" || got[1] != "after" {
		t.Errorf("%v, %v", got, err)
	}
}
