package socketio

import (
	"sync"
	"time"
)

const (
	wheelShards = 16
	// wheelSlots times the tick is the time of one turn. Timers further away stay in their slot for another turn.
	wheelSlots = 512
	// ticksPerWait is how many ticks the shortest configured wait has at least: timers are late by at most a tick.
	ticksPerWait = 20
	maxTick      = 100 * time.Millisecond
	minTick      = time.Millisecond
)

// wheel is a hashed timing wheel: all waits of all sessions, driven by one goroutine. It is sharded so that sessions do
// not queue for one lock. Functions run in the wheel's goroutine and must not block.
type wheel struct {
	tick   time.Duration
	now    func() time.Time
	start  time.Time
	stop   chan struct{}
	once   sync.Once // closes stop
	done   chan struct{}
	shards [wheelShards]wheelShard
}

type wheelShard struct {
	mu    sync.Mutex
	turn  int64 // the last tick whose slot was visited
	slots [wheelSlots]*timer
	count int
}

// timer is one wait in a wheel. It is idle or in exactly one slot. Its fields belong to the lock of its shard, except
// fire and shard, which are set once before it is first scheduled.
type timer struct {
	next, prev *timer
	due        int64 // tick; 0 while idle
	shard      *wheelShard
	fire       func()
}

func newWheel(shortest time.Duration, now func() time.Time) *wheel {
	w := &wheel{
		tick:  min(max(shortest/ticksPerWait, minTick), maxTick),
		now:   now,
		start: now(),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	go w.run()
	return w
}

// init prepares t for scheduling. spread picks its shard.
func (w *wheel) init(t *timer, spread byte, fire func()) {
	t.shard, t.fire = &w.shards[spread%wheelShards], fire
}

// schedule lets t fire once after d, at most one tick late, and replaces what t was scheduled for.
func (w *wheel) schedule(t *timer, d time.Duration) {
	due := int64((w.now().Sub(w.start)+d)/w.tick) + 1
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.shard.unlink(t)
	t.shard.link(t, max(due, t.shard.turn+1))
}

// cancel makes t idle. A function that is already on its way still runs: it must look at its session's state.
func (w *wheel) cancel(t *timer) {
	if t.shard == nil {
		return
	}
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.shard.unlink(t)
}

// waiting is the number of timers scheduled.
func (w *wheel) waiting() int {
	n := 0
	for i := range w.shards {
		w.shards[i].mu.Lock()
		n += w.shards[i].count
		w.shards[i].mu.Unlock()
	}
	return n
}

func (w *wheel) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	var due []func()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
		turn := int64(w.now().Sub(w.start) / w.tick)
		for i := range w.shards {
			due = w.shards[i].advance(turn, due[:0])
			for _, fire := range due {
				fire()
			}
			clear(due)
		}
	}
}

func (w *wheel) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

// advance takes out all timers that are due at turn and appends their functions to due. When the wheel is late by more
// than a whole turn it visits every slot once.
func (s *wheelShard) advance(turn int64, due []func()) []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := max(s.turn+1, turn-wheelSlots+1); at <= turn; at++ {
		for t := s.slots[at%wheelSlots]; t != nil; {
			next := t.next
			if t.due <= turn {
				s.unlink(t)
				due = append(due, t.fire)
			}
			t = next
		}
	}
	s.turn = max(s.turn, turn)
	return due
}

func (s *wheelShard) link(t *timer, due int64) {
	head := &s.slots[due%wheelSlots]
	t.due, t.next, t.prev = due, *head, nil
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	s.count++
}

func (s *wheelShard) unlink(t *timer) {
	if t.due == 0 {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.slots[t.due%wheelSlots] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.due, t.next, t.prev = 0, nil, nil
	s.count--
}
