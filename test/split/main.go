// Command split runs separate services for development: a private PostgreSQL, RabbitMQ and Redis, and the four programs
// over them. Nothing is kept when it ends. It is what make run-split starts.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"sotto/internal/testenv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sotto-split-")
	if err != nil {
		return err
	}
	services := testenv.Services{Dir: dir}
	defer func() { err = errors.Join(err, services.Close(), os.RemoveAll(dir)) }()
	shape := testenv.Shapes[slices.IndexFunc(testenv.Shapes, func(s testenv.Shape) bool { return s.Name == "split" })]
	fmt.Println("Starting PostgreSQL, RabbitMQ and Redis: about ten seconds.")
	if err := services.Start(ctx, shape); err != nil {
		return err
	}
	server, err := services.NewServer(ctx, shape, filepath.Join(testenv.Root(), "bin"), filepath.Join(dir, "data"), "sotto", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err := server.Up(ctx); err != nil {
		return err
	}
	fmt.Printf("Sotto is running at %s as\n", server.URL)
	for _, p := range server.Processes {
		fmt.Printf("  %-14s process %d, %v\n", p.Name, p.Pid(), p.Args)
	}
	fmt.Println("Their log lines follow. Stop with Ctrl-C; nothing is kept.")
	follow(ctx, server)
	return nil
}

const followEvery = 200 * time.Millisecond

// follow prints what the processes write.
func follow(ctx context.Context, server *testenv.Server) {
	shown := make(map[*testenv.Process]int)
	for ctx.Err() == nil {
		for _, p := range server.Processes {
			log := p.Log()
			fmt.Print(log[shown[p]:])
			shown[p] = len(log)
		}
		select {
		case <-ctx.Done():
		case <-time.After(followEvery):
		}
	}
}
