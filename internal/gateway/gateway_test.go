package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/gateway"
)

// process answers with its name, the method, the path and what it was sent.
func process(name string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			_ = rw.Flush()
			_, _ = io.Copy(conn, rw) // an echo
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s from %s", name, r.Method, r.URL.Path, r.Host, body, r.Header.Get("X-Forwarded-For"))
	}))
}

func open(t *testing.T, user, chat, notification []string) (*gateway.Gateway, *httptest.Server) {
	t.Helper()
	g, err := gateway.New(gateway.Config{
		User: user, Chat: chat, Notification: notification, Logger: slog.New(slog.DiscardHandler),
		Front: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "front ", r.URL.Path) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return g, server
}

func get(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "chat.example"
	req.Header.Set("X-Forwarded-For", "203.0.113.9") // of nobody that is trusted
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestEachPathGoesToItsService(t *testing.T) {
	user, chat, notification := process("user"), process("chat"), process("notification")
	defer user.Close()
	defer chat.Close()
	defer notification.Close()
	_, server := open(t, []string{user.URL}, []string{chat.URL}, []string{notification.URL})
	for path, want := range map[string]string{
		"/api/info": "user", "/api/user/login/start": "user", "/api/chat/send": "chat", "/api/chat/socket.io/": "chat",
		"/api/notifications": "notification", "/api/notifications/settings": "notification", "/api/notificationsx": "user",
		"/": "front", "/index.html": "front", "/internal/user/accounts": "front",
	} {
		status, got := get(t, http.MethodPost, server.URL+path, "hello")
		full := want + " POST " + path + " chat.example hello from 127.0.0.1"
		if want == "front" {
			full = "front " + path
		}
		if status != http.StatusOK || got != full {
			t.Errorf("%s: %d %q, want %q", path, status, got, full)
		}
	}
	if _, err := gateway.New(gateway.Config{User: []string{"10.0.0.1:8081"}, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("an address that is no URL was taken")
	}
}

// TestAProcessThatIsAway: while it is, another one answers; when there is none, the request waits, with its body, and is
// answered with a sentence in the end.
func TestAProcessThatIsAway(t *testing.T) {
	there, away := process("there"), process("away")
	defer there.Close()
	away.Close()
	g, server := open(t, []string{away.URL, there.URL}, []string{away.URL}, []string{away.URL})
	for range 20 {
		if status, got := get(t, http.MethodPost, server.URL+"/api/info", "hello"); status != http.StatusOK || !strings.Contains(got, "hello") {
			t.Fatalf("%d %s", status, got)
		}
	}
	if g.Retried.Load() == 0 {
		t.Error("no request met the process that is away")
	}
	if status, got := get(t, http.MethodPost, server.URL+"/api/chat/send", "hello"); status != http.StatusServiceUnavailable || !strings.Contains(got, "unavailable") {
		t.Errorf("nobody there: %d %s", status, got)
	}

	// A process that comes back within the wait.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, server = open(t, []string{"http://" + address}, nil, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if status, got := get(t, http.MethodPost, server.URL+"/api/info", "late"); status != http.StatusOK || got != "late" {
			t.Errorf("after it came back: %d %s", status, got)
		}
	})
	time.Sleep(50 * time.Millisecond)
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	back := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
	go back.Serve(listener)
	defer back.Close()
	wg.Wait()
}

// TestLongPollingStaysWithOneProcess: whatever belongs to a session reaches the process that has it.
func TestLongPollingStaysWithOneProcess(t *testing.T) {
	var urls []string
	for i := range 3 {
		p := process(fmt.Sprint(i))
		defer p.Close()
		urls = append(urls, p.URL)
	}
	_, server := open(t, nil, urls, nil)
	polled, connected := make(map[string]bool), make(map[string]bool)
	for range 40 {
		for query, seen := range map[string]map[string]bool{
			"transport=polling": polled, "transport=polling&sid=x": polled, "transport=websocket&sid=x": polled, "transport=websocket": connected,
		} {
			_, answer := get(t, http.MethodGet, server.URL+"/api/chat/socket.io/?EIO=4&"+query, "")
			name, _, _ := strings.Cut(answer, " ")
			seen[name] = true
		}
	}
	if len(polled) != 1 || len(connected) != 3 {
		t.Errorf("long polling reached %v, websockets %v", polled, connected)
	}
}

func TestWebsocketsAndTheirEnd(t *testing.T) {
	chat := process("chat")
	defer chat.Close()
	g, server := open(t, nil, []string{chat.URL}, nil)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /api/chat/socket.io/?transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	fmt.Fprint(conn, "ping")
	echo := make([]byte, 4)
	if _, err := io.ReadFull(reader, echo); err != nil || string(echo) != "ping" {
		t.Fatalf("%q, %v", echo, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g.Drain(ctx, 10*time.Millisecond)
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := reader.Read(echo); err != io.EOF && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("after the drain: %d bytes, %v", n, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/chat/socket.io/?transport=websocket", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Connection", "Upgrade")
	late, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Body.Close()
	if late.StatusCode != http.StatusServiceUnavailable || late.Header.Get("Retry-After") == "" {
		t.Errorf("a websocket during the drain: %s, %v", late.Status, late.Header)
	}
}
