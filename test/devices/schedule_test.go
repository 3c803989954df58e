package devices_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/test/history"
)

const (
	schedules = 6         // in one run; SOTTO_SCHEDULES for another number
	firstSeed = 711249826 // of a run without SOTTO_SEED: what is green stays green; make soak starts anywhere
	steps     = 30        // actions of a schedule
	atOnce    = 3         // schedules side by side
	pauseMost = 60 * time.Millisecond
)

// sometimes is what has to happen in a run of this many schedules or more.
var sometimes = []string{eventSupplement, eventOwed, eventRepair, eventRaised, eventCloneRefused, eventKilled, eventCrash}

// TestSchedules lets at random happen what happens to devices and servers. At the end every device of everybody shows
// the same, nothing is lost, nothing is twice, nothing stays undecryptable.
//
// SOTTO_SEED replays one schedule as far as timing allows; the seed decides what happens, not how far it got.
// SOTTO_TOPOLOGY runs them over another shape of the server.
func TestSchedules(t *testing.T) {
	seeds := chooseSeeds(t)
	var mu sync.Mutex
	total := map[string]int{}
	t.Run("seed", func(t *testing.T) {
		slots := make(chan struct{}, atOnce)
		for _, seed := range seeds {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				start := time.Now()
				r := schedule(t, seed)
				fmt.Printf("seed %d: %.1f s, %d acknowledged, %d seen, %s\n",
					seed, time.Since(start).Seconds(), r.Acked, r.Seen, tell(r.Happened))
				mu.Lock()
				defer mu.Unlock()
				for event, n := range r.Happened {
					total[event] += n
				}
			})
		}
	})
	wanted := sometimes
	if shape.Postgres { // no backup is restored there
		wanted = slices.DeleteFunc(slices.Clone(wanted), func(event string) bool { return event == eventRaised })
	}
	if missing := history.Missing(total, wanted...); len(missing) > 0 && len(seeds) >= schedules {
		t.Errorf("seeds %v: this never happened: %s", seeds, strings.Join(missing, ", "))
	}
}

func tell(happened map[string]int) string {
	var parts []string
	for _, event := range slices.Sorted(maps.Keys(happened)) {
		parts = append(parts, fmt.Sprintf("%s %d", event, happened[event]))
	}
	return strings.Join(parts, ", ")
}

// chooseSeeds reads SOTTO_SEED and SOTTO_SCHEDULES.
func chooseSeeds(t *testing.T) []uint64 {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s is %q; give a number", name, text)
		}
		return n
	}
	if os.Getenv("SOTTO_SEED") != "" && os.Getenv("SOTTO_SCHEDULES") == "" {
		return []uint64{number("SOTTO_SEED", 0)}
	}
	first := number("SOTTO_SEED", firstSeed)
	seeds := make([]uint64, number("SOTTO_SCHEDULES", schedules))
	for i := range seeds {
		seeds[i] = first + uint64(i)
	}
	fmt.Printf("seeds %d to %d; SOTTO_SEED=N replays one\n", first, first+uint64(len(seeds))-1)
	return seeds
}

func schedule(t *testing.T, seed uint64) history.Report {
	w := newWorld(t, seed)
	plot := plots[seed%uint64(len(plots))]
	for i := range steps {
		if k := i - steps/2; k >= 0 && k < len(plot) {
			w.do(plot[k])
		} else {
			w.step()
		}
		time.Sleep(time.Duration(w.rand.Int64N(int64(pauseMost)))) // part of the schedule: things are to be under way
	}
	w.say("the end")
	r, err := w.rest(t.Context())
	w.check(err)
	for _, d := range w.devices() {
		w.check(d.tally())
	}
	facts, err := history.Read(w.logs)
	w.check(err)
	r.Happened = history.Check(facts).Happened
	if len(r.Faults) > 0 {
		t.Errorf("seed %d:\n%s", seed, r)
	}
	for _, err := range w.broken {
		t.Errorf("seed %d: %v", seed, err)
	}
	return r
}
