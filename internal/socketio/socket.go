package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/socketio/packet"
)

// Errors of a socket.
var (
	// ErrClosed: the socket has ended.
	ErrClosed = errors.New("socketio: socket has ended")
	// ErrAckTimeout: the client did not acknowledge in time.
	ErrAckTimeout = errors.New("socketio: no acknowledgement in time")
	// ErrTooManyAcks: MaxAcks acknowledgements are outstanding.
	ErrTooManyAcks = fmt.Errorf("socketio: more than %d acknowledgements outstanding", MaxAcks)

	// errBusy: an ephemeral event was not sent because others wait.
	errBusy = errors.New("socket is busy")
)

// errState refuses a packet that does not fit the state of the connection.
const errState = packet.Violation("packet does not fit the connection's state")

// MaxAcks bounds the acknowledgements a socket waits for.
const MaxAcks = 256

// Event is one event from a client. Its memory is the receiver's to keep.
type Event struct {
	Name string
	// Args is the JSON of each argument. Binary data stands in it as {"_placeholder":true,"num":N}.
	Args []json.RawMessage
	// Attachments is the binary data; N above counts from 0.
	Attachments [][]byte
	// Ack answers the event with arguments as in [Socket.Emit]. It is nil when the client asked for no answer; only the
	// first call counts; it may be called from any goroutine and after the handler returned. Arguments that cannot be
	// encoded are counted and nothing is sent.
	Ack func(args ...any)
}

// Reply is a client's acknowledgement, in the form of an event.
type Reply struct {
	Args        []json.RawMessage
	Attachments [][]byte
}

// Socket is one client in the namespace "/", from its accepted CONNECT to its end. It is safe for concurrent use, and
// no method waits for the client.
type Socket struct {
	id       string
	session  *session
	identity any
	done     chan struct{}

	mu      sync.Mutex
	ended   bool
	nextAck int64
	acks    map[int64]*pendingAck
}

// pendingAck waits for an acknowledgement. Whoever takes it out of Socket.acks calls reply.
type pendingAck struct {
	timer timer
	reply func(Reply, error)
}

// ID is the random id of the socket, which its client knows too. It is not the secret session id.
func (s *Socket) ID() string { return s.id }

// Identity is what Handler.Authenticate returned.
func (s *Socket) Identity() any { return s.identity }

// Done is closed when the socket has ended, maybe before Handler.Disconnect is called.
func (s *Socket) Done() <-chan struct{} { return s.done }

// Close ends the socket and its connection, once; Handler.Disconnect follows. With [ReasonServer] the client is told and
// does not come back by itself; with [ReasonDrain] it only sees the connection close.
func (s *Socket) Close(reason Reason) { s.session.end(reason) }

// Emit queues an event. Arguments are marshalled to JSON; a json.RawMessage is taken as it is, a []byte becomes a binary
// attachment. The error is [ErrClosed] or says why the event cannot be encoded. A socket with more than Config.MaxPending
// bytes waiting is ended instead.
func (s *Socket) Emit(name string, args ...any) error {
	p, err := Prepare(name, args...)
	if err != nil {
		return err
	}
	return s.EmitRaw(p)
}

// EmitRaw queues a prepared event.
func (s *Socket) EmitRaw(p *Prepared) error {
	if s.isDone() {
		return ErrClosed
	}
	return s.session.send(false, p.frames...)
}

// EmitEphemeral sends an event that is not worth waiting for: when anything else waits for the client, it is dropped.
func (s *Socket) EmitEphemeral(name string, args ...any) (dropped bool) {
	p, err := Prepare(name, args...)
	return err != nil || s.EmitEphemeralRaw(p)
}

// EmitEphemeralRaw is EmitEphemeral for a prepared event.
func (s *Socket) EmitEphemeralRaw(p *Prepared) (dropped bool) {
	return s.isDone() || s.session.send(true, p.frames...) != nil
}

