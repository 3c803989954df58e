package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/internal/config"
)

// TestMetrics reads what an operator watches, from the private listener of a running server.
func TestMetrics(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, config.Config{
			DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", MetricsListen: address, LogLevel: "error",
		}, io.Discard, io.Discard)
	}()
	text := ""
	for text == "" {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatal("no metrics")
		case <-time.After(20 * time.Millisecond):
		}
		if res, err := http.Get("http://" + address + "/metrics"); err == nil { //nolint:noctx // a test's own server
			body, err := io.ReadAll(res.Body)
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res.Status, err)
			}
			text = string(body)
		}
	}
	for _, line := range []string{"sotto_prekeys_low 0", "sotto_owed_messages 0", "sotto_holes_total 0", "sotto_panics_total 0"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
