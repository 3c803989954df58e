package client

import "context"

// Bounds of what a server may make a client hold in memory, in bytes.
const (
	maxResponse = 8 << 20 // body of a REST answer
	maxMessage  = 4 << 20 // one websocket message
)

// Network is how a client reaches its server. There are two implementations, one for native programs and one for the
// browser; Options.Network replaces them in tests.
type Network interface {
	// Do makes one REST request and returns the answer of whatever status. An error means that the outcome is unknown.
	Do(ctx context.Context, r Request) (Response, error)
	// Dial opens a websocket; ctx bounds the opening only.
	Dial(ctx context.Context, url string) (Conn, error)
	// Close lets go of idle connections. It is called once, by Client.Close.
	Close()
}

// Request is one REST request.
type Request struct {
	Method, URL string
	Header      map[string]string
	Body        []byte // nil for none
}

// Response is the answer to a Request.
type Response struct {
	Status int
	Body   []byte
}

// Conn is an open websocket that carries text. Read is called by one goroutine, Write by one at a time. Close ends
// both.
type Conn interface {
	Read() ([]byte, error)
	Write(text []byte) error
	Close() error
}
