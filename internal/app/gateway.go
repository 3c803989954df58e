package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/config"
	"sotto/internal/gateway"
	"sotto/internal/httpx"
	"sotto/internal/telemetry"
)

// newGateway is the process in front of separate services.
func newGateway(c config.Config, publicURL string, logger *slog.Logger) (*process, error) {
	front, err := frontPage(publicURL)
	if err != nil {
		return nil, err
	}
	proxies, err := c.Proxies()
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(gateway.Config{
		User: c.UserURL, Chat: c.ChatURL, Notification: c.NotificationURL, Front: front, Logger: logger.With("service", "gateway"),
	})
	if err != nil {
		return nil, err
	}
	// Without one of the services the others still work: none has to answer for the gateway to be ready.
	h := &health{optional: []part{
		{"user service", answering(c.UserURL)}, {"chat service", answering(c.ChatURL)},
		{"notification service", answering(c.NotificationURL)},
	}}
	mux := http.NewServeMux()
	mux.Handle("/", httpx.WithClientAddress(g, proxies))
	h.register(mux)
	registry := telemetry.NewRegistry()
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sotto_gateway_retries_total", Help: "Connections that a process of a service did not take.",
	}, func() float64 { return float64(g.Retried.Load()) }))
	return &process{handler: mux, health: h, metrics: registry, drain: g.Drain, close: func() error { return nil }}, nil
}

// answering tells whether any of the addresses takes a connection.
func answering(urls []string) func(context.Context) error {
	return func(ctx context.Context) error {
		var failed []error
		for _, raw := range urls {
			u, err := url.Parse(raw)
			if err == nil {
				err = dial(ctx, u)
			}
			if err == nil {
				return nil
			}
			failed = append(failed, fmt.Errorf("%s: %w", raw, err))
		}
		return errors.Join(failed...)
	}
}

const dialTimeout = time.Second

func dial(ctx context.Context, u *url.URL) error {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
