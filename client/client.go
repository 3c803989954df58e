package client

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"sotto/api"
)

// Options say where a client lives. Server and Store are required.
type Options struct {
	Server  string           // base URL: "http://127.0.0.1:8080"
	Store   Store            // the client owns it from Open on, and closes it
	Network Network          // nil: that of the platform; the client closes it, too
	Now     func() time.Time // nil: time.Now
	Rand    io.Reader        // nil: crypto/rand; read by several goroutines at once
	Logger  *Logger          // nil: none. Never sees contents, names or keys

	Identity IdentityPolicy // when a changed account key stops what is sent
}

// Client is one device of one account, or a store that has none yet. It is safe for concurrent use.
//
// mu guards the fields below it and makes every read-modify-write of the store one step. It is held during encryption
// and while the store writes, never during network I/O or while a password is stretched. What a call has read before
// such a pause it reads again after it.
type Client struct {
	server  string // base URL without a final slash
	store   Store
	network Network
	now     func() time.Time
	rand    io.Reader
	log     *Logger

	identity IdentityPolicy

	archivePage int // records asked for at once

	renewing sync.Mutex // one renewal of the token at a time; held during network I/O, taken before mu

	mu          sync.Mutex
	broken      error       // the store failed: nothing is written any more
	running     bool        // a Run is active
	conn        *connection // whose generation was accepted; nil while offline
	waiters     map[api.MessageID][]chan sentResult
	asked       map[conversationDevice]time.Time // when a retry request was last made
	subscribers map[*Subscription]struct{}
	early       map[api.MessageID]bool           // delivered before the reply to the send came
	typed       map[api.ConversationID]time.Time // when the last notice of typing left
}

// Open takes over the store. It does no network I/O and does not need an account: [Client.Register] or [Client.Login]
// make one. Errors: CodeArgument, CodeStore.
func Open(o Options) (*Client, error) {
	server, err := parseServer(o.Server)
	if err != nil {
		return nil, fail(CodeArgument, "%q is not the address of a server. It looks like https://chat.example.org.", o.Server)
	}
	if !slices.Contains([]IdentityPolicy{"", IdentityVerified, IdentityAlways, IdentityNotice}, o.Identity) {
		return nil, fail(CodeArgument, "There is no identity policy %q.", o.Identity)
	}
	if o.Store == nil {
		return nil, fail(CodeArgument, "A client needs a store.")
	}
	c := &Client{
		server: server, store: o.Store, network: o.Network, now: o.Now, rand: o.Rand, log: o.Logger, identity: o.Identity,
		archivePage: api.MaxArchivePage,
		waiters:     map[api.MessageID][]chan sentResult{},
		asked:       map[conversationDevice]time.Time{},
		subscribers: map[*Subscription]struct{}{},
		early:       map[api.MessageID]bool{},
		typed:       map[api.ConversationID]time.Time{},
	}
	if c.network == nil {
		c.network = newNetwork()
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.rand == nil {
		c.rand = rand.Reader
	}
	if c.log == nil {
		c.log = newLogger()
	}
	if _, _, err := get[device](c, keyDevice); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the store. End [Client.Run] first.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = fail(CodeStore, "The client is closed.")
	c.network.Close()
	return storeError(c.store.Close())
}

// Account is who a client is signed in as.
type Account struct {
	ID         api.AccountID
	Username   string
	Device     api.DeviceID
	WireDevice api.WireDeviceID
}

// Account tells who the client is signed in as, false when nobody.
func (c *Client) Account() (Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, err := c.device()
	if err != nil {
		return Account{}, false
	}
	return Account{ID: d.Account, Username: d.Username, Device: d.Device, WireDevice: d.WireDevice}, true
}

// device reads who this client is; CodeNotSignedIn until the server has introduced it. The caller holds c.mu.
func (c *Client) device() (device, error) {
	if c.broken != nil {
		return device{}, c.broken
	}
	d, found, err := get[device](c, keyDevice)
	if err != nil {
		return device{}, err
	}
	if !found || !d.Introduced {
		return device{}, fail(CodeNotSignedIn, "Nobody is signed in here. Register or log in first.")
	}
	return d, nil
}

// me is [Client.device] for callers that do not hold c.mu.
func (c *Client) me() (device, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.device()
}

func (c *Client) millis() int64 { return c.now().UnixMilli() }

func (c *Client) random(b []byte) error {
	if _, err := io.ReadFull(c.rand, b); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	return nil
}

// uuid makes a random UUID (version 4).
func (c *Client) uuid() (id [16]byte, err error) {
	err = c.random(id[:])
	id[6] = id[6]&0x0F | 0x40
	id[8] = id[8]&0x3F | 0x80
	return id, err
}
