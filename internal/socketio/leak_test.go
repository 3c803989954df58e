package socketio_test

import (
	"context"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/socketio"
)

// ways are all the ways a session can end. Some leave their connection to the server to close.
var ways = map[string]func(t testing.TB, r *rig){
	"close frame":     func(t testing.TB, r *rig) { c := r.connected(t); c.frame(true, 0, opClose, nil); c.readAll() },
	"connection cut":  func(t testing.TB, r *rig) { r.connected(t).conn.Close() },
	"cut unconnected": func(t testing.TB, r *rig) { r.websocket(t, "").conn.Close() },
	"engine close":    func(t testing.TB, r *rig) { c := r.connected(t); c.send("1"); c.readAll() },
	"left, then cut":  func(t testing.TB, r *rig) { c := r.connected(t); c.send("41"); c.conn.Close() },
	"left and stayed": func(t testing.TB, r *rig) { c := r.connected(t); c.send("41"); c.readAll() },
	"refused and cut": func(t testing.TB, r *rig) { c := r.websocket(t, ""); c.send(`40{"no":1}`); c.conn.Close() },
	"protocol error":  func(t testing.TB, r *rig) { c := r.connected(t); c.frame(true, 7, opText, nil); c.readAll() },
	"bad packet":      func(t testing.TB, r *rig) { c := r.connected(t); c.send("4x"); c.readAll() },
	"too large": func(t testing.TB, r *rig) {
		c := r.connected(t)
		c.tooLarge(70_000)
		c.readAll()
	},
	"server's close": func(t testing.TB, r *rig) { c := r.connected(t); c.send(`42["close"]`); c.readAll() },
	"closed and cut": func(t testing.TB, r *rig) { c := r.connected(t); c.send(`42["close"]`); c.conn.Close() },
	"never connects": func(t testing.TB, r *rig) { r.websocket(t, "").readAll() },
	"never pongs":    func(t testing.TB, r *rig) { r.connected(t).readAll() },
	"never reads": func(t testing.TB, r *rig) {
		c := r.slow().connected(t)
		c.send(`42["flood"]`)
		eventually(t, "it is dropped", func() bool {
			_, err := c.conn.Write(rawFrame(true, 0, opText, []byte("6")))
			return err != nil
		})
	},
	"asked and cut":    func(t testing.TB, r *rig) { c := r.connected(t); c.send(`42["ask"]`); c.text(); c.conn.Close() },
	"owes attachments": func(t testing.TB, r *rig) { c := r.connected(t); c.send(owing); c.sendBinary([]byte{1}); c.readAll() },
	"half a frame":     func(t testing.TB, r *rig) { c := r.connected(t); c.write([]byte{0x81, 0xfe, 0}); c.conn.Close() },
	"half a message": func(t testing.TB, r *rig) {
		c := r.connected(t)
		c.frame(false, 0, opText, []byte(owing))
		c.conn.Close()
	},
	"handler panics":    func(t testing.TB, r *rig) { c := r.connected(t); c.send(`42["panic"]`); c.readAll() },
	"poll: close":       func(t testing.TB, r *rig) { r.polling(t).connect().push(200, "1") },
	"poll: server's":    func(t testing.TB, r *rig) { p := r.polling(t).connect(); p.push(200, `42["close"]`); p.want(200, "41") },
	"poll: fetched":     func(t testing.TB, r *rig) { p := r.polling(t).connect(); p.push(200, "1"); p.want(200, "6") },
	"poll: abandoned":   func(t testing.TB, r *rig) { r.polling(t).connect() },
	"poll: unconnected": func(t testing.TB, r *rig) { r.polling(t) },
	"poll: bad packet":  func(t testing.TB, r *rig) { r.polling(t).connect().push(400, "x") },
	"poll: cancelled": func(t testing.TB, r *rig) {
		p := r.polling(t).connect()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, _, _ = r.do(ctx, "GET", p.url, "")
	},
	"upgraded and cut": func(t testing.TB, r *rig) {
		p := r.polling(t).connect()
		c := r.websocket(t, "&sid="+p.sid)
		c.send("2probe")
		c.text()
		c.send("5")
		c.conn.Close()
	},
	"upgraded and closed": func(t testing.TB, r *rig) {
		p := r.polling(t).connect()
		c := r.websocket(t, "&sid="+p.sid)
		c.send("2probe")
		c.text()
		c.send("5")
		c.send(`42["close"]`)
		c.readAll()
	},
	"half an upgrade": func(t testing.TB, r *rig) {
		p := r.polling(t)
		c := r.websocket(t, "&sid="+p.sid)
		c.send("2probe")
		c.text()
		c.readAll()
	},
	"closed while upgrading": func(t testing.TB, r *rig) {
		p := r.polling(t)
		c := r.websocket(t, "&sid="+p.sid)
		p.push(200, "1")
		c.readAll()
	},
}

