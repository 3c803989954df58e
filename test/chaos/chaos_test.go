package chaos_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sotto/internal/testenv"
)

// component is what is killed.
type component interface {
	Kill9() error
	Up(ctx context.Context) error
}

// program is one process of the server under test.
type program struct {
	server *testenv.Server
	*testenv.Process
}

func (p program) Up(ctx context.Context) error {
	if err := p.Start(); err != nil {
		return err
	}
	return p.server.Ready(ctx, p.Process)
}

// pointWait is how long the load may take to reach a point.
const pointWait = 40 * time.Second

// dieAt starts the program so that it ends at the pass of a point, and waits for that.
func (p program) dieAt(ctx context.Context, point string) error {
	env := p.Env
	defer func() { p.Env = env }()
	p.Env = append(slices.Clone(env), "FAULTPOINT="+point)
	if err := p.Start(); err != nil {
		return err
	}
	if strings.HasPrefix(point, drainPoint) {
		if err := p.server.Ready(ctx, p.Process); err != nil {
			return err
		}
		_ = p.Stop() // it does not end as it should: that is the point
	}
	for deadline := time.Now().Add(pointWait); p.Running(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s did not reach %q within %v", p.Name, point, pointWait)
		}
	}
	return nil
}

const drainPoint = "drain begun"

// points are those that the load of every run reaches, by program. Those that need somebody who is away are in chain.
var points = map[string][]string{
	"serve":        {"after commit before answer", "after answer before hint", drainPoint},
	"chat":         {"after commit before answer", "after answer before hint", drainPoint},
	"user":         {drainPoint},
	"notification": {drainPoint},
	"gateway":      {drainPoint},
}

func number(t *testing.T, name string, fallback uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s is %q; give a number", name, text)
	}
	return n
}

func shapeNamed(name string) testenv.Shape {
	i := slices.IndexFunc(testenv.Shapes, func(s testenv.Shape) bool { return s.Name == name })
	return testenv.Shapes[i]
}

// TestKills: whatever is killed, and whenever, nothing that was acknowledged is lost, nothing is shown twice, and the
// order stays; and the server comes back by itself.
func TestKills(t *testing.T) {
	seed := number(t, "SOTTO_SEED", uint64(time.Now().UnixNano())%1_000_000)
	kills := int(number(t, "SOTTO_KILLS", 3))
	separate := []string{"split", "2chat/nginx"}[seed%2]
	if c := os.Getenv("SOTTO_COMPONENT"); c == "gateway" {
		separate = "split"
	} else if c == "nginx" {
		separate = "2chat/nginx"
	}
	t.Logf("SOTTO_SEED=%d: separate services as %s", seed, separate)
	for _, shape := range []testenv.Shape{shapeNamed("serve/PostgreSQL"), shapeNamed(separate)} {
		names := components(shape, os.Getenv("SOTTO_COMPONENT"))
		if len(names) == 0 {
			continue // the one that was asked for belongs to another shape
		}
		t.Run(strings.ReplaceAll(shape.Name, "/", " "), func(t *testing.T) {
			shape.Links = shape.Separate
			w := newWorld(t, shape, seed)
			w.recovered()
			start, before := time.Now(), w.acked.Load()
			w.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				n := kills
				if kills == 3 && (name == "postgres" || name == "rabbitmq") {
					n = 2 // a run of three has little time, and these take the longest to come back
				}
				for i := range n {
					w.kill(name, i)
				}
			}
			w.mixed()
			if w.shape.Separate {
				w.chain()
				links := w.server.Links
				for _, d := range testenv.Disturbances {
					w.disturb(links[w.rand.IntN(len(links))], d, disturbedFor)
				}
			}
			rate := float64(w.acked.Load()-before) / time.Since(start).Seconds()
			w.settle()
			t.Logf("%d messages, %.0f acknowledged a second with all the kills", w.acked.Load(), rate)
			w.happened()
		})
	}
}

// components are what the shape has, or the one of that name.
func components(shape testenv.Shape, only string) []string {
	names := []string{"serve"}
	if shape.Separate {
		names = []string{"user", "chat1", "notification", "gateway", "rabbitmq", "redis", "postgres"}
	}
	if shape.Nginx {
		names[3] = "nginx"
	}
	return slices.DeleteFunc(names, func(n string) bool { return only != "" && n != only })
}

func (w *world) component(name string) component {
	switch name {
	case "postgres":
		return services.Postgres
	case "rabbitmq":
		return services.RabbitMQ
	case "redis":
		return services.Redis
	}
	return program{w.server, w.server.Named[name]}
}

