// Package gateway puts separate services behind one address: a reverse proxy, websockets included, and the web client.
// It authenticates nobody and limits nothing: every service guards itself.
//
// It keeps no state, so that any number of gateways may run. A request goes to any process of its service; only what
// belongs to a long-polling session has to reach the process that has the session, and goes by the client's address.
// While no process takes a connection, the request waits a little: a service that is being restarted is not missed.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
)

const (
	dialTime    = 2 * time.Second
	answerTime  = 90 * time.Second // for the first byte of an answer; a long poll takes less
	patience    = 5 * time.Second  // for a process that takes the connection
	firstWait   = 20 * time.Millisecond
	longestWait = 500 * time.Millisecond
	maxIdle     = 256 // connections kept open to one process
)

// Config holds what a Gateway needs.
type Config struct {
	User, Chat, Notification []string // URLs of the processes of each service
	Front                    http.Handler
	Logger                   *slog.Logger
}

// Gateway is safe for concurrent use.
type Gateway struct {
	config    Config
	transport *http.Transport
	log       *slog.Logger
	proxy     *httputil.ReverseProxy

	// Retried counts connections that a process did not take.
	Retried atomic.Int64

	mu       sync.Mutex // guards what follows
	upgraded map[*context.CancelFunc]struct{}
	draining bool // no websocket is taken any more
}

// New checks the URLs.
func New(c Config) (*Gateway, error) {
	g := &Gateway{
		config: c, log: c.Logger, upgraded: make(map[*context.CancelFunc]struct{}),
		transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime,
			ResponseHeaderTimeout: answerTime, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute,
			DisableCompression: true,
		},
	}
	for _, raw := range slices.Concat(c.User, c.Chat, c.Notification) {
		if u, err := url.Parse(raw); err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, errors.New("a service's address is " + raw + "; write it like http://10.0.0.5:8081")
		}
	}
	g.proxy = &httputil.ReverseProxy{
		Transport: tripper{g}, FlushInterval: -1, ErrorHandler: g.failed,
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.Host = p.In.Host
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "service" // the tripper chooses
			p.Out.Header.Set("X-Forwarded-For", httpx.ClientAddress(p.In).String())
			p.Out.Header["X-Forwarded-Proto"] = p.In.Header["X-Forwarded-Proto"]
		},
	}
	return g, nil
}

// ServeHTTP passes a request on.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.processes(r) == nil {
		g.config.Front.ServeHTTP(w, r)
		return
	}
	if r.Header.Get("Upgrade") != "" {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		forget, ok := g.keep(&cancel)
		if !ok {
			unavailable(w, "The server is being restarted. Connect again in a moment.")
			return
		}
		defer forget()
		r = r.WithContext(ctx)
	}
	g.proxy.ServeHTTP(w, r)
}

// keep remembers a websocket, to end it when the gateway stops. It is false once that has begun: the websocket would be
// cut off without a word at the end.
func (g *Gateway) keep(cancel *context.CancelFunc) (forget func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return nil, false
	}
	g.upgraded[cancel] = struct{}{}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.upgraded, cancel)
	}, true
}

// Drain takes no more websockets and ends those there are, spread over the given time, so that clients do not come back
// all at once.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.mu.Lock()
	g.draining = true
	var all []*context.CancelFunc
	for cancel := range g.upgraded {
		all = append(all, cancel)
	}
	g.mu.Unlock()
	for _, cancel := range all {
		select {
		case <-ctx.Done():
		case <-time.After(over / time.Duration(len(all))):
		}
		(*cancel)()
	}
}

// processes are those of the service that a path belongs to; nil is the web client's.
func (g *Gateway) processes(r *http.Request) []string {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/api/chat/"):
		return g.config.Chat
	case path == "/api/notifications", strings.HasPrefix(path, "/api/notifications/"):
		return g.config.Notification
	case strings.HasPrefix(path, "/api/"):
		return g.config.User
	}
	return nil
}

// order is in which order the processes are tried. A long-polling session lives in one process: what belongs to it goes
// by the client's address, and another process answers that it does not know the session, so that the client begins a
// new one.
func (g *Gateway) order(r *http.Request) []string {
	all := slices.Clone(g.processes(r))
	q := r.URL.Query()
	if !strings.HasPrefix(r.URL.Path, api.SocketPath) || q.Get("transport") != "polling" && q.Get("sid") == "" {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // spreads the load
		return all
	}
	client := r.Header.Get("X-Forwarded-For")
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(weight(client, b), weight(client, a)) })
	return all
}

// weight orders the processes for a client in a way that changes little when one is added (rendezvous hashing).
func weight(client, process string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, client+" "+process) // never fails
	return h.Sum64()
}

// tripper sends a request to the first process that takes the connection.
type tripper struct{ g *Gateway }

// RoundTrip tries again only while nothing was sent.
func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	all := t.g.order(r)
	body := r.Body
	if body != nil {
		defer body.Close() // of a request that nobody took; a second close is harmless
	}
	wait, deadline := firstWait, time.Now().Add(patience)
	for try := 0; ; try++ {
		out := r.Clone(r.Context())
		if body != nil {
			out.Body = io.NopCloser(body) // a failed connection closes it, and the next one needs it
		}
		u, err := url.Parse(all[try%len(all)])
		if err != nil {
			return nil, err
		}
		out.URL.Scheme, out.URL.Host = u.Scheme, u.Host
		res, err := t.g.transport.RoundTrip(out)
		if err == nil || !nobodyThere(err) || time.Now().After(deadline) {
			return res, err
		}
		t.g.Retried.Add(1)
		if (try+1)%len(all) != 0 {
			continue
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // jitter
		}
		wait = min(2*wait, longestWait)
	}
}

func nobodyThere(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

const retryAfter = time.Second

// failed answers for a service that did not.
func (g *Gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		g.log.WarnContext(r.Context(), "a service did not answer", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	unavailable(w, "A part of the server cannot be reached. Repeat the same request in a moment.")
}

func unavailable(w http.ResponseWriter, public string) {
	problem := errs.Problem(errs.New(errs.Unavailable, api.CodeUnavailable, public).WithRetryAfter(retryAfter), "")
	w.Header().Set("Retry-After", strconv.FormatInt(problem.RetryAfter, 10))
	httpx.WriteJSON(w, problem.Status, "application/problem+json", problem)
}
