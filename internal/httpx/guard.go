package httpx

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"sotto/api"
	"sotto/internal/errs"
)

type requestIDKey struct{}

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// Guard wraps the whole listener: request id, client address, security headers, cross-origin protection, panic guard
// and one log line a request. Neither query strings nor bodies nor addresses reach the log.
func (s *Server) Guard(next http.Handler) (http.Handler, error) {
	cross := http.NewCrossOriginProtection()
	for _, origin := range s.Origins {
		if err := cross.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("origin %q: %w", origin, err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := s.NewRequestID()
		r = withClientAddress(r, s.TrustedProxies)
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		setHeaders(w.Header(), id)
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				s.recovered(sw, r, p)
			}
			s.Logger.DebugContext(r.Context(), "request", "request", id, "method", r.Method, "pattern", r.Pattern,
				"status", sw.status, "ms", time.Since(start).Milliseconds())
		}()
		// A request without the cookie cannot be forged across sites: the attacker's page has no token to add.
		if _, cookie := TokenFrom(r); cookie {
			if err := cross.Check(r); err != nil {
				s.problem(sw, r, errs.New(errs.Forbidden, api.CodeForbidden, "Requests from other sites are refused.").Because(err))
				return
			}
		}
		next.ServeHTTP(sw, r)
	}), nil
}

// recovered answers after a panic if nothing was written yet. The counter must stay 0 in every test and at every host.
func (s *Server) recovered(w *statusWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it in the same way
		panic(p)
	}
	s.Panics.Add(1)
	s.Logger.ErrorContext(r.Context(), "panic in a handler", "request", requestID(r), "pattern", r.Pattern, "panic", p, "stack", string(debug.Stack()))
	if w.status == 0 {
		s.problem(w, r, fmt.Errorf("panic: %v", p))
	}
}

func setHeaders(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// statusWriter remembers the status. Unwrap lets http.ResponseController reach Hijack and Flush.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
