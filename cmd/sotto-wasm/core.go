//go:build js

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"sotto/api"
	"sotto/client"
	"sotto/client/idbstore"
)

const (
	apiVersion = 1
	maxRequest = 1 << 20 // bytes of one message to the core
	maxCalls   = 256     // requests that are worked on at once; one more is refused
)

// request is a message to the core.
type request struct {
	ID   int64           `json:"id"`
	Do   string          `json:"do"`
	Args json.RawMessage `json:"args"`
}

// answer is a message from the core: exactly one for every request, with OK or Error. ID 0 answers what had no id.
type answer struct {
	ID    int64    `json:"id"`
	OK    any      `json:"ok,omitempty"`
	Error *failure `json:"error,omitempty"`
}

// call is a request that is worked on.
type call struct {
	cancel context.CancelFunc
	done   chan struct{} // closed after the answer has left
}

// phase is where the life of the store is.
type phase string

const (
	phaseShut    phase = "shut"
	phaseOpening phase = "opening"
	phaseOpen    phase = "open"
	phaseClosing phase = "closing"
)

// core answers requests. Every request has a goroutine of its own; mu guards what they share and is never held while
// one of them waits.
type core struct {
	post func([]byte)

	mu       sync.Mutex
	calls    map[int64]*call
	lastSend chan struct{} // closed when the newest send has been queued: sends keep their order
	phase    phase
	client   *client.Client // these while open
	store    *idbstore.Store
	events   *client.Subscription
	watched  bool // a request waits for events
}

func newCore(post func([]byte)) *core {
	first := make(chan struct{})
	close(first)
	return &core{post: post, calls: map[int64]*call{}, lastSend: first, phase: phaseShut}
}

// ready is the core's first message.
func (c *core) ready() {
	c.say(map[string]any{"ready": map[string]int{"api": apiVersion, "protocol": api.ProtocolHighest}})
}

// say posts a value. All values posted are made of types that encode.
func (c *core) say(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.post(b)
}

func (c *core) refuse(id int64, f *failure) { c.say(answer{ID: id, Error: f}) }

