package socketio

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestWheelFiresInTime: any mix of scheduling, re-scheduling and cancelling; a timer fires once, not early, and at most
// two ticks late, also when it is further away than a turn of the wheel.
func TestWheelFiresInTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type plan struct {
			After, Then, CancelAt time.Duration // 0: not
		}
		ms := func(most int) *rapid.Generator[time.Duration] {
			return rapid.Map(rapid.IntRange(0, most), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
		}
		plans := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) plan {
			return plan{ms(3000).Draw(rt, "after"), ms(500).Draw(rt, "then"), ms(3000).Draw(rt, "cancel")}
		}), 1, 40).Draw(rt, "plans")
		synctest.Test(t, func(t *testing.T) {
			w := newWheel(20*time.Millisecond, time.Now) // ticks of 1 ms, a turn of 512 ms
			defer w.close()
			start := time.Now()
			fired := make([][]time.Duration, len(plans))
			timers := make([]timer, len(plans))
			var mu sync.Mutex
			for i, p := range plans {
				w.init(&timers[i], byte(i), func() {
					mu.Lock()
					defer mu.Unlock()
					fired[i] = append(fired[i], time.Since(start))
				})
				w.schedule(&timers[i], p.After)
				if p.Then > 0 {
					w.schedule(&timers[i], p.Then)
				}
				if p.CancelAt > 0 {
					time.AfterFunc(p.CancelAt, func() { w.cancel(&timers[i]) })
				}
			}
			time.Sleep(4 * time.Second)
			synctest.Wait()
			for i, p := range plans {
				want := p.After
				if p.Then > 0 {
					want = p.Then
				}
				const slack = 2 * time.Millisecond
				cancelled := p.CancelAt > 0 && p.CancelAt < want
				unsure := p.CancelAt > 0 && p.CancelAt >= want && p.CancelAt <= want+slack
				switch {
				case cancelled && len(fired[i]) > 0:
					rt.Fatalf("timer %d (%+v) was cancelled and fired at %v", i, p, fired[i])
				case !cancelled && !unsure && len(fired[i]) != 1:
					rt.Fatalf("timer %d (%+v) fired at %v", i, p, fired[i])
				case len(fired[i]) == 1 && (fired[i][0] < want || fired[i][0] > want+slack):
					rt.Fatalf("timer %d (%+v) fired at %v, want %v", i, p, fired[i], want)
				}
			}
			if n := w.waiting(); n != 0 {
				rt.Fatalf("%d timers left", n)
			}
		})
	})
}

// TestWheelAfterAPause: a process that was stopped for longer than a turn fires everything that is due, once.
func TestWheelAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var skew time.Duration
		w := newWheel(20*time.Millisecond, func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(skew)
		})
		defer w.close()
		fired := make([]int, 100)
		timers := make([]timer, len(fired))
		for i := range timers {
			w.init(&timers[i], byte(i), func() { fired[i]++ })
			w.schedule(&timers[i], time.Duration(rand.IntN(3000))*time.Millisecond)
		}
		mu.Lock()
		skew = 10 * time.Second
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		for i, n := range fired {
			if n != 1 {
				t.Errorf("timer %d fired %d times", i, n)
			}
		}
	})
}

// TestWheelFunctionsMaySchedule: a function that schedules its own timer again does not disturb the others of its tick.
func TestWheelFunctionsMaySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel(20*time.Millisecond, time.Now)
		defer w.close()
		fired := make([]int, 64)
		timers := make([]timer, len(fired))
		for i := range timers {
			w.init(&timers[i], 0, func() {
				fired[i]++
				w.schedule(&timers[i], 10*time.Millisecond)
				w.schedule(&timers[(i+1)%len(timers)], 10*time.Millisecond)
			})
			w.schedule(&timers[i], 10*time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, n := range fired {
			if n < 80 || n > 100 {
				t.Errorf("timer %d fired %d times in a second", i, n)
			}
		}
	})
}
