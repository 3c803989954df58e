package socketio_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sotto/internal/socketio"
)

// rig is a server under test with an HTTP server in front of it, over TCP or over pipes (for virtual time).
type rig struct {
	t      testing.TB
	srv    *socketio.Server
	http   *http.Server
	client *http.Client
	dial   func() (net.Conn, error)
	addr   string
	ended  chan socketio.Reason // what Disconnect got, when there is room
}

// base is what raw requests start with.
const base = "/socket.io/?EIO=4&transport="

// start serves over TCP with the echo handler of this package where h leaves a function out.
func start(t testing.TB, cfg socketio.Config, h socketio.Handler) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, ln, func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }, cfg, h)
}

// startPipe serves over pipes: inside a synctest bubble all waiting is virtual.
func startPipe(t testing.TB, cfg socketio.Config, h socketio.Handler) *rig {
	t.Helper()
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return serve(t, ln, ln.dial, cfg, h)
}

func serve(t testing.TB, ln net.Listener, dial func() (net.Conn, error), cfg socketio.Config, h socketio.Handler) *rig {
	t.Helper()
	r := &rig{t: t, dial: dial, addr: ln.Addr().String(), ended: make(chan socketio.Reason, 64)}
	if h.Authenticate == nil {
		h.Authenticate = func(_ context.Context, _ socketio.Handshake, auth json.RawMessage) (any, error) { return auth, nil }
	}
	if h.Connect == nil {
		h.Connect = greet
	}
	if h.Event == nil {
		h.Event = echo
	}
	if h.Disconnect == nil {
		h.Disconnect = func(_ *socketio.Socket, reason socketio.Reason) {
			select {
			case r.ended <- reason:
			default:
			}
		}
	}
	srv, err := socketio.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	r.srv, r.http = srv, &http.Server{Handler: srv}
	r.client = &http.Client{Transport: &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return dial() },
		MaxIdleConnsPerHost: 64,
	}}
	served := make(chan struct{})
	go func() { _ = r.http.Serve(ln); close(served) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		srv.Close()
		_ = r.http.Close()
		<-served
		if n := r.metric("panics_total", ""); n != 0 && !t.Failed() && !panicsOnPurpose[t.Name()] {
			t.Errorf("%d handlers panicked", n)
		}
	})
	return r
}

// panicsOnPurpose names the tests whose handlers panic.
var panicsOnPurpose = map[string]bool{"TestHandlerPanics": true, "TestNothingIsLeft": true}

// greet tells a client what it sent in CONNECT, so that tests see both the reply and a first event.
func greet(s *socketio.Socket) {
	auth, _ := s.Identity().(json.RawMessage)
	if auth == nil {
		auth = json.RawMessage("{}")
	}
	_ = s.Emit("auth", auth)
}

// echo is the application of most tests: it sends back what it gets, as an event or as an acknowledgement.
func echo(s *socketio.Socket, e socketio.Event) {
	switch e.Name {
	case "message":
		p, err := socketio.PrepareRaw("message-back", e.Args, e.Attachments)
		if err != nil {
			panic(err)
		}
		_ = s.EmitRaw(p)
	case "message-with-ack":
		e.Ack(topLevel(e)...)
	case "close":
		s.Close(socketio.ReasonServer)
	case "ask":
		// Asks the client and tells it what it answered.
		_ = s.EmitWithAck(time.Minute, func(r socketio.Reply, err error) {
			if err == nil {
				_ = s.Emit("answer", topLevel(socketio.Event{Args: r.Args, Attachments: r.Attachments})...)
			}
		}, "question", topLevel(e)...)
	}
}

// topLevel turns arguments that are placeholders back into the binary data they stand for.
func topLevel(e socketio.Event) []any {
	out := make([]any, len(e.Args))
	for i, a := range e.Args {
		var p struct {
			Placeholder bool `json:"_placeholder"`
			Num         int  `json:"num"`
		}
		if json.Unmarshal(a, &p) == nil && p.Placeholder {
			out[i] = e.Attachments[p.Num]
		} else {
			out[i] = a
		}
	}
	return out
}

// metric reads one number of the server.
func (r *rig) metric(name, value string) int64 {
	for _, m := range r.srv.Metrics() {
		if m.Name == name && m.Value == value {
			return m.Count
		}
	}
	r.t.Fatalf("no metric %s %s", name, value)
	return 0
}

