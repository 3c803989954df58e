package e2e_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// wire is a connection between one client and the server that can lose the answers to sends: the request arrives, is
// stored and answered, and the client never learns.
type wire struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	deaf  bool // swallow what the server says once it answers a send
	lost  int  // answers swallowed
	conns []net.Conn
}

func newWire(t *testing.T, serverURL string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, target: strings.TrimPrefix(serverURL, "http://")}
	go w.accept()
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
	})
	return w
}

func (w *wire) url() string { return "http://" + w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, c, s)
		w.mu.Unlock()
		go w.pump(s, c, false)
		go w.pump(c, s, true)
	}
}

// pump copies until one side ends. A Socket.IO acknowledgement begins with "43" in its websocket frame.
func (w *wire) pump(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer, swallowing := make([]byte, 64<<10), false
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if answers && !swallowing {
			w.mu.Lock()
			if w.deaf && bytes.Contains(buffer[:n], []byte(`"ok":{"conversation_id"`)) {
				swallowing = true
				w.lost++
			}
			w.mu.Unlock()
		}
		if swallowing {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// loseAnswers begins to swallow; heal cuts the connections so that clients come back over good ones.
func (w *wire) loseAnswers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = true
}

func (w *wire) heal() (lost int) {
	w.mu.Lock()
	w.deaf = false
	lost = w.lost
	w.mu.Unlock()
	w.cut()
	return lost
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}
