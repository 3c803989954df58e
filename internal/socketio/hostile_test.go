package socketio_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/socketio"
)

// held is how much the heap grew while f held its connections, in bytes.
func held(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestSlowBody: a POST whose body trickles in is given up, with its session. Others do not notice.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{PingInterval: time.Hour}, socketio.Handler{}) // WriteTimeout 20 s
		p := r.polling(t).connect()
		good := r.connected(t)
		conn, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		began, stopped := time.Now(), make(chan struct{})
		go func() {
			defer close(stopped)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", p.url)
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		time.Sleep(10 * time.Second)
		good.alive()
		answer, _ := io.ReadAll(conn)
		if !bytes.Contains(answer, []byte(" 400 ")) || time.Since(began) > 22*time.Second {
			t.Errorf("answer %q after %v", answer, time.Since(began))
		}
		p.unknown()
		good.alive()
		<-stopped
	})
}

// TestPromisesAreNotBelieved: frames and bodies that announce a megabyte and send nothing hold no megabyte.
func TestPromisesAreNotBelieved(t *testing.T) {
	r := start(t, socketio.Config{MaxPayload: 1 << 20}, socketio.Handler{})
	const n = 200
	var conns []*wsClient
	size := held(func() {
		for range n {
			c := r.connected(t)
			c.write([]byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4})
			c.write(make([]byte, 5000))
			conns = append(conns, c)
		}
		for range n {
			p := r.polling(t).connect()
			conn, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\nxxx", p.url)
		}
		time.Sleep(100 * time.Millisecond) // let the server read what was sent; more cannot come
	})
	// Both ends live in this process: 64 KB for each is far from the megabyte that was promised.
	if size > 2*n*64<<10 {
		t.Errorf("%d connections hold %d bytes", 2*n, size)
	}
	runtime.KeepAlive(conns)
}

// TestGiantNumbers: ids, counts and names beyond their bounds end the session and nothing else.
func TestGiantNumbers(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	good := r.connected(t)
	for _, packet := range []string{
		"42" + strings.Repeat("9", 100_000) + `["message"]`,
		"45" + strings.Repeat("9", 100_000) + `-["message"]`,
		"42/" + strings.Repeat("n", 100_000) + `,["message"]`,
		"42" + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		`42["message"` + strings.Repeat(",1", 100_000) + `]`,
		"43" + strings.Repeat("9", 17) + `[]`,
	} {
		c := r.connected(t)
		c.send(packet)
		c.wantClose(1008)
	}
	good.alive()
}

// TestPingFlood: a client that pings without end and reads nothing is dropped by the limit on what waits for it.
func TestPingFlood(t *testing.T) {
	r := start(t, socketio.Config{MaxPending: 64 << 10}, socketio.Handler{})
	good := r.connected(t)
	c := r.slow().connected(t)
	flood := bytes.Repeat(rawFrame(true, 0, opPing, make([]byte, 125)), 500)
	eventually(t, "it is dropped", func() bool {
		if n := r.metric("pending_bytes", ""); n > 64<<10 {
			t.Fatalf("%d bytes pending", n)
		}
		_, err := c.conn.Write(flood)
		return err != nil
	})
	good.alive()
}

// TestConnectFlood: many who connect and say nothing cost little, do not stop others, and are gone after ConnectTimeout.
func TestConnectFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{MaxSessions: 500}, socketio.Handler{})
		good := r.connected(t)
		refused := 0
		for range 600 {
			conn, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			c := newWSClient(t, conn)
			go func() { _, _ = io.Copy(io.Discard, c.br) }()
			fmt.Fprintf(conn, "GET %swebsocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", base)
			synctest.Wait()
		}
		refused = int(r.metric("refused_total", "full"))
		if n := r.srv.Sessions(); n != 500 || refused != 101 {
			t.Errorf("%d sessions, %d refused", n, refused)
		}
		good.alive()
		time.Sleep(30 * time.Second)
		for r.srv.Sessions() > 1 {
			go good.send("3")
			good.want("2")
		}
		good.alive()
	})
}

// TestSlowNeighboursDoNotSlowOthers: a room in which half the members read nothing.
func TestSlowNeighboursDoNotSlowOthers(t *testing.T) {
	h, sockets := collecting()
	r := start(t, socketio.Config{MaxPending: 128 << 10}, h)
	const members, events = 40, 300
	var room []*socketio.Socket
	var readers sync.WaitGroup
	var got [members]atomic.Int64
	for i := range members {
		if i%2 == 0 {
			_, s := r.slow().socketOf(t, sockets)
			room = append(room, s)
			continue
		}
		c, s := r.socketOf(t, sockets)
		room = append(room, s)
		readers.Go(func() {
			for n := range events {
				_, b, err := c.next()
				if want := fmt.Sprintf(`42["e",%d,`, n); err != nil || !strings.HasPrefix(string(b), want) {
					t.Errorf("reader got %.20q, %v; want %s", b, err, want)
					return
				}
				got[i].Add(1)
			}
		})
	}
	big := strings.Repeat("x", 20_000)
	for n := range events {
		p, err := socketio.Prepare("e", n, big)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range room {
			if err := s.EmitRaw(p); err != nil && i%2 == 1 {
				t.Fatalf("reader was dropped: %v", err)
			}
		}
		// Nobody is sent more than it can have read but those who do not read.
		for i := 1; i < members; i += 2 {
			eventually(t, "the readers keep up", func() bool { return got[i].Load() >= int64(n-3) })
		}
	}
	readers.Wait()
}

// TestBlockingHandlerHoldsOnlyItsOwnSocket: others are served while one handler waits.
func TestBlockingHandlerHoldsOnlyItsOwnSocket(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	r := start(t, socketio.Config{}, socketio.Handler{Event: func(s *socketio.Socket, e socketio.Event) {
		if e.Name == "block" {
			close(entered)
			<-release
			e.Ack("released")
			return
		}
		echo(s, e)
	}})
	blocked, other := r.connected(t), r.connected(t)
	blocked.send(`421["block"]`)
	blocked.send(`42["message","behind it"]`)
	<-entered
	other.alive()
	close(release)
	blocked.want(`431["released"]`)
	blocked.want(`42["message-back","behind it"]`)
}

// TestHalfOpenUpgrades: many upgrades that are never finished leave polling sessions as they were.
func TestHalfOpenUpgrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		var all []*poller
		for range 100 {
			p := r.polling(t).connect()
			r.websocket(t, "&sid="+p.sid).send("2probe")
			all = append(all, p)
		}
		time.Sleep(11 * time.Second)
		for _, p := range all {
			p.push(200, `42["message",1]`)
			p.want(200, `42["message-back",1]`)
		}
		if n := r.metric("upgrades_total", "failed"); n != 100 {
			t.Errorf("%d given up", n)
		}
	})
}
