package socketio_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sotto/internal/socketio"
)

// The case classes of the Autobahn test suite that apply to a server without extensions, on a Socket.IO session: an
// event echoes what the class would echo. Section numbers are those of RFC 6455.

// echoEvent wraps a text so that the server sends it back.
func echoEvent(text string) (send, want string) {
	return `42["message","` + text + `"]`, `42["message-back","` + text + `"]`
}

// alive asserts that the connection still works and that nothing else was sent before.
func (c *wsClient) alive() {
	c.t.Helper()
	c.send(`42["message","alive"]`)
	c.want(`42["message-back","alive"]`)
}

// TestFraming is class 1 and 9: text and binary of every length form, in one write and in pieces (section 5.2).
func TestFraming(t *testing.T) {
	r := start(t, socketio.Config{MaxPayload: 4 << 20, MaxPending: 16 << 20}, socketio.Handler{})
	for _, n := range []int{0, 1, 100, 107, 108, 109, 200, 4000, 4096, 4097, 65_517, 65_518, 65_519, 1 << 20, 3 << 20} {
		for _, chop := range []int{0, 997, 64 << 10} {
			c := r.connected(t)
			send, want := echoEvent(strings.Repeat("x", n))
			c.chopped(rawFrame(true, 0, opText, []byte(send)), chop)
			c.want(want)
			data := bytes.Repeat([]byte{0xfe}, n)
			c.send(`451-["message",{"_placeholder":true,"num":0}]`)
			c.chopped(rawFrame(true, 0, opBinary, data), chop)
			c.want(`451-["message-back",{"_placeholder":true,"num":0}]`)
			c.wantBinary(data)
			c.conn.Close()
		}
	}
}

// chopped writes b in pieces of that size, 0 for one write.
func (c *wsClient) chopped(b []byte, size int) {
	c.t.Helper()
	if size == 0 {
		size = len(b)
	}
	for piece := range slices.Chunk(b, size) {
		c.write(piece)
	}
}

// TestFramingByteByByte delivers frames and their headers in single bytes.
func TestFramingByteByByte(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	for _, n := range []int{0, 1, 150} {
		send, want := echoEvent(strings.Repeat("x", n))
		c.chopped(rawFrame(true, 0, opText, []byte(send)), 1)
		c.want(want)
	}
}

// TestManyFramesInOneWrite: frames that arrive together, some across the edge of a read buffer.
func TestManyFramesInOneWrite(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	var all []byte
	for i := range 300 {
		send, _ := echoEvent(fmt.Sprint(i, strings.Repeat("y", i)))
		all = append(all, rawFrame(true, 0, opText, []byte(send))...)
	}
	go c.write(all)
	for i := range 300 {
		_, want := echoEvent(fmt.Sprint(i, strings.Repeat("y", i)))
		c.want(want)
	}
}

