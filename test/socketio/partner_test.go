// Package socketio holds internal/socketio against the official Socket.IO packages: client.js runs the client through
// every transport, differential.js compares random sessions with Node's own server.
//
// SOTTO_SESSIONS sets how many random sessions are compared (default 400), SOTTO_SEED repeats the ones of an earlier run.
package socketio

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sotto/internal/socketio"
)

// TestOfficialClient runs the cases of client.js over websocket, polling and upgrade.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	url := serve(t, socketio.Config{PingInterval: 400 * time.Millisecond})
	t.Log(node(t, 2*time.Minute, "client.js", url))
}

// TestDifferential compares random sessions with Node's own server.
func TestDifferential(t *testing.T) {
	t.Parallel()
	count := number(t, "SOTTO_SESSIONS", 400)
	args := []string{serve(t, socketio.Config{}), strconv.Itoa(count)}
	if seed := number(t, "SOTTO_SEED", 0); seed > 0 {
		args = append(args, strconv.Itoa(seed))
	}
	t.Log(node(t, time.Minute+time.Duration(count)*200*time.Millisecond, "differential.js", args...))
}

// number reads a number from the environment.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a positive number", variable, text)
	}
	return n
}

// node runs a script of this folder and returns what it printed. It fails when the packages are not installed: these
// tests are the proof that other people's clients work, so they are never left out.
func node(t *testing.T, limit time.Duration, script string, args ...string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join("node_modules", "socket.io-client")); err != nil {
		t.Fatal("the official Socket.IO packages are not installed; run: npm ci --prefix test/socketio")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", append([]string{script}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("node %s %v: %v\n%s", script, args, err, out)
	}
	return string(out)
}

// serve runs a server with the application of reference.js and returns its URL.
func serve(t *testing.T, cfg socketio.Config) string {
	t.Helper()
	srv, err := socketio.New(cfg, socketio.Handler{
		Authenticate: func(_ context.Context, _ socketio.Handshake, auth json.RawMessage) (any, error) {
			var token struct{ Token string }
			if auth != nil && json.Unmarshal(auth, &token) == nil && token.Token == "bad" {
				return nil, &socketio.ConnectError{Code: "unauthenticated", Message: "sign in first"}
			}
			return auth, nil
		},
		Connect: func(s *socketio.Socket) {
			auth, _ := s.Identity().(json.RawMessage)
			if auth == nil {
				auth = json.RawMessage("{}")
			}
			_ = s.Emit("auth", auth)
		},
		Event: answer,
	})
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(srv)
	t.Cleanup(func() {
		srv.Close()
		hs.Close()
		for _, m := range srv.Metrics() {
			if m.Name == "panics_total" && m.Count > 0 {
				t.Errorf("%d handlers panicked", m.Count)
			}
		}
	})
	return hs.URL
}

// answer is what reference.js does with an event.
func answer(s *socketio.Socket, e socketio.Event) {
	switch e.Name {
	case "message":
		p, err := socketio.PrepareRaw("message-back", e.Args, e.Attachments)
		if err != nil {
			panic(err)
		}
		_ = s.EmitRaw(p)
	case "message-with-ack":
		e.Ack(values(e.Args, e.Attachments)...)
	case "ask":
		_ = s.EmitWithAck(time.Minute, func(r socketio.Reply, err error) {
			if err == nil {
				_ = s.Emit("answer", values(r.Args, r.Attachments)...)
			}
		}, "question", values(e.Args, e.Attachments)...)
	case "close":
		s.Close(socketio.ReasonServer)
	case "drop":
		s.Close(socketio.ReasonDrain)
	}
}

// values turns arguments that are placeholders back into the binary data they stand for.
func values(args []json.RawMessage, attachments [][]byte) []any {
	out := make([]any, len(args))
	for i, a := range args {
		var p struct {
			Placeholder bool `json:"_placeholder"`
			Num         int  `json:"num"`
		}
		if json.Unmarshal(a, &p) == nil && p.Placeholder {
			out[i] = attachments[p.Num]
		} else {
			out[i] = a
		}
	}
	return out
}
