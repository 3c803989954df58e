package app

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/config"
	"sotto/test/contract/rest"
)

// TestStalledUpload: who sends a part too slowly is told to repeat it and let go, whether nothing comes any more or a byte
// now and then, and the upload stands where it stood.
func TestStalledUpload(t *testing.T) {
	const within = time.Second
	s, unbounded := whole(t)
	s.chat.Assets.Quota = 1000
	server := &rest.Server{URL: unbounded.URL}
	d := server.Register(t, "ada").Devices[0]
	content := make([]byte, 1000)
	sum := sha256.Sum256(content)
	var a api.Asset
	server.Call(t, http.MethodPost, "/api/chat/assets", d.Login.Token, api.BeginAsset{SHA256: sum[:], Size: int64(len(content))}, &a)
	path := "/api/chat/assets/uploads/" + a.UploadID.String()
	address := bounded(t, s, within)
	for name, every := range map[string]time.Duration{"stalls": time.Hour, "trickles": within / 10} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PATCH %s?offset=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", path, d.Login.Token, len(content))
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(every):
					_, _ = conn.Write([]byte{0}) // it may be cut
				}
			}
		}()
		if err := conn.SetReadDeadline(time.Now().Add(5 * within)); err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(conn)
		res, err := http.ReadResponse(answer, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var p api.Problem
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Code != api.CodeUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %+v %v", name, res.StatusCode, p, err)
		}
		_ = res.Body.Close()
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays", name)
		}
		close(ended)
		_ = conn.Close()
	}
	server.Call(t, http.MethodGet, path, d.Login.Token, nil, &a)
	if a.Received != 0 {
		t.Errorf("%+v", a)
	}
}

// bounded lets the services listen once more, with a time of its own for a request. It returns the address.
func bounded(t *testing.T, s *services, readTimeout time.Duration) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := s.process()
	p.readTimeout, p.close = readTimeout, func() error { return nil }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, config.Config{}, listener, slog.New(slog.DiscardHandler), func() {}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}
