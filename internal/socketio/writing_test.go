package socketio_test

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/socketio"
)

// socketOf opens a websocket and returns the server's end too. The client has not yet read anything but the open packet.
func (r *rig) socketOf(t testing.TB, sockets <-chan *socketio.Socket) (*wsClient, *socketio.Socket) {
	t.Helper()
	c := r.websocket(t, "")
	c.text()
	c.send("40")
	c.text()
	return c, <-sockets
}

// collecting is an application that hands its sockets to the test.
func collecting() (socketio.Handler, chan *socketio.Socket) {
	sockets := make(chan *socketio.Socket, 16)
	return socketio.Handler{Connect: func(s *socketio.Socket) { sockets <- s }}, sockets
}

// TestSlowConsumerIsDropped: a client that does not read costs at most MaxPending and then its connection. Nobody waits
// for it.
func TestSlowConsumerIsDropped(t *testing.T) {
	h, sockets := collecting()
	const limit = 256 << 10
	r := start(t, socketio.Config{MaxPending: limit}, h)
	_, s := r.slow().socketOf(t, sockets)
	good, g := r.socketOf(t, sockets)
	big, err := socketio.Prepare("big", strings.Repeat("x", 10_000))
	if err != nil {
		t.Fatal(err)
	}
	// The kernel takes some megabytes; then pending grows to its limit.
	for err = nil; err == nil; err = s.EmitRaw(big) {
		if n := r.metric("pending_bytes", ""); n > limit {
			t.Fatalf("%d bytes pending", n)
		}
	}
	if !errors.Is(err, socketio.ErrClosed) {
		t.Error(err)
	}
	if reason := <-r.ended; reason != socketio.ReasonSlow {
		t.Errorf("reason %v", reason)
	}
	if err := g.Emit("hello"); err != nil {
		t.Error(err)
	}
	good.want(`42["hello"]`)
	eventually(t, "its bytes are forgotten", func() bool { return r.metric("pending_bytes", "") == 0 })
}

// TestSlowPollerIsDropped: the limit holds for polling too, where nothing is written until a poll comes.
func TestSlowPollerIsDropped(t *testing.T) {
	h, sockets := collecting()
	r := start(t, socketio.Config{MaxPending: 10_000}, h)
	p := r.polling(t)
	p.push(200, "40")
	s := <-sockets
	for range 9 {
		if err := s.Emit("big", strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Emit("big", strings.Repeat("x", 1000)); !errors.Is(err, socketio.ErrClosed) {
		t.Error(err)
	}
	p.unknown()
	if n := r.metric("pending_bytes", ""); n != 0 {
		t.Errorf("%d bytes pending", n)
	}
}

// TestStuckReaderIsDropped: a client that reads one byte a second is dropped when a write takes too long, also below
// MaxPending.
func TestStuckReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sockets := collecting()
		r := startPipe(t, socketio.Config{PingInterval: time.Hour, MaxPending: 1 << 20}, h) // WriteTimeout 20 s
		c, s := r.socketOf(t, sockets)
		began := time.Now()
		if err := s.Emit("big", strings.Repeat("x", 100_000)); err != nil {
			t.Fatal(err)
		}
		read := 0
		for one := make([]byte, 1); ; read++ {
			if _, err := c.conn.Read(one); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(began); d > 22*time.Second || read > 22 {
			t.Errorf("dropped after %v and %d bytes", d, read)
		}
		if reason := <-r.ended; reason != socketio.ReasonSlow {
			t.Errorf("reason %v", reason)
		}
	})
}

// TestEphemeral: sent when nothing waits, dropped otherwise, and never counted as pending.
func TestEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sockets := collecting()
		r := startPipe(t, socketio.Config{PingInterval: time.Hour}, h)
		c, s := r.socketOf(t, sockets)
		synctest.Wait()
		if s.EmitEphemeral("typing", 1) {
			t.Error("dropped although nothing waits")
		}
		// The pipe takes nothing until it is read: the first event is being written, so the second is dropped.
		synctest.Wait()
		if !s.EmitEphemeral("typing", 2) {
			t.Error("sent although another one waits")
		}
		if err := s.Emit("message", 3); err != nil {
			t.Error(err)
		}
		c.want(`42["typing",1]`)
		c.want(`42["message",3]`)
		synctest.Wait()
		p, err := socketio.Prepare("typing", 4)
		if err != nil {
			t.Fatal(err)
		}
		if s.EmitEphemeralRaw(p) {
			t.Error("dropped although nothing waits any more")
		}
		c.want(`42["typing",4]`)
		if n := r.metric("ephemeral_dropped_total", ""); n != 1 {
			t.Errorf("%d drops counted", n)
		}
	})
}

// TestWritesAreCoalesced: what is queued during a write goes out together with the next one.
func TestWritesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sockets := collecting()
		r := startPipe(t, socketio.Config{PingInterval: time.Hour}, h)
		c, s := r.socketOf(t, sockets)
		synctest.Wait()
		before := r.metric("writes_total", "")
		for i := range 100 {
			if err := s.Emit("e", i); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the first write is in work and stays so until the client reads
		}
		for i := range 100 {
			c.want(fmt.Sprintf(`42["e",%d]`, i))
		}
		synctest.Wait()
		if n := r.metric("writes_total", "") - before; n != 2 {
			t.Errorf("%d writes for 100 events", n)
		}
	})
}

// TestPreparedIsShared: one encoding serves websockets and polls.
func TestPreparedIsShared(t *testing.T) {
	h, sockets := collecting()
	r := start(t, socketio.Config{}, h)
	c, s := r.socketOf(t, sockets)
	p := r.polling(t)
	p.push(200, "40")
	p.want(200, "")
	q := <-sockets
	e, err := socketio.Prepare("e", []byte{1, 2, 3, 4}, "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(s.EmitRaw(e), q.EmitRaw(e)); err != nil {
			t.Fatal(err)
		}
		c.want(`451-["e",{"_placeholder":true,"num":0},"x"]`)
		c.wantBinary([]byte{1, 2, 3, 4})
		p.want(200, "451-[\"e\",{\"_placeholder\":true,\"num\":0},\"x\"]\x1ebAQIDBA==")
	}
}

// TestLastWordsBeforeClose: what was queued before the end arrives, then the end.
func TestLastWordsBeforeClose(t *testing.T) {
	h, sockets := collecting()
	r := start(t, socketio.Config{}, h)
	c, s := r.socketOf(t, sockets)
	big := strings.Repeat("x", 300_000)
	for range 3 {
		if err := s.Emit("e", big); err != nil {
			t.Fatal(err)
		}
	}
	s.Close(socketio.ReasonServer)
	s.Close(socketio.ReasonDrain)
	c.br = bufio.NewReaderSize(c.conn, 64<<10)
	for range 3 {
		c.want(`42["e","` + big + `"]`)
	}
	c.want("41")
	c.wantClose(1000)
}

// TestDisconnectsTakeAtOnce: Close is fast enough for "sockets die within a second of their login".
func TestDisconnectsTakeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sockets := collecting()
		r := startPipe(t, socketio.Config{}, h)
		c, s := r.socketOf(t, sockets)
		began := time.Now()
		s.Close(socketio.ReasonServer)
		c.want("41")
		if op, _, err := c.next(); op != opClose || err != nil {
			t.Errorf("op %d, %v", op, err)
		}
		<-r.ended
		if d := time.Since(began); d > 0 {
			t.Errorf("took %v", d)
		}
		// A client that does not answer the close frame is cut.
		c.wantEOF()
		if d := time.Since(began); d > 1100*time.Millisecond {
			t.Errorf("cut after %v", d)
		}
	})
}
