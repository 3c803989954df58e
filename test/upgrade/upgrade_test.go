package upgrade_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/testenv"
	"sotto/test/upgrade"
)

var (
	binaries string
	postgres *testenv.Postgres
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-upgrade-")
	if err == nil {
		defer os.RemoveAll(dir)
		binaries = dir
		err = testenv.Build(dir, "sottod")
	}
	if err == nil {
		if postgres, err = testenv.StartPostgres(context.Background()); err == nil {
			defer postgres.Remove()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// past are the folders of this package, the oldest first.
func past(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*/" + upgrade.Past)
	if err != nil || len(files) == 0 {
		t.Fatalf("no build has left anything: %v", err)
	}
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	slices.Sort(files)
	return files
}

func sottod(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binaries, "sottod"), args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sottod %v: %v\n%s", args, err, out)
	}
}

// TestThePastIsOpened: this build opens, migrates and verifies what each past build left, on SQLite and moved to PostgreSQL.
// Everything that was said is there, what waited is delivered, and the conversation goes on both ways.
func TestThePastIsOpened(t *testing.T) {
	for i, from := range past(t) {
		t.Run(from+"/SQLite", func(t *testing.T) {
			dir, h := unpack(t, from)
			goOn(t, dir, h)
			sottod(t, "verify", "--data-dir", filepath.Join(dir, upgrade.Data))
		})
		t.Run(from+"/PostgreSQL", func(t *testing.T) {
			dir, h := unpack(t, from)
			url, err := postgres.NewDatabase(t.Context(), fmt.Sprintf("past_%d", i), "")
			if err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(dir, upgrade.Data)
			sottod(t, "migrate-store", "--from", "sqlite:"+data, "--to", url)
			goOn(t, dir, h, "SOTTO_DATABASE_URL="+url)
			sottod(t, "verify", "--data-dir", data, "--database-url", url)
		})
	}
}

func unpack(t *testing.T, from string) (dir string, h upgrade.History) {
	t.Helper()
	dir = t.TempDir()
	h, err := upgrade.Unpack(from, dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, h
}

func goOn(t *testing.T, dir string, h upgrade.History, env ...string) {
	t.Helper()
	goOnWith(t, binaries, dir, h, env...)
}

// goOnWith takes the folder with the programs that serve.
func goOnWith(t *testing.T, programs, dir string, h upgrade.History, env ...string) {
	t.Helper()
	server, err := testenv.NewServe(programs, filepath.Join(dir, upgrade.Data), env...)
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	alice, err := upgrade.Open(dir, server.URL, "alice")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := upgrade.Open(dir, server.URL, "bob")
	if err != nil {
		t.Fatal(err)
	}
	stops := []func() error{upgrade.Online(alice), upgrade.Online(bob)}
	v, err := alice.Conversation(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	said := slices.Clone(h.Said)
	for _, turn := range []string{"alice", "bob"} {
		from, to := alice, bob
		if turn == "bob" {
			from, to = bob, alice
		}
		text := turn + " after the upgrade"
		if err := upgrade.Say(t.Context(), from, v, text); err != nil {
			t.Fatal(err)
		}
		if err := upgrade.See(t.Context(), to, v, text); err != nil {
			t.Fatal(err)
		}
		said = append(said, turn+": "+text)
	}
	for _, reader := range []struct {
		me, other string
	}{{"alice", "bob"}, {"bob", "alice"}} {
		c := alice
		if reader.me == "bob" {
			c = bob
		}
		got, err := upgrade.Texts(c, v, reader.me, reader.other)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(said, got); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", reader.me, diff)
		}
	}
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}

// TestThePreviousBuildRunsBeside: after this build has migrated a database, the newest tagged build still serves it, while
// this one is running, too. SOTTO_PREVIOUS names another commit instead. Before the first tag there is none.
func TestThePreviousBuildRunsBeside(t *testing.T) {
	previous := os.Getenv("SOTTO_PREVIOUS")
	if previous == "" {
		tags := strings.Fields(git(t, "tag", "--list", "v*", "--sort=-v:refname", "--no-contains", "HEAD"))
		if len(tags) == 0 {
			t.Log("no build is tagged yet")
			return
		}
		previous = tags[0]
	}
	source := t.TempDir()
	archive := filepath.Join(t.TempDir(), "source.tar")
	git(t, "archive", "--output", archive, previous)
	run := func(dir, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run(source, "tar", "-xf", archive)
	old := filepath.Join(source, "bin") + string(filepath.Separator)
	run(source, "go", "build", "-o", old, "./cmd/sottod")

	folders := past(t)
	dir, h := unpack(t, folders[len(folders)-1])
	url, err := postgres.NewDatabase(t.Context(), "beside", "")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, upgrade.Data)
	sottod(t, "migrate-store", "--from", "sqlite:"+data, "--to", url)
	beside := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(beside, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	present, err := testenv.NewServe(binaries, beside, "SOTTO_DATABASE_URL="+url)
	if err != nil {
		t.Fatal(err)
	}
	present.CleanUp(t)
	if err := present.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	goOnWith(t, old, dir, h, "SOTTO_DATABASE_URL="+url)
}

func git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = testenv.Root()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}
