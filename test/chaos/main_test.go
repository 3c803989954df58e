// Package chaos_test kills every part of a server at random and at named points while twenty people write to each other,
// and then asks the history checker. The programs are built with the tag faultpoints (package fault).
//
// SOTTO_SEED repeats a run; SOTTO_KILLS is how often each component is killed (3), SOTTO_COMPONENT names the only one;
// SOTTO_LINKS=all disturbs every connection.
package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/internal/testenv"
)

const (
	people   = 20
	password = "correct horse battery staple"
	template = "template" // database
)

// Made once: registering costs real key derivation. Every run gets a copy of the database and of the clients' states.
var (
	binaries, states string
	services         testenv.Services
)

func nameOf(i int) string { return fmt.Sprintf("u%02d", i) }

// peerOf is whom somebody writes to.
func peerOf(i int) int { return i ^ 1 }

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	services.Dir = dir
	defer services.Close()
	binaries, states = filepath.Join(dir, "bin"), filepath.Join(dir, "states")
	if err := prepare(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the chaos:", err)
		return 1
	}
	return m.Run()
}

func prepare(ctx context.Context, dir string) error {
	if err := os.MkdirAll(states, 0o700); err != nil {
		return err
	}
	if err := os.Setenv("GOFLAGS", "-tags=faultpoints"); err != nil {
		return err
	}
	if err := testenv.Build(binaries, "sottod"); err != nil {
		return err
	}
	shape := testenv.Shape{Name: "template", Postgres: true}
	if err := services.Start(ctx, shape); err != nil {
		return err
	}
	server, err := services.NewServer(ctx, shape, binaries, filepath.Join(dir, "data"), template, "")
	if err != nil {
		return err
	}
	defer server.Kill9()
	if err := server.Up(ctx); err != nil {
		return err
	}
	if err := everybody(func(i int) error { return introduce(ctx, server.URL, i) }); err != nil {
		return err
	}
	if err := everybody(func(i int) error { return meet(ctx, server.URL, i) }); err != nil {
		return err
	}
	return server.Stop()
}

// everybody does something for each person, several at a time.
func everybody(do func(i int) error) error {
	failed := make([]error, people)
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			failed[i] = do(i)
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

func open(url, path string) (*client.Client, error) {
	store, err := sqlitestore.Open(path)
	if err != nil {
		return nil, err
	}
	return client.Open(client.Options{Server: url, Store: store})
}

func statePath(folder string, i int) string { return filepath.Join(folder, nameOf(i)+".db") }

func introduce(ctx context.Context, url string, i int) error {
	c, err := open(url, statePath(states, i))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Register(ctx, client.RegisterOptions{Username: nameOf(i), Password: password, DeviceName: "first"})
	return err
}

// meet opens and accepts the conversation of a pair.
func meet(ctx context.Context, url string, i int) error {
	c, err := open(url, statePath(states, i))
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := c.Conversation(ctx, nameOf(peerOf(i)))
	if err != nil {
		return err
	}
	return c.Accept(ctx, v.ID)
}