// receive takes a message. It runs in the browser's callback and must not wait.
func (c *core) receive(b []byte) {
	var r request
	if err := strict(b, &r); err != nil {
		c.refuse(0, refusal(codeArgument, "The message is not a request: %v.", err))
		return
	}
	if r.ID < 1 || r.ID > maxID {
		c.refuse(0, refusal(codeArgument, "An id is a whole number from 1 to %d.", int64(maxID)))
		return
	}
	do, known := operations[r.Do]
	if !known {
		c.refuse(r.ID, refusal(codeArgument, "%q is not an operation.", r.Do))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.calls[r.ID]; taken {
		c.refuse(0, refusal(codeArgument, "Request %d is still worked on.", r.ID))
		return
	}
	if len(c.calls) >= maxCalls {
		c.refuse(r.ID, refusal(api.CodeLimited, "%d requests are worked on; wait for an answer.", maxCalls))
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &call{cancel: cancel, done: make(chan struct{})}
	c.calls[r.ID] = w
	turn, next := c.turn(r.Do)
	go func() {
		defer close(w.done)
		defer cancel()
		<-turn
		ok, err := do(ctx, c, r)
		close(next)
		c.mu.Lock()
		delete(c.calls, r.ID) // before the answer: the id may be used again as soon as that arrives
		c.mu.Unlock()
		if err != nil {
			c.refuse(r.ID, failureOf(err))
			return
		}
		c.say(answer{ID: r.ID, OK: ok})
	}()
}

// maxID is the largest whole number that JavaScript can hold exactly.
const maxID = 1<<53 - 1

// turn queues sends behind each other; others go at once. The caller holds c.mu.
func (c *core) turn(do string) (turn <-chan struct{}, next chan struct{}) {
	next = make(chan struct{})
	if do == "send" {
		turn, c.lastSend = c.lastSend, next
		return turn, next
	}
	now := make(chan struct{})
	close(now)
	return now, next
}

// strict decodes exactly one JSON value without fields that nobody knows. Nothing at all stands for an empty object.
func strict(b []byte, dst any) error {
	if len(b) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(dst); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// open takes the store and opens the client on it.
func (c *core) open(ctx context.Context, a openArgs) (accountResult, error) {
	if !c.move(phaseShut, phaseOpening) {
		return accountResult{}, refusal(codeOpen, "A store is open already, or being opened. Close it first.")
	}
	store, err := idbstore.Open(ctx, a.Database, a.Wait)
	if err != nil {
		c.move(phaseOpening, phaseShut)
		return accountResult{}, err
	}
	opened, err := client.Open(client.Options{Server: a.Server, Store: store, Identity: a.Identity})
	if err != nil {
		_ = store.Close() // nothing was written
		c.move(phaseOpening, phaseShut)
		return accountResult{}, err
	}
	c.mu.Lock()
	c.client, c.store, c.events, c.phase = opened, store, opened.Events(), phaseOpen
	c.mu.Unlock()
	return accountOf(opened), nil
}

func (c *core) move(from, to phase) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != from {
		return false
	}
	c.phase = to
	return true
}

// opened is the client while it is open.
func (c *core) opened() (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return nil, refusal(codeNotOpen, "No store is open. Open one first.")
	}
	return c.client, nil
}

// quiet keeps further requests from the client and ends those that use it, all but self.
func (c *core) quiet(self int64) error {
	if !c.move(phaseOpen, phaseClosing) {
		return refusal(codeNotOpen, "No store is open. Open one first.")
	}
	c.mu.Lock()
	var others []*call
	for id, w := range c.calls {
		if id != self {
			w.cancel()
			others = append(others, w)
		}
	}
	c.mu.Unlock()
	for _, w := range others {
		<-w.done
	}
	return nil
}

// shut closes the client. What it has said so far is durable.
func (c *core) shut() error {
	c.events.Close()
	err := c.client.Close()
	c.mu.Lock()
	c.client, c.store, c.events = nil, nil, nil
	c.mu.Unlock()
	c.move(phaseClosing, phaseShut)
	return err
}

// close ends everything and lets the next tab in.
func (c *core) close(self int64) error {
	if err := c.quiet(self); err != nil {
		return err
	}
	return c.shut()
}

// logout ends the login and deletes the database. When the server could not be told, all stays as it was, but requests
// that waited have been cancelled.
func (c *core) logout(ctx context.Context, self int64) error {
	if err := c.quiet(self); err != nil {
		return err
	}
	if err := c.client.Logout(ctx); err != nil {
		c.move(phaseClosing, phaseOpen)
		return err
	}
	return errors.Join(c.store.Destroy(), c.shut())
}

// cancel ends a request that is worked on. Its answer comes as always.
func (c *core) cancel(id int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.calls[id]
	if !ok {
		return refusal(api.CodeNotFound, "Request %d is not worked on.", id)
	}
	w.cancel()
	return nil
}

// nextEvents waits for the first event and takes all that wait. The page asks again when it has dealt with them, so a
// slow page is noticed by the subscription, which then says resync.
func (c *core) nextEvents(ctx context.Context) (eventsResult, error) {
	if _, err := c.opened(); err != nil {
		return eventsResult{}, err
	}
	c.mu.Lock()
	if c.watched {
		c.mu.Unlock()
		return eventsResult{}, refusal(client.CodeRunning, "Another request waits for events already.")
	}
	c.watched = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.watched = false
		c.mu.Unlock()
	}()
	var got eventsResult
	select {
	case e := <-c.events.C:
		got.Events = append(got.Events, eventOf(e))
	case <-ctx.Done():
		return got, ctx.Err()
	}
	for {
		select {
		case e := <-c.events.C:
			got.Events = append(got.Events, eventOf(e))
		default:
			return got, nil
		}
	}
}
