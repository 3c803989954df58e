package socketio_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/socketio"
)

// states bring a session into a state and return where raw bytes go next: a connection, or nil when bytes are the body
// of a POST.
var states = []struct {
	name  string
	reach func(t *testing.T, r *rig) (net.Conn, *poller)
}{
	{"a fresh connection", func(t *testing.T, r *rig) (net.Conn, *poller) {
		conn, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		return conn, nil
	}},
	{"websocket, not connected", func(t *testing.T, r *rig) (net.Conn, *poller) {
		c := r.websocket(t, "")
		c.text()
		return c.conn, nil
	}},
	{"websocket, connected", func(t *testing.T, r *rig) (net.Conn, *poller) { return r.connected(t).conn, nil }},
	{"websocket, attachments owed", func(t *testing.T, r *rig) (net.Conn, *poller) {
		c := r.connected(t)
		c.send(owing)
		return c.conn, nil
	}},
	{"websocket, within a message", func(t *testing.T, r *rig) (net.Conn, *poller) {
		c := r.connected(t)
		c.frame(false, 0, opText, []byte(`42["message",`))
		return c.conn, nil
	}},
	{"websocket, asked", func(t *testing.T, r *rig) (net.Conn, *poller) {
		c := r.connected(t)
		c.send(`42["ask"]`)
		c.want(`420["question"]`)
		return c.conn, nil
	}},
	{"websocket, left", func(t *testing.T, r *rig) (net.Conn, *poller) {
		c := r.connected(t)
		c.send("41")
		return c.conn, nil
	}},
	{"probe", func(t *testing.T, r *rig) (net.Conn, *poller) {
		p := r.polling(t).connect()
		return r.websocket(t, "&sid="+p.sid).conn, p
	}},
	{"probe, answered", func(t *testing.T, r *rig) (net.Conn, *poller) {
		p := r.polling(t).connect()
		c := r.websocket(t, "&sid="+p.sid)
		c.send("2probe")
		c.want("3probe")
		return c.conn, p
	}},
	{"upgraded", func(t *testing.T, r *rig) (net.Conn, *poller) {
		p := r.polling(t).connect()
		c := r.websocket(t, "&sid="+p.sid)
		c.send("2probe")
		c.want("3probe")
		c.send("5")
		return c.conn, p
	}},
	{"polling, not connected", func(t *testing.T, r *rig) (net.Conn, *poller) { return nil, r.polling(t) }},
	{"polling, connected", func(t *testing.T, r *rig) (net.Conn, *poller) { return nil, r.polling(t).connect() }},
	{"polling, attachments owed", func(t *testing.T, r *rig) (net.Conn, *poller) {
		p := r.polling(t).connect()
		p.push(200, owing)
		return nil, p
	}},
}

// FuzzSession sends any bytes to a session in any state, as they are, as a text or a binary message, or as a POST. The
// server must not panic, must go on serving others, and must keep nothing once the client is gone: a goroutine that stays
// fails the bubble.
func FuzzSession(f *testing.F) {
	for state := range states {
		f.Add(uint8(state), uint8(0), []byte("\x81\x85\x00\x00\x00\x0042[\"x"))
		f.Add(uint8(state), uint8(0), slices.Concat(rawFrame(true, 0, opText, []byte("5")), rawFrame(true, 0, opClose, nil)))
		for _, text := range []string{"40", "41", "1", "3", `42["message",1]`, `421["message-with-ack"]`, owing, `430["x"]`, `42["close"]`} {
			f.Add(uint8(state), uint8(1), []byte(text))
		}
		f.Add(uint8(state), uint8(2), []byte{1, 2, 3})
	}
	f.Add(uint8(0), uint8(0), []byte("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, state, form uint8, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := startPipe(t, socketio.Config{
				MaxPayload: 64 << 10, PingInterval: 10 * time.Second, PingTimeout: 2 * time.Second, ConnectTimeout: 5 * time.Second,
				ProbeTimeout: 2 * time.Second, AttachmentTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second,
			}, socketio.Handler{})
			good := r.connected(t)
			conn, p := states[int(state)%len(states)].reach(t, r)
			if conn == nil {
				_, body, err := r.do(t.Context(), "POST", p.url, string(data))
				if err != nil || body == "" {
					t.Fatalf("no answer: %v", err)
				}
			} else {
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				switch form % 3 {
				case 1:
					data = rawFrame(true, 0, opText, data)
				case 2:
					data = rawFrame(true, 0, opBinary, data)
				}
				_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = conn.Write(data)
				synctest.Wait()
				conn.Close()
			}
			good.alive()
			good.conn.Close()
			// Everything that is left has a time limit.
			time.Sleep(30 * time.Second)
			if n := r.srv.Sessions(); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
			if n := r.srv.Timers(); n != 0 {
				t.Errorf("%d timers are left", n)
			}
		})
	})
}

// TestEveryStateIsReached guards the fuzz target against states that are not what they say.
func TestEveryStateIsReached(t *testing.T) {
	for _, state := range states {
		t.Run(strings.ReplaceAll(state.name, " ", "_"), func(t *testing.T) {
			r := start(t, socketio.Config{}, socketio.Handler{})
			conn, p := state.reach(t, r)
			if conn == nil && p == nil {
				t.Fatal("nothing to send to")
			}
			fresh := conn != nil && state.name == states[0].name
			if got := fmt.Sprint(r.srv.Sessions()); (got == "1") == fresh {
				t.Errorf("%s sessions", got)
			}
		})
	}
}