// EmitWithAck queues an event that the client has to acknowledge within timeout. Unless it returns an error, reply is
// called exactly once, with the acknowledgement or with [ErrAckTimeout] or [ErrClosed]: for an acknowledgement in order
// with the socket's events (so it must not wait for a later event), otherwise from a goroutine of its own.
func (s *Socket) EmitWithAck(timeout time.Duration, reply func(Reply, error), name string, args ...any) error {
	s.mu.Lock()
	id := s.nextAck
	s.nextAck = (s.nextAck + 1) & packet.MaxID
	s.mu.Unlock()
	p, err := prepareEvent(id, name, args...)
	if err != nil {
		return err
	}
	srv := s.session.srv
	ack := &pendingAck{reply: reply}
	srv.wheel.init(&ack.timer, byte(id), func() {
		if s.takeAck(id) != nil {
			srv.metrics.ackTimeouts.Add(1)
			srv.spawn(func() { _ = s.callReply(ack, Reply{}, ErrAckTimeout) })
		}
	})
	s.mu.Lock()
	switch {
	case s.ended:
		err = ErrClosed
	case len(s.acks) >= MaxAcks:
		err = ErrTooManyAcks
	default:
		if s.acks == nil {
			s.acks = make(map[int64]*pendingAck)
		}
		s.acks[id] = ack
		srv.wheel.schedule(&ack.timer, timeout)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// When the session has ended meanwhile, the end of the socket answers the ack.
	_ = s.session.send(false, p.frames...)
	return nil
}

// takeAck takes an outstanding acknowledgement, nil when there is none of that id.
func (s *Socket) takeAck(id int64) *pendingAck {
	s.mu.Lock()
	defer s.mu.Unlock()
	ack := s.acks[id]
	delete(s.acks, id)
	if ack != nil {
		s.session.srv.wheel.cancel(&ack.timer)
	}
	return ack
}

func (s *Socket) callReply(ack *pendingAck, r Reply, err error) error {
	return s.session.srv.guard(func() { ack.reply(r, err) })
}

func (s *Socket) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// end ends the socket, once. Disconnect waits until the handler that is at work has returned.
func (s *Socket) end(reason Reason) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	acks := s.acks
	s.acks = nil
	for _, ack := range acks {
		s.session.srv.wheel.cancel(&ack.timer)
	}
	close(s.done)
	s.mu.Unlock()
	srv := s.session.srv
	srv.metrics.sockets.Add(-1)
	srv.spawn(func() {
		for _, ack := range acks {
			_ = s.callReply(ack, Reply{}, ErrClosed)
		}
		s.session.readMu.Lock()
		defer s.session.readMu.Unlock()
		if srv.handler.Disconnect != nil {
			_ = srv.guard(func() { srv.handler.Disconnect(s, reason) })
		}
	})
}

// onMessage takes one Engine.IO message: the text or an attachment of a Socket.IO packet. Needs readMu.
func (s *session) onMessage(data []byte, binary bool) error {
	take := s.assembler.Text
	if binary {
		take = s.assembler.Binary
	}
	p, done, err := take(data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	socket := s.socket
	s.mu.Unlock()
	if !done {
		if socket == nil {
			return errState
		}
		if !binary {
			s.rearm(&s.wait, s.srv.cfg.AttachmentTimeout)
		}
		return nil
	}
	if binary {
		s.srv.wheel.cancel(&s.wait)
	}
	if p.Type == packet.Connect {
		return s.onConnect(p)
	}
	if socket == nil || !isMain(p.Namespace) {
		return errState
	}
	switch p.Type {
	case packet.Disconnect:
		s.onDisconnect(socket)
		return nil
	case packet.Event, packet.BinaryEvent:
		return socket.onEvent(p)
	case packet.Ack, packet.BinaryAck:
		return socket.onAck(p)
	case packet.Connect, packet.ConnectError: // the former is handled above, the latter only servers send
	}
	return errState
}

// isMain tells whether a namespace, with or without a query, is "/".
func isMain(namespace string) bool {
	name, _, _ := strings.Cut(namespace, "?")
	return name == "/"
}

// onConnect answers a CONNECT.
func (s *session) onConnect(p packet.Packet) error {
	if !isMain(p.Namespace) {
		name, _, _ := strings.Cut(p.Namespace, "?")
		return s.refuse(name, map[string]string{"message": "Invalid namespace"})
	}
	if s.handshake == nil || s.left {
		return errState
	}
	ctx, cancel := context.WithTimeout(s.srv.ctx, s.srv.cfg.ConnectTimeout)
	defer cancel()
	var (
		identity any
		err      error
	)
	auth := json.RawMessage(bytes.Clone(p.Data))
	panicked := s.srv.guard(func() { identity, err = s.srv.handler.Authenticate(ctx, *s.handshake, auth) })
	if panicked != nil {
		return panicked
	}
	account := ""
	if err == nil && s.srv.handler.IdentityOwner != nil {
		account = s.srv.handler.IdentityOwner(identity)
		if s.owner != "" && account != s.owner {
			err = &ConnectError{Code: "unauthenticated", Message: "the request and the token name two accounts"}
		}
	}
	if err != nil {
		s.srv.metrics.refused[refusedConnect].Add(1)
		var public *ConnectError
		if !errors.As(err, &public) {
			public = &ConnectError{Code: "internal", Message: "internal error"}
		}
		return s.refuse("/", map[string]any{"message": public.Message, "data": public})
	}
	return s.accept(identity, account)
}

// accept makes the socket of an accepted CONNECT.
func (s *session) accept(identity any, account string) error {
	id, _, err := s.srv.newID()
	if err != nil {
		return err
	}
	socket := &Socket{id: id, session: s, identity: identity, done: make(chan struct{})}
	reply := textFrame([]byte(`40{"sid":"` + id + `"}`))
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return errEnded
	}
	s.socket, s.account, s.handshake = socket, account, nil
	if s.ws != nil {
		s.ws.limit.Store(int64(s.srv.cfg.MaxPayload))
	}
	s.srv.wheel.cancel(&s.wait)
	s.srv.metrics.sockets.Add(1)
	s.enqueue(len(reply.wire), reply)
	s.mu.Unlock()
	if s.srv.handler.Connect != nil {
		return s.srv.guard(func() { s.srv.handler.Connect(socket) })
	}
	return nil
}

