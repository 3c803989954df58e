// Command make leaves the folder of this build for later ones: test/upgrade/VERSION. Run it before a build is tagged,
// through `make upgrade-data`. It refuses to change a folder that is there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/internal/testenv"
	"sotto/test/upgrade"
)

const (
	password = "correct horse battery staple"
	patience = 2 * time.Minute
)

func main() {
	into := filepath.Join(testenv.Root(), "test", "upgrade", api.Version)
	if err := run(into); err != nil {
		fmt.Fprintln(os.Stderr, "upgrade-data:", err)
		os.Exit(1)
	}
	fmt.Println(into, "is made. Commit it and never change it.")
}

func run(into string) (err error) {
	if _, err := os.Stat(into); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", into)
	}
	work, err := os.MkdirTemp("", "sotto-upgrade-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	dir, binaries := filepath.Join(work, "dir"), filepath.Join(work, "bin")
	if err := errors.Join(os.Mkdir(dir, 0o700), testenv.Build(binaries, "sottod")); err != nil {
		return err
	}
	server, err := testenv.NewServe(binaries, filepath.Join(dir, upgrade.Data))
	if err != nil {
		return err
	}
	defer server.Kill9() //nolint:errcheck // it has ended, unless something else failed
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Up(ctx); err != nil {
		return err
	}
	said, err := talk(ctx, dir, server.URL)
	if err := errors.Join(err, server.Stop()); err != nil {
		return err
	}
	return upgrade.Pack(dir, into, upgrade.History{Version: api.Version, Password: password, Said: said})
}

// talk makes two accounts that write to each other, the last messages to somebody who is away.
func talk(ctx context.Context, dir, url string) (said []string, err error) {
	people := map[string]*client.Client{}
	for _, name := range []string{"alice", "bob"} {
		c, err := upgrade.Open(dir, url, name)
		if err != nil {
			return nil, err
		}
		if _, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: password, DeviceName: name + "'s first"}); err != nil {
			return nil, err
		}
		people[name] = c
	}
	alice, bob := people["alice"], people["bob"]
	stopAlice, stopBob := upgrade.Online(alice), upgrade.Online(bob)
	defer func() { err = errors.Join(err, stopAlice()) }()
	v, err := alice.Conversation(ctx, "bob")
	if err != nil {
		return nil, err
	}
	for i := range 3 {
		for _, turn := range []struct {
			name     string
			from, to *client.Client
		}{{"alice", alice, bob}, {"bob", bob, alice}} {
			text := fmt.Sprintf("%d from %s", i, turn.name)
			if err := errors.Join(upgrade.Say(ctx, turn.from, v, text), upgrade.See(ctx, turn.to, v, text)); err != nil {
				return nil, err
			}
			said = append(said, turn.name+": "+text)
		}
	}
	if err := stopBob(); err != nil {
		return nil, err
	}
	for i := range 2 {
		text := fmt.Sprintf("%d while bob is away", i)
		if err := upgrade.Say(ctx, alice, v, text); err != nil {
			return nil, err
		}
		said = append(said, "alice: "+text)
	}
	return said, nil
}
