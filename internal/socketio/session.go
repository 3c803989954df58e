package socketio

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/socketio/packet"
)

// state is the life of a session.
type state uint8

const (
	stateOpen state = iota
	// stateLingering: ended, but a polling client has yet to fetch the last packets, the very last in a poll of its own.
	stateLingering
	stateEnded
)

// lingerTime is how long the last packets of an ended polling session wait for a poll.
const lingerTime = 5 * time.Second

// strangerBytes bounds a message, and the body of a POST, before a CONNECT was accepted: enough for any token, so that
// those who did not sign in cannot hold MaxPayload each.
const strangerBytes = 16 << 10

// session is one Engine.IO session with its transport and the Socket.IO socket on it.
//
// Its packets are handled under readMu, one after another, whichever goroutine brings them: the reader of its websocket
// or a POST request. mu guards the state and is never held while writing, waiting or calling the application.
type session struct {
	srv *Server
	id  string

	heard atomic.Bool // something arrived since the last ping

	readMu    sync.Mutex
	handshake *Handshake // facts for Authenticate; nil once a CONNECT was accepted. Guarded by readMu
	assembler packet.Assembler
	left      bool // the client sent DISCONNECT. Guarded by readMu

	mu      sync.Mutex
	state   state
	owner   string // of the requests' credentials
	account string // of the identity; "" before CONNECT or unknown
	socket  *Socket
	ws      *wsConn // the transport; nil while polling
	probe   *wsConn // the websocket of an upgrade in work
	// upgrading is set from the request for an upgrade to its end.
	upgrading bool
	queue     []frame       // not yet taken by a writer
	pending   int           // bytes of queue and of what a writer took and has not finished
	flushing  bool          // a flusher goroutine runs; it alone writes to ws
	posting   bool          // a POST is in work
	polling   bool          // a poll is in work
	wake      chan struct{} // wakes it while it waits; nil when it does not

	beat timer // heartbeat
	wait timer // CONNECT, attachments, or the linger
	// waited is how long the last ping's answer will have been waited for when beat fires, 0 when none is out. Only the
	// wheel's goroutine touches it.
	waited time.Duration
}

// errEnded stops the reader of a session that has ended.
var errEnded = errors.New("session has ended")

// open makes a session over polling (c is nil) or a websocket and queues its open packet.
func (s *Server) open(hs *Handshake, c *wsConn) (*session, error) {
	id, spread, err := s.newID()
	if err != nil {
		return nil, err
	}
	one := &session{srv: s, id: id, handshake: hs, owner: s.requestOwner(hs), ws: c}
	one.assembler.MaxBytes = s.cfg.MaxPayload
	s.wheel.init(&one.beat, spread, one.onBeat)
	s.wheel.init(&one.wait, spread, one.onWait)
	info := packet.Handshake{
		SID:          id,
		Upgrades:     []string{},
		PingInterval: s.cfg.PingInterval.Milliseconds(),
		PingTimeout:  s.cfg.PingTimeout.Milliseconds(),
		MaxPayload:   s.cfg.MaxPayload,
	}
	if c == nil {
		info.Upgrades = append(info.Upgrades, "websocket")
	} else {
		c.heard = &one.heard
	}
	text, err := packet.AppendOpen(nil, info)
	if err != nil {
		return nil, err
	}
	if !s.add(one) {
		return nil, errFull
	}
	s.metrics.opened.Add(1)
	s.gauge(c != nil).Add(1)
	_ = one.send(false, textFrame(text))
	// The first ping comes after 50 to 90 % of an interval: sessions that were opened at once do not ping at once.
	one.rearm(&one.beat, s.cfg.PingInterval/2+s.cfg.PingInterval*2/5*time.Duration(spread)/255)
	one.rearm(&one.wait, s.cfg.ConnectTimeout)
	// Drain and Close list the sessions after they have stopped accepting: one of us sees the other.
	if !s.accepting.Load() {
		one.end(ReasonDrain)
	}
	return one, nil
}

func (s *Server) gauge(websocket bool) *atomic.Int64 {
	if websocket {
		return &s.metrics.websocket
	}
	return &s.metrics.polling
}

// send queues frames, all or none, and sees that they are written. Ephemeral frames are not queued when something else
// still waits.
func (s *session) send(ephemeral bool, frames ...frame) error {
	n := size(frames)
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return ErrClosed
	}
	if ephemeral && s.pending > 0 {
		s.mu.Unlock()
		s.srv.metrics.ephemeralDropped.Add(1)
		return errBusy
	}
	if s.pending+n > s.srv.cfg.MaxPending {
		s.mu.Unlock()
		s.end(ReasonSlow)
		return ErrClosed
	}
	s.enqueue(n, frames...)
	s.mu.Unlock()
	return nil
}

