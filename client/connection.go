package client

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sotto/api"
)

// Pauses between connections: full jitter, so that clients do not return all at once.
const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 30 * time.Second
)

const (
	maxMail     = 64               // pushes that wait for the receiver; one more and the mailbox is read instead
	maxHints    = 64               // list hints that wait; one more is dropped, the next refusal tells the same
	resyncEvery = 60 * time.Second // the mailbox is read this often although nothing was announced
)

// connection is one accepted generation: a socket and the goroutines that work over it. It ends as a whole.
type connection struct {
	c      *Client
	socket *socket
	ready  chan api.Connection // the accepted generation; has room for one
	mail   chan []api.Entry    // pushed entries
	hints  chan api.ListVersion
	reread chan struct{} // the mailbox holds what was not pushed
	send   chan struct{} // the queue has changed
	acks   chan struct{} // acknowledgements wait
	// reconciled is closed when a restored server has lists and bundle back, or nothing was to be given back.
	reconciled chan struct{}

	again    chan struct{} // what was held back may go, and the queue is read from its beginning
	errands  chan struct{} // errands wait
	states   chan struct{} // account state has changed, here or on another device
	history  chan struct{} // a pass over the archive is wanted
	erasures chan struct{} // archive records are to be erased
	owed     chan struct{} // messages of this account may be owed to somebody
	profiles chan struct{} // conversations are in show

	show map[api.ConversationID]bool // that may lack the own profile, with the zero id all; guarded by c.mu

	accepted api.Connection // what the server said when it accepted the generation
	since    time.Time      // when that was

	sender  sender         // owned by the sending goroutine
	flights sync.WaitGroup // sends whose replies are waited for

	consumed   chan struct{} // prekeys were used up
	handshakes int           // that used up prekeys; guarded by c.mu

	owedLater atomic.Bool // more is to be looked at: there was no room for all errands, or some are done
	owedAgain atomic.Bool // what was supplemented and is still owed is tried again: devices have changed
}

func (n *connection) wakeSender() { signal(n.send) }

func (n *connection) wakeSenderAgain() { signal(n.again) }

// signal wakes a goroutine; one signal waits at most.
func signal(ch chan struct{}) {
	offer(ch, struct{}{})
}

