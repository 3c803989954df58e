package socketio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"sotto/internal/socketio/packet"
)

// This file is the only one that knows the websocket library and how a connection waits for bytes. Another library, or
// an event loop in place of a goroutine per connection, changes this file only.

const (
	readBufferBytes  = 4 << 10
	writeBufferBytes = 16 << 10
	// closeLinger is how long a closed websocket waits for the peer's end of the connection, so that the close frame
	// is not lost to a TCP reset.
	closeLinger = time.Second
)

// What the rest of the package needs of the library's names (RFC 6455 sections 5.2 and 7.4.1).
type (
	opcode    = ws.OpCode
	closeCode = ws.StatusCode
)

const (
	opText   = ws.OpText
	opBinary = ws.OpBinary
	opPing   = ws.OpPing
	opPong   = ws.OpPong

	codeNormal    = ws.StatusNormalClosure
	codeGoingAway = ws.StatusGoingAway
	codePolicy    = ws.StatusPolicyViolation
	codeTooLarge  = ws.StatusMessageTooBig
	codeInternal  = ws.StatusInternalServerError
)

// Read and write buffers come from separate pools, and whoever takes one sets its length: bytes read for one client must
// never be written to another.
var (
	readBuffers  = sync.Pool{New: func() any { return new([readBufferBytes]byte) }}
	writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, writeBufferBytes); return &b }}
)

// frame is one websocket frame that is ready to be written. It is immutable and may wait for many clients at once.
type frame struct {
	wire   []byte
	header uint8 // bytes of wire before the payload
	op     ws.OpCode
}

func newFrame(op ws.OpCode, payload []byte) frame {
	h := ws.Header{Fin: true, OpCode: op, Length: int64(len(payload))}
	size := ws.HeaderSize(h)
	w := frameWriter(make([]byte, 0, size+len(payload)))
	// Writing to memory fails for a negative length only.
	_ = ws.WriteHeader(&w, h)
	return frame{wire: append(w, payload...), header: uint8(size), op: op}
}

// frameWriter is the io.Writer that the library writes a header to.
type frameWriter []byte

func (w *frameWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func (f frame) payload() []byte { return f.wire[f.header:] }
func (f frame) binary() bool    { return f.op == ws.OpBinary }

func textFrame(payload []byte) frame   { return newFrame(ws.OpText, payload) }
func binaryFrame(payload []byte) frame { return newFrame(ws.OpBinary, payload) }
func pongFrame(payload []byte) frame   { return newFrame(ws.OpPong, payload) }

func closeFrame(code ws.StatusCode) frame {
	if code == ws.StatusNoStatusRcvd {
		return newFrame(ws.OpClose, nil)
	}
	return newFrame(ws.OpClose, ws.NewCloseFrameBody(code, ""))
}

// wsError is an error of a websocket that its peer is to be told with a close frame.
type wsError struct {
	code ws.StatusCode
	// peer: the peer closed first, with this code.
	peer bool
	err  error
}

func (e *wsError) Error() string { return fmt.Sprintf("websocket, code %d: %v", e.code, e.err) }
func (e *wsError) Unwrap() error { return e.err }

var (
	errTooLarge = errors.New("message is too large")
	errClosed   = errors.New("peer closed")
	errShort    = errors.New("close frame of one byte")
)

// errUTF8 refuses text, in a frame or in a polling payload.
const errUTF8 = packet.Violation("text is not UTF-8")

// wsConn is one websocket on the server's side. One goroutine reads; the session sees to it that only one writes.
type wsConn struct {
	conn  net.Conn
	raw   syscall.RawConn // nil when conn is no socket of the operating system
	limit atomic.Int64    // bytes of a message
	// heard is the session's sign of life, set while a long message makes progress; nil during a probe.
	heard *atomic.Bool

	// The reader's state. buf[at:end] was read and not yet used. While a connection waits for its next frame, buf is
	// nil: what an idle connection holds is this struct.
	buf     *[readBufferBytes]byte
	at, end int
	early   []byte // what the HTTP server had read already
	scratch [12]byte
	try     func(fd uintptr) bool
	tryErr  error
}

// upgradeWebsocket makes a websocket of an HTTP request. On an error it has answered the request.
func upgradeWebsocket(w http.ResponseWriter, r *http.Request, cfg *Config) (*wsConn, error) {
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: cfg.WriteTimeout}.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, fmt.Errorf("upgrading to websocket: %w", err)
	}
	return newWSConn(conn, rw.Reader, min(cfg.MaxPayload, strangerBytes)), nil
}

