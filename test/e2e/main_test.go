// Package e2e_test runs the real programs: sottod as a process that is killed and restarted, clients as processes of
// their own or as the SDK.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/internal/testenv"
)

// binaries is made once, template once for each topology: registering costs real key derivation, so every test gets a
// copy of a data directory, of a database and of client states in which these accounts exist already.
var (
	binaries string
	template string
	shape    testenv.Shape
	services testenv.Services
)

const password = "correct horse battery canary-password"

var names = []string{"alice", "bob"}

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run takes the topologies one after the other; SOTTO_TOPOLOGY names the only one.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = filepath.Join(dir, "bin")
	if err := testenv.Build(binaries, "sottod", "sotto"); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
		return 1
	}
	services.Dir = dir
	defer services.Close()
	only, ran := os.Getenv("SOTTO_TOPOLOGY"), 0
	for i, s := range testenv.Shapes {
		if only != "" && only != s.Name {
			continue
		}
		ran++
		fmt.Println("== topology", s.Name)
		shape, template = s, filepath.Join(dir, fmt.Sprintf("template_%d", i))
		if err := services.Start(context.Background(), shape); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
			return 1
		}
		if code := m.Run(); code != 0 {
			fmt.Fprintln(os.Stderr, "failed over the topology", shape.Name)
			return code
		}
	}
	if ran == 0 {
		fmt.Fprintf(os.Stderr, "SOTTO_TOPOLOGY is %q, which is none\n", only)
		return 1
	}
	return 0
}

func prepare() error {
	if err := os.MkdirAll(template, 0o700); err != nil {
		return err
	}
	server, err := newServer(filepath.Join(template, "data"), filepath.Base(template), "")
	if err != nil {
		return err
	}
	defer server.Kill9()
	if err := server.Up(context.Background()); err != nil {
		return err
	}
	for _, name := range names {
		if err := register(server.URL, filepath.Join(template, name+".db"), name); err != nil {
			return fmt.Errorf("registering %s: %w", name, err)
		}
	}
	return server.Stop()
}

// newServer prepares a server of the shape under test on a folder or, over PostgreSQL, on a new database that begins as a
// copy of another.
func newServer(dataDir, database, from string) (*testenv.Server, error) {
	return services.NewServer(context.Background(), shape, binaries, dataDir, database, from)
}

func register(url, state, name string) error {
	c, err := open(url, state)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Register(context.Background(), client.RegisterOptions{Username: name, Password: password, DeviceName: name + "'s first"})
	return err
}

func open(url, state string) (*client.Client, error) {
	store, err := sqlitestore.Open(state)
	if err != nil {
		return nil, err
	}
	return client.Open(client.Options{Server: url, Store: store})
}

// world is one test's server with copies of the accounts.
type world struct {
	t      *testing.T
	dir    string
	server *testenv.Server
}

var worlds atomic.Int64 // numbers the databases

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	if err := os.CopyFS(w.dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(w.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.server, err = newServer(filepath.Join(w.dir, "data"), fmt.Sprintf("world_%d", worlds.Add(1)), filepath.Base(template)); err != nil {
		t.Fatal(err)
	}
	w.server.CleanUp(t)
	w.up()
	return w
}

func (w *world) up() {
	w.t.Helper()
	if err := w.server.Up(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// person is a client that runs, and everything it was told.
type person struct {
	*client.Client
	t    *testing.T
	name string
	stop func()
}

// online opens name's state and keeps it connected until stop or the end of the test.
func (w *world) online(name string) *person { return w.onlineAt(name, name, w.server.URL) }

// onlineAt takes the state file and the server's address apart from the name.
func (w *world) onlineAt(name, state, url string) *person {
	w.t.Helper()
	c, err := open(url, filepath.Join(w.dir, state+".db"))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &person{Client: c, t: w.t, name: name}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	if _, signedIn := c.Account(); signedIn {
		go func() {
			defer close(ended)
			if err := c.Run(ctx); err != nil {
				w.t.Errorf("%s stopped: %v", name, err)
			}
		}()
	} else {
		close(ended)
	}
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-ended
		if err := c.Close(); err != nil {
			w.t.Errorf("closing %s: %v", name, err)
		}
	}
	w.t.Cleanup(p.stop)
	return p
}

// scale multiplies the amount of traffic in the long runs: SOTTO_SCALE.
func scale(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SOTTO_SCALE")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000 {
		t.Fatalf("SOTTO_SCALE is %q; give a number from 1 to 1,000", text)
	}
	return n
}

const patience = 120 * time.Second // for what takes well under a second on a machine that does nothing else

func (p *person) ctx() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// with opens the conversation.
func (p *person) with(name string) client.Conversation {
	p.t.Helper()
	v, err := p.Conversation(p.ctx(), name)
	if err != nil {
		p.t.Fatalf("%s opens the conversation with %s: %v", p.name, name, err)
	}
	return v
}
