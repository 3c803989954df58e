package socketio

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sotto/internal/socketio/packet"
)

// Handshake is what is kept of an HTTP request: the facts that tell who sends it.
type Handshake struct {
	// RemoteAddr is the client's address as Config.ClientAddr names it.
	RemoteAddr string
	// Cookie and Authorization are the headers as they came, "" when absent.
	Cookie, Authorization string
	// Origin is the page's origin, already allowed by Config.Origins; "" for programs and some same-origin requests.
	Origin string
	// UserAgent is the client's own word, at most maxUserAgentBytes of it.
	UserAgent string
}

const maxUserAgentBytes = 256

func (s *Server) facts(r *http.Request) *Handshake {
	agent := r.UserAgent()
	return &Handshake{
		RemoteAddr:    s.cfg.ClientAddr(r),
		Cookie:        strings.Join(r.Header.Values("Cookie"), "; "),
		Authorization: r.Header.Get("Authorization"),
		Origin:        r.Header.Get("Origin"),
		UserAgent:     strings.Clone(agent[:min(len(agent), maxUserAgentBytes)]),
	}
}

// requestOwner names whose credentials a request carries, see "Who owns a session".
func (s *Server) requestOwner(hs *Handshake) string {
	if s.handler.RequestOwner != nil {
		return s.handler.RequestOwner(*hs)
	}
	if hs.Cookie == "" && hs.Authorization == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(hs.Cookie + "\n" + hs.Authorization))
	return string(sum[:])
}

// mayUse tells whether a request with these credentials may use the session.
func (s *session) mayUse(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return owner == s.owner || owner != "" && owner == s.account
}

// sameHost allows the origin of pages that the server itself serves. It compares hosts only: behind a TLS proxy the
// server does not know its own scheme.
func sameHost(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// answers holds the status, code and message for each refusal. Codes 0 to 5 are the reference implementation's.
var answers = [refusalCount]struct {
	status  int
	Code    int    `json:"code"`
	Message string `json:"message"`
}{
	refusedTransport: {400, 0, "Transport unknown"},
	refusedSession:   {400, 1, "Session ID unknown"},
	// A session of another account looks like one that does not exist.
	refusedOwner:    {400, 1, "Session ID unknown"},
	refusedMethod:   {400, 2, "Bad handshake method"},
	refusedRequest:  {400, 3, "Bad request"},
	refusedOrigin:   {403, 4, "Forbidden"},
	refusedVersion:  {400, 5, "Unsupported protocol version"},
	refusedTooLarge: {413, 3, "Payload too large"},
	refusedFull:     {503, 3, "Server is full or stopping"},
}

// errFull: MaxSessions are open.
var errFull = errors.New("too many sessions")

// refuse answers a request with an error.
func (s *Server) refuse(w http.ResponseWriter, why refusal) {
	s.metrics.refused[why].Add(1)
	body, err := json.Marshal(answers[why])
	if err != nil {
		panic(err) // two plain fields
	}
	w.Header().Set("Content-Type", "application/json")
	if answers[why].status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(answers[why].status)
	_, _ = w.Write(body)
}

// ServeHTTP serves every request of the protocol: handshakes, polls, posts, upgrades and CORS preflights.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := r.URL.Path; p != s.cfg.Path && p+"/" != s.cfg.Path {
		http.NotFound(w, r)
		return
	}
	// A body that trickles in is given up, also one that the HTTP server only skips because the request is refused.
	setReadTime(w, s.cfg.WriteTimeout)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.cors(w, r) {
		s.refuse(w, refusedOrigin)
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	query := r.URL.Query()
	transport, id := query.Get("transport"), query.Get("sid")
	switch {
	case transport != "polling" && transport != "websocket":
		s.refuse(w, refusedTransport)
	case query.Get("EIO") != packet.Version:
		s.refuse(w, refusedVersion)
	case id == "" && r.Method != http.MethodGet:
		s.refuse(w, refusedMethod)
	case transport == "websocket" && !isUpgrade(r):
		s.refuse(w, refusedRequest)
	case id != "":
		s.serveSession(w, r, id, transport == "websocket")
	case !s.accepting.Load():
		s.refuse(w, refusedFull)
	case transport == "websocket":
		s.openWebsocket(w, r)
	default:
		s.openPolling(w, r)
	}
}

// setReadTime bounds the time until the request is read, 0 for no bound. A writer that cannot do it (in tests, or below a
// wrapper) leaves the bound to the HTTP server.
func setReadTime(w http.ResponseWriter, d time.Duration) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = http.NewResponseController(w).SetReadDeadline(deadline)
}

// cors checks the Origin of a request and allows its page to read the answer.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !s.cfg.Origins(origin, r) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
	}
	return true
}

// isUpgrade tells whether a request asks for a websocket; the library checks the rest.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveSession serves a request of a session that exists.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request, id string, websocket bool) {
	one := s.lookup(id)
	if one == nil {
		s.refuse(w, refusedSession)
		return
	}
	if !one.mayUse(s.requestOwner(s.facts(r))) {
		s.refuse(w, refusedOwner)
		return
	}
	switch {
	case websocket:
		one.upgrade(w, r)
	case r.Method == http.MethodGet:
		one.poll(w, r)
	case r.Method == http.MethodPost:
		one.post(w, r)
	default:
		s.refuse(w, refusedMethod)
	}
}

// openWebsocket starts a session on a websocket.
func (s *Server) openWebsocket(w http.ResponseWriter, r *http.Request) {
	if s.count.Load() >= int64(s.cfg.MaxSessions) {
		s.refuse(w, refusedFull)
		return
	}
	facts := s.facts(r)
	c, err := upgradeWebsocket(w, r, &s.cfg)
	if err != nil {
		s.metrics.refused[refusedRequest].Add(1)
		return
	}
	one, err := s.open(facts, c)
	if err != nil {
		s.metrics.refused[refusedFull].Add(1)
		c.close()
		return
	}
	// A fresh goroutine, because this one has the stack and the request of the HTTP server.
	s.spawn(func() { one.serveWebsocket(c) })
}

// openPolling starts a session on polling; the answer is its open packet.
func (s *Server) openPolling(w http.ResponseWriter, r *http.Request) {
	one, err := s.open(s.facts(r), nil)
	if err != nil {
		s.refuse(w, refusedFull)
		return
	}
	one.poll(w, r)
}
