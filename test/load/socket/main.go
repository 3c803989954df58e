// Command socket measures internal/socketio against Node's socket.io on the same work in the same run: memory of idle
// connections, CPU per relayed message and per delivery to a room. Run it with `make bench ROW=socket`.
//
// Both servers run as processes of their own, one at a time, in turns. CPU is their user and system time. The load
// generator shares the machine with them, so rates depend on it; CPU per message hardly does. It prints and asserts
// nothing but that every message arrived.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

// The work of one run.
type work struct {
	idle      int           // connections of the memory row
	clients   int           // connections of the other rows
	inFlight  int           // messages relayed at once
	duration  time.Duration // of the relay row
	members   int           // of the room
	broadcast int           // events to the room
	rounds    int           // runs of each server, in turns; the median counts
}

// result is what one run of one server gave.
type result struct {
	idleKB, idleAfterGC float64 // resident memory per idle connection
	relayed             int
	relayCPU            time.Duration // per message
	roomCPU             time.Duration // per delivery
}

func main() {
	var w work
	serve := flag.Bool("serve", false, "be the server under test (the program starts itself with it)")
	flag.IntVar(&w.idle, "idle", 15_000, "idle connections")
	flag.IntVar(&w.clients, "clients", 2_000, "connections of the relay and room rows")
	flag.IntVar(&w.inFlight, "inflight", 64, "messages relayed at once")
	flag.DurationVar(&w.duration, "duration", 5*time.Second, "time of the relay row")
	flag.IntVar(&w.members, "members", 500, "members of the room")
	flag.IntVar(&w.broadcast, "broadcast", 1_000, "events sent to the room")
	flag.IntVar(&w.rounds, "rounds", 3, "rounds")
	flag.Parse()
	err := error(nil)
	if *serve {
		err = serveApplication(w.members)
	} else {
		err = measure(w)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "socket:", err)
		os.Exit(1)
	}
}

// measure runs the servers in turns and prints the medians.
func measure(w work) error {
	results := make(map[string][]result)
	for range w.rounds {
		for _, name := range []string{"sotto", "node"} {
			r, err := run(name, w)
			if err != nil {
				return fmt.Errorf("measuring %s: %w", name, err)
			}
			fmt.Printf("%-6s idle %.1f KB (%.1f after GC)  relay %v/message (%d messages)  room %v/delivery\n",
				name, r.idleKB, r.idleAfterGC, r.relayCPU, r.relayed, r.roomCPU)
			results[name] = append(results[name], r)
		}
	}
	sotto, node := median(results["sotto"]), median(results["node"])
	fmt.Printf("\nmedians of %d rounds, %d idle connections, %d clients, 200-byte payload, room of %d\n",
		w.rounds, w.idle, w.clients, w.members)
	row := func(name, unit string, a, b, target float64, goal string) {
		met := "met"
		if a > target {
			met = "NOT MET"
		}
		fmt.Printf("%-34s sotto %8.2f %s   node %8.2f %s   goal %s: %s\n", name, a, unit, b, unit, goal, met)
	}
	row("resident memory per idle client", "KB", sotto.idleKB, node.idleKB, 10, "10 KB")
	row("the same after a collection", "KB", sotto.idleAfterGC, node.idleAfterGC, 10, "10 KB")
	row("CPU per relayed message", "us", us(sotto.relayCPU), us(node.relayCPU), us(node.relayCPU)/2, "half of node")
	row("CPU per delivery to a room", "us", us(sotto.roomCPU), us(node.roomCPU), us(node.roomCPU)/2, "half of node")
	return nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median takes each number's median by itself.
func median(all []result) (m result) {
	m.idleKB = middle(all, func(r result) float64 { return r.idleKB })
	m.idleAfterGC = middle(all, func(r result) float64 { return r.idleAfterGC })
	m.relayCPU = middle(all, func(r result) time.Duration { return r.relayCPU })
	m.roomCPU = middle(all, func(r result) time.Duration { return r.roomCPU })
	return m
}

func middle[T float64 | time.Duration](all []result, of func(result) T) T {
	values := make([]T, len(all))
	for i, r := range all {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// run starts one server and does the whole work with it.
func run(name string, w work) (result, error) {
	s, err := startServer(name, w.members)
	if err != nil {
		return result{}, err
	}
	defer s.stop()
	var r result
	// The first connections make the server's fixed parts; they do not count.
	warm, err := connect(s.url, 0, 200)
	if err != nil {
		return r, err
	}
	before, err := s.collect()
	if err != nil {
		return r, err
	}
	idle, err := connect(s.url, 200, 200+w.idle)
	if err != nil {
		return r, err
	}
	time.Sleep(time.Second)
	raw, err := s.residentKB()
	if err != nil {
		return r, err
	}
	after, err := s.collect()
	if err != nil {
		return r, err
	}
	r.idleKB, r.idleAfterGC = (raw-before)/float64(w.idle), (after-before)/float64(w.idle)
	closeAll(idle)
	closeAll(warm)
	time.Sleep(time.Second)

	clients, err := connect(s.url, 0, w.clients)
	if err != nil {
		return r, err
	}
	defer closeAll(clients)
	if err := relay(s, clients, w, &r); err != nil {
		return r, err
	}
	return r, room(s, clients, w, &r)
}
