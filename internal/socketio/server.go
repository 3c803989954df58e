// Package socketio is a server for Engine.IO v4 and Socket.IO v5 over websocket and long polling: what the official
// socket.io-client 4 speaks. It knows nothing of what its events mean.
//
// It serves the namespace "/" only, needs no other process, and is built to hold many idle connections: an idle
// websocket costs one parked goroutine and no buffer. Of what Socket.IO offers it leaves out what a system with its own
// durable queue does not need: connection state recovery, other namespaces, rooms (callers keep their own maps and fan
// a [Prepared] event out), compression, JSONP, WebTransport and Engine.IO 3.
//
// # Use
//
// Make a [Server] with [New] and mount it as an http.Handler at Config.Path. A client's CONNECT goes to
// Handler.Authenticate; what that returns stays with the [Socket] as its identity. Connect, Event and Disconnect of one
// socket are called strictly one after another, so they need no locks among themselves and may block, for a database
// commit, say: only that client waits.
//
// # Who owns a session
//
// An Engine.IO session is opened before the client says who it is, and every later request of a polling client, or the
// websocket of an upgrade, names it by its id of 144 random bits. The id alone is not enough: the request must also
// carry the same credentials. Handler.RequestOwner tells whose credentials a request carries; without that function a
// digest of its Cookie and Authorization headers is compared. After CONNECT the session also belongs to the account
// that Handler.IdentityOwner names: CONNECT is refused when the request's credentials and the identity name two
// accounts. What is bound when a token arrives only in CONNECT: the requests around it carry no credentials, so later
// requests of that session must carry none either or those of the CONNECT's account, and the secret id is what keeps
// strangers out.
//
// # Deviations from the reference implementation
//
// Event names must be strings. A client that left the namespace with DISCONNECT cannot CONNECT again in that session; it
// opens a new one, as the official client does. A packet holds at most packet.MaxArgs arguments and
// packet.MaxAttachments attachments. A heartbeat is answered by any packet, and by a long one that makes progress, not
// only by a pong. Before CONNECT was accepted a message has at most 16 KiB. An event without data ends the session.
//
// What stays with the HTTP server in front: the time for request headers (ReadHeaderTimeout) and their size. Where several
// processes serve one address, a proxy has to bring all polling requests of a session to the same one (by client address
// or cookie); websockets need nothing of the kind.
package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config sets up a [Server]. The zero value is usable: every field has a default.
type Config struct {
	// Path is the URL path served, with or without a final slash. Default "/socket.io/", the clients' default.
	Path string
	// PingInterval is the time between heartbeats, PingTimeout how long an answer may take. Default 25 s and 20 s.
	PingInterval, PingTimeout time.Duration
	// ConnectTimeout bounds the time without a CONNECT that is accepted; a session without a socket ends then.
	// Default 45 s.
	ConnectTimeout time.Duration
	// ProbeTimeout bounds an upgrade from its websocket handshake to its end. When it passes, the session stays on
	// polling. Default 10 s.
	ProbeTimeout time.Duration
	// AttachmentTimeout bounds the wait for the attachments a packet announced. Default 20 s.
	AttachmentTimeout time.Duration
	// WriteTimeout bounds one write of at most 16 KiB to a client, or one polling response; a client that takes longer
	// is dropped. Also bounds the reading of one polling request body. Default 20 s.
	WriteTimeout time.Duration
	// MaxPayload bounds the bytes of one message from a client, its attachments included, and of one polling request.
	// Default 1 MiB.
	MaxPayload int
	// MaxPending bounds the bytes waiting to be written to one client; one more and the client is dropped as too slow.
	// Default 1 MiB.
	MaxPending int
	// MaxSessions bounds the sessions open at once; further handshakes get 503. Default 100,000.
	MaxSessions int
	// Origins decides whether a page of that origin may connect. It is asked for every request that has an Origin
	// header. Default: only pages of the same host.
	Origins func(origin string, r *http.Request) bool
	// ClientAddr names the client's address for Handshake.RemoteAddr, for servers behind a proxy. Default
	// r.RemoteAddr.
	ClientAddr func(r *http.Request) string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Rand gives the bits of session ids. It is read by several goroutines at once. Default crypto/rand.
	Rand io.Reader
	// Logger gets one line for a handler that panicked, and nothing else; see [Server.Metrics]. Default none.
	Logger *slog.Logger
}

