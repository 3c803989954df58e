package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/hint"
	"sotto/internal/socketio"
)

// maxUnacked bounds the ciphertext that was pushed to a socket and not acknowledged yet. Beyond it the client is told
// once that there is more, and reads its mailbox at its own pace.
const maxUnacked = 640 << 10 // bytes

var errMailboxFull = errs.New(errs.Unavailable, api.CodeUnavailable, "The mailbox of this device was full. Connect again and read the archive.")

// push is a new entry of one device's mailbox.
type push struct {
	account api.AccountID
	device  int64
	entry   api.Entry
}

// note is what an account's sockets are told, on every replica, through a hint. It may be lost.
type note struct {
	Mailbox   bool             `json:"mailbox,omitempty"`   // there are new entries
	Revoked   bool             `json:"revoked,omitempty"`   // a login ended or a device was removed
	Ephemeral *ephemeral       `json:"ephemeral,omitempty"` //
	Delivered *api.Delivered   `json:"delivered,omitempty"`
	Lists     *api.ListVersion `json:"lists,omitempty"`
	State     *stateNote       `json:"state,omitempty"`
	Owed      *api.OwedNotice  `json:"owed,omitempty"`
	Connected *connectedNote   `json:"connected,omitempty"`
	Presence  *api.Presence    `json:"presence,omitempty"`
	hint.Note
}

// connectedNote ends a device's socket of a lower generation on another replica.
type connectedNote struct {
	Device     int64  `json:"device"`
	Generation uint64 `json:"generation"`
}

// stateNote is for the devices of the account but the one that made the change.
type stateNote struct {
	By    int64            `json:"by"`
	State api.StateVersion `json:"state"`
}

type ephemeral struct {
	Device int64     `json:"device"`
	Entry  api.Entry `json:"entry"`
}

// originSize is the length of the random name of a hub that every hint begins with.
const originSize = hint.OriginSize

// hub knows the sockets of this process.
type hub struct {
	hints   Hints
	log     *slog.Logger
	origin  [originSize]byte
	revoked chan struct{} // wakes watchEnded; any number of hints is one more look
	// present hears of accounts whose first socket came or whose last one went. It must not wait.
	present func(api.AccountID)

	mu       sync.Mutex // guards what follows; never held while a subscription is cancelled
	devices  map[int64]*conn
	accounts map[api.AccountID]*accountConns
}

// accountConns are the sockets of one account, which share a subscription to its hints.
type accountConns struct {
	conns  []*conn
	cancel func()
}

func newHub(hints Hints, rand io.Reader, log *slog.Logger) (*hub, error) {
	h := &hub{
		hints: hints, log: log, revoked: make(chan struct{}, 1),
		devices: make(map[int64]*conn), accounts: make(map[api.AccountID]*accountConns),
	}
	if _, err := io.ReadFull(rand, h.origin[:]); err != nil {
		return nil, fmt.Errorf("naming the hub: %w", err)
	}
	return h, nil
}

// add makes c the socket of its device and ends the one before, unless that has the higher generation.
func (h *hub) add(c *conn) {
	h.mu.Lock()
	before := h.devices[c.device]
	if before != nil && before.generation > c.generation {
		h.mu.Unlock()
		c.socket.Close(socketio.ReasonDrain)
		return
	}
	h.devices[c.device] = c
	of := h.accounts[c.actor.Account]
	if of == nil {
		account := c.actor.Account
		of = &accountConns{cancel: h.hints.Subscribe(account, func(payload []byte) { h.hear(account, payload) })}
		h.accounts[account] = of
	}
	of.conns = append(of.conns, c)
	h.mu.Unlock()
	h.present(c.actor.Account)
	if before != nil {
		before.socket.Close(socketio.ReasonDrain)
	}
}

func (h *hub) remove(c *conn) {
	h.mu.Lock()
	if h.devices[c.device] == c {
		delete(h.devices, c.device)
	}
	var cancel func()
	if of := h.accounts[c.actor.Account]; of != nil {
		of.conns = slices.DeleteFunc(of.conns, func(o *conn) bool { return o == c })
		if len(of.conns) == 0 {
			delete(h.accounts, c.actor.Account)
			cancel = of.cancel
		}
	}
	h.mu.Unlock()
	if cancel != nil {
		cancel() // waits for hear, which takes mu
		h.present(c.actor.Account)
	}
}

func (h *hub) conn(device int64) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[device]
}

