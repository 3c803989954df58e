package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/api"
	"sotto/client"
)

// script plays the server's side of a websocket: what it sends goes to the client, what the client writes comes back on
// written.
type script struct {
	dialled string
	send    chan string
	written chan string
	closed  chan struct{}
}

func newScript() *script {
	return &script{send: make(chan string), written: make(chan string, 100), closed: make(chan struct{})}
}

func (s *script) Read() ([]byte, error) {
	select {
	case text := <-s.send:
		return []byte(text), nil
	case <-s.closed:
		return nil, io.ErrClosedPipe
	}
}

func (s *script) Write(text []byte) error {
	select {
	case <-s.closed:
		return io.ErrClosedPipe
	default:
		s.written <- string(text)
		return nil
	}
}

// scriptNetwork dials the script.
type scriptNetwork struct{ s *script }

func (n scriptNetwork) Do(context.Context, client.Request) (client.Response, error) {
	return client.Response{}, errors.New("no REST here")
}

func (n scriptNetwork) Dial(_ context.Context, url string) (client.Conn, error) {
	n.s.dialled = url
	return n.s, nil
}

func (n scriptNetwork) Close() {}

func (s *script) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

const (
	openPacket = `0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	connected  = `40{"sid":"t"}`
)

// connect dials while the script answers.
func (s *script) connect(t *testing.T, onEvent func(string, json.RawMessage) error, answers ...string) (client.Socket, error) {
	t.Helper()
	go func() {
		for _, a := range answers {
			select {
			case s.send <- a:
			case <-s.closed:
				return
			}
		}
	}()
	return client.DialSocket(t.Context(), scriptNetwork{s}, "https://chat.example.org", api.SocketAuth{Token: "x", Generation: 7, Protocol: 1}, onEvent)
}

func (s *script) wrote(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-s.written:
		if got != want {
			t.Errorf("the client wrote %s, want %s", got, want)
		}
	default:
		t.Errorf("the client wrote nothing, want %s", want)
	}
}

func TestSocketConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		events := make(chan string, 10)
		socket, err := s.connect(t, func(name string, arg json.RawMessage) error {
			events <- name + string(arg)
			return nil
		}, openPacket, "2", connected)
		if err != nil {
			t.Fatal(err)
		}
		if want := "wss://chat.example.org" + api.SocketPath + "?EIO=4&transport=websocket"; s.dialled != want {
			t.Errorf("dialled %s, want %s", s.dialled, want)
		}
		s.wrote(t, `40{"token":"x","generation":7,"protocol":1}`)
		s.wrote(t, "3")
		s.send <- `42["ready",{"epoch":1}]`
		s.send <- "2probe"
		s.wrote(t, "3probe")
		if got := <-events; got != `ready{"epoch":1}` {
			t.Errorf("event %s", got)
		}
		done := make(chan error, 1)
		var page api.MailboxPage
		go func() {
			done <- socket.Request(t.Context(), api.EventMailbox, api.MailboxRequest{Limit: 1}, &page)
		}()
		s.wrote(t, `421["mailbox",{"after":0,"limit":1}]`)
		s.send <- `4399[{"ok":{}}]` // nobody waits for it
		s.send <- `431[{"ok":{"entries":[],"next":5,"epoch":2}}]`
		if err := <-done; err != nil || page.Next != 5 {
			t.Errorf("reply %+v, %v", page, err)
		}
		go func() { done <- socket.Request(t.Context(), api.EventAck, api.Ack{}, &page) }()
		synctest.Wait()
		s.send <- `432[{"error":{"code":"limited","detail":"Slow down.","retry_after":3,"status":429}}]`
		err = <-done
		var e *client.Error
		if !errors.As(err, &e) || e.Code != api.CodeLimited || e.RetryAfter != 3*time.Second || e.Problem == nil {
			t.Errorf("a refusal: %#v", err)
		}
		socket.End(errors.New("over"))
	})
}

// TestSocketEnds: whatever ends a connection, everything that waits learns that its outcome is unknown.
func TestSocketEnds(t *testing.T) {
	for name, end := range map[string]func(s *script){
		"silence":                func(*script) { time.Sleep(45*time.Second + time.Millisecond) },
		"no reply":               func(s *script) { pingFor(s, 61*time.Second) },
		"closed by the server":   func(s *script) { s.send <- "1" },
		"disconnect":             func(s *script) { s.send <- "41" },
		"broken":                 func(s *script) { _ = s.Close() },
		"not a packet":           func(s *script) { s.send <- "hello" },
		"bad event":              func(s *script) { s.send <- `42{"name":1}` },
		"attachments":            func(s *script) { s.send <- `451-["x",{"_placeholder":true,"num":0}]` },
		"refused by the handler": func(s *script) { s.send <- `42["end",{}]` },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				socket, err := s.connect(t, func(string, json.RawMessage) error { return errors.New("no") }, openPacket, connected)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- socket.Request(t.Context(), api.EventSend, api.Send{}, &api.Sent{}) }()
				synctest.Wait()
				end(s)
				var e *client.Error
				if err := <-done; !errors.As(err, &e) || e.Problem != nil {
					t.Errorf("the request ended with %#v", err)
				}
				if err := socket.Ended(); err == nil {
					t.Error("ended without a reason")
				}
				if err := socket.Request(t.Context(), api.EventSend, api.Send{}, &api.Sent{}); err == nil {
					t.Error("a dead connection took a request")
				}
			})
		})
	}
}

// pingFor keeps the connection alive without answering.
func pingFor(s *script, d time.Duration) {
	for range int(d / time.Second) {
		time.Sleep(time.Second)
		select {
		case s.send <- "2":
		case <-s.closed:
			return
		}
	}
}

func TestSocketRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []string
		code    string
	}{
		{"cloned", []string{openPacket, `44{"message":"no","data":{"code":"device_cloned","message":"no"}}`}, api.CodeDeviceCloned},
		{"no code", []string{openPacket, `44{"message":"no"}`}, api.CodeUnavailable},
		{"a string", []string{openPacket, `44"no"`}, api.CodeUnavailable},
		{"no handshake", []string{connected}, client.CodeServer},
		{"handshake without heartbeat", []string{`0{"sid":"s"}`}, client.CodeServer},
		{"an event first", []string{openPacket, `42["ready",{}]`}, client.CodeServer},
		{"nothing", []string{openPacket}, client.CodeNetwork},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				_, err := s.connect(t, nil, tc.answers...)
				if client.CodeOf(err) != tc.code {
					t.Errorf("code %q of %v, want %q", client.CodeOf(err), err, tc.code)
				}
				select {
				case <-s.closed:
				default:
					t.Error("the websocket stays open")
				}
			})
		})
	}
}

// TestSocketBounds: requests without end are refused, not collected.
func TestSocketBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.written = make(chan string, 1_000)
		socket, err := s.connect(t, nil, openPacket, connected)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 300)
		for range 300 {
			go func() { results <- socket.Request(ctx, api.EventSend, strings.Repeat("x", 10), &api.Sent{}) }()
		}
		synctest.Wait()
		limited := len(results)
		cancel()
		synctest.Wait()
		for range 300 {
			if client.CodeOf(<-results) == api.CodeLimited {
				limited--
			}
		}
		if limited != 0 || len(s.written) != 1+256 {
			t.Errorf("%d requests were written, and %d refusals were something else", len(s.written)-1, limited)
		}
		socket.End(errors.New("over"))
	})
}