// withDefaults fills in what is not set and refuses what makes no sense.
func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		to    time.Duration
	}{
		{"PingInterval", &c.PingInterval, 25 * time.Second},
		{"PingTimeout", &c.PingTimeout, 20 * time.Second},
		{"ConnectTimeout", &c.ConnectTimeout, 45 * time.Second},
		{"ProbeTimeout", &c.ProbeTimeout, 10 * time.Second},
		{"AttachmentTimeout", &c.AttachmentTimeout, 20 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 20 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.to
		}
		if *d.value < time.Millisecond {
			return c, fmt.Errorf("socketio: %s is shorter than a millisecond", d.name)
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		to    int
	}{
		{"MaxPayload", &c.MaxPayload, 1 << 20},
		{"MaxPending", &c.MaxPending, 1 << 20},
		{"MaxSessions", &c.MaxSessions, 100_000},
	} {
		if *n.value == 0 {
			*n.value = n.to
		}
		if *n.value < 0 {
			return c, fmt.Errorf("socketio: %s is negative", n.name)
		}
	}
	if c.Path == "" {
		c.Path = "/socket.io/"
	}
	if c.Path[len(c.Path)-1] != '/' {
		c.Path += "/"
	}
	if c.Origins == nil {
		c.Origins = sameHost
	}
	if c.ClientAddr == nil {
		c.ClientAddr = func(r *http.Request) string { return r.RemoteAddr }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Handler is what an application does with its sockets. Only Authenticate must be set.
//
// Connect, Event and Disconnect of one socket never run at the same time. They may block. A panic in one ends that
// socket and is counted.
type Handler struct {
	// Authenticate decides about a CONNECT by the facts of the handshake request and the auth payload: a JSON object,
	// or nil when the client sent none. It returns the identity kept with the socket, or an error. A [*ConnectError]
	// reaches the client as connect_error; any other error does as code "internal" without its text. An identity whose
	// client has gone meanwhile is dropped without a Connect.
	Authenticate func(ctx context.Context, req Handshake, auth json.RawMessage) (identity any, err error)
	// Connect follows an accepted CONNECT, after the reply is queued: what it emits arrives after the reply.
	Connect func(s *Socket)
	// Event takes one event. It owns everything in e.
	Event func(s *Socket, e Event)
	// Disconnect follows every Connect exactly once, after the last Event returned.
	Disconnect func(s *Socket, reason Reason)

	// RequestOwner names the account whose credentials a request carries, "" for none or invalid ones: see "Who owns a
	// session". Nil: a digest of the headers as they are, so a client whose cookie is renewed has to open a new session.
	RequestOwner func(req Handshake) string
	// IdentityOwner names the account of an identity in the terms of RequestOwner. Nil: the identity binds nothing.
	IdentityOwner func(identity any) string
}

// ConnectError refuses a CONNECT. The client's connect_error has Message as its message and {"code","message"} as its
// data.
type ConnectError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *ConnectError) Error() string { return e.Code + ": " + e.Message }

// sessionShards spreads the session map over that many locks.
const sessionShards = 64

// Server is a Socket.IO server. It is an http.Handler and safe for concurrent use.
type Server struct {
	cfg     Config
	handler Handler
	wheel   *wheel
	metrics counters

	// ctx is what Authenticate gets; stop ends it.
	ctx  context.Context
	stop context.CancelFunc
	// accepting is false from Drain or Close on.
	accepting atomic.Bool
	// wg counts the goroutines of all sessions. Add only under wgMu while open, so that Close can wait.
	wg     sync.WaitGroup
	wgMu   sync.RWMutex
	closed bool

	seed   maphash.Seed
	count  atomic.Int64 // sessions in shards
	shards [sessionShards]sessionShard
}

type sessionShard struct {
	mu   sync.Mutex
	byID map[string]*session
}

// New starts a server. Close ends it.
func New(cfg Config, h Handler) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if h.Authenticate == nil {
		return nil, errors.New("socketio: Handler.Authenticate is not set")
	}
	s := &Server{cfg: cfg, handler: h, seed: maphash.MakeSeed()}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for i := range s.shards {
		s.shards[i].byID = make(map[string]*session)
	}
	shortest := min(cfg.PingInterval, cfg.PingTimeout, cfg.ConnectTimeout, cfg.ProbeTimeout, cfg.AttachmentTimeout)
	s.wheel = newWheel(shortest, cfg.Now)
	s.accepting.Store(true)
	return s, nil
}