// supersede ends a device's socket of a lower generation, here and on other replicas: the device has connected elsewhere.
func (h *hub) supersede(ctx context.Context, account api.AccountID, device int64, generation uint64) {
	h.cutOlder(device, generation)
	h.tell(ctx, account, note{Connected: &connectedNote{device, generation}})
}

func (h *hub) cutOlder(device int64, generation uint64) {
	if c := h.conn(device); c != nil && c.generation < generation {
		c.socket.Close(socketio.ReasonDrain)
	}
}

// all returns the sockets that match.
func (h *hub) all(match func(*conn) bool) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []*conn
	for _, c := range h.devices {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// connectedAccounts returns the accounts that have a socket here.
func (h *hub) connectedAccounts() []api.AccountID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.accounts))
}

// connected returns the devices that have a socket here.
func (h *hub) connected() []int64 {
	var ids []int64
	for _, c := range h.all(func(*conn) bool { return true }) {
		ids = append(ids, c.device)
	}
	return ids
}

// cutLogins ends the sockets whose login has ended.
func (h *hub) cutLogins(ended func(api.LoginID) bool) {
	for _, c := range h.all(func(c *conn) bool { return ended(c.actor.Login) }) {
		c.end(errEnded)
	}
}

// cutDevices ends the sockets of devices for the given reason.
func (h *hub) cutDevices(devices []int64, why *errs.Error) {
	if len(devices) == 0 {
		return
	}
	for _, c := range h.all(func(c *conn) bool { return slices.Contains(devices, c.device) }) {
		c.end(why)
	}
}

// push hands new entries to the sockets here, one event a device, and wakes the other replicas.
func (h *hub) push(pushes []push) {
	entries := make(map[int64][]api.Entry)
	accounts := make(map[api.AccountID]bool)
	for _, p := range pushes {
		entries[p.device] = append(entries[p.device], p.entry)
		accounts[p.account] = true
	}
	for device, list := range entries {
		if c := h.conn(device); c != nil {
			c.offer(list)
		}
	}
	for account := range accounts {
		h.tell(context.Background(), account, note{Mailbox: true})
	}
}

// acked gives a socket room for what its device has acknowledged.
func (h *hub) acked(device int64, left removed) {
	if c := h.conn(device); c != nil && left.entries > 0 {
		c.acked(left.bytes + left.entries*entryOverhead)
	}
}

// tell publishes a note for the account's sockets on every replica, this one included.
func (h *hub) tell(ctx context.Context, account api.AccountID, n note) {
	b, err := json.Marshal(n)
	if err == nil {
		err = h.hints.Publish(ctx, account, append(h.origin[:], b...))
	}
	if err != nil {
		h.log.WarnContext(ctx, "a hint was not published", slog.Any("err", err))
	}
}

// hear takes a note from any replica.
func (h *hub) hear(account api.AccountID, payload []byte) {
	if len(payload) < originSize {
		return
	}
	var n note
	if err := json.Unmarshal(payload[originSize:], &n); err != nil {
		h.log.Warn("a hint cannot be read", slog.Any("err", err))
		return
	}
	if n.Revoked {
		select {
		case h.revoked <- struct{}{}:
		default:
		}
	}
	if n.Connected != nil {
		h.cutOlder(n.Connected.Device, n.Connected.Generation)
	}
	own := bytes.Equal(payload[:originSize], h.origin[:])
	for _, c := range h.of(account) {
		switch {
		case n.Mailbox && !own: // this replica's own entries were pushed already
			c.tellMore()
		case n.Ephemeral != nil && n.Ephemeral.Device == c.device:
			c.socket.EmitEphemeral(api.EventEphemeral, n.Ephemeral.Entry)
		case n.Delivered != nil:
			c.emit(api.EventDelivered, n.Delivered)
		case n.Lists != nil:
			c.emit(api.EventLists, n.Lists)
		case n.State != nil && n.State.By != c.device:
			c.emit(api.EventState, n.State.State)
		case n.Owed != nil:
			c.emit(api.EventOwed, n.Owed)
		case n.Presence != nil:
			c.socket.EmitEphemeral(api.EventPresence, n.Presence)
		case n.Notification != nil:
			c.emit(api.EventNotification, n.Notification)
		}
	}
}

func (h *hub) of(account api.AccountID) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if of := h.accounts[account]; of != nil {
		return slices.Clone(of.conns)
	}
	return nil
}
