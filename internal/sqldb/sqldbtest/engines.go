package sqldbtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"sotto/internal/sqldb"
	"sotto/internal/testenv"
)

// Engine is what the tests run on now.
type Engine string

// Engines of the tests.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// schema is the role, too; every test has a database of its own.
const schema = "sotto_test"

// state belongs to the test process.
var state = struct {
	mu        sync.Mutex
	engine    Engine
	server    *testenv.Postgres
	opened    map[string]bool   // tests that opened a database; false for those that are about SQLite
	templates map[string]string // databases, or the content of files, by what they hold
	paths     map[string]string // databases by what OpenAt was asked for
	serial    int
}{engine: SQLite, opened: map[string]bool{}, templates: map[string]string{}, paths: map[string]string{}}

// On returns the engine of the test.
func On(t testing.TB) Engine {
	state.mu.Lock()
	defer state.mu.Unlock()
	if both, ok := state.opened[rootOf(t)]; ok && !both {
		return SQLite
	}
	return state.engine
}

// Main runs a package's tests on both engines: all of them on SQLite, then those that opened a database once more on a
// private PostgreSQL, without the slow ones that the caller excepts. SOTTO_TEST_ENGINE names the only one, for all tests.
func Main(m *testing.M, except ...string) { os.Exit(Run(m, except...)) }