// Drain stops accepting sessions and ends the open ones, spread evenly over the given time in no particular order, so
// that their clients do not return all at once. It returns when all are ended, and ends what is left at once when ctx
// ends first. Clients see their transport close and come back by themselves.
func (s *Server) Drain(ctx context.Context, over time.Duration) {
	s.accepting.Store(false)
	all := s.all()
	start := time.Now()
	for i, one := range all {
		at := time.NewTimer(over*time.Duration(i)/time.Duration(len(all)) - time.Since(start))
		select {
		case <-at.C:
		case <-ctx.Done():
		}
		at.Stop()
		one.end(ReasonDrain)
	}
	// A handshake that passed the check above may still have added a session.
	for _, one := range s.all() {
		one.end(ReasonDrain)
	}
}

// Close ends every session at once and waits for its goroutines, and so for the handlers that still run. The server
// cannot be used again. Polling requests in work are answered; waiting for them is the HTTP server's part.
func (s *Server) Close() {
	s.accepting.Store(false)
	s.stop()
	for _, one := range s.all() {
		one.end(ReasonDrain)
	}
	s.wheel.close()
	s.wgMu.Lock()
	s.closed = true
	s.wgMu.Unlock()
	s.wg.Wait()
}

// spawn runs f in a goroutine that Close waits for. Once Close waits, only a handshake that raced with it still gets
// here; its session ends at once and its goroutines with it.
func (s *Server) spawn(f func()) {
	s.wgMu.RLock()
	defer s.wgMu.RUnlock()
	if s.closed {
		go f()
		return
	}
	s.wg.Go(f)
}

func (s *Server) shard(id string) *sessionShard {
	return &s.shards[maphash.String(s.seed, id)%sessionShards]
}

// lookup finds a session by its id, nil when there is none.
func (s *Server) lookup(id string) *session {
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.byID[id]
}

// remove takes a session out of the map; doing it twice does no harm.
func (s *Server) remove(one *session) {
	sh := s.shard(one.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.byID[one.id]; ok {
		delete(sh.byID, one.id)
		s.count.Add(-1)
	}
}

// add puts a session into the map; false when the server is full.
func (s *Server) add(one *session) bool {
	if s.count.Add(1) > int64(s.cfg.MaxSessions) {
		s.count.Add(-1)
		return false
	}
	sh := s.shard(one.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.byID[one.id] = one
	return true
}

func (s *Server) all() []*session {
	var all []*session
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, one := range sh.byID {
			all = append(all, one)
		}
		sh.mu.Unlock()
	}
	return all
}

// idBytes are the random bytes of an id: 144 bits.
const idBytes = 18

// newID makes an id for a session or a socket, and a number to spread its timers with.
func (s *Server) newID() (id string, spread byte, err error) {
	var b [idBytes + 1]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return "", 0, fmt.Errorf("drawing a session id: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:idBytes]), b[idBytes], nil
}
