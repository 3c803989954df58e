package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const checkTimeout = 2 * time.Second

// health answers whether the process lives, whether it should get work, and why not.
type health struct {
	draining atomic.Bool
	parts    []part
	optional []part // without them the process still does its work, only slower
}

// part is something the process needs.
type part struct {
	name  string
	check func(ctx context.Context) error
}

func (h *health) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, "alive\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if lines, ok := h.check(r.Context()); !ok {
			write(w, http.StatusServiceUnavailable, lines)
			return
		}
		write(w, http.StatusOK, "ready\n")
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		lines, ok := h.check(r.Context())
		status := http.StatusOK
		if !ok {
			status = http.StatusServiceUnavailable
		}
		write(w, status, lines)
	})
}

// check asks every part and returns one line for each. The lines name no address and no cause: the log has those.
func (h *health) check(ctx context.Context) (lines string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var b strings.Builder
	ok = true
	for _, p := range h.parts {
		state := "ok"
		if err := p.check(ctx); err != nil {
			state, ok = "does not answer", false
		}
		fmt.Fprintf(&b, "%s: %s\n", p.name, state)
	}
	for _, p := range h.optional {
		state := "ok"
		if err := p.check(ctx); err != nil {
			state = "does not answer; what needs it waits"
		}
		fmt.Fprintf(&b, "%s: %s\n", p.name, state)
	}
	if h.draining.Load() {
		ok = false
		b.WriteString("server: stopping\n")
	}
	return b.String(), ok
}

func write(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the peer may be gone
}
