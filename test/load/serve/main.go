// Command serve measures `sottod serve` on this machine: time to ready, idle memory, messages a second between two
// clients. Numbers are printed and never asserted: they depend on the machine.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
	"sotto/internal/testenv"
)

const (
	starts   = 5
	messages = 2_000
	quiet    = 2 * time.Second // before the memory of an idle server is read
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load/serve:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "sotto-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of the system's temporary place
	if err := testenv.Build(dir, "sottod"); err != nil {
		return err
	}
	server, err := testenv.NewServe(dir, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	server.Args = append(server.Args, "--log-level=error")
	defer server.Kill9() //nolint:errcheck // it may have ended
	ctx := context.Background()
	for i := range starts {
		begin := time.Now()
		if err := server.Up(ctx); err != nil {
			return err
		}
		fmt.Printf("ready after %v%s\n", time.Since(begin).Round(time.Millisecond), map[bool]string{true: " (new data directory)"}[i == 0])
		if i < starts-1 {
			if err := server.Stop(); err != nil {
				return err
			}
		}
	}
	time.Sleep(quiet)
	if err := printMemory("idle", server.Pid()); err != nil {
		return err
	}
	if err := talk(ctx, server.URL, dir); err != nil {
		return err
	}
	return printMemory("after the conversation", server.Pid())
}

func printMemory(when string, pid int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS") {
			fmt.Printf("%s: %s\n", when, strings.Join(strings.Fields(line), " "))
		}
	}
	return nil
}

// talk sends messages one way as fast as the queue goes and waits until the last one has arrived.
func talk(ctx context.Context, url, dir string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	people := map[string]*client.Client{}
	for _, name := range []string{"alice", "bob"} {
		store, err := sqlitestore.Open(filepath.Join(dir, name+".db"))
		if err != nil {
			return err
		}
		c, err := client.Open(client.Options{Server: url, Store: store, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			return err
		}
		begin := time.Now()
		if _, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: "correct horse battery", DeviceName: "load"}); err != nil {
			return err
		}
		fmt.Printf("registered %s in %v\n", name, time.Since(begin).Round(time.Millisecond))
		go c.Run(ctx) //nolint:errcheck // ends with ctx
		people[name] = c
	}
	v, err := people["alice"].Conversation(ctx, "bob")
	if err != nil {
		return err
	}
	events := people["bob"].Events()
	defer events.Close()
	begin := time.Now()
	for i := range messages {
		if _, err := people["alice"].Send(ctx, v.ID, e2ee.TextBody(fmt.Sprint("message ", i))); err != nil {
			return err
		}
	}
	queued := time.Since(begin)
	for newest := uint64(0); newest < messages; {
		<-events.C
		page, err := people["bob"].Messages(v.ID, client.Position{}, 1)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			newest = page[0].Position.Seq
		}
	}
	took := time.Since(begin)
	fmt.Printf("%d messages: queued in %v, delivered in %v, %.0f a second (both clients and the server on this machine)\n",
		messages, queued.Round(time.Millisecond), took.Round(time.Millisecond), messages/took.Seconds())
	return nil
}
