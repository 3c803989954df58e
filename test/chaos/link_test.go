package chaos_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"sotto/internal/testenv"
)

// disturbedFor is how long a link is disturbed. SOTTO_LINKS=all takes longer than what services wait for each other.
const (
	disturbedFor     = 1500 * time.Millisecond
	disturbedForLong = 15 * time.Second
)

// TestLinks disturbs, one after the other, every way between two processes, and the one from people to the server, in
// every manner. TestKills does three of them.
func TestLinks(t *testing.T) {
	if os.Getenv("SOTTO_LINKS") != "all" {
		t.Skip("three of them are part of TestKills; all take half an hour: SOTTO_LINKS=all, or make soak")
	}
	seed := number(t, "SOTTO_SEED", uint64(time.Now().UnixNano())%1_000_000)
	for _, name := range []string{"split", "2chat/nginx"} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			shape := shapeNamed(name)
			shape.Links = true
			w := newWorld(t, shape, seed)
			w.recovered()
			for _, l := range w.server.Links {
				for _, d := range testenv.Disturbances {
					w.disturb(l, d, disturbedForLong)
				}
			}
			w.settle()
		})
	}
}

// disturb does it for a while, and waits until the server works again. What happens in between is for the history
// checker; with a partition between people and the server nothing can.
func (w *world) disturb(l *testenv.Link, d testenv.Disturbance, long time.Duration) {
	w.t.Helper()
	before := w.acked.Load()
	heal, err := l.Disturb(w.t.Context(), d)
	w.check(err)
	time.Sleep(long)
	during := float64(w.acked.Load()-before) / long.Seconds()
	w.check(heal())
	w.t.Logf("%s from %s to %s: %.0f acknowledged a second meanwhile, works %.1f s later", d.Name, l.From, l.To, during,
		w.recovered().Seconds())
}