// enqueue adds frames of n bytes and wakes the writer. Needs mu.
func (s *session) enqueue(n int, frames ...frame) {
	if s.queue == nil {
		s.queue = (*queues.Get().(*[]frame))[:0]
	}
	s.queue = append(s.queue, frames...)
	s.pending += n
	s.srv.metrics.pending.Add(int64(n))
	s.srv.metrics.packetsOut.Add(int64(len(frames)))
	if s.ws != nil {
		s.startFlush()
	} else {
		s.wakePoll()
	}
}

// queues holds the slices that sessions queue frames in, so that a session without frames holds none.
var queues = sync.Pool{New: func() any { q := make([]frame, 0, 8); return &q }}

// maxPooledFrames bounds the slices kept in queues.
const maxPooledFrames = 256

func releaseQueue(q []frame) {
	if cap(q) <= maxPooledFrames && q != nil {
		clear(q)
		q = q[:0]
		queues.Put(&q)
	}
}

// startFlush starts the flusher unless it runs. Needs mu and a websocket.
func (s *session) startFlush() {
	if !s.flushing {
		s.flushing = true
		s.srv.spawn(s.flush)
	}
}

// flush writes until the queue is empty. What is queued during a write goes out together with the next one.
func (s *session) flush() {
	c := s.ws
	for {
		s.mu.Lock()
		q := s.queue
		s.queue = nil
		if len(q) == 0 {
			s.flushing = false
			over := s.state != stateOpen
			s.mu.Unlock()
			if over {
				c.finish()
			}
			return
		}
		s.mu.Unlock()
		left := size(q)
		err := c.write(q, s.srv.cfg.WriteTimeout, func(n int) {
			left -= n
			s.settle(n)
			s.srv.metrics.writes.Add(1)
			s.srv.metrics.bytesOut.Add(int64(n))
		})
		releaseQueue(q)
		if err != nil {
			s.end(reasonOf(err))
			c.close()
			s.settle(left)
		}
	}
}

// settle takes bytes that were written, or never will be, off pending.
func (s *session) settle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending -= n
	s.srv.metrics.pending.Add(-int64(n))
}

// size is what frames count in pending.
func size(frames []frame) (n int) {
	for _, f := range frames {
		n += len(f.wire)
	}
	return n
}

// onFrame takes one frame of the websocket that is the session's transport.
func (s *session) onFrame(op opcode, payload []byte) error {
	if op == opPing {
		return s.send(false, pongFrame(payload))
	}
	if op == opPong {
		return nil
	}
	s.readMu.Lock()
	defer s.readMu.Unlock()
	return s.onPacket(payload, op == opBinary)
}

// onPacket takes one Engine.IO packet. Needs readMu. An error ends the session.
func (s *session) onPacket(data []byte, binary bool) error {
	if s.ended() {
		return errEnded
	}
	s.heard.Store(true)
	s.srv.metrics.packetsIn.Add(1)
	s.srv.metrics.bytesIn.Add(int64(len(data)))
	if binary {
		return s.onMessage(data, true)
	}
	t, data, err := packet.ParseEngine(data)
	if err != nil {
		return err
	}
	switch t {
	case packet.Message:
		return s.onMessage(data, false)
	case packet.Pong, packet.Noop:
		return nil
	case packet.Close:
		s.end(ReasonClient)
		return errEnded
	case packet.Open, packet.Ping, packet.Upgrade:
	}
	return errDirection
}

// errDirection refuses an Engine.IO packet that only a server sends, or an upgrade where none is in work.
const errDirection = packet.Violation("packet type is not for clients to send now")

// serveWebsocket reads the session's websocket until it ends.
func (s *session) serveWebsocket(c *wsConn) {
	s.endWebsocket(c, c.read(s.onFrame))
}

// endWebsocket ends the session for what its websocket's reader returned, and the websocket with it.
func (s *session) endWebsocket(c *wsConn, err error) {
	defer c.close()
	var broken *wsError
	if errors.As(err, &broken) {
		reason := ReasonProtocol
		switch {
		case broken.peer:
			reason = ReasonTransport
		case broken.code == codeTooLarge:
			reason = ReasonTooLarge
		}
		s.endWith(reason, broken.code)
	} else {
		s.end(reasonOf(err))
	}
	c.drain()
}

// reasonOf maps what went wrong with a client's bytes to why its session ends.
func reasonOf(err error) Reason {
	var violation packet.Violation
	switch {
	case errors.As(err, &violation):
		return ReasonProtocol
	case errors.Is(err, packet.ErrTooLarge):
		return ReasonTooLarge
	case errors.Is(err, errPanic):
		return ReasonPanic
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonSlow
	}
	return ReasonTransport
}

func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != stateOpen
}