// eventually waits for what happens in another goroutine soon. It fails after half a minute.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// answer is what tests look at of an HTTP response whose body was read.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
}

// do sends one HTTP request. headers are name, value, name, value.
func (r *rig) do(ctx context.Context, method, query, body string, headers ...string) (answer, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sotto.test"+query, strings.NewReader(body))
	if err != nil {
		return answer{}, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return answer{}, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.Status, res.StatusCode, res.Header}, string(b), err
}

func (r *rig) get(t testing.TB, query string, headers ...string) (int, string) {
	t.Helper()
	res, body, err := r.do(t.Context(), "GET", query, "", headers...)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func (r *rig) post(t testing.TB, query, body string, headers ...string) (int, string) {
	t.Helper()
	res, answer, err := r.do(t.Context(), "POST", query, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}

// poller is a polling session in raw requests.
type poller struct {
	*rig
	t       testing.TB
	sid     string
	url     string
	headers []string
}

// open is what an Engine.IO open packet holds.
type open struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"`
	PingTimeout  int      `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

func parseOpen(t testing.TB, text string) (o open) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(strings.TrimPrefix(text, "0")))
	dec.DisallowUnknownFields()
	if text == "" || text[0] != '0' || dec.Decode(&o) != nil {
		t.Fatalf("not an open packet: %q", text)
	}
	return o
}

// polling opens a polling session.
func (r *rig) polling(t testing.TB, headers ...string) *poller {
	t.Helper()
	status, body := r.get(t, base+"polling", headers...)
	if status != 200 {
		t.Fatalf("handshake: %d %s", status, body)
	}
	sid := parseOpen(t, body).SID
	return &poller{rig: r, t: t, sid: sid, url: base + "polling&sid=" + sid, headers: headers}
}

// want polls once and checks the answer.
func (p *poller) want(status int, body string) {
	p.t.Helper()
	if gotStatus, got := p.get(p.t, p.url, p.headers...); gotStatus != status || body != "" && got != body {
		p.t.Fatalf("poll: %d %q, want %d %q", gotStatus, got, status, body)
	}
}

// push posts packets and checks the status.
func (p *poller) push(status int, body string) {
	p.t.Helper()
	if gotStatus, got := p.post(p.t, p.url, body, p.headers...); gotStatus != status {
		p.t.Fatalf("post %q: %d %q, want %d", body, gotStatus, got, status)
	}
}

// connect does the CONNECT and takes its reply and the greeting.
func (p *poller) connect() *poller {
	p.t.Helper()
	p.push(200, "40")
	_, body := p.get(p.t, p.url, p.headers...)
	if !strings.HasPrefix(body, `40{"sid":"`) || !strings.HasSuffix(body, "\x1e"+`42["auth",{}]`) {
		p.t.Fatalf("answer to CONNECT: %q", body)
	}
	return p
}

// unknown asserts that the session is gone.
func (p *poller) unknown() {
	p.t.Helper()
	p.want(400, `{"code":1,"message":"Session ID unknown"}`)
}

// Websocket opcodes.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA
)

// wsClient is a websocket in raw bytes.
type wsClient struct {
	t    testing.TB
	conn net.Conn
	br   *bufio.Reader
}

// handshake sends a websocket handshake and returns the connection with the status line and headers of the answer.
func (r *rig) handshake(t testing.TB, query string, headers ...string) (*wsClient, answer) {
	t.Helper()
	conn, err := r.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var req bytes.Buffer
	fmt.Fprintf(&req, "GET %s HTTP/1.1\r\nHost: sotto.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", query)
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&req, "%s: %s\r\n", headers[i], headers[i+1])
	}
	req.WriteString("\r\n")
	if _, err := conn.Write(req.Bytes()); err != nil {
		t.Fatal(err)
	}
	c := newWSClient(t, conn)
	return c, c.readHandshake()
}

// slow is the same rig for clients that will not read: their kernel takes a few kilobytes only. The size is set before the
// connection is made, because a window that shrinks later stalls both directions for minutes.
func (r *rig) slow() *rig {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	s := *r
	s.dial = func() (net.Conn, error) { return dialer.Dial("tcp", r.addr) }
	return &s
}

func newWSClient(t testing.TB, conn net.Conn) *wsClient {
	return &wsClient{t: t, conn: conn, br: bufio.NewReader(conn)}
}

