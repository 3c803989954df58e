//go:build !js

package client

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/text/unicode/norm"
)

const (
	requestTimeout = 60 * time.Second // one REST request with its answer
	writeTimeout   = 20 * time.Second // one websocket message

	idleTimeout      = 90 * time.Second // of a connection between requests
	handshakeTimeout = 20 * time.Second
	maxIdle          = 2 // connections between requests
)

// nativeNetwork uses the operating system's sockets.
type nativeNetwork struct{ client *http.Client }

func newNetwork() Network {
	return nativeNetwork{client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout,
			TLSHandshakeTimeout: handshakeTimeout, MaxIdleConnsPerHost: maxIdle,
		},
		Timeout: requestTimeout,
		// A redirect could lead a token elsewhere; the API has none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (n nativeNetwork) Do(ctx context.Context, r Request) (Response, error) {
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return Response{}, err
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	res, err := n.client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil {
		return Response{}, err
	}
	if len(b) > maxResponse {
		return Response{}, fmt.Errorf("an answer of more than %d bytes", maxResponse)
	}
	return Response{Status: res.StatusCode, Body: b}, nil
}

func (n nativeNetwork) Dial(ctx context.Context, url string) (Conn, error) {
	conn, early, _, err := ws.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	c := &nativeConn{conn: conn}
	var source io.Reader = conn
	if early != nil { // the server's first frames came with its answer to the handshake
		source = early
	}
	c.reader = &wsutil.Reader{
		Source: source, State: ws.StateClientSide, CheckUTF8: true, MaxFrameSize: maxMessage,
		OnIntermediate: c.control,
	}
	return c, nil
}

func (n nativeNetwork) Close() { n.client.CloseIdleConnections() }

type nativeConn struct {
	conn   net.Conn
	reader *wsutil.Reader
	mu     sync.Mutex // orders frames: messages and answers to control frames
}

// Read returns the next text message and answers control frames on the way.
func (c *nativeConn) Read() ([]byte, error) {
	for {
		h, err := c.reader.NextFrame()
		if err != nil {
			return nil, err
		}
		if h.OpCode.IsControl() {
			if err := c.control(h, c.reader); err != nil {
				return nil, err
			}
			continue
		}
		if h.OpCode != ws.OpText {
			return nil, errors.New("a binary websocket message")
		}
		b, err := io.ReadAll(io.LimitReader(c.reader, maxMessage+1))
		if err != nil {
			return nil, err
		}
		if len(b) > maxMessage {
			return nil, fmt.Errorf("a websocket message of more than %d bytes", maxMessage)
		}
		return b, nil
	}
}

func (c *nativeConn) control(h ws.Header, payload io.Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return wsutil.ControlFrameHandler(c.conn, ws.StateClientSide)(h, payload)
}

func (c *nativeConn) Write(text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return wsutil.WriteClientText(c.conn, text)
}

func (c *nativeConn) Close() error { return c.conn.Close() }

// stretch is PBKDF2-HMAC-SHA256 with 32 bytes of output.
func stretch(_ context.Context, password, salt []byte, iterations int) ([32]byte, error) {
	key, err := pbkdf2.Key(sha256.New, string(password), salt, iterations, 32)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(key), nil
}

// normalize gives the NFC form of valid UTF-8.
func normalize(s string) string { return norm.NFC.String(s) }
