package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/socketio"
)

// The Socket.IO v5 protocol document, point by point, over raw websockets and raw requests.

func TestConnectReply(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	c := r.websocket(t, "")
	engine := parseOpen(t, c.text()).SID
	c.send(`40{"token":"123"}`)
	var reply map[string]string
	got := c.text()
	if !strings.HasPrefix(got, "40") || json.Unmarshal([]byte(got[2:]), &reply) != nil || len(reply) != 1 {
		t.Fatalf("%q must hold sid and nothing else", got)
	}
	if sid := reply["sid"]; len(sid) != 24 || sid == engine {
		t.Errorf("socket id %q, session id %q", sid, engine)
	}
	c.want(`42["auth",{"token":"123"}]`)
}

func TestConnectErrors(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{
		Authenticate: func(_ context.Context, _ socketio.Handshake, auth json.RawMessage) (any, error) {
			switch string(auth) {
			case `{"token":"good"}`:
				return "alice", nil
			case `{"token":"wrapped"}`:
				return nil, errors.Join(errors.New("secret"), &socketio.ConnectError{Code: "limited", Message: "later"})
			}
			return nil, errors.New("secret detail")
		},
		Connect: func(s *socketio.Socket) { _ = s.Emit("hello", s.Identity()) },
	})
	c := r.websocket(t, "")
	c.text()
	c.send(`40{"token":"bad"}`)
	c.want(`44{"data":{"code":"internal","message":"internal error"},"message":"internal error"}`)
	c.send(`40{"token":"wrapped"}`)
	c.want(`44{"data":{"code":"limited","message":"later"},"message":"later"}`)
	// The same session may try again.
	c.send(`40{"token":"good"}`)
	c.text()
	c.want(`42["hello","alice"]`)
	if n := r.metric("refused_total", "connect"); n != 2 {
		t.Errorf("%d refused CONNECTs counted", n)
	}
}

func TestNamespaces(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.websocket(t, "")
	c.text()
	c.send("40/random")
	c.want(`44/random,{"message":"Invalid namespace"}`)
	c.send(`40/random?x=y,{"token":1}`)
	c.want(`44/random,{"message":"Invalid namespace"}`)
	c.send("40/,{}")
	c.text()
	c.want(`42["auth",{}]`)
	c.send("40/random,")
	c.want(`44/random,{"message":"Invalid namespace"}`)
	c.send(`42/,["message",1]`)
	c.want(`42["message-back",1]`)
	c.send(`42/random,["message",1]`)
	c.wantClose(1008)
}

func TestPacketsOutOfState(t *testing.T) {
	for name, packets := range map[string][]string{
		"event before CONNECT":        {`42["message"]`},
		"ack before CONNECT":          {`431[]`},
		"DISCONNECT before CONNECT":   {"41"},
		"attachments before CONNECT":  {`451-["message",{"_placeholder":true,"num":0}]`},
		"CONNECT twice":               {"40", "40"},
		"event after DISCONNECT":      {"40", "41", `42["message"]`},
		"CONNECT after DISCONNECT":    {"40", "41", "40"},
		"DISCONNECT twice":            {"40", "41", "41"},
		"CONNECT_ERROR from a client": {"40", `44{"message":"x"}`},
		"unknown type":                {"40", "47"},
		"malformed":                   {"40", "4abc"},
		"event without a name":        {"40", `42[]`},
		"event with a number as name": {"40", `42[1]`},
		"reserved name":               {"40", `42["disconnect"]`},
		"reserved name, escaped":      {"40", `42["\u0064isconnect"]`},
		"ack without an id":           {"40", `43[]`},
		"ack that is no array":        {"40", `431{}`},
		"text while binary is owed":   {"40", `451-["message",{"_placeholder":true,"num":0}]`, `42["message"]`},
		"placeholder out of range":    {"40", `451-["message",{"_placeholder":true,"num":1}]`},
		"eleven attachments":          {"40", `4511-["message"]`},
		"giant id":                    {"40", `42` + strings.Repeat("9", 300) + `["message"]`},
		"giant namespace":             {"40/" + strings.Repeat("x", 300)},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, socketio.Config{}, socketio.Handler{Connect: func(*socketio.Socket) {}})
			c := r.websocket(t, "")
			c.text()
			for _, p := range packets {
				c.send(p)
			}
			if packets[0] == "40" {
				c.text()
			}
			c.wantClose(1008)
		})
	}
}

func TestDisconnectLeavesTheSessionOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		c := r.connected(t)
		c.send("41")
		if reason := <-r.ended; reason != socketio.ReasonClient {
			t.Errorf("reason %v", reason)
		}
		c.want("2") // heartbeats go on
		c.send("3")
		began := time.Now()
		op, text, err := c.next()
		if op == opText && string(text) == "2" {
			op, _, err = c.next()
		}
		if op != opClose || err != nil || time.Since(began) > 40*time.Second {
			t.Errorf("op %d, %v after %v; want the end", op, err, time.Since(began))
		}
	})
}

func TestServerDisconnect(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	c.send(`42["close"]`)
	c.want("41")
	c.wantClose(1000)
	if reason := <-r.ended; reason != socketio.ReasonServer {
		t.Errorf("reason %v", reason)
	}
}

func TestBinaryEvents(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	c.send(`452-["message",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`)
	c.sendBinary([]byte{1, 2, 3})
	c.frame(true, 0, opPing, []byte("between")) // control frames may stand anywhere
	c.sendBinary(nil)
	if op, b, err := c.next(); op != opPong || string(b) != "between" || err != nil {
		t.Errorf("op %d, %q, %v", op, b, err)
	}
	c.want(`452-["message-back",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`)
	c.wantBinary([]byte{1, 2, 3})
	c.wantBinary(nil)
	c.send(`450-["message",1]`)
	c.want(`42["message-back",1]`)
}

func TestAcks(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	c.send(`42456["message-with-ack",1,"2",{"3":[false]}]`)
	c.want(`43456[1,"2",{"3":[false]}]`)
	c.send(`420["message-with-ack"]`)
	c.want(`430[]`)
	c.send(`42` + "9007199254740991" + `["message-with-ack","largest"]`)
	c.want(`43` + "9007199254740991" + `["largest"]`)
	c.send(`451-789["message-with-ack",{"_placeholder":true,"num":0}]`)
	c.sendBinary([]byte{7})
	c.want(`461-789[{"_placeholder":true,"num":0}]`)
	c.wantBinary([]byte{7})
	// The other way round.
	c.send(`42["ask","how","are"]`)
	c.want(`420["question","how","are"]`)
	c.send(`42["ask"]`)
	c.want(`421["question"]`)
	c.send(`431["second first"]`)
	c.want(`42["answer","second first"]`)
	c.send(`461-0["x",{"_placeholder":true,"num":0}]`)
	c.sendBinary([]byte{9})
	c.want(`451-["answer","x",{"_placeholder":true,"num":0}]`)
	c.wantBinary([]byte{9})
	// An ack twice, and one nobody asked for, are ignored.
	c.send(`430["again"]`)
	c.send(`4377["never asked"]`)
	c.send(`42["message",1]`)
	c.want(`42["message-back",1]`)
}

func TestAckOnlyOnce(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{Event: func(_ *socketio.Socket, e socketio.Event) {
		if e.Name == "nan" {
			e.Ack(math.NaN())
			return
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { e.Ack(i) })
		}
		wg.Wait()
	}})
	c := r.connected(t)
	c.send(`421["x"]`)
	if got := c.text(); !strings.HasPrefix(got, "431[") {
		t.Errorf("%q", got)
	}
	c.send(`422["nan"]`) // cannot be encoded: no answer
	c.send(`423["x"]`)
	if got := c.text(); !strings.HasPrefix(got, "433[") {
		t.Errorf("%q", got)
	}
	if n := r.metric("encode_errors_total", ""); n != 1 {
		t.Errorf("%d encode errors", n)
	}
}

