//go:build js

package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall/js"
	"time"
)

// browserNetwork uses fetch and WebSocket. The browser adds the origin, and its cookies are left out.
type browserNetwork struct{}

func newNetwork() Network { return browserNetwork{} }

// Close has nothing to do: the browser owns its connections.
func (browserNetwork) Close() {}

const requestTimeout = 60 * time.Second // one REST request with its answer

func (browserNetwork) Do(ctx context.Context, r Request) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	abort := js.Global().Get("AbortController").New()
	stop := context.AfterFunc(ctx, func() { abort.Call("abort") })
	defer stop()
	header := map[string]any{}
	for k, v := range r.Header {
		header[k] = v
	}
	init := map[string]any{
		"method": r.Method, "headers": header, "signal": abort.Get("signal"),
		"credentials": "omit", "redirect": "error", "cache": "no-store",
	}
	if r.Body != nil {
		init["body"] = toBytes(r.Body)
	}
	res, err := await(func() js.Value { return js.Global().Call("fetch", r.URL, init) })
	if err != nil {
		return Response{}, err
	}
	body, err := readAll(res.Get("body"))
	if err != nil {
		abort.Call("abort") // lets go of the rest
		return Response{}, err
	}
	return Response{Status: res.Get("status").Int(), Body: body}, nil
}

// readAll reads a ReadableStream, null for none, piece by piece, so that no more than the bound is ever held.
func readAll(stream js.Value) ([]byte, error) {
	if stream.IsNull() {
		return nil, nil
	}
	reader := stream.Call("getReader")
	var body []byte
	for {
		piece, err := await(func() js.Value { return reader.Call("read") })
		if err != nil {
			return nil, err
		}
		if piece.Get("done").Bool() {
			return body, nil
		}
		bytes := piece.Get("value")
		if len(body)+bytes.Length() > maxResponse {
			return nil, fmt.Errorf("an answer of more than %d bytes", maxResponse)
		}
		body = append(body, fromBytes(bytes)...)
	}
}

// What waits between the browser and the reader or the network. A WebSocket that is not read does not slow the server
// down, and one that cannot be written to takes everything, so what is over these bounds ends the connection.
const (
	maxUnread      = 1_024    // messages
	maxUnreadBytes = 16 << 20 // bytes of them
	maxUnwritten   = 16 << 20 // bytes
)

func (browserNetwork) Dial(ctx context.Context, url string) (Conn, error) {
	socket, err := attempt(func() js.Value { return js.Global().Get("WebSocket").New(url) })
	if err != nil {
		return nil, err
	}
	c := &browserConn{socket: socket, messages: make(chan string, maxUnread), gone: make(chan struct{})}
	opened := make(chan struct{})
	c.on("open", func(js.Value) { close(opened) })
	c.on("message", c.take)
	c.on("close", func(js.Value) { c.fail(errors.New("the websocket was closed")) })
	select {
	case <-opened:
		return c, nil
	case <-c.gone:
		return nil, c.err
	case <-ctx.Done():
		c.fail(ctx.Err())
		return nil, ctx.Err()
	}
}

type browserConn struct {
	socket   js.Value
	messages chan string
	unread   atomic.Int64  // bytes in messages
	gone     chan struct{} // closed when the connection has ended, after err was set
	once     sync.Once
	err      error
	handlers []listener
}

type listener struct {
	event string
	f     js.Func
}

func (c *browserConn) on(event string, handle func(js.Value)) {
	f := js.FuncOf(func(_ js.Value, args []js.Value) any {
		handle(args[0])
		return nil
	})
	c.handlers = append(c.handlers, listener{event, f})
	c.socket.Call("addEventListener", event, f)
}

// take keeps a message for Read. It runs in the browser's callback and must not wait.
func (c *browserConn) take(event js.Value) {
	data := event.Get("data")
	if data.Type() != js.TypeString {
		c.fail(errors.New("a binary websocket message"))
		return
	}
	text := data.String()
	if len(text) > maxMessage {
		c.fail(fmt.Errorf("a websocket message of more than %d bytes", maxMessage))
		return
	}
	if c.unread.Add(int64(len(text))) <= maxUnreadBytes {
		select {
		case c.messages <- text:
			return
		default:
		}
	}
	c.fail(errors.New("websocket messages arrive faster than they are read"))
}

// fail ends the connection once and lets go of the handlers.
func (c *browserConn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		c.socket.Call("close")
		for _, h := range c.handlers {
			c.socket.Call("removeEventListener", h.event, h.f)
			h.f.Release()
		}
		close(c.gone)
	})
}

func (c *browserConn) Read() ([]byte, error) {
	select {
	case text := <-c.messages:
		c.unread.Add(-int64(len(text)))
		return []byte(text), nil
	case <-c.gone:
		return nil, c.err
	}
}

func (c *browserConn) Write(text []byte) error {
	select {
	case <-c.gone:
		return c.err
	default:
	}
	if c.socket.Get("bufferedAmount").Int() > maxUnwritten {
		return errors.New("the network takes nothing more")
	}
	_, err := attempt(func() js.Value { return c.socket.Call("send", string(text)) })
	return err
}

func (c *browserConn) Close() error {
	c.fail(errors.New("this client closed the websocket"))
	return nil
}

// stretch is PBKDF2-HMAC-SHA256 with 32 bytes of output, by WebCrypto: several times faster than in WebAssembly.
func stretch(_ context.Context, password, salt []byte, iterations int) ([32]byte, error) {
	key, err := await(func() js.Value {
		return subtle().Call("importKey", "raw", toBytes(password), "PBKDF2", false, []any{"deriveBits"})
	})
	if err != nil {
		return [32]byte{}, err
	}
	bits, err := await(func() js.Value {
		return subtle().Call("deriveBits", map[string]any{
			"name": "PBKDF2", "hash": "SHA-256", "salt": toBytes(salt), "iterations": iterations,
		}, key, 256)
	})
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(fromBytes(js.Global().Get("Uint8Array").New(bits))), nil
}

// normalize gives the NFC form of valid UTF-8. The browser has the tables for it.
func normalize(s string) string {
	return js.Global().Get("String").New(s).Call("normalize", "NFC").String()
}

// subtle is undefined on pages that were not opened through https; calling it is an error then.
func subtle() js.Value { return js.Global().Get("crypto").Get("subtle") }

// attempt turns what JavaScript throws into an error.
func attempt(call func() js.Value) (value js.Value, err error) {
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case js.Error:
			err = thrown
		case *js.ValueError: // a function that this browser lacks
			err = thrown
		default:
			panic(thrown)
		}
	}()
	return call(), nil
}

// await makes a call that returns a promise, and waits for that.
func await(call func() js.Value) (js.Value, error) {
	promise, err := attempt(call)
	if err != nil {
		return js.Value{}, err
	}
	type outcome struct {
		value js.Value
		err   error
	}
	done := make(chan outcome, 1)
	resolved := js.FuncOf(func(_ js.Value, args []js.Value) any {
		done <- outcome{value: args[0]}
		return nil
	})
	defer resolved.Release()
	rejected := js.FuncOf(func(_ js.Value, args []js.Value) any {
		done <- outcome{err: errors.New(args[0].Call("toString").String())}
		return nil
	})
	defer rejected.Release()
	promise.Call("then", resolved, rejected)
	o := <-done
	return o.value, o.err
}

func toBytes(b []byte) js.Value {
	array := js.Global().Get("Uint8Array").New(len(b))
	js.CopyBytesToJS(array, b)
	return array
}

func fromBytes(array js.Value) []byte {
	b := make([]byte, array.Length())
	js.CopyBytesToGo(b, array)
	return b
}