func newWSConn(conn net.Conn, buffered *bufio.Reader, limit int) *wsConn {
	c := &wsConn{conn: conn}
	c.limit.Store(int64(limit))
	if buffered != nil && buffered.Buffered() > 0 {
		c.early = make([]byte, buffered.Buffered())
		_, _ = io.ReadFull(buffered, c.early)
	}
	if c.raw = rawConn(conn); c.raw != nil {
		c.try = c.tryRead
	}
	return c
}

// read calls on for every message and control frame until on or the connection fails. payload is valid during the call
// only. A close frame ends reading with a wsError.
func (c *wsConn) read(on func(op ws.OpCode, payload []byte) error) error {
	defer c.release()
	var (
		state   = ws.StateServerSide
		op      ws.OpCode // of the fragmented message in work
		message []byte    // its payload so far
	)
	for {
		h, err := c.header()
		if err != nil {
			return err
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return &wsError{code: ws.StatusProtocolError, err: err}
		}
		if !h.OpCode.IsControl() && h.Length > c.limit.Load()-int64(len(message)) {
			return &wsError{code: ws.StatusMessageTooBig, err: errTooLarge}
		}
		if h.OpCode.IsControl() {
			err = c.control(h, on)
		} else if h.Fin && !state.Fragmented() {
			var payload []byte
			if payload, err = c.payload(h); err == nil {
				err = deliver(h.OpCode, payload, on)
			}
		} else {
			if !state.Fragmented() {
				op, state = h.OpCode, state.Set(ws.StateFragmented)
			}
			if message, err = c.append(h, message); err == nil && h.Fin {
				err = deliver(op, message, on)
				message, state = nil, state.Clear(ws.StateFragmented)
			}
		}
		if err != nil {
			return err
		}
	}
}

// deliver hands on a whole message.
func deliver(op ws.OpCode, payload []byte, on func(ws.OpCode, []byte) error) error {
	if op == ws.OpText && !utf8.Valid(payload) {
		return &wsError{code: ws.StatusInvalidFramePayloadData, err: errUTF8}
	}
	return on(op, payload)
}

// control reads and handles a control frame. Pongs are of no interest: heartbeats are Engine.IO's.
func (c *wsConn) control(h ws.Header, on func(ws.OpCode, []byte) error) error {
	payload, err := c.payload(h)
	if err != nil {
		return err
	}
	if h.OpCode != ws.OpClose {
		return on(h.OpCode, payload)
	}
	if len(payload) == 0 {
		return &wsError{code: ws.StatusNoStatusRcvd, peer: true, err: errClosed}
	}
	if len(payload) == 1 {
		return &wsError{code: ws.StatusProtocolError, err: errShort}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if !utf8.ValidString(reason) {
		return &wsError{code: ws.StatusInvalidFramePayloadData, err: errUTF8}
	}
	// The library knows the codes of RFC 6455 only; 1012 to 1014 were registered later.
	if err := ws.CheckCloseFrameData(code, ""); err != nil && (code < 1012 || code > 1014) {
		return &wsError{code: ws.StatusProtocolError, err: err}
	}
	return &wsError{code: code, peer: true, err: errClosed}
}

// header waits for the next frame and reads its header.
func (c *wsConn) header() (ws.Header, error) {
	if c.at == c.end {
		c.release()
		if err := c.fill(); err != nil {
			return ws.Header{}, err
		}
	}
	h, err := ws.ReadHeaderBuffer(c, c.scratch[:])
	if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
		err = &wsError{code: ws.StatusProtocolError, err: err}
	}
	return h, err
}

// payload reads a frame's payload, unmasked: in the read buffer when it fits there, in memory of its own otherwise.
func (c *wsConn) payload(h ws.Header) ([]byte, error) {
	n := int(h.Length)
	if n == 0 {
		return nil, nil
	}
	if n > readBufferBytes {
		return c.append(h, nil)
	}
	if c.buf == nil {
		c.buf = readBuffers.Get().(*[readBufferBytes]byte)
		c.at, c.end = 0, 0
	}
	if c.at+n > readBufferBytes {
		c.end = copy(c.buf[:], c.buf[c.at:c.end])
		c.at = 0
	}
	for c.end-c.at < n {
		m, err := c.more(c.buf[c.end:])
		if err != nil {
			return nil, err
		}
		c.end += m
	}
	p := c.buf[c.at : c.at+n]
	c.at += n
	ws.Cipher(p, h.Mask, 0)
	return p, nil
}