// readHandshake reads the answer to a websocket handshake.
func (c *wsClient) readHandshake() answer {
	c.t.Helper()
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close() // which reads nothing: a websocket has no body
	return answer{res.Status, res.StatusCode, res.Header}
}

// websocket opens a websocket; query is what follows "transport=websocket".
func (r *rig) websocket(t testing.TB, query string, headers ...string) *wsClient {
	t.Helper()
	c, res := r.handshake(t, base+"websocket"+query, headers...)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("websocket handshake: %s", res.Status)
	}
	return c
}

// connected opens a websocket session with a socket on it.
func (r *rig) connected(t testing.TB, headers ...string) *wsClient {
	t.Helper()
	c := r.websocket(t, "", headers...)
	parseOpen(t, c.text())
	c.send("40")
	if got := c.text(); !strings.HasPrefix(got, `40{"sid":"`) {
		t.Fatalf("answer to CONNECT: %q", got)
	}
	c.want(`42["auth",{}]`)
	return c
}

// rawFrame builds a masked frame. rsv is the three bits as a number.
func rawFrame(fin bool, rsv, op byte, payload []byte) []byte {
	b := []byte{rsv<<4 | op, 0x80}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b[1] |= byte(n)
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b[:1], 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b[:1], 0x80|127), uint64(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// write sends raw bytes.
func (c *wsClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *wsClient) frame(fin bool, rsv, op byte, payload []byte) {
	c.write(rawFrame(fin, rsv, op, payload))
}

// tooLarge sends a message of n bytes, which the server may refuse before it has read it all.
func (c *wsClient) tooLarge(n int) {
	_, _ = c.conn.Write(rawFrame(true, 0, opText, make([]byte, n)))
}

func (c *wsClient) send(text string)    { c.t.Helper(); c.frame(true, 0, opText, []byte(text)) }
func (c *wsClient) sendBinary(b []byte) { c.t.Helper(); c.frame(true, 0, opBinary, b) }

// next reads one frame of the server, which must be whole and unmasked.
func (c *wsClient) next() (op byte, payload []byte, err error) {
	var h [2]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return 0, nil, err
	}
	if h[0]&0xf0 != 0x80 || h[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("server's frame header is % x", h)
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(c.br, b[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(c.br, b[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.br, payload)
	return h[0] & 0x0f, payload, err
}

// text reads the next frame, which must be text.
func (c *wsClient) text() string {
	c.t.Helper()
	op, b, err := c.next()
	if err != nil || op != opText {
		c.t.Fatalf("op %d, payload %q, error %v; want text", op, b, err)
	}
	return string(b)
}

func (c *wsClient) want(text string) {
	c.t.Helper()
	if got := c.text(); got != text {
		c.t.Fatalf("got %q, want %q", got, text)
	}
}

func (c *wsClient) wantBinary(want []byte) {
	c.t.Helper()
	op, b, err := c.next()
	if err != nil || op != opBinary || !bytes.Equal(b, want) {
		c.t.Fatalf("op %d, payload %q, error %v; want binary %q", op, b, err, want)
	}
}

// wantClose reads the close frame and then the end of the connection. code 0 stands for a frame without a code.
func (c *wsClient) wantClose(code int) {
	c.t.Helper()
	op, b, err := c.next()
	if err != nil || op != opClose {
		c.t.Fatalf("op %d, payload %q, error %v; want close", op, b, err)
	}
	got := 0
	if len(b) >= 2 {
		got = int(binary.BigEndian.Uint16(b))
	}
	if got != code {
		c.t.Fatalf("close code %d, want %d", got, code)
	}
	c.wantEOF()
}

// wantEOF expects the end of the connection and nothing before it.
func (c *wsClient) wantEOF() {
	c.t.Helper()
	op, b, err := c.next()
	if err == nil {
		c.t.Fatalf("op %d, payload %q; want the end", op, b)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		c.t.Fatalf("connection ends within a frame")
	}
}

// pipeListener is a listener whose connections are pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- &tallied{Conn: server}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// tallied is a connection that counts its writes.
type tallied struct {
	net.Conn
	writes atomic.Int64
}

func (c *tallied) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// waiting tells whether a poll of the session waits on the server.
func (p *poller) waiting() bool { return p.srv.PollWaits(p.sid) }
