package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
	"sotto/internal/testenv"
	"sotto/test/history"
)

const (
	sendEvery      = 300 * time.Millisecond // for each person, on average: 66 sends a second together
	recoveryWait   = 60 * time.Second       // fails the run; what is measured is in its log
	settlePatience = 120 * time.Second
)

// world is one run: a server of some shape and twenty people who write to each other.
type world struct {
	t      *testing.T
	rand   *rand.Rand
	shape  testenv.Shape
	server *testenv.Server
	folder string
	logs   string
	people []*person
	names  map[api.AccountID]string
	facts  *history.Journal
	acked  atomic.Int64 // sends of everybody
	sent   atomic.Int64
	resync atomic.Int64 // messages that somebody missed and found by reading, connected again
}

type person struct {
	w        *world
	name     string
	c        *client.Client
	v        client.Conversation
	journal  *history.Journal
	stopLoad context.CancelFunc
	ended    chan error // of Run
	stopRun  context.CancelFunc
	said     int
}

var worlds atomic.Int64

func newWorld(t *testing.T, shape testenv.Shape, seed uint64) *world {
	t.Helper()
	if err := services.Start(t.Context(), shape); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 7)), shape: shape, folder: t.TempDir(), logs: t.TempDir(),
		names: make(map[api.AccountID]string),
	}
	var err error
	database := fmt.Sprintf("chaos_%d", worlds.Add(1))
	w.server, err = services.NewServer(t.Context(), shape, binaries, filepath.Join(w.folder, "data"), database, template)
	w.check(err)
	w.server.CleanUp(t)
	w.check(w.server.Up(t.Context()))
	w.facts, err = history.Open(w.logs, "run")
	w.check(err)
	w.check(os.CopyFS(w.folder, os.DirFS(states)))
	t.Cleanup(w.keepJournals)
	for i := range people {
		w.people = append(w.people, w.join(i))
	}
	for _, p := range w.people {
		me, _ := p.c.Account()
		w.names[me.ID] = p.name
		w.check(w.facts.Note(history.Fact{Kind: history.Member, Conversation: p.v.ID, User: p.name}))
	}
	for _, p := range w.people[:people-4] {
		p.start()
	}
	w.people[people-2].start() // to somebody who is away until the end
	return w                   // and the pair before them waits for the chain
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) join(i int) *person {
	w.t.Helper()
	p := &person{w: w, name: nameOf(i)}
	var err error
	p.c, err = open(w.server.URL, statePath(w.folder, i))
	w.check(err)
	p.v, err = p.c.Conversation(w.t.Context(), nameOf(peerOf(i)))
	w.check(err)
	p.journal, err = history.Open(w.logs, p.name)
	w.check(err)
	p.note(history.Fact{Kind: history.Joined, User: p.name})
	return p
}

func (p *person) note(f history.Fact) {
	f.Device = p.name
	if err := p.journal.Note(f); err != nil {
		p.w.t.Error(err)
	}
}

// start connects, notes what is told, and begins to write.
func (p *person) start() {
	ctx, stopRun := context.WithCancel(context.Background())
	load, stopLoad := context.WithCancel(ctx)
	p.stopRun, p.stopLoad, p.ended = stopRun, stopLoad, make(chan error, 1)
	events := p.c.Events()
	var watching, writing sync.WaitGroup
	watching.Go(func() { p.watch(events) })
	writing.Go(func() { p.write(load) })
	go func() { p.ended <- p.c.Run(ctx) }()
	p.w.t.Cleanup(func() {
		stopRun()
		writing.Wait()
		<-p.ended
		events.Close()
		watching.Wait()
		_ = p.c.Close()
		_ = p.journal.Close()
	})
}