// onBeat is the heartbeat: a ping, then a look whether anything came, after PingInterval or PingTimeout, whichever is
// shorter, and once more at PingTimeout if nothing had.
func (s *session) onBeat() {
	cfg := &s.srv.cfg
	if waited := s.waited; waited > 0 {
		if !s.heard.Load() {
			if waited >= cfg.PingTimeout {
				s.end(ReasonPingTimeout)
				return
			}
			s.waited = cfg.PingTimeout
			s.rearm(&s.beat, cfg.PingTimeout-waited)
			return
		}
		s.waited = 0
		if rest := cfg.PingInterval - waited; rest > 0 {
			s.rearm(&s.beat, rest)
			return
		}
	}
	s.heard.Store(false)
	if s.send(false, pingFrame) == nil {
		s.waited = min(cfg.PingInterval, cfg.PingTimeout)
		s.rearm(&s.beat, s.waited)
	}
}

// pingFrame is shared by all heartbeats.
var pingFrame = textFrame([]byte{byte(packet.Ping)})

// rearm schedules a timer of a session that is still open; end cancels the timers under the same lock.
func (s *session) rearm(t *timer, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateOpen {
		s.srv.wheel.schedule(t, d)
	}
}

// onWait: the time for a CONNECT, for attachments, or for the last poll is over.
func (s *session) onWait() {
	s.mu.Lock()
	open, connected := s.state == stateOpen, s.socket != nil
	s.mu.Unlock()
	switch {
	case !open:
		s.forget()
	case connected:
		s.end(ReasonAttachments)
	default:
		s.end(ReasonConnectTimeout)
	}
}

// forget ends the linger of a polling session.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = stateEnded
	s.srv.wheel.cancel(&s.wait)
	s.dropQueue()
	s.srv.remove(s)
}

// dropQueue forgets what no writer took. Needs mu.
func (s *session) dropQueue() {
	n := size(s.queue)
	s.pending -= n
	s.srv.metrics.pending.Add(-int64(n))
	releaseQueue(s.queue)
	s.queue = nil
}

// closeCodes are the websocket close codes of the reasons that let the last packets out. For the others there is nobody
// left to read them: the connection is cut.
var closeCodes = [reasonCount]closeCode{
	ReasonClient:         codeNormal,
	ReasonServer:         codeNormal,
	ReasonDrain:          codeGoingAway,
	ReasonConnectTimeout: codePolicy,
	ReasonAttachments:    codePolicy,
	ReasonProtocol:       codePolicy,
	ReasonTooLarge:       codeTooLarge,
	ReasonPanic:          codeInternal,
}

// end ends the session, once; see endWith.
func (s *session) end(reason Reason) { s.endWith(reason, closeCodes[reason]) }

// endWith ends the session, once. code is the websocket's close code, 0 to cut the connection.
func (s *session) endWith(reason Reason, code closeCode) {
	srv := s.srv
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return
	}
	s.state = stateEnded
	srv.wheel.cancel(&s.beat)
	srv.wheel.cancel(&s.wait)
	srv.gauge(s.ws != nil).Add(-1)
	srv.metrics.ended[reason].Add(1)
	if reason == ReasonServer && s.socket != nil {
		s.enqueue(len(disconnectFrame.wire), disconnectFrame)
	}
	cut := s.probe
	switch {
	case s.ws != nil && code != 0:
		last := closeFrame(code)
		s.enqueue(len(last.wire), last)
	case s.ws != nil:
		s.dropQueue()
		cut = s.ws
	default:
		s.endPolling(reason, code != 0)
	}
	if s.state == stateEnded {
		srv.remove(s)
	}
	socket := s.socket
	s.mu.Unlock()
	if cut != nil {
		srv.spawn(cut.close) // closing may wait for a write (TLS), and the wheel must not
	}
	if socket != nil {
		socket.end(reason)
	}
}

// endPolling leaves the last packet to a poll, which waits or is given time to come. What is queued before it goes out in
// a poll of its own: the official client handles a DISCONNECT later than a close packet of the same payload. Needs mu.
func (s *session) endPolling(reason Reason, linger bool) {
	last, waiting := closePacketFrame, s.wake != nil
	if reason == ReasonClient {
		s.dropQueue()
		last = noopFrame
	}
	if !linger && !waiting {
		s.dropQueue()
		return
	}
	if linger && (!waiting || len(s.queue) > 0) {
		s.state = stateLingering
		s.srv.wheel.schedule(&s.wait, lingerTime)
	}
	s.enqueue(len(last.wire), last)
}

// The packets without content.
var (
	closePacketFrame = textFrame([]byte{byte(packet.Close)})
	noopFrame        = textFrame([]byte{byte(packet.Noop)})
	disconnectFrame  = textFrame([]byte{byte(packet.Message), byte(packet.Disconnect)})
)

// errPanic stands for a handler that panicked.
var errPanic = errors.New("handler panicked")

// guard calls the application. A panic is counted and becomes errPanic; its value is not logged, because it may hold
// what a client sent.
func (s *Server) guard(f func()) (err error) {
	defer func() {
		if recover() != nil {
			s.metrics.panics.Add(1)
			s.cfg.Logger.LogAttrs(context.Background(), slog.LevelError, "socket handler panicked",
				slog.String("stack", string(debug.Stack())))
			err = errPanic
		}
	}()
	f()
	return nil
}
