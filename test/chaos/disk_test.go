package chaos_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
	"sotto/internal/testenv"
)

const (
	diskSize = 256 << 20       // bytes; a new cluster of PostgreSQL takes a quarter
	quiet    = 3 * time.Second // without an acknowledgement: the disk is full now
)

// TestDiskFull: with no byte left the server acknowledges nothing that it did not store, and goes on by itself when there
// is room again; also when it, or PostgreSQL, ended meanwhile.
func TestDiskFull(t *testing.T) {
	for _, name := range []string{"serve/SQLite", "serve/PostgreSQL"} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			disk, shape := testenv.NewDisk(t, diskSize), shapeNamed(name)
			own := testenv.Services{Dir: disk.Dir}
			t.Cleanup(func() {
				if err := own.Close(); err != nil {
					t.Error(err)
				}
			})
			folder := t.TempDir() // of the clients, before TMPDIR leads elsewhere
			t.Setenv("TMPDIR", disk.Dir)
			if err := own.Start(t.Context(), shape); err != nil { // PostgreSQL makes its folder there
				t.Fatal(err)
			}
			server, err := own.NewServer(t.Context(), shape, binaries, filepath.Join(disk.Dir, "data"), "small", "")
			if err != nil {
				t.Fatal(err)
			}
			server.CleanUp(t)
			if err := server.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			d := newDuo(t, server.URL, folder)
			d.say()
			d.arrived()
			for round, killed := range []bool{false, true} {
				if err := disk.Fill(); err != nil {
					t.Fatal(err)
				}
				d.fillUp()
				if err := (probe{http.MethodGet, "/healthz", "", http.StatusOK}).ask(t.Context(), server.URL); err != nil {
					t.Errorf("the server has gone: %v", err)
				}
				if log := server.Processes[0].Log(); !strings.Contains(log, "disk is full") && !strings.Contains(log, "No space left") {
					t.Error("the log does not say that the disk is full")
				}
				if killed {
					kill(t, server, own.Postgres)
				}
				if err := disk.Empty(); err != nil {
					t.Fatal(err)
				}
				if own.Postgres != nil && !own.Postgres.Running() {
					t.Log("PostgreSQL ended while the disk was full")
					if err := own.Postgres.Up(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if killed {
					if err := server.Up(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				d.say()
				d.arrived()
				t.Logf("round %d: everything is there %.1f s after there was room", round, time.Since(start).Seconds())
			}
		})
	}
}

// kill ends everything while the disk is full.
func kill(t *testing.T, server *testenv.Server, postgres *testenv.Postgres) {
	t.Helper()
	if err := server.Kill9(); err != nil {
		t.Fatal(err)
	}
	if postgres != nil {
		if err := postgres.Kill9(); err != nil {
			t.Fatal(err)
		}
	}
}

// duo are two people, of whom the first writes.
type duo struct {
	t              *testing.T
	first, second  *client.Client
	v              client.Conversation
	events         *client.Subscription
	said, answered int
}

func newDuo(t *testing.T, url, folder string) *duo {
	t.Helper()
	one := func(name string) *client.Client {
		store, err := sqlitestore.Open(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Open(client.Options{Server: url, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Register(t.Context(), client.RegisterOptions{Username: name, Password: password, DeviceName: "first"}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	d := &duo{t: t, first: one("ada"), second: one("bob")}
	var err error
	if d.v, err = d.first.Conversation(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	if err := d.second.Accept(t.Context(), d.v.ID); err != nil {
		t.Fatal(err)
	}
	d.events = d.first.Events()
	for _, c := range []*client.Client{d.first, d.second} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-ended
			_ = c.Close()
		})
	}
	return d
}

// say writes one message of a few kilobytes and returns at once.
func (d *duo) say() {
	d.t.Helper()
	d.said++
	text := fmt.Sprintf("%d %s", d.said, strings.Repeat("and so on ", 800))
	if _, err := d.first.Send(d.t.Context(), d.v.ID, e2ee.TextBody(text)); err != nil {
		d.t.Fatal(err)
	}
}

// fillUp writes until nothing is acknowledged any more: what a database has reserved is used first.
func (d *duo) fillUp() {
	d.t.Helper()
	for last, deadline := time.Now(), time.Now().Add(settlePatience); time.Since(last) < quiet; {
		if time.Now().After(deadline) {
			d.t.Fatalf("%d messages are acknowledged, and the disk is still not full", d.answered)
		}
		if waiting, err := d.first.Queue(); err != nil {
			d.t.Fatal(err)
		} else if waiting < 20 {
			d.say()
		}
		select {
		case e := <-d.events.C:
			if e.Type == client.EventFailed {
				d.t.Fatalf("a send was refused for good: %v", e.Err)
			}
			if e.Type == client.EventSent {
				d.answered++
				last = time.Now()
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	waiting, err := d.first.Queue()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Logf("the disk is full: %d messages said, %d wait", d.said, waiting)
	if waiting == 0 {
		d.t.Error("nothing waits: the disk was not full")
	}
}

// arrived waits until the second has everything that was said, once and in order.
func (d *duo) arrived() {
	d.t.Helper()
	for deadline := time.Now().Add(settlePatience); ; time.Sleep(100 * time.Millisecond) {
		var have []string
		for before := (client.Position{}); ; {
			page, err := d.second.Messages(d.v.ID, before, client.MaxHistory)
			if err != nil {
				d.t.Fatal(err)
			}
			var numbers []string
			for _, m := range page {
				number, _, _ := strings.Cut(m.Text(), " ")
				numbers = append(numbers, number)
			}
			have = append(numbers, have...)
			if len(page) < client.MaxHistory {
				break
			}
			before = page[0].Position
		}
		for i, number := range have {
			if number != fmt.Sprint(i+1) {
				d.t.Fatalf("message %s stands where %d should", number, i+1)
			}
		}
		if len(have) == d.said {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%d messages of %d", len(have), d.said)
		}
	}
}