// replies collects what EmitWithAck reports.
type replies chan error

func (r replies) take(_ socketio.Reply, err error) { r <- err }

func TestEmitWithAckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(replies, 1)
		r := startPipe(t, socketio.Config{}, socketio.Handler{Connect: func(s *socketio.Socket) {
			if err := s.EmitWithAck(5*time.Second, got.take, "auth", json.RawMessage("{}")); err != nil {
				t.Error(err)
			}
		}})
		c := r.websocket(t, "")
		c.text()
		c.send("40")
		c.text()
		c.want(`420["auth",{}]`)
		began := time.Now()
		if err := <-got; !errors.Is(err, socketio.ErrAckTimeout) {
			t.Error(err)
		}
		if d := time.Since(began); d < 5*time.Second || d > 5*time.Second+300*time.Millisecond {
			t.Errorf("timed out after %v", d)
		}
		c.send("430[]") // too late: ignored
		c.send(`42["message"]`)
		c.want(`42["message-back"]`)
		select {
		case err := <-got:
			t.Errorf("second report: %v", err)
		default:
		}
		if n := r.metric("ack_timeouts_total", ""); n != 1 {
			t.Errorf("%d timeouts counted", n)
		}
	})
}

func TestEmitWithAckEndsWithTheSocket(t *testing.T) {
	got := make(replies, socketio.MaxAcks)
	sockets := make(chan *socketio.Socket, 1)
	r := start(t, socketio.Config{}, socketio.Handler{Connect: func(s *socketio.Socket) { sockets <- s }})
	c := r.websocket(t, "")
	c.send("40")
	s := <-sockets
	for range socketio.MaxAcks {
		if err := s.EmitWithAck(time.Minute, got.take, "q"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.EmitWithAck(time.Minute, got.take, "q"); !errors.Is(err, socketio.ErrTooManyAcks) {
		t.Errorf("one more: %v", err)
	}
	if err := s.EmitWithAck(time.Minute, got.take, "q", math.NaN()); err == nil {
		t.Error("NaN was encoded")
	}
	c.conn.Close()
	for range socketio.MaxAcks {
		if err := <-got; !errors.Is(err, socketio.ErrClosed) {
			t.Fatal(err)
		}
	}
	<-s.Done()
	if err := s.EmitWithAck(time.Minute, got.take, "q"); !errors.Is(err, socketio.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := s.Emit("e"); !errors.Is(err, socketio.ErrClosed) {
		t.Errorf("emit after the end: %v", err)
	}
	if !s.EmitEphemeral("e") {
		t.Error("ephemeral event after the end was sent")
	}
	if n := r.srv.Timers(); n != 0 {
		t.Errorf("%d timers left", n)
	}
}

// TestCallbacksAreInOrder: Connect, events and Disconnect of a socket never overlap, whatever ends it.
func TestCallbacksAreInOrder(t *testing.T) {
	var mu sync.Mutex
	busy := false
	var log []string
	entered, release := make(chan struct{}), make(chan struct{})
	enter := func(what string) func() {
		mu.Lock()
		defer mu.Unlock()
		if busy {
			t.Errorf("%s overlaps another callback", what)
		}
		busy, log = true, append(log, what)
		return func() { mu.Lock(); busy = false; mu.Unlock() }
	}
	gone := make(chan struct{})
	r := start(t, socketio.Config{}, socketio.Handler{
		Connect: func(*socketio.Socket) { enter("connect")() },
		Event: func(s *socketio.Socket, e socketio.Event) {
			defer enter(e.Name)()
			if e.Name == "block" {
				close(entered)
				<-s.Done() // the handler learns of the end before Disconnect is called
				<-release
			}
		},
		Disconnect: func(*socketio.Socket, socketio.Reason) { enter("disconnect")(); close(gone) },
	})
	c := r.websocket(t, "")
	c.send("40")
	c.send(`42["a"]`)
	c.send(`42["block"]`)
	c.send(`42["never"]`)
	<-entered
	go r.srv.Close()
	close(release)
	<-gone
	if diff := cmp.Diff([]string{"connect", "a", "block", "disconnect"}, log); diff != "" {
		t.Error(diff)
	}
}

// TestEventMemoryIsTheHandlers: what a handler keeps is not overwritten by later packets.
func TestEventMemoryIsTheHandlers(t *testing.T) {
	var kept []socketio.Event
	r := start(t, socketio.Config{}, socketio.Handler{Event: func(_ *socketio.Socket, e socketio.Event) {
		kept = append(kept, e)
		if len(kept) == 200 {
			e.Ack()
		}
	}})
	c := r.connected(t)
	for i := range 199 {
		c.send(`42["e","` + strings.Repeat(string(rune('a'+i%26)), 300) + `"]`)
	}
	c.send(`421["e"]`)
	c.want("431[]")
	for i, e := range kept[:199] {
		if want := `"` + strings.Repeat(string(rune('a'+i%26)), 300) + `"`; string(e.Args[0]) != want {
			t.Fatalf("event %d now holds %.20s", i, e.Args[0])
		}
	}
}

func TestHandlerPanics(t *testing.T) {
	for _, where := range []string{"authenticate", "connect", "event", "disconnect", "reply"} {
		boom := func(at string) {
			if at == where {
				panic("secret " + at)
			}
		}
		r := start(t, socketio.Config{}, socketio.Handler{
			Authenticate: func(context.Context, socketio.Handshake, json.RawMessage) (any, error) {
				boom("authenticate")
				return nil, nil
			},
			Connect: func(s *socketio.Socket) {
				boom("connect")
				_ = s.EmitWithAck(time.Minute, func(socketio.Reply, error) { boom("reply") }, "q")
			},
			Event:      func(*socketio.Socket, socketio.Event) { boom("event") },
			Disconnect: func(*socketio.Socket, socketio.Reason) { boom("disconnect") },
		})
		c := r.websocket(t, "")
		c.send("40")
		c.send(`42["e"]`)
		c.send(`430[]`)
		c.send("41")
		eventually(t, where+" panics and is counted", func() bool { return r.metric("panics_total", "") == 1 })
	}
}

func TestAttachmentsNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{}) // 20 s
		c := r.connected(t)
		c.send(`452-["message",{"_placeholder":true,"num":0}]`)
		began := time.Now()
		c.sendBinary([]byte{1})
		for {
			op, _, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if op == opClose {
				break
			}
			go c.send("3") // heartbeats alone do not help
		}
		if d := time.Since(began); d < 20*time.Second || d > 21*time.Second {
			t.Errorf("ended after %v", d)
		}
		if reason := <-r.ended; reason != socketio.ReasonAttachments {
			t.Errorf("reason %v", reason)
		}
	})
}

func TestAttachmentsTooLarge(t *testing.T) {
	r := start(t, socketio.Config{MaxPayload: 1000}, socketio.Handler{})
	c := r.connected(t)
	c.send(`453-["message",{"_placeholder":true,"num":0}]`)
	for range 3 {
		c.sendBinary(make([]byte, 400))
	}
	c.wantClose(1009)
	if reason := <-r.ended; reason != socketio.ReasonTooLarge {
		t.Errorf("reason %v", reason)
	}
}

func TestConfigRefuses(t *testing.T) {
	auth := func(context.Context, socketio.Handshake, json.RawMessage) (any, error) { return nil, nil }
	for _, cfg := range []socketio.Config{
		{PingInterval: -1}, {PingTimeout: time.Microsecond}, {ConnectTimeout: -1}, {ProbeTimeout: -1},
		{AttachmentTimeout: -1}, {WriteTimeout: -1}, {MaxPayload: -1}, {MaxPending: -1}, {MaxSessions: -1},
	} {
		if _, err := socketio.New(cfg, socketio.Handler{Authenticate: auth}); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	if _, err := socketio.New(socketio.Config{}, socketio.Handler{}); err == nil {
		t.Error("a handler without Authenticate was accepted")
	}
}
