// Package httpx is how a service speaks HTTP: a table of routes, strict decoding, problem documents, headers and the
// client's address. It knows no rule of any service.
package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/limit"
	"sotto/internal/token"
)

// Role is what a route asks of the actor.
type Role uint8

// Roles. The zero value is the strictest.
const (
	WithDevice Role = iota // a login that belongs to a device
	SignedIn               // any login, also one that has yet to add its device
	Public                 // nobody need be signed in; the actor is zero
)

const problemType = "application/problem+json"

// Route is one row of a service's table.
type Route struct {
	Method  string
	Pattern string     // of http.ServeMux, without the method
	Role    Role       //
	Limit   limit.Name // counted by account, or by address when Public; empty for none
	MaxBody int64      // bytes; 0 stands for api.MaxBody
	Handle  Handler
}

// Server turns tables of routes into one handler. Verify and Limiter guard every route; there is no other way in.
type Server struct {
	Verify         func(ctx context.Context, token string) (token.Actor, error) // signature, expiry, ended logins
	Allow          func(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error)
	TrustedProxies []netip.Prefix
	Origins        []string // other origins that browsers may call from with the cookie
	Logger         *slog.Logger
	NewRequestID   func() string

	// Panics counts recovered panics; it must stay 0.
	Panics atomic.Int64
}

// Mux serves the routes. Unknown paths and methods get problem documents too.
func (s *Server) Mux(tables ...[]Route) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, table := range tables {
		for _, route := range table {
			if route.Handle == nil {
				return nil, fmt.Errorf("route %s %s has no handler", route.Method, route.Pattern)
			}
			methods[route.Pattern] = append(methods[route.Pattern], route.Method)
			mux.Handle(route.Method+" "+route.Pattern, s.route(route))
		}
	}
	for pattern, allowed := range methods {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.problem(w, r, errs.New(errs.Method, api.CodeMethod, "This path does not take the method "+r.Method+"."))
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, errs.NotFoundf("There is no such path."))
	})
	return mux, nil
}

func (s *Server) route(route Route) http.Handler {
	maxBody := route.MaxBody
	if maxBody == 0 {
		maxBody = api.MaxBody
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		res, err := s.serve(route, w, r)
		switch {
		case err != nil:
			s.problem(w, r, err)
		case res == Written:
		case res == nil:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
		default:
			WriteJSON(w, http.StatusOK, "application/json", res)
		}
	})
}

func (s *Server) serve(route Route, w http.ResponseWriter, r *http.Request) (any, error) {
	if err := checkProtocol(route, r); err != nil {
		return nil, err
	}
	actor, err := s.actor(route.Role, r)
	if err != nil {
		return nil, err
	}
	if route.Limit != "" {
		key := actor.Account.String()
		if route.Role == Public {
			key = LimitKey(ClientAddress(r))
		}
		retryAfter, ok, err := s.Allow(r.Context(), route.Limit, key)
		if err != nil {
			return nil, errs.Wrap("counting "+string(route.Limit), err)
		}
		if !ok {
			return nil, errs.New(errs.Limited, api.CodeLimited, "That was too often. Wait a little and try again.").WithRetryAfter(retryAfter)
		}
	}
	return route.Handle(w, r, actor)
}

func (s *Server) actor(role Role, r *http.Request) (token.Actor, error) {
	if role == Public {
		return token.Actor{}, nil
	}
	t, _ := TokenFrom(r)
	actor, err := s.Verify(r.Context(), t)
	if err != nil {
		return token.Actor{}, err
	}
	if role == WithDevice && !actor.HasDevice() {
		return token.Actor{}, errs.New(errs.Forbidden, api.CodeForbidden, "This login has no device yet. Add the device first.")
	}
	return actor, nil
}

// checkProtocol refuses clients that are too old. A program that names no version, such as curl, speaks the lowest one.
func checkProtocol(route Route, r *http.Request) error {
	named := r.Header.Get(api.HeaderProtocol)
	if named == "" || route.Pattern == "/api/info" {
		return nil
	}
	v, err := strconv.Atoi(named)
	if err != nil {
		return errs.Invalidf("%s is not a number.", api.HeaderProtocol)
	}
	if v < api.ProtocolLowest || v > api.ProtocolHighest {
		return UpgradeRequired(v)
	}
	return nil
}

// UpgradeRequired is the answer to a protocol version outside the accepted range.
func UpgradeRequired(version int) *errs.Error {
	return errs.New(errs.UpgradeRequired, api.CodeUpgradeRequired, fmt.Sprintf(
		"This server speaks protocol versions %d to %d, the client asks for %d. Update the older of the two.",
		api.ProtocolLowest, api.ProtocolHighest, version)).
		WithDetails(api.ProtocolRange{Lowest: api.ProtocolLowest, Highest: api.ProtocolHighest})
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	id := requestID(r)
	p := errs.Problem(err, id)
	// A client that has gone away cancels what was done for it, which is no fault.
	gone := r.Context().Err() != nil && errors.Is(err, context.Canceled)
	if p.Status >= http.StatusInternalServerError && errs.As(err).Kind == errs.Internal && !gone {
		s.Logger.ErrorContext(r.Context(), "request failed", "request", id, "method", r.Method, "pattern", r.Pattern, "err", err.Error())
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	WriteJSON(w, p.Status, problemType, p)
}