// TestLengthForms: a length in a longer form than needed is read, one with the highest bit set is refused.
func TestLengthForms(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	for _, header := range [][]byte{
		{0x81, 0x80 | 1},
		{0x81, 0x80 | 126, 0, 1},
		{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		c.write(slices.Concat(header, []byte{0, 0, 0, 0}, []byte("6"))) // a noop
		c.alive()
	}
	c.write([]byte{0x81, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	c.wantClose(1002)
}

// TestPings is class 2 (section 5.5.2): a pong has the ping's bytes, unasked pongs are ignored.
func TestPings(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	for _, payload := range [][]byte{nil, []byte("hello"), {0, 0xff, 0xfe, 0xfd}, bytes.Repeat([]byte{0xfe}, 125)} {
		c.frame(true, 0, opPing, payload)
		if op, b, err := c.next(); op != opPong || !bytes.Equal(b, payload) || err != nil {
			t.Errorf("ping %q: op %d, %q, %v", payload, op, b, err)
		}
	}
	c.frame(true, 0, opPong, nil)
	c.frame(true, 0, opPong, []byte("unasked"))
	for i := range 10 {
		c.frame(true, 0, opPing, []byte{byte(i)})
	}
	for i := range 10 {
		if op, b, err := c.next(); op != opPong || !bytes.Equal(b, []byte{byte(i)}) || err != nil {
			t.Errorf("ping %d: op %d, %q, %v", i, op, b, err)
		}
	}
	c.chopped(rawFrame(true, 0, opPing, bytes.Repeat([]byte{0xfe}, 125)), 1)
	if op, _, err := c.next(); op != opPong || err != nil {
		t.Errorf("op %d, %v", op, err)
	}
	c.alive()
}

// TestProtocolErrors is classes 2.5, 3, 4, 5 and 7.3: what fails the connection with a code.
func TestProtocolErrors(t *testing.T) {
	text := []byte(`42["message"]`)
	frames := func(all ...[]byte) []byte { return slices.Concat(all...) }
	unmasked := slices.Concat([]byte{0x81, byte(len(text))}, text)
	cases := map[string]struct {
		bytes []byte
		code  int
	}{
		"ping of 126 bytes":           {rawFrame(true, 0, opPing, make([]byte, 126)), 1002},
		"pong of 126 bytes":           {rawFrame(true, 0, opPong, make([]byte, 126)), 1002},
		"close of 126 bytes":          {rawFrame(true, 0, opClose, append([]byte{3, 232}, make([]byte, 124)...)), 1002},
		"fragmented ping":             {rawFrame(false, 0, opPing, nil), 1002},
		"fragmented pong":             {rawFrame(false, 0, opPong, nil), 1002},
		"fragmented close":            {rawFrame(false, 0, opClose, nil), 1002},
		"rsv on a pong":               {rawFrame(true, 4, opPong, nil), 1002},
		"rsv on a close":              {rawFrame(true, 4, opClose, nil), 1002},
		"unmasked":                    {unmasked, 1002},
		"continuation of nothing":     {rawFrame(true, 0, opContinue, text), 1002},
		"open continuation":           {rawFrame(false, 0, opContinue, text), 1002},
		"text within a message":       {frames(rawFrame(false, 0, opText, text[:4]), rawFrame(true, 0, opText, text)), 1002},
		"binary within a message":     {frames(rawFrame(false, 0, opText, text[:4]), rawFrame(true, 0, opBinary, nil)), 1002},
		"continuation after the last": {frames(rawFrame(false, 0, opText, []byte("6")), rawFrame(true, 0, opContinue, nil), rawFrame(true, 0, opContinue, nil)), 1002},
		"close of one byte":           {rawFrame(true, 0, opClose, []byte{3}), 1002},
		"close with a bad reason":     {rawFrame(true, 0, opClose, []byte{3, 232, 0xff}), 1007},
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		cases[fmt.Sprintf("rsv %d", rsv)] = struct {
			bytes []byte
			code  int
		}{rawFrame(true, rsv, opText, text), 1002}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		cases[fmt.Sprintf("opcode %d", op)] = struct {
			bytes []byte
			code  int
		}{rawFrame(true, 0, op, nil), 1002}
		cases[fmt.Sprintf("opcode %d with payload", op)] = struct {
			bytes []byte
			code  int
		}{rawFrame(true, 0, op, text), 1002}
	}
	r := start(t, socketio.Config{}, socketio.Handler{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := r.connected(t)
			c.alive()
			// What stands before the error still counts, what stands behind it does not.
			send, want := echoEvent("before")
			c.write(slices.Concat(rawFrame(true, 0, opText, []byte(send)), tc.bytes, rawFrame(true, 0, opText, text)))
			c.want(want)
			c.wantClose(tc.code)
		})
	}
}

// TestFragmentation is class 5 (section 5.4): fragments of any size, also empty, with control frames between them.
func TestFragmentation(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	send, want := echoEvent("a text in pieces \u20ac")
	for size := 1; size <= len(send); size++ {
		c.fragmented([]byte(send), size, nil)
		c.want(want)
		c.fragmented([]byte(send), size, rawFrame(true, 0, opPing, []byte("p")))
		for range (len(send)+size-1)/size - 1 {
			if op, b, err := c.next(); op != opPong || string(b) != "p" || err != nil {
				t.Fatalf("op %d, %q, %v", op, b, err)
			}
		}
		c.want(want)
	}
	c.frame(false, 0, opText, nil)
	c.frame(false, 0, opContinue, nil)
	c.frame(false, 0, opContinue, []byte(send))
	c.frame(true, 0, opContinue, nil)
	c.want(want)
	data := bytes.Repeat([]byte{1, 2, 3}, 50_000)
	c.send(`451-["message",{"_placeholder":true,"num":0}]`)
	first := true
	for piece := range slices.Chunk(data, 7001) {
		op := byte(opContinue)
		if first {
			op = opBinary
		}
		first = false
		c.frame(false, 0, op, piece)
	}
	c.frame(true, 0, opContinue, nil)
	c.want(`451-["message-back",{"_placeholder":true,"num":0}]`)
	c.wantBinary(data)
}

// fragmented sends a text in fragments, with a control frame between each two.
func (c *wsClient) fragmented(text []byte, size int, between []byte) {
	c.t.Helper()
	var all []byte
	for from := 0; from < len(text); from += size {
		to, op := min(from+size, len(text)), byte(opContinue)
		if from == 0 {
			op = opText
		} else {
			all = append(all, between...)
		}
		all = append(all, rawFrame(to == len(text), 0, op, text[from:to])...)
	}
	c.write(all)
}

// TestUTF8 is class 6 (section 8.1): text is UTF-8, whole or in fragments cut within a character.
func TestUTF8(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	for name, text := range map[string]string{
		"ascii": "hello", "two bytes": "\u00e9\u07ff", "three bytes": "\u0800\ufffd\uffff", "four bytes": "\U00010000\U0010ffff",
		"greek": "\u03ba\u1f79\u03c3\u03bc\u03b5", "noncharacters": "\ufffe\U0001fffe",
	} {
		c := r.connected(t)
		send, want := echoEvent(text)
		c.send(send)
		c.want(want)
		for size := range 4 {
			c.fragmented([]byte(send), size+1, nil)
			c.want(want)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
	for name, text := range map[string]string{
		"lone continuation": "\x80", "lone start": "\xc3", "cut short": "\xe2\x82", "overlong slash": "\xc0\xaf",
		"overlong null": "\xc0\x80", "overlong three": "\xe0\x80\xaf", "surrogate": "\xed\xa0\x80",
		"surrogate pair": "\xed\xa0\x80\xed\xb0\x80", "above the last": "\xf4\x90\x80\x80", "five bytes": "\xf8\x88\x80\x80\x80",
		"six bytes": "\xfc\x84\x80\x80\x80\x80", "impossible": "\xfe", "impossible too": "\xff",
	} {
		send, _ := echoEvent(text)
		c := r.connected(t)
		c.send(send)
		c.wantClose(1007)
		c = r.connected(t)
		c.fragmented([]byte(send), 3, nil)
		c.wantClose(1007)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// Binary need not be UTF-8.
	c := r.connected(t)
	c.send(`451-["message",{"_placeholder":true,"num":0}]`)
	c.sendBinary([]byte{0xff, 0xfe, 0xc0})
	c.want(`451-["message-back",{"_placeholder":true,"num":0}]`)
	c.wantBinary([]byte{0xff, 0xfe, 0xc0})
}

// TestCloseCodes is class 7 (sections 5.5.1 and 7.4): valid codes are answered with themselves, others are an error.
func TestCloseCodes(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	body := func(code int, reason string) []byte {
		return append([]byte{byte(code >> 8), byte(code)}, reason...)
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		c := r.connected(t)
		c.frame(true, 0, opClose, body(code, "bye \u20ac"))
		c.wantClose(code)
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		c := r.connected(t)
		c.frame(true, 0, opClose, body(code, ""))
		c.wantClose(1002)
	}
	c := r.connected(t)
	c.frame(true, 0, opClose, nil)
	c.wantClose(0)
	c = r.connected(t)
	c.frame(true, 0, opClose, body(1000, strings.Repeat("x", 123)))
	c.wantClose(1000)
	// Nothing behind a close frame is looked at, whatever it is.
	c = r.connected(t)
	c.write(slices.Concat(rawFrame(true, 0, opClose, body(1000, "")), rawFrame(true, 0, opText, []byte(`42["message"]`)),
		rawFrame(true, 7, 0xF, nil)))
	c.wantClose(1000)
	// A message that was sent before is still answered.
	c = r.connected(t)
	send, want := echoEvent("last")
	c.write(slices.Concat(rawFrame(true, 0, opText, []byte(send)), rawFrame(true, 0, opClose, body(1000, ""))))
	c.want(want)
	c.wantClose(1000)
}

// TestMessageLimit is class 9 at the edge: a message of MaxPayload passes, one byte more is refused, and refused by its
// header, before a byte of it is sent or held.
func TestMessageLimit(t *testing.T) {
	const limit = 10_000
	r := start(t, socketio.Config{MaxPayload: limit}, socketio.Handler{})
	send, want := echoEvent(strings.Repeat("x", limit-len(`42["message",""]`)))
	c := r.connected(t)
	c.send(send)
	c.want(want)
	c.fragmented([]byte(send), 1000, nil)
	c.want(want)
	for name, b := range map[string][]byte{
		"one byte more":       rawFrame(true, 0, opText, make([]byte, limit+1))[:8],
		"a gigabyte":          {0x82, 0x80 | 127, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0},
		"as large as can be":  {0x82, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"the sum of two":      slices.Concat(rawFrame(false, 0, opText, make([]byte, limit)), rawFrame(true, 0, opContinue, []byte("x"))),
		"empty, then too big": slices.Concat(rawFrame(false, 0, opText, nil), rawFrame(true, 0, opContinue, make([]byte, limit+1))[:8]),
	} {
		t.Run(name, func(t *testing.T) {
			c := r.connected(t)
			c.write(b)
			c.wantClose(1009)
		})
	}
}

// TestUpgradeRequest is section 4.2.1: what a websocket handshake must have.
func TestUpgradeRequest(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"complete":            {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\nSec-WebSocket-Version: 13\r\n" + key, 101},
		"no key":              {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n", 400},
		"short key":           {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n", 400},
		"no version":          {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key, 400},
		"version 12":          {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n" + key, 426},
		"no connection":       {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + key, 400},
		"no upgrade":          {"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key, 400},
		"another upgrade":     {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key, 400},
		"POST":                {"POST %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key, 400},
		"HTTP/1.0":            {"GET %s HTTP/1.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key, 505},
		"compression offered": {"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" + key, 101},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := r.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := newWSClient(t, conn)
			c.write([]byte(fmt.Sprintf(tc.request, base+"websocket") + "\r\n"))
			res := c.readHandshake()
			if res.StatusCode != tc.status {
				t.Fatalf("%s, want %d", res.Status, tc.status)
			}
			if tc.status != http.StatusSwitchingProtocols {
				return
			}
			if got := res.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("accept %q", got)
			}
			if got := res.Header.Get("Sec-WebSocket-Extensions"); got != "" {
				t.Errorf("extensions %q", got)
			}
			parseOpen(t, c.text())
		})
	}
	eventually(t, "no session is left of the refused", func() bool { return r.srv.Sessions() <= 2 })
}

// TestCloseIsNotLostToUnreadBytes: the server closes while the client still sends; the client reads the close frame and
// an orderly end, not a reset.
func TestCloseIsNotLostToUnreadBytes(t *testing.T) {
	r := start(t, socketio.Config{MaxPayload: 1 << 20}, socketio.Handler{})
	for range 20 {
		c := r.connected(t)
		c.write(rawFrame(true, 0, opText, []byte("abc"))) // ends the session
		_, _ = c.conn.Write(rawFrame(true, 0, opBinary, make([]byte, 1<<20)))
		op, _, err := c.next()
		if op != opClose || err != nil {
			t.Fatalf("op %d, %v", op, err)
		}
	}
}