const owing = `452-["message",{"_placeholder":true,"num":0}]`

// readAll reads until the server closes.
func (c *wsClient) readAll() {
	_, _ = io.Copy(io.Discard, c.br)
	c.conn.Close()
}

// TestNothingIsLeft ends 10,000 sessions in every possible way and counts what is left of them: nothing.
func TestNothingIsLeft(t *testing.T) {
	cfg := socketio.Config{
		PingInterval: 2 * time.Second, PingTimeout: time.Second, ConnectTimeout: 1500 * time.Millisecond,
		ProbeTimeout: 500 * time.Millisecond, AttachmentTimeout: 500 * time.Millisecond, WriteTimeout: time.Second,
		MaxPayload: 64 << 10, MaxPending: 256 << 10,
	}
	r := start(t, cfg, socketio.Handler{
		Connect: func(s *socketio.Socket) {
			greet(s)
			_ = s.EmitWithAck(10*time.Second, func(socketio.Reply, error) {}, "q")
		},
		Event: func(s *socketio.Socket, e socketio.Event) {
			switch e.Name {
			case "panic":
				panic("on purpose")
			case "flood":
				for s.Emit("e", strings.Repeat("x", 10_000)) == nil {
				}
			default:
				echo(s, e)
			}
		},
	})
	idle := r.settle(t)
	// The first half makes maps and pools as large as they get.
	const half = 5000
	r.endSessions(t, half)
	before := r.settle(t)
	r.endSessions(t, half)
	after := r.settle(t)
	if after.goroutines > idle.goroutines {
		stacks := make([]byte, 1<<20)
		t.Errorf("goroutines: %d before, %d after\n%s", idle.goroutines, after.goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	// Not a byte that grows with the sessions: 100 bytes of each would be half a megabyte.
	if grown := int64(after.heap) - int64(before.heap); grown > half*100 {
		t.Errorf("%d bytes of heap for %d sessions", grown, half)
	}
	for reason := range socketio.ReasonPanic + 1 {
		if reason != socketio.ReasonDrain && r.metric("sessions_ended_total", reason.String()) == 0 {
			t.Errorf("no session ended by %s", reason)
		}
	}
}

// slowWays wait for the server's timers. They end fewer sessions.
var slowWays = map[string]bool{
	"never pongs": true, "never reads": true, "never connects": true, "left and stayed": true, "owes attachments": true,
	"half an upgrade": true, "poll: abandoned": true,
}

// endSessions ends at least total sessions, in turns in every way, many at once.
func (r *rig) endSessions(t *testing.T, total int) {
	var wg sync.WaitGroup
	places := make(chan struct{}, 400)
	for round := 0; total > 0; round++ {
		for name, end := range ways {
			if slowWays[name] && round%5 != 0 {
				continue
			}
			total--
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				q := &tolerant{TB: t}
				defer q.clean()
				end(q, r)
			})
		}
	}
	wg.Wait()
}

// tolerant is the T of one session among many. What its session meets may differ from what a quiet server would send: a
// heartbeat may come first, a time may be over. It then ends early, which is one more way to end.
type tolerant struct {
	testing.TB
	cleanups []func()
}

func (q *tolerant) Helper()               {}
func (q *tolerant) Cleanup(f func())      { q.cleanups = append(q.cleanups, f) }
func (q *tolerant) Fatal(...any)          { runtime.Goexit() }
func (q *tolerant) Fatalf(string, ...any) { runtime.Goexit() }

func (q *tolerant) clean() {
	for _, f := range q.cleanups {
		f()
	}
}

type remains struct {
	goroutines int
	heap       uint64
}

// settle waits until nothing of any session is left that can be counted, and counts the rest.
func (r *rig) settle(t *testing.T) remains {
	t.Helper()
	for what, count := range map[string]func() int64{
		"sessions":      func() int64 { return int64(r.srv.Sessions()) },
		"timers":        func() int64 { return int64(r.srv.Timers()) },
		"pending bytes": func() int64 { return r.metric("pending_bytes", "") },
		"sockets":       func() int64 { return r.metric("sockets", "") },
		"on polling":    func() int64 { return r.metric("sessions", "polling") },
		"on websocket":  func() int64 { return r.metric("sessions", "websocket") },
	} {
		eventually(t, "no "+what+" are left", func() bool { return count() == 0 })
	}
	r.client.CloseIdleConnections()
	var m remains
	eventually(t, "goroutines come to rest", func() bool {
		runtime.Gosched()
		n := runtime.NumGoroutine()
		same := n == m.goroutines
		m.goroutines = n
		time.Sleep(50 * time.Millisecond)
		return same
	})
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	m.heap = stats.HeapAlloc
	return m
}
