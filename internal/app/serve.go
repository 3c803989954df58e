// Package app builds the parts of the server for a target and runs them: start order, readiness, drain. It is the only
// package that may import every other.
package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/config"
	"sotto/internal/fault"
	"sotto/internal/telemetry"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second // a whole request, 1 MiB over a slow line; one that trickles on gets no more
	idleTimeout       = 120 * time.Second
	maxHeader         = 16 << 10         // bytes
	drainOver         = 2 * time.Second  // sockets are told to come back spread over this time
	shutdownTimeout   = 15 * time.Second // requests in work when SIGTERM came
)

// Serve runs everything in one process until ctx ends, then stops cleanly. out gets what a person should read, logs the
// log lines. An error is a sentence that says what to do.
func Serve(ctx context.Context, c config.Config, out, logs io.Writer) (err error) {
	logger := newLogger(c, logs)
	dir, err := openDataDir(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := refuseMoved(c); err != nil {
		return err
	}
	// A port that is taken is noticed before anything is made.
	listener, err := listen(targetServe.listen(c))
	if err != nil {
		return err
	}
	url := publicURL(c, listener.Addr().String())
	s, err := newServices(ctx, c, targetServe, dir, url, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.process().run(ctx, c, listener, logger, func() { fmt.Fprintf(out, greeting, url, c.DataDir) })
}

// User, Chat and Notification run one service until ctx ends, over PostgreSQL, RabbitMQ and Redis.
func User(ctx context.Context, c config.Config, out, logs io.Writer) error {
	return runService(ctx, c, targetUser, out, logs)
}

// Chat is like User.
func Chat(ctx context.Context, c config.Config, out, logs io.Writer) error {
	return runService(ctx, c, targetChat, out, logs)
}

// Notification is like User.
func Notification(ctx context.Context, c config.Config, out, logs io.Writer) error {
	return runService(ctx, c, targetNotification, out, logs)
}

// runService takes connections only when it can answer: until then a gateway tries another process.
func runService(ctx context.Context, c config.Config, t target, out, logs io.Writer) error {
	if err := t.check(c); err != nil {
		return err
	}
	logger := newLogger(c, logs)
	address := t.listen(c)
	s, err := newServices(ctx, c, t, nil, publicURL(c, address), logger)
	if err != nil {
		return err
	}
	listener, err := listen(address)
	if err != nil {
		return errors.Join(err, s.close())
	}
	return s.process().run(ctx, c, listener, logger, func() { fmt.Fprintf(out, "The %s service listens on %s.\n", t.name, address) })
}

// Gateway runs the reverse proxy in front of separate services, with the web client.
func Gateway(ctx context.Context, c config.Config, out, logs io.Writer) error {
	logger := newLogger(c, logs)
	address := target{port: "8080"}.listen(c)
	listener, err := listen(address)
	if err != nil {
		return err
	}
	url := publicURL(c, listener.Addr().String())
	p, err := newGateway(c, url, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return p.run(ctx, c, listener, logger, func() { fmt.Fprintf(out, "The gateway is at %s.\n", url) })
}

func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w; is another server running there? Choose another address with --listen", address, err)
	}
	return listener, nil
}

// process is what a target runs behind its listener.
type process struct {
	handler http.Handler
	health  *health
	metrics *prometheus.Registry
	drain   func(ctx context.Context, over time.Duration) // ends sockets
	close   func() error                                  // after the last request

	readTimeout time.Duration // readTimeout when zero
}

func (s *services) process() *process {
	p := &process{handler: s.handler, health: &s.health, metrics: s.registry(), close: s.close}
	p.drain = func(ctx context.Context, over time.Duration) {
		if s.chat != nil {
			s.chat.Drain(ctx, over)
		}
	}
	return p
}

// run answers until ctx ends, then stops in an order that loses nothing: /readyz says no, load balancers get the time to
// notice, sockets go spread over seconds while requests in work finish, and then what they used is closed.
func (p *process) run(ctx context.Context, c config.Config, listener net.Listener, logger *slog.Logger, ready func()) error {
	unused := newFresh()
	server := &http.Server{
		Handler: p.handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: cmp.Or(p.readTimeout, readTimeout), IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), ConnState: unused.note,
	}
	server.RegisterOnShutdown(func() { time.AfterFunc(freshGrace, unused.close) })
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	stopMetrics, err := serveMetrics(c.MetricsListen, p.metrics, failed)
	if err != nil {
		return errors.Join(err, server.Close(), p.close())
	}
	ready()
	select {
	case <-ctx.Done():
		logger.Info("stopping")
		p.health.draining.Store(true)
		time.Sleep(c.DrainDelay)
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	return errors.Join(err, p.stop(server, logger), stopMetrics(), p.close())
}

// stop takes requests until the sockets are gone, so that the time in which nobody takes a connection is short.
func (p *process) stop(server *http.Server, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	fault.Point("drain begun")
	p.drain(ctx, drainOver)
	if err := server.Shutdown(ctx); err != nil {
		logger.Warn("requests were cut off", "err", err)
		return server.Close()
	}
	return nil
}

const greeting = `Sotto is running at %[1]s
Everything is kept in %[2]s (sottod backup DIR copies it while the server runs).

In another terminal:
  sotto --server %[1]s register NAME     make an account
  sotto chat NAME                        chat with someone

Stop with Ctrl-C.
`

// publicURL is how people reach the server.
func publicURL(c config.Config, address string) string {
	if c.PublicURL != "" {
		return strings.TrimRight(c.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "http://" + address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func newLogger(c config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	if c.LogFormat == "json" {
		return telemetry.NewLogger(w, level)
	}
	return telemetry.NewTextLogger(w, level)
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	return hex.EncodeToString(b[:])
}
