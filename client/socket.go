package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sotto/api"
	"sotto/internal/socketio/packet"
)

const (
	connectTimeout = 30 * time.Second // from dialling to the accepted CONNECT
	replyTimeout   = 60 * time.Second // of one acknowledgement; then the connection counts as dead
	maxPending     = 256              // acknowledgements that a connection waits for at once
)

// socket is one Socket.IO connection over a websocket. A goroutine of its own reads; it answers pings, hands
// acknowledgements to whoever waits and events to onEvent, which must not wait for the network and whose error ends
// the connection.
type socket struct {
	conn    Conn
	onEvent func(name string, arg json.RawMessage) error
	silence time.Duration // pingInterval + pingTimeout: a peer quiet for longer is dead
	dead    *time.Timer   // ends the connection then; the reader restarts it
	done    chan struct{} // closed when the connection has ended

	mu      sync.Mutex // guards what follows, and orders writes
	lastID  int64
	pending map[int64]chan result
	err     error // why the connection ended
}

// result is the outcome of one emitted event. An error without a Problem leaves the outcome unknown.
type result struct {
	ok  json.RawMessage
	err error
}

// dialSocket connects and presents auth. A refusal is an *Error with the server's code.
func dialSocket(
	ctx context.Context, network Network, server string, auth api.SocketAuth, onEvent func(string, json.RawMessage) error,
) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	url := "ws" + strings.TrimPrefix(server, "http") + api.SocketPath + "?EIO=" + packet.Version + "&transport=websocket"
	conn, err := network.Dial(ctx, url)
	if err != nil {
		return nil, networkError("opening the connection", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the reads below
	s := &socket{conn: conn, onEvent: onEvent, done: make(chan struct{}), pending: map[int64]chan result{}}
	err = s.open(auth)
	if !stop() || err != nil {
		_ = conn.Close() // it was never used
		if err == nil {
			err = ctx.Err()
		}
		if CodeOf(err) != "" {
			return nil, err
		}
		return nil, networkError("opening the connection", err)
	}
	s.dead = time.AfterFunc(s.silence, func() { s.end(errors.New("the server is silent")) })
	go s.read()
	return s, nil
}

// open does the Engine.IO handshake and the Socket.IO CONNECT.
func (s *socket) open(auth api.SocketAuth) error {
	kind, data, err := s.next()
	if err != nil {
		return err
	}
	if kind != packet.Open {
		return serverError("a connection that begins with packet type %q", kind)
	}
	h, err := packet.ParseOpen(data)
	if err != nil {
		return serverError("handshake: %w", err)
	}
	s.silence = time.Duration(h.PingInterval+h.PingTimeout) * time.Millisecond
	body, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	connect := packet.Packet{Type: packet.Connect, ID: packet.NoID, Data: body}
	if err := s.conn.Write(connect.Append([]byte{byte(packet.Message)})); err != nil {
		return err
	}
	for {
		kind, data, err := s.next()
		if err != nil {
			return err
		}
		if kind == packet.Ping {
			if err := s.pong(data); err != nil {
				return err
			}
			continue
		}
		if kind != packet.Message {
			return fmt.Errorf("packet type %q before the reply to CONNECT", kind)
		}
		p, err := packet.Parse(data)
		if err != nil {
			return serverError("reply to CONNECT: %w", err)
		}
		switch p.Type {
		case packet.Connect:
			return nil
		case packet.ConnectError:
			return refusal(p.Data)
		default:
			return serverError("packet type %q instead of a reply to CONNECT", p.Type)
		}
	}
}

// refusal reads the data of a connect error.
func refusal(data json.RawMessage) error {
	var e struct {
		Message string `json:"message"`
		Data    struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &e); err != nil || e.Data.Code == "" {
		return problemError(api.Problem{Code: api.CodeUnavailable, Title: "no connection", Detail: e.Message})
	}
	return problemError(api.Problem{Code: e.Data.Code, Detail: e.Data.Message})
}

// next reads one Engine.IO packet.
func (s *socket) next() (packet.Engine, []byte, error) {
	text, err := s.conn.Read()
	if err != nil {
		return 0, nil, err
	}
	return packet.ParseEngine(text)
}

func (s *socket) pong(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.Write(append([]byte{byte(packet.Pong)}, data...))
}

func (s *socket) read() {
	assembler := packet.Assembler{MaxBytes: maxMessage}
	for {
		kind, data, err := s.next()
		if err == nil {
			s.dead.Reset(s.silence)
			switch kind { //nolint:exhaustive // the other kinds need no answer
			case packet.Ping:
				err = s.pong(data)
			case packet.Message:
				err = s.take(&assembler, data)
			case packet.Close:
				err = errors.New("the server closed the connection")
			}
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// take handles one Socket.IO packet. The server sends no binary attachments.
func (s *socket) take(assembler *packet.Assembler, data []byte) error {
	p, whole, err := assembler.Text(data)
	if err != nil {
		return err
	}
	if !whole {
		return errors.New("a packet with attachments")
	}
	switch p.Type { //nolint:exhaustive // a server sends no others; they are dropped
	case packet.Event:
		name, args, err := p.Event()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return s.onEvent(name, args[0])
		}
	case packet.Ack:
		args, err := p.Args()
		if err != nil {
			return err
		}
		if len(args) != 1 {
			return errors.New("an acknowledgement without its argument")
		}
		s.acknowledged(p.ID, args[0])
	case packet.Disconnect:
		return errors.New("the server ended the connection")
	}
	return nil
}

func (s *socket) acknowledged(id int64, arg json.RawMessage) {
	s.mu.Lock()
	ch := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	if ch == nil {
		return // acknowledged twice, or given up
	}
	var reply api.Reply[json.RawMessage]
	switch err := json.Unmarshal(arg, &reply); {
	case err != nil || (reply.Ok == nil) == (reply.Error == nil):
		ch <- result{err: serverError("a reply that is neither an answer nor an error")}
	case reply.Error != nil:
		ch <- result{err: problemError(*reply.Error)}
	default:
		ch <- result{ok: *reply.Ok}
	}
}

// emit writes an event and returns where its result will arrive: always exactly one. Events arrive at the server in the
// order of the calls.
func (s *socket) emit(name string, payload any) <-chan result {
	ch := make(chan result, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		ch <- result{err: s.err}
		return ch
	}
	if len(s.pending) >= maxPending {
		ch <- result{err: fail(api.CodeLimited, "Too many requests wait for their replies.")}
		return ch
	}
	s.lastID++
	text, attachments, err := packet.AppendEvent([]byte{byte(packet.Message)}, s.lastID, name, payload)
	if err != nil || len(attachments) > 0 {
		ch <- result{err: fail(CodeArgument, "The request cannot be written as JSON.").because(err)}
		return ch
	}
	s.pending[s.lastID] = ch
	if err := s.conn.Write(text); err != nil {
		go s.end(err) // takes s.mu, and gives the result
	}
	return ch
}

// request emits an event and waits for its answer, which is decoded into res. When the answer takes too long the
// connection is ended, because its order of replies can no longer be trusted.
func (s *socket) request(ctx context.Context, name string, payload, res any) error {
	return s.await(ctx, s.emit(name, payload), res)
}

func (s *socket) await(ctx context.Context, ch <-chan result, res any) error {
	timeout := time.NewTimer(replyTimeout)
	defer timeout.Stop()
	var r result
	select {
	case r = <-ch:
	case <-timeout.C:
		s.end(errors.New("the server does not reply"))
		r = <-ch
	case <-ctx.Done():
		return networkError("waiting for a reply", ctx.Err())
	}
	if r.err != nil {
		return r.err
	}
	if err := json.Unmarshal(r.ok, res); err != nil {
		return serverError("reply: %w", err)
	}
	return nil
}

// end closes the connection once; later reasons are dropped. Everything that waits gets an unknown outcome.
func (s *socket) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if CodeOf(reason) == "" {
		reason = networkError("connection", reason)
	}
	s.err = reason
	s.dead.Stop()
	_ = s.conn.Close() // it is given up either way
	for id, ch := range s.pending {
		delete(s.pending, id)
		ch <- result{err: reason}
	}
	close(s.done)
}

// reason tells why the connection ended.
func (s *socket) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
