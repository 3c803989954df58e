package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/config"
)

// TestUnusedConnectionsDoNotHoldUpTheEnd: a connection opened ahead costs [freshGrace] at the end, not the five seconds
// that net/http would wait, and a request in work is still answered.
func TestUnusedConnectionsDoNotHoldUpTheEnd(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	p := &process{
		health: &health{}, metrics: prometheus.NewRegistry(), close: func() error { return nil },
		drain: func(context.Context, time.Duration) {},
		handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-finish
			_, _ = io.WriteString(w, "answered")
		}),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.run(ctx, config.Config{}, listener, slog.New(slog.DiscardHandler), func() {})
	}()
	answer := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+listener.Addr().String(), http.NoBody)
		if err != nil {
			answer <- err.Error()
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-begun
	unused, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	start := time.Now()
	stop()
	if err := unused.SetReadDeadline(start.Add(5 * freshGrace)); err != nil {
		t.Fatal(err)
	}
	if _, err := unused.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection without a request: %v after %v", err, time.Since(start))
	}
	close(finish)
	if got := <-answer; got != "answered" {
		t.Errorf("the request in work: %s", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("the process ended after %v", time.Since(start))
}
