package chat

import (
	"sync"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/socketio"
	"sotto/internal/token"
)

// conn is one device's socket.
//
// Entries are pushed to it while it keeps up. When it does not, or when its mailbox was not empty as it connected, it
// has a backlog: its client was told so and reads the mailbox, and nothing is pushed until a reading has come to the end
// of the mailbox with nothing stored meanwhile.
type conn struct {
	socket     *socketio.Socket
	actor      token.Actor
	device     int64
	generation uint64
	returned   bool          // to the device set, by this connection
	slots      chan struct{} // one for each send or acknowledgement under way

	mu      sync.Mutex // guards what follows; held while emitting, which does not wait, so that pushes keep their order
	backlog bool
	missed  bool  // something was stored since the reading of the last page began
	unacked int   // bytes pushed and not acknowledged
	oldest  int64 // entry that was the oldest of the mailbox at the last poll
	reminds int64 // oldest entry that the client was told of again by a poll
}

// emit tells the client something that it may miss. A socket that has ended misses it.
func (c *conn) emit(event string, arg any) { _ = c.socket.Emit(event, arg) }

// ready ends the connecting: waiting is what the mailbox held after the socket was added to the hub.
func (c *conn) ready(answer api.Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(api.EventReady, answer)
	switch {
	case answer.Waiting > 0:
	case c.missed:
		c.emitMore()
	default:
		c.backlog = false
	}
}

// offer pushes new entries, or tells that there are some.
func (c *conn) offer(entries []api.Entry) {
	size := 0
	for _, e := range entries {
		size += sizedEntry{e}.size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.backlog && c.unacked+size <= maxUnacked {
		c.unacked += size
		c.emit(api.EventEntries, api.Entries{Entries: entries})
		return
	}
	c.more()
}

// tellMore is for entries that another replica has stored.
func (c *conn) tellMore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more()
}

// polled is told the oldest entry of the mailbox. When a whole pause between polls has not moved it, the hint that should
// have announced it may have been lost: the client is told once more that there is something.
func (c *conn) polled(oldest int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if oldest == c.oldest && oldest != c.reminds {
		c.reminds = oldest
		c.more()
	}
	c.oldest = oldest
}

func (c *conn) more() {
	if c.backlog {
		c.missed = true
		return
	}
	c.backlog = true
	c.emitMore()
}

func (c *conn) emitMore() {
	c.missed = false
	c.emit(api.EventEntries, api.Entries{Entries: []api.Entry{}, More: true})
}

// reading is called before a page is read: what was committed before that is in this page or a later one, because
// entries are numbered in the order of their commits.
func (c *conn) reading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missed = false
}

// answer hands a page to the client; last tells whether it goes to the end of the mailbox. What is pushed afterwards
// arrives afterwards.
func (c *conn) answer(last bool, reply func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply()
	if !last {
		return
	}
	if c.missed {
		c.emitMore()
		return
	}
	c.backlog, c.unacked = false, 0
}

func (c *conn) acked(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unacked = max(0, c.unacked-bytes)
}

// end tells the client why and closes the socket. A client whose login or device has ended does not come back by itself.
func (c *conn) end(why *errs.Error) {
	c.emit(api.EventEnd, errs.Problem(why, ""))
	if why.Code == api.CodeUnavailable {
		c.socket.Close(socketio.ReasonDrain)
		return
	}
	c.socket.Close(socketio.ReasonServer)
}
