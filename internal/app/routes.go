package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/config"
	"sotto/internal/httpx"
	"sotto/internal/limit"
	"sotto/internal/peer"
	"sotto/internal/token"
)

type allow = func(ctx context.Context, name limit.Name, key string) (time.Duration, bool, error)

// routes puts the services behind one listener. Each service guards its own routes with its own check of the token.
func (s *services) routes(c config.Config, publicURL string, logger *slog.Logger) (http.Handler, error) {
	proxies, err := c.Proxies()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mount := func(verify func(context.Context, string) (token.Actor, error), table []httpx.Route, patterns ...string) error {
		guard := &httpx.Server{
			Verify: verify, Allow: s.shared.allow, TrustedProxies: proxies, Origins: c.CORSOrigins, Logger: logger,
			NewRequestID: newRequestID,
		}
		s.guards = append(s.guards, guard)
		handler, err := guard.Mux(table)
		for _, p := range patterns {
			mux.Handle(p, handler)
		}
		return err
	}
	if s.user != nil {
		if err := mount(s.user.Verify, s.user.Routes(), "/api/"); err != nil {
			return nil, err
		}
	}
	if s.chat != nil {
		if err := mount(s.chat.Verify, s.chat.Routes(), "/api/chat/"); err != nil {
			return nil, err
		}
		mux.Handle(api.SocketPath, s.chat.Sockets())
	}
	if s.notification != nil {
		if err := mount(s.notification.Verify, s.notification.Routes(), "/api/notifications", "/api/notifications/"); err != nil {
			return nil, err
		}
	}
	if s.peers.reachable {
		s.mountCalls(mux, logger)
	}
	if err := s.mountFront(mux, publicURL); err != nil {
		return nil, err
	}
	s.health.register(mux)
	return s.guards[0].Guard(mux)
}

// mountCalls lets other services call those here. No gateway passes these paths on.
func (s *services) mountCalls(mux *http.ServeMux, logger *slog.Logger) {
	if s.user != nil {
		mux.Handle("/internal/user/", peer.UserHandler(s.user, func() uint64 { return s.epoch }, s.peers.userKey, logger))
	}
	if s.chat != nil {
		mux.Handle("/internal/chat/", peer.ChatHandler(s.chat, s.peers.chatKey, logger))
	}
}

// mountFront serves the web client, or says where it is.
func (s *services) mountFront(mux *http.ServeMux, publicURL string) error {
	if s.target.separate() {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			write(w, http.StatusNotFound, "This is the "+s.target.name+" service of a Sotto server. The gateway has the web client.\n")
		})
		return nil
	}
	front, err := frontPage(publicURL)
	if err == nil {
		mux.Handle("/", front)
	}
	return err
}

// panics counts the panics in handlers of all services here.
func (s *services) panics() (n int64) {
	for _, g := range s.guards {
		n += g.Panics.Load()
	}
	return n
}

// origins allows the listed origins besides the server's own.
func origins(allowed []string) func(origin string, r *http.Request) bool {
	if len(allowed) == 0 {
		return nil
	}
	return func(origin string, r *http.Request) bool {
		u, err := url.Parse(origin)
		return slices.Contains(allowed, origin) || (err == nil && u.Host == r.Host)
	}
}
