package chaos_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sotto/client"
	"sotto/e2ee"
	"sotto/internal/testenv"
)

// TestRollingSeveralServe: two processes of everything over one PostgreSQL, RabbitMQ and Redis. People at different ones
// write to each other, and what is sent while one is killed arrives.
func TestRollingSeveralServe(t *testing.T) {
	if err := services.Start(t.Context(), shapeNamed("split")); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	server, err := services.NewServer(t.Context(), shapeNamed("serve/PostgreSQL"), binaries, filepath.Join(folder, "data"),
		fmt.Sprintf("serves_%d", worlds.Add(1)), template)
	if err != nil {
		t.Fatal(err)
	}
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	first := server.Processes[0]
	first.Env = append(first.Env, "SOTTO_BROKER_URL="+services.RabbitMQ.URL(), "SOTTO_REDIS_URL="+services.Redis.URL)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	second := &testenv.Process{
		Name: "serve2", Path: first.Path, Env: slices.Clone(first.Env),
		Args: []string{"serve", "--data-dir", filepath.Join(folder, "data2"), "--listen", address},
	}
	second.CleanUp(t)
	server.CleanUp(t)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.WaitHTTP(t.Context(), "http://"+address+"/readyz"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(states)); err != nil {
		t.Fatal(err)
	}
	people := make([]*client.Client, 2)
	for i, url := range []string{server.URL, "http://" + address} {
		c, err := open(url, statePath(folder, i))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-ended
			_ = c.Close()
		})
		people[i] = c
	}
	v, err := people[0].Conversation(t.Context(), nameOf(1))
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	for i := range n {
		if i == n/2 {
			if err := first.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := server.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range people {
			if _, err := c.Send(t.Context(), v.ID, e2ee.TextBody(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range people {
		for deadline := time.Now().Add(settlePatience); ; time.Sleep(50 * time.Millisecond) {
			all, err := c.Messages(v.ID, client.Position{}, client.MaxHistory)
			if err != nil {
				t.Fatal(err)
			}
			waiting, err := c.Queue()
			if err != nil {
				t.Fatal(err)
			}
			if len(all) == 2*n && waiting == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d messages of %d, %d in the queue", len(all), 2*n, waiting)
			}
		}
	}
}