// kill ends a component at a random moment, or at a named point when it has one, brings it back and waits until the
// server works again.
func (w *world) kill(name string, i int) {
	w.t.Helper()
	c := w.component(name)
	time.Sleep(time.Duration(w.rand.IntN(300)) * time.Millisecond)
	if of := points[strings.TrimRight(name, "12")]; i > 0 && len(of) > 0 {
		where := of[(i+w.rand.IntN(len(of)))%len(of)]
		pass := 1
		if where != drainPoint {
			pass += w.rand.IntN(20)
		}
		w.killAt(name, fmt.Sprintf("%s:%d", where, pass))
		return
	}
	w.check(c.Kill9())
	time.Sleep(time.Duration(w.rand.IntN(200)) * time.Millisecond)
	down := time.Now()
	w.check(c.Up(w.t.Context()))
	up := time.Since(down)
	w.t.Logf("%s killed at a random moment: up after %.1f s, works %.1f s later", name, up.Seconds(), w.recovered().Seconds())
}

// killAt restarts a program so that it ends at a point, and brings it back. Other processes of its service are away for
// that time, so that the load has to reach the point.
func (w *world) killAt(name, where string) {
	w.t.Helper()
	p := w.component(name).(program)
	service := strings.TrimRight(name, "12")
	var others []component
	for _, other := range w.server.Processes {
		if other.Name != name && strings.TrimRight(other.Name, "12") == service {
			others = append(others, program{w.server, other})
		}
	}
	for _, c := range append(others, p) {
		w.check(c.Kill9())
	}
	w.check(p.dieAt(w.t.Context(), where))
	down := time.Now()
	for _, c := range append(others, p) {
		w.check(c.Up(w.t.Context()))
	}
	up := time.Since(down)
	w.t.Logf("%s killed at %q: up after %.1f s, works %.1f s later", name, where, up.Seconds(), w.recovered().Seconds())
}

// chain kills along the way of what is announced for somebody who is away: in the sweep's transaction, between
// publishing and confirmation, and between the consumer's commit and its acknowledgement.
func (w *world) chain() {
	w.t.Helper()
	chat, notification := w.component("chat1").(program), w.component("notification").(program)
	w.people[people-4].start() // to somebody who is away and was not announced yet
	w.check(notification.Kill9())
	for _, p := range w.server.Processes {
		if strings.HasPrefix(p.Name, "chat") {
			w.check(p.Kill9())
		}
	}
	w.check(chat.dieAt(w.t.Context(), "sweep after event before mark:1"))
	w.check(chat.dieAt(w.t.Context(), "relay after publish before confirm:1"))
	w.check(w.upBut(notification))
	w.check(notification.dieAt(w.t.Context(), "consumer after commit before acknowledgement:1"))
	w.check(notification.Up(w.t.Context()))
	w.t.Logf("killed in the sweep, in the relay and in the consumer: works %.1f s later", w.recovered().Seconds())
}

// upBut starts every process that does not run, except one.
func (w *world) upBut(except program) error {
	for _, p := range w.server.Processes {
		if p != except.Process && !p.Running() {
			if err := (program{w.server, p}).Up(w.t.Context()); err != nil {
				return err
			}
		}
	}
	return nil
}

// happened fails a run that met nothing of what it is about.
func (w *world) happened() {
	w.t.Helper()
	var logs strings.Builder
	for _, p := range w.server.Processes {
		logs.WriteString(p.Log())
	}
	happens := map[string]bool{
		"a send that came again": strings.Contains(logs.String(), "sends came again"),
		"a lease taken over":     strings.Contains(logs.String(), "took over a lease"),
		"a missed message read":  w.resync.Load() > 0,
	}
	if w.shape.Separate {
		happens["an event delivered again"] = strings.Contains(logs.String(), "an event came again")
	}
	for what, did := range happens {
		if !did {
			w.t.Errorf("%s: never, so the kills met nothing", what)
		}
	}
}

// TestKilledWhileMigrating: a server that ends in the middle of its first migrations goes on where it was.
func TestKilledWhileMigrating(t *testing.T) {
	for _, shape := range testenv.Shapes[:2] {
		for _, pass := range []int{1, 4} {
			server, err := services.NewServer(t.Context(), shape, binaries, t.TempDir(), fmt.Sprintf("migrated_%d", worlds.Add(1)), "")
			if err != nil {
				t.Fatal(err)
			}
			server.CleanUp(t)
			p := program{server, server.Processes[0]}
			if err := p.dieAt(t.Context(), fmt.Sprintf("migration before commit:%d", pass)); err != nil {
				t.Fatal(err)
			}
			if err := server.Up(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}