// append reads a frame's payload behind what a message has already. Memory grows as bytes arrive, never by what a
// header promises.
func (c *wsConn) append(h ws.Header, message []byte) ([]byte, error) {
	from, want := len(message), len(message)+int(h.Length)
	for slow := 0; len(message) < want; {
		if len(message) == cap(message) {
			grown := make([]byte, len(message), min(want, max(2*cap(message), readBufferBytes)))
			copy(grown, message)
			message = grown
		}
		n, err := c.Read(message[len(message):min(cap(message), want)])
		if err != nil {
			return nil, err
		}
		message = message[:len(message)+n]
		// A long message on a slow line holds up the answer to a heartbeat. Trickling single bytes does not count.
		if slow += n; slow >= readBufferBytes && c.heard != nil {
			c.heard.Store(true)
			slow = 0
		}
	}
	ws.Cipher(message[from:], h.Mask, 0)
	return message, nil
}

// Read implements io.Reader over the bytes buffered and the connection.
func (c *wsConn) Read(p []byte) (int, error) {
	if c.at < c.end {
		n := copy(p, c.buf[c.at:c.end])
		c.at += n
		return n, nil
	}
	if len(p) >= readBufferBytes {
		return c.more(p)
	}
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(p, c.buf[:c.end])
	c.at = n
	return n, nil
}

// more reads from the connection into p, past the buffer.
func (c *wsConn) more(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	return c.conn.Read(p)
}

// fill waits until the connection has bytes and reads them into the empty buffer. It takes a buffer only once there is
// something to read.
func (c *wsConn) fill() error {
	c.at, c.end = 0, 0
	if c.buf == nil && c.raw != nil && c.early == nil {
		c.tryErr = nil
		if err := c.raw.Read(c.try); err != nil {
			return err
		}
		return c.tryErr
	}
	if c.buf == nil {
		c.buf = readBuffers.Get().(*[readBufferBytes]byte)
	}
	n, err := c.more(c.buf[:])
	c.end = n
	if n > 0 {
		return nil
	}
	return err
}

// tryRead reads without waiting. It returns false to be called again when the connection is readable.
func (c *wsConn) tryRead(fd uintptr) bool {
	buf := readBuffers.Get().(*[readBufferBytes]byte)
	n, err := readFD(fd, buf[:])
	if n > 0 {
		c.buf, c.end = buf, n
		return true
	}
	readBuffers.Put(buf)
	if errors.Is(err, errAgain) {
		return false
	}
	if c.tryErr = err; err == nil {
		c.tryErr = io.EOF
	}
	return true
}

// release gives the empty read buffer back.
func (c *wsConn) release() {
	if c.buf != nil {
		readBuffers.Put(c.buf)
		c.buf, c.at, c.end = nil, 0, 0
	}
}

// write writes frames with as few writes as possible. Each write has to be done within timeout; wrote is told its bytes.
func (c *wsConn) write(frames []frame, timeout time.Duration, wrote func(n int)) error {
	pooled := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(pooled)
	buf := (*pooled)[:0]
	send := func(p []byte) error {
		_ = c.conn.SetWriteDeadline(time.Now().Add(timeout))
		_, err := c.conn.Write(p)
		if err == nil {
			wrote(len(p))
		}
		return err
	}
	for _, f := range frames {
		if len(buf)+len(f.wire) > writeBufferBytes && len(buf) > 0 {
			if err := send(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		// Frames larger than the buffer are written in pieces, so that timeout bounds a piece and not a megabyte.
		wire := f.wire
		for len(wire) > writeBufferBytes {
			if err := send(wire[:writeBufferBytes]); err != nil {
				return err
			}
			wire = wire[writeBufferBytes:]
		}
		buf = append(buf, wire...)
	}
	if len(buf) == 0 {
		return nil
	}
	return send(buf)
}

// finish follows the close frame: nothing more is written, and the reader gets closeLinger to see the peer's end.
func (c *wsConn) finish() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(closeLinger))
}

// drain reads and forgets until the connection ends, which finish or close see to.
func (c *wsConn) drain() {
	buf := readBuffers.Get().(*[readBufferBytes]byte)
	defer readBuffers.Put(buf)
	for {
		if _, err := c.conn.Read(buf[:]); err != nil {
			return
		}
	}
}

func (c *wsConn) close() { _ = c.conn.Close() }
