package notification_test

import (
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // reads and writes beside the server

	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

// newSplit prepares separate services over what they need, which is up; database is theirs alone.
func newSplit(t *testing.T, database string) (*testenv.Services, *testenv.Server) {
	t.Helper()
	services := &testenv.Services{Dir: t.TempDir()}
	t.Cleanup(func() {
		if err := services.Close(); err != nil {
			t.Error(err)
		}
	})
	shape := testenv.Shape{Name: "split", Postgres: true, Separate: true, Chats: 1}
	if err := services.Start(t.Context(), shape); err != nil {
		t.Fatal(err)
	}
	server, err := services.NewServer(t.Context(), shape, binaries, filepath.Join(t.TempDir(), "data"), database, "")
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	return services, server
}

// TestKilledInBetweenServices is TestKilledInBetween over separate services: the notification service is killed again and
// again, and in the middle the broker.
func TestKilledInBetweenServices(t *testing.T) {
	if os.Getenv("SOTTO_SCALE") == "" {
		t.Skip("takes two minutes, most of them until a killed process's jobs are free again: SOTTO_SCALE=1, or make soak")
	}
	t.Parallel()
	services, server := newSplit(t, "notified")
	w := newEnds(t)
	for _, p := range server.Processes {
		p.Env = append(p.Env, w.settings()...)
	}
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Server = &rest.Server{URL: server.URL}
	for _, name := range canaries() {
		w.people = append(w.people, w.newPerson(name))
	}
	db, err := sql.Open("pgx", services.Postgres.URLFor("postgres", "notified"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	rng := w.greylist()
	kinds := w.addTo(db, "sotto_user.outbox", eachGets*scale(t))
	for i := range kills {
		time.Sleep(time.Duration(100+rng.IntN(400)) * time.Millisecond)
		if err := server.Named["notification"].Kill9(); err != nil {
			t.Fatal(err)
		}
		if i == kills/2 {
			if err := services.RabbitMQ.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := services.RabbitMQ.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.allTold(kinds)

	texts := map[string]string{"broker": folder(t, filepath.Join(services.Dir, "rabbitmq"))}
	for _, p := range server.Processes {
		texts["log of "+p.Name] = p.Log()
	}
	for _, schema := range []string{"sotto_notification", "sotto_chat"} {
		texts[schema] = rows(t, db, schema)
	}
	w.canary(texts)
}

// folder is everything in the files of a folder, which some program still writes to.
func folder(t *testing.T, dir string) (all string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // gone since it was listed
		}
		if b, err := os.ReadFile(path); err == nil {
			all, files = all+string(b), files+1
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files: %v", files, err)
	}
	return all
}

// rows is every row of every table of a schema.
func rows(t *testing.T, db *sql.DB, schema string) (all string) {
	t.Helper()
	read := func(query string, args ...any) (texts []string) {
		found, err := db.QueryContext(t.Context(), query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer found.Close()
		for found.Next() {
			var text string
			if err := found.Scan(&text); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		return texts
	}
	tables := read("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
	if len(tables) == 0 {
		t.Fatalf("schema %s has no tables", schema)
	}
	for _, table := range tables {
		for _, row := range read(fmt.Sprintf("SELECT r::text FROM %s.%s r", schema, table)) {
			all += row + "\n"
		}
	}
	return all
}
