package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// dialers bounds the handshakes at once; patience the wait for messages that should be there.
const (
	dialers  = 50
	patience = 30 * time.Second
)

// client is one connection of the load generator. Its reader counts what comes.
type client struct {
	name      int
	conn      net.Conn
	acked     chan struct{}
	delivered atomic.Int64
}

// connect opens the connections with names from to to-1.
func connect(url string, from, to int) ([]*client, error) {
	all := make([]*client, to-from)
	errs := make(chan error, dialers)
	var next atomic.Int64
	for range dialers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					errs <- nil
					return
				}
				c, err := dial(url, from+i)
				if err != nil {
					errs <- fmt.Errorf("connecting client %d: %w", from+i, err)
					return
				}
				all[i] = c
			}
		}()
	}
	var err error
	for range dialers {
		err = errors.Join(err, <-errs)
	}
	return all, err
}

func dial(url string, name int) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	c := &client{name: name, conn: conn, acked: make(chan struct{}, 1)}
	var r io.Reader = conn
	if early != nil {
		r = early
	}
	br := bufio.NewReaderSize(r, 512)
	if err := c.send(fmt.Sprintf(`40{"name":%d}`, name)); err != nil {
		return nil, err
	}
	for _, want := range []string{"0{", "40{"} {
		text, err := readText(br)
		if err != nil || !bytes.HasPrefix(text, []byte(want)) {
			return nil, fmt.Errorf("got %q, %w", text, err)
		}
	}
	go c.read(br)
	return c, nil
}

func (c *client) send(text string) error {
	return ws.WriteFrame(c.conn, ws.MaskFrameInPlace(ws.NewTextFrame([]byte(text))))
}

func readText(br *bufio.Reader) ([]byte, error) {
	h, err := ws.ReadHeader(br)
	if err != nil {
		return nil, err
	}
	b := make([]byte, h.Length)
	_, err = io.ReadFull(br, b)
	return b, err
}

// read counts deliveries and acknowledgements and answers heartbeats until the connection ends.
func (c *client) read(br *bufio.Reader) {
	for {
		text, err := readText(br)
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(text, []byte("43")):
			c.acked <- struct{}{}
		case bytes.HasPrefix(text, []byte("42")):
			c.delivered.Add(1)
		case string(text) == "2":
			_ = c.send("3")
		}
	}
}

func closeAll(all []*client) {
	for _, c := range all {
		if c != nil {
			_ = c.conn.Close()
		}
	}
}

// payload is 200 bytes of text.
var payload = strings.Repeat("0123456789", 20)

// relay lets inFlight clients send as fast as they get acknowledgements, each to a client of its own choice.
func relay(s *server, clients []*client, w work, r *result) error {
	var sent atomic.Int64
	before, err := s.cpu()
	if err != nil {
		return err
	}
	until := time.Now().Add(w.duration)
	errs := make(chan error, w.inFlight)
	var senders sync.WaitGroup
	for i := range w.inFlight {
		senders.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				to := (i*7919 + n*104_729) % len(clients)
				if err := clients[i].send(`42` + strconv.Itoa(n) + `["msg",` + strconv.Itoa(to) + `,"` + payload + `"]`); err != nil {
					errs <- err
					return
				}
				select {
				case <-clients[i].acked:
					sent.Add(1)
				case <-time.After(patience):
					errs <- fmt.Errorf("client %d waits for an acknowledgement", i)
					return
				}
			}
		})
	}
	senders.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if err := await(clients, sent.Load()); err != nil {
		return err
	}
	after, err := s.cpu()
	r.relayed = int(sent.Load())
	r.relayCPU = (after - before) / time.Duration(sent.Load())
	return err
}

// room sends events to the room, a few at once so that no client falls behind, and waits for every delivery.
func room(s *server, clients []*client, w work, r *result) error {
	start := total(clients)
	before, err := s.cpu()
	if err != nil {
		return err
	}
	for n := 1; n <= w.broadcast; n++ {
		if err := clients[len(clients)-1].send(`42["room","` + payload + `"]`); err != nil {
			return err
		}
		if n%4 == 0 || n == w.broadcast {
			if err := await(clients, start+int64(n*w.members)); err != nil {
				return err
			}
		}
	}
	after, err := s.cpu()
	r.roomCPU = (after - before) / time.Duration(w.broadcast*w.members)
	return err
}

func total(clients []*client) (n int64) {
	for _, c := range clients {
		n += c.delivered.Load()
	}
	return n
}

// await waits until exactly that many deliveries have come.
func await(clients []*client, want int64) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := total(clients)
		if got == want {
			return nil
		}
		if got > want || time.Now().After(deadline) {
			return fmt.Errorf("%d deliveries, want %d", got, want)
		}
	}
}
