// Package devices_test is the proof that history survives: three people with three devices each, the real server, and
// everything that happens to devices and servers, at random from a printed seed. Package history decides.
package devices_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/internal/testenv"
)

// perUser is how many devices everybody has at the beginning.
const perUser = 3

var names = []string{"ada", "bob", "cyd"}

const password = "correct horse battery staple"

// binaries and template are made once: registering and signing in cost real key derivation, so every schedule gets a
// copy of a data directory, or database, and of the stores of devices that have met.
var (
	binaries string
	template string
	codes    = map[string]string{} // recovery codes by user
	shape    testenv.Shape
	services testenv.Services
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-devices-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries, template = filepath.Join(dir, "bin"), filepath.Join(dir, "template")
	services.Dir = dir
	defer services.Close()
	topology := cmp.Or(os.Getenv("SOTTO_TOPOLOGY"), testenv.Shapes[0].Name)
	i := slices.IndexFunc(testenv.Shapes, func(s testenv.Shape) bool { return s.Name == topology })
	if i < 0 {
		fmt.Fprintf(os.Stderr, "SOTTO_TOPOLOGY is %q, which is none\n", topology)
		return 1
	}
	shape = testenv.Shapes[i]
	start := time.Now()
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the scenarios:", err)
		return 1
	}
	fmt.Printf("nine devices of three people over %s: %.1f s\n", shape.Name, time.Since(start).Seconds())
	return m.Run()
}

// prepare makes the template.
func prepare() (err error) {
	ctx := context.Background()
	if err := os.MkdirAll(template, 0o700); err != nil {
		return err
	}
	if err := testenv.Build(binaries, "sottod"); err != nil {
		return err
	}
	if err := services.Start(ctx, shape); err != nil {
		return err
	}
	server, err := services.NewServer(ctx, shape, binaries, filepath.Join(template, "data"), filepath.Base(template), "")
	if err != nil {
		return err
	}
	defer server.Kill9()
	if err := server.Up(ctx); err != nil {
		return err
	}
	for _, name := range names {
		for i := range perUser {
			if err := introduce(ctx, server.URL, name, i); err != nil {
				return fmt.Errorf("device %d of %s: %w", i+1, name, err)
			}
		}
	}
	for _, name := range names {
		if err := meet(ctx, server.URL, name); err != nil {
			return fmt.Errorf("conversations of %s: %w", name, err)
		}
	}
	return server.Stop()
}

// storeName is the file of a device that the template has.
func storeName(user string, device int) string { return fmt.Sprintf("%s-%d.db", user, device+1) }

// with opens the template's first device of a user.
func with(url, name string, i int, use func(*client.Client) error) error {
	c, err := open(url, filepath.Join(template, storeName(name, i)), nil, nil)
	if err != nil {
		return err
	}
	return errors.Join(use(c), c.Close())
}

func introduce(ctx context.Context, url, name string, i int) error {
	return with(url, name, i, func(c *client.Client) error {
		label := fmt.Sprintf("%s %d", name, i+1)
		if i > 0 {
			return c.Login(ctx, client.LoginOptions{Username: name, Password: password, DeviceName: label})
		}
		code, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: password, DeviceName: label})
		codes[name] = code
		return err
	})
}

// meet opens and accepts the conversations with everybody, oneself included.
func meet(ctx context.Context, url, name string) error {
	return with(url, name, 0, func(c *client.Client) error {
		for _, other := range names {
			v, err := c.Conversation(ctx, other)
			if err != nil {
				return err
			}
			if v.State != api.MemberAccepted {
				if err := c.Accept(ctx, v.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// open opens a client over a store file; wrap, when not nil, gets between them.
func open(url, path string, wrap func(client.Store) client.Store, log *slog.Logger) (*client.Client, error) {
	file, err := sqlitestore.Open(path)
	if err != nil {
		return nil, err
	}
	var store client.Store = file
	if wrap != nil {
		store = wrap(store)
	}
	c, err := client.Open(client.Options{Server: url, Store: store, Logger: log})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return c, nil
}