// Run is Main for a TestMain that has more to do. It returns the status to exit with.
func Run(m *testing.M, except ...string) int {
	only := Engine(os.Getenv("SOTTO_TEST_ENGINE"))
	code := 0
	if only != Postgres {
		code = m.Run()
		tests := againOn(except)
		if code != 0 || only == SQLite || len(tests) == 0 || quiet() {
			return code
		}
		if err := flag.Set("test.run", "^("+strings.Join(tests, "|")+")$"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	settings := []string{"fsync=off", "full_page_writes=off", "synchronous_commit=off"}
	if f := flag.Lookup("test.bench"); f != nil && f.Value.String() != "" {
		settings = nil // numbers are of what is promised
	}
	server, err := testenv.StartPostgres(context.Background(), settings...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Remove() //nolint:errcheck // the run is over
	state.engine, state.server = Postgres, server
	fmt.Println("== on PostgreSQL")
	return m.Run()
}

// quiet tells that the run is for something else than tests: a list, a benchmark, fuzzing.
func quiet() bool {
	for _, name := range []string{"test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return false
}

// againOn lists the tests for the second engine.
func againOn(except []string) (tests []string) {
	for name, both := range state.opened {
		if both && !slices.Contains(except, name) {
			tests = append(tests, regexp.QuoteMeta(name))
		}
	}
	slices.Sort(tests)
	return tests
}

// OnlySQLite keeps the test, which calls it first, from running on PostgreSQL, too: it is about files, or shows again what
// both engines share.
func OnlySQLite(t testing.TB) {
	state.mu.Lock()
	defer state.mu.Unlock()
	state.opened[rootOf(t)] = false
}

func rootOf(t testing.TB) string {
	root, _, _ := strings.Cut(t.Name(), "/")
	return root
}

func noteOpened(t testing.TB) {
	state.mu.Lock()
	defer state.mu.Unlock()
	if _, ok := state.opened[rootOf(t)]; !ok {
		state.opened[rootOf(t)] = true
	}
}

// Series is one argument pair of sqldb.DB.Migrate.
type Series struct {
	Name  string
	Files fs.FS
}

// Open gives the test a database of its own, migrated, closed when the test ends.
func Open(t testing.TB, series ...Series) *sqldb.DB {
	t.Helper()
	if On(t) == SQLite {
		return OpenAt(t, filepath.Join(t.TempDir(), "test.db"), series...)
	}
	return openCopy(t, migrated(t, series))
}

// OpenAt is Open for tests that open the same database again, as a second process or after a crash would. On PostgreSQL
// the path is only a name.
func OpenAt(t testing.TB, path string, series ...Series) *sqldb.DB {
	t.Helper()
	noteOpened(t)
	url := "sqlite://" + path
	if On(t) == Postgres {
		url = state.server.URL(databaseAt(t, path))
	}
	db := openURL(t, url)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	migrate(t, db, series)
	return db
}

// URL is what a test that opens the database itself opens: a new one on the engine of the test.
func URL(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	if On(t) == SQLite {
		noteOpened(t)
		return "sqlite://" + path
	}
	return state.server.URL(databaseAt(t, path))
}

// Options are what tests open a database with.
func Options() sqldb.Options { return sqldb.Options{Schema: schema, AllowUnsafe: true} }

// Filled gives the test a copy of a database that fill fills once for the whole package and engine.
func Filled(t testing.TB, name string, fill func(db *sqldb.DB), series ...Series) *sqldb.DB {
	t.Helper()
	if On(t) == Postgres {
		return openCopy(t, filled(t, name, fill, series))
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, []byte(filledFile(t, name, fill, series)), 0o600); err != nil {
		t.Fatal(err)
	}
	return OpenAt(t, path)
}

// filledFile returns the content of the file. Unlike what is in t's folder, it stays for the other tests.
func filledFile(t testing.TB, name string, fill func(db *sqldb.DB), series []Series) string {
	t.Helper()
	return once("file "+name, func() string {
		path := filepath.Join(t.TempDir(), "template.db")
		db := openURL(t, "sqlite://"+path)
		migrate(t, db, series)
		fill(db)
		if err := db.Close(); err != nil { // folds the write-ahead log into the file
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	})
}

var templates sync.Mutex // held while one is made

func once(key string, make func() string) string {
	templates.Lock()
	defer templates.Unlock()
	if _, ok := state.templates[key]; !ok {
		state.templates[key] = make()
	}
	return state.templates[key]
}

// migrated returns a database that holds the series and nothing else.
func migrated(t testing.TB, series []Series) (name string) {
	t.Helper()
	return filled(t, "series "+hash(t, series), func(*sqldb.DB) {}, series)
}

func filled(t testing.TB, key string, fill func(db *sqldb.DB), series []Series) (name string) {
	t.Helper()
	return once("database "+key, func() string {
		name := createDatabase(t, "")
		db := openURL(t, state.server.URL(name))
		migrate(t, db, series)
		fill(db)
		if err := db.Close(); err != nil { // nobody may be connected to what is copied
			t.Fatal(err)
		}
		return name
	})
}

func hash(t testing.TB, series []Series) string {
	h := sha256.New()
	for _, s := range series {
		err := fs.WalkDir(s.Files, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(s.Files, path)
			fmt.Fprintf(h, "%s %s %s\n", s.Name, path, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func openCopy(t testing.TB, template string) *sqldb.DB {
	t.Helper()
	noteOpened(t)
	name := createDatabase(t, template)
	t.Cleanup(func() { dropDatabase(t, name) })
	db := openURL(t, state.server.URL(name))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// databaseAt returns the database that stands for a path, new at the first time.
func databaseAt(t testing.TB, path string) (name string) {
	t.Helper()
	state.mu.Lock()
	name, ok := state.paths[path]
	state.mu.Unlock()
	if ok {
		return name
	}
	name = createDatabase(t, "")
	state.mu.Lock()
	state.paths[path] = name
	state.mu.Unlock()
	t.Cleanup(func() { dropDatabase(t, name) })
	return name
}

func createDatabase(t testing.TB, template string) (name string) {
	t.Helper()
	state.mu.Lock()
	state.serial++
	name = "test_" + strconv.Itoa(state.serial)
	state.mu.Unlock()
	statement := "CREATE DATABASE " + name + " OWNER " + testenv.PostgresOwner
	if template != "" {
		statement += " TEMPLATE " + template
	}
	administer(t, statement)
	return name
}

func dropDatabase(t testing.TB, name string) {
	t.Helper()
	administer(t, "DROP DATABASE "+name+" WITH (FORCE)")
}

// administer opens a connection of its own, because a pool must not outlive a synctest bubble that it was made in.
func administer(t testing.TB, statement string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // also after the end of the test
	conn, err := pgx.Connect(ctx, state.server.URLFor("postgres", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // its work is done, or failed already
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func openURL(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), url, Options())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func migrate(t testing.TB, db *sqldb.DB, series []Series) {
	t.Helper()
	for _, s := range series {
		if err := db.Migrate(t.Context(), s.Name, s.Files); err != nil {
			t.Fatal(err)
		}
	}
}