// Run connects and keeps connected until ctx ends, and then returns nil. Meanwhile the queue goes out, messages come in
// and prekeys are looked after. After a broken connection it tries again by itself.
//
// It returns an error when trying again cannot help: [ErrDeviceCloned], [ErrDeviceGone], [ErrLoginEnded],
// [ErrNotSignedIn], api.CodeUpgradeRequired, CodeStore, and CodeRunning for a second Run at the same time.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return fail(CodeRunning, "This client is connected already.")
	}
	c.running = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
	}()
	for attempt := 0; ; attempt++ {
		accepted, err := c.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if final(err) {
			again, introduceErr := c.introduceAgain(ctx, err, nil)
			switch {
			case again:
				attempt = -1
				continue
			case final(introduceErr):
				return introduceErr
			case introduceErr == nil:
				return errors.Join(err, c.stopped(err))
			}
			err = introduceErr // the server does not answer
		}
		c.log.Info("disconnected", "code", CodeOf(err), "attempt", attempt)
		c.mu.Lock()
		c.publish(Event{Type: EventDisconnected, Err: err})
		c.mu.Unlock()
		if accepted {
			attempt = 0
		}
		pause, jitterErr := c.backoff(attempt)
		if jitterErr != nil {
			return jitterErr
		}
		if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > pause {
			pause = e.RetryAfter
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// final tells whether no further connection can succeed.
func final(err error) bool {
	switch CodeOf(err) {
	case api.CodeDeviceCloned, api.CodeDeviceGone, api.CodeUpgradeRequired, api.CodePasswordRequired, CodeLoginEnded,
		CodeNotSignedIn, CodeStore:
		return true
	}
	return false
}

// stopped remembers what makes this device unusable until somebody logs in again: nothing is encrypted any more, also
// after a restart.
func (c *Client) stopped(reason error) error {
	code := CodeOf(reason)
	if code != api.CodeDeviceCloned && code != api.CodeDeviceGone && code != CodeLoginEnded {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := c.device()
	if err != nil {
		return err
	}
	d.Ended = code
	b := &batch{}
	b.put(keyDevice, d)
	b.delete(keyLogin)
	return c.commit(b)
}

// backoff draws a pause between nothing and the bound of the attempt.
func (c *Client) backoff(attempt int) (time.Duration, error) {
	most := backoffMost
	if attempt < 7 { // 0.25 s · 2^7 is above the bound
		most = min(most, backoffFirst<<attempt)
	}
	var r [8]byte
	if err := c.random(r[:]); err != nil {
		return 0, err
	}
	return time.Duration(binary.BigEndian.Uint64(r[:]) % uint64(most)), nil
}

// connect makes one connection and works over it until it ends. accepted tells whether the generation was accepted.
func (c *Client) connect(ctx context.Context) (accepted bool, err error) {
	n, err := c.dial(ctx)
	if err != nil {
		return false, err
	}
	defer n.socket.end(errors.New("this client disconnects"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case n.accepted = <-n.ready:
		n.since = time.Now()
		if err := c.returned(n.accepted); err != nil {
			return false, err
		}
	case <-n.socket.done:
		return false, n.socket.reason()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if err := c.meetEpoch(n.accepted.Epoch); err != nil {
		return false, err
	}
	c.setConnection(n)
	defer c.setConnection(nil)

	work := []func(context.Context) error{
		n.receiveLoop, n.ackLoop, n.sendLoop, n.errandLoop, n.owedLoop, n.upkeepLoop, n.stateLoop, n.archiveLoop, n.reconcileLoop,
		n.eraseLoop, n.profileLoop,
	}
	ended := make(chan error, len(work))
	var wg sync.WaitGroup
	for _, f := range work {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				ended <- err
			}
		})
	}
	select {
	case err = <-ended:
	case <-n.socket.done:
		err = n.socket.reason()
	case <-ctx.Done():
		err = ctx.Err()
	}
	cancel()
	n.socket.end(errors.New("this client disconnects"))
	wg.Wait()
	n.flights.Wait()
	return true, err
}

// returned notes that this device was not part of the device set and has missed messages.
func (c *Client) returned(accepted api.Connection) error {
	if !accepted.Returned {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if err := c.wantArchive(b); err != nil {
		return err
	}
	if err := c.askArchiveKeys(b); err != nil {
		return err
	}
	return c.commit(b)
}

func (c *Client) setConnection(n *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = n
	clear(c.asked)
	if n != nil {
		c.publish(Event{Type: EventConnected})
	}
}

// dial raises the generation and stores it, and only then presents it: a copy of this store that connected before is
// recognised by its lower number, and so is this one if the copy was faster.
func (c *Client) dial(ctx context.Context) (*connection, error) {
	token, err := c.token(ctx, "")
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		generation, err := c.raiseGeneration()
		if err != nil {
			return nil, err
		}
		n := &connection{
			c: c, ready: make(chan api.Connection, 1), mail: make(chan []api.Entry, maxMail),
			hints: make(chan api.ListVersion, maxHints), reread: make(chan struct{}, 1),
			send: make(chan struct{}, 1), acks: make(chan struct{}, 1), again: make(chan struct{}, 1),
			errands: make(chan struct{}, 1), states: make(chan struct{}, 1), history: make(chan struct{}, 1),
			owed: make(chan struct{}, 1), consumed: make(chan struct{}, 1),
			reconciled: make(chan struct{}),
			erasures:   make(chan struct{}, 1),
			profiles:   make(chan struct{}, 1), show: map[api.ConversationID]bool{{}: true},
		}
		n.sender = newSender(n)
		auth := api.SocketAuth{Token: token, Generation: generation, Protocol: api.ProtocolHighest}
		n.socket, err = dialSocket(ctx, c.network, c.server, auth, n.event)
		if CodeOf(err) != api.CodeUnauthenticated || try > 0 {
			return n, err
		}
		if token, err = c.token(ctx, token); err != nil {
			return nil, err
		}
	}
}

func (c *Client) raiseGeneration() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, _, err := get[uint64](c, keyGeneration)
	if err != nil {
		return 0, err
	}
	b := &batch{}
	b.put(keyGeneration, g+1)
	return g + 1, c.commit(b)
}

// serverTime is the server's clock, in milliseconds.
func (n *connection) serverTime() int64 {
	return n.accepted.ServerTime + time.Since(n.since).Milliseconds()
}

// upkeep finishes changes that were cut short, looks after the prekeys and asks what was delivered meanwhile, once for
// each connection. What a server refuses now is tried again with the next one.
func (n *connection) upkeep(ctx context.Context) error {
	err := n.c.resume(ctx)
	if err == nil {
		err = n.c.upkeep(ctx)
	}
	if err == nil {
		err = n.askAllDelivered(ctx)
	}
	if err == nil {
		err = n.c.tidyAssets(ctx)
	}
	if err == nil || final(err) || CodeOf(err) == CodeNetwork || CodeOf(err) == "" {
		return err
	}
	n.c.log.Warn("upkeep was refused", "code", CodeOf(err))
	return nil
}

// event takes what the server sends unasked. It runs in the socket's reader and never waits for the network; what does
// not fit is in the mailbox anyway. An error ends the connection. Events of a later protocol version are passed over.
func (n *connection) event(name string, arg json.RawMessage) error {
	switch name {
	case api.EventReady:
		return with(arg, func(ready api.Connection) { offer(n.ready, ready) })
	case api.EventEntries:
		return with(arg, func(e api.Entries) {
			if !offer(n.mail, e.Entries) || e.More {
				signal(n.reread)
			}
		})
	case api.EventEphemeral:
		return with(arg, func(e api.Entry) { offer(n.mail, []api.Entry{e}) })
	case api.EventDelivered:
		var d api.Delivered
		if err := with(arg, func(v api.Delivered) { d = v }); err != nil {
			return err
		}
		return n.c.delivered(d)
	case api.EventPresence:
		return with(arg, func(p api.Presence) {
			n.c.mu.Lock()
			defer n.c.mu.Unlock()
			n.c.publish(Event{Type: EventPresence, Account: p.AccountID, Presence: &p})
		})
	case api.EventNotification:
		return with(arg, func(told api.Notification) {
			n.c.mu.Lock()
			defer n.c.mu.Unlock()
			n.c.publish(Event{Type: EventNotification, Notification: &told})
		})
	case api.EventLists:
		return with(arg, func(v api.ListVersion) { offer(n.hints, v) })
	case api.EventState:
		signal(n.states)
	case api.EventOwed:
		n.owedAgain.Store(true)
		signal(n.owed)
	case api.EventEnd:
		var p api.Problem
		if err := with(arg, func(end api.Problem) { p = end }); err != nil {
			return err
		}
		return problemError(p)
	}
	return nil
}

// with decodes the argument of an event and uses it.
func with[T any](arg json.RawMessage, use func(T)) error {
	var v T
	if err := json.Unmarshal(arg, &v); err != nil {
		return serverError("event: %w", err)
	}
	use(v)
	return nil
}

// offer puts v into ch unless that is full.
func offer[T any](ch chan T, v T) bool {
	select {
	case ch <- v:
		return true
	default:
		return false
	}
}