// refuse answers a CONNECT with an error. The session stays open for another try until ConnectTimeout.
func (s *session) refuse(namespace string, data any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding a connect error: %w", err)
	}
	p := packet.Packet{Type: packet.ConnectError, Namespace: namespace, ID: packet.NoID, Data: body}
	return s.send(false, textFrame(p.Append([]byte{byte(packet.Message)})))
}

// onDisconnect: the client left the namespace. The session is the client's to close, within ConnectTimeout.
func (s *session) onDisconnect(socket *Socket) {
	s.left = true
	s.mu.Lock()
	s.socket = nil
	s.mu.Unlock()
	s.rearm(&s.wait, s.srv.cfg.ConnectTimeout)
	socket.end(ReasonClient)
}

// onEvent hands an event to the application.
func (s *Socket) onEvent(p packet.Packet) error {
	if len(p.Attachments) == 0 {
		// The data still lies in a buffer that the next packet will overwrite.
		p.Data = bytes.Clone(p.Data)
	}
	name, args, err := p.Event()
	if err != nil {
		return err
	}
	srv := s.session.srv
	if srv.handler.Event == nil {
		return nil
	}
	e := Event{Name: name, Args: args, Attachments: p.Attachments}
	if p.ID != packet.NoID {
		var answered atomic.Bool
		e.Ack = func(args ...any) {
			if !answered.Swap(true) {
				s.ack(p.ID, args...)
			}
		}
	}
	return srv.guard(func() { srv.handler.Event(s, e) })
}

// ack queues the acknowledgement of an event.
func (s *Socket) ack(id int64, args ...any) {
	frames, err := encode(func(dst []byte) ([]byte, [][]byte, error) { return packet.AppendAck(dst, id, args...) })
	if err != nil {
		s.session.srv.metrics.encodeErrors.Add(1)
		return
	}
	if !s.isDone() {
		_ = s.session.send(false, frames...)
	}
}

// onAck hands an acknowledgement to who waits for it. Unknown ids are ignored: they may have timed out.
func (s *Socket) onAck(p packet.Packet) error {
	ack := s.takeAck(p.ID)
	if ack == nil {
		return nil
	}
	if len(p.Attachments) == 0 {
		p.Data = bytes.Clone(p.Data)
	}
	args, err := p.Args()
	if err != nil {
		_ = s.callReply(ack, Reply{}, ErrClosed)
		return err
	}
	return s.callReply(ack, Reply{Args: args, Attachments: p.Attachments}, nil)
}
