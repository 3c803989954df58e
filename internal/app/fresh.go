package app

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// freshGrace is how long a connection that has not sent anything may hold up the end.
const freshGrace = 500 * time.Millisecond

// fresh knows the connections on which no request has begun. Browsers and Go's client open some ahead, and
// [http.Server.Shutdown] waits five seconds for each of them: with the listener closed, five seconds in which nobody is
// served by a process that has nothing to do.
type fresh struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newFresh() *fresh { return &fresh{conns: make(map[net.Conn]struct{})} }

// note is the server's ConnState.
func (f *fresh) note(conn net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state == http.StateNew {
		f.conns[conn] = struct{}{}
	} else {
		delete(f.conns, conn)
	}
}

// close ends them. Who was about to send a request on one sees it end without an answer, before anything was done.
func (f *fresh) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		_ = conn.Close()
	}
}