func (p *person) watch(events *client.Subscription) {
	var cut, back int64 // milliseconds at which the connection was lost, and at which there was one again
	for e := range events.C {
		switch e.Type {
		case client.EventDisconnected:
			cut, back = time.Now().UnixMilli(), 0
		case client.EventConnected:
			back = time.Now().UnixMilli()
		case client.EventMessage:
			if at := e.Message.ServerTime; cut > 0 && at < back {
				p.w.resync.Add(1)
			}
			if e.Message.Text() != "" {
				p.note(history.Fact{Kind: history.Shown, Message: e.Message.ID})
			}
		case client.EventSent:
			p.w.acked.Add(1)
			p.note(p.fact(history.Acked, *e.Message))
		case client.EventNotice:
			p.note(history.Fact{Kind: history.Unreadable, Message: e.Notice.MessageID})
		case client.EventFailed:
			p.w.t.Errorf("%s: the server refused %q for good: %v", p.name, e.Message.Text(), e.Err)
		}
	}
}

func (p *person) fact(kind history.Kind, m client.Message) history.Fact {
	return history.Fact{
		Kind: kind, User: p.w.names[m.Sender], Conversation: m.Conversation, Message: m.ID, Position: m.Position, Content: m.Text(),
	}
}

// write says something now and then. A full queue says nothing: then the server has been away for long.
func (p *person) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(sendEvery/2 + rand.N(sendEvery)):
		}
		p.said++
		text := fmt.Sprintf("%s says %d", p.name, p.said)
		p.note(history.Fact{Kind: history.Intend, User: p.name, Conversation: p.v.ID, Content: text})
		if _, err := p.c.Send(ctx, p.v.ID, e2ee.TextBody(text)); err == nil {
			p.w.sent.Add(1)
		}
	}
}

// recovered waits until the server acknowledges again, and returns how long that took.
func (w *world) recovered() time.Duration {
	w.t.Helper()
	start, before := time.Now(), w.acked.Load()
	for w.acked.Load() < before+people {
		if time.Since(start) > recoveryWait {
			w.t.Fatalf("nothing is acknowledged within %v", recoveryWait)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// settle ends the writing and waits until everybody has everything.
func (w *world) settle() {
	w.t.Helper()
	for _, p := range w.people {
		if p.stopLoad == nil {
			p.start()
		}
		p.stopLoad()
	}
	deadline := time.Now().Add(settlePatience)
	for {
		r, busy, err := w.judge()
		w.check(err)
		if len(r.Faults) == 0 && busy == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s%s", r, busy)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// judge checks the journals together with what the people have now, and tells what is still under way.
func (w *world) judge() (r history.Report, busy string, err error) {
	facts, err := history.Read(w.logs)
	if err != nil {
		return r, "", err
	}
	for _, p := range w.people {
		select {
		case err := <-p.ended:
			p.ended <- err
			return r, "", fmt.Errorf("%s stopped: %w", p.name, errors.Join(err, errors.New("its client gave up")))
		default:
		}
		waiting, err := p.c.Queue()
		if err != nil {
			return r, "", err
		}
		if waiting > 0 {
			busy = fmt.Sprintf("%s has %d messages to send", p.name, waiting)
		}
		listing, err := p.listing()
		if err != nil {
			return r, "", err
		}
		facts = append(facts, listing...)
	}
	return history.Check(facts), busy, nil
}

// listing is the person's whole history as facts.
func (p *person) listing() ([]history.Fact, error) {
	facts := []history.Fact{{Kind: history.Listing, Device: p.name}}
	var all []client.Message
	for before := (client.Position{}); ; {
		page, err := p.c.Messages(p.v.ID, before, client.MaxHistory)
		if err != nil {
			return nil, err
		}
		var stored []client.Message
		for _, m := range page {
			if m.State != client.StateQueued && m.State != client.StateFailed {
				stored = append(stored, m)
			}
		}
		all = append(stored, all...)
		if len(stored) < client.MaxHistory {
			break
		}
		before = stored[0].Position
	}
	for _, m := range all {
		f := p.fact(history.Seen, m)
		f.Device = p.name
		if m.Text() == "" {
			f.Kind, f.Reason = history.Excused, "no text"
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func (w *world) keepJournals() {
	if !w.t.Failed() {
		return
	}
	if err := os.CopyFS(filepath.Join(w.t.ArtifactDir(), "journals"), os.DirFS(w.logs)); err != nil {
		w.t.Logf("keeping the journals: %v", err)
	}
}
