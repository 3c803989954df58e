//go:build js

// Package idbstore keeps the state of a client in an IndexedDB database of a browser. Values are sealed by a key that
// WebCrypto does not export: that protects copied files, not against script in the page. Keys stay readable.
//
// It needs cmd/sotto-wasm/shim.js to be loaded into the same worker. No method may be called from inside a js.Func,
// because the browser's answer could not arrive.
package idbstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall/js"

	"sotto/client"
)

// Reasons why a browser's store does not work, besides those of the browser's own.
var (
	ErrInUse       = errors.New("the store is in use by another tab; close that one first")
	ErrFenced      = errors.New("another tab has taken this store over; reload this one")
	ErrFull        = errors.New("the browser has no room left; free some on this device and reload")
	ErrDenied      = errors.New("the browser does not let this page store anything; allow it, or leave the private window")
	ErrUnsupported = errors.New("this browser lacks what the store needs, or the page was not opened through https")
	ErrDamaged     = errors.New("the store is damaged; delete this page's data and log in again")
	ErrNewer       = errors.New("the store was written by a newer version of this page; reload")
	ErrClosed      = errors.New("the store is closed")
	ErrName        = errors.New("the name of a store is 1 to 64 of A-Z a-z 0-9 _ . : -")
)

// reasons are the names that shim.js gives its errors.
var reasons = map[string]error{
	"in_use": ErrInUse, "fenced": ErrFenced, "full": ErrFull, "denied": ErrDenied, "unsupported": ErrUnsupported,
	"damaged": ErrDamaged, "newer": ErrNewer, "closed": ErrClosed,
}

var (
	errBounds = errors.New("over the bounds of a store")
	errShim   = errors.New("shim.js was not loaded")
)

const maxName = 64 // characters of the name of a store

// validName does without package regexp: everybody would download it.
func validName(name string) bool {
	other := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:-", r)
	}
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, other)
}

// Store is a [client.Store]. It holds an exclusive Web Lock with the name of its database from Open to Close.
type Store struct {
	shim, handle js.Value
	closed       bool
}

var _ client.Store = (*Store)(nil)

// Open opens the store, or makes it. name is the database's: 1 to 64 of [A-Za-z0-9_.:-]. While another tab, or another
// store here, has it open, Open waits for that one or until ctx ends; without wait it returns [ErrInUse].
func Open(ctx context.Context, name string, wait bool) (*Store, error) {
	shim := js.Global().Get("sottoStore")
	if shim.IsUndefined() {
		return nil, fmt.Errorf("opening the store: %w", errShim)
	}
	if !validName(name) {
		return nil, fmt.Errorf("opening the store: %w: %q", ErrName, name)
	}
	abort := js.Global().Get("AbortController").New()
	stop := context.AfterFunc(ctx, func() { abort.Call("abort") })
	defer stop()
	handle, err := await(shim.Call("open", name, wait, abort.Get("signal")))
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // the browser's own error says only that it was aborted
		}
		return nil, fmt.Errorf("opening the store %s: %w", name, err)
	}
	return &Store{shim: shim, handle: handle}, nil
}

// Get implements [client.Store].
func (s *Store) Get(key []byte) ([]byte, error) {
	if s.closed {
		return nil, fmt.Errorf("reading the store: %w", ErrClosed)
	}
	value, err := await(s.shim.Call("get", s.handle, toBytes(key)))
	if err != nil {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	if value.IsUndefined() {
		return nil, client.ErrNotFound
	}
	return fromBytes(value), nil
}

// Scan implements [client.Store].
func (s *Store) Scan(prefix, from []byte, limit int) ([]client.Item, error) {
	if limit < 1 || limit > client.MaxScan {
		return nil, fmt.Errorf("scanning %d items: %w", limit, errBounds)
	}
	if s.closed {
		return nil, fmt.Errorf("scanning the store: %w", ErrClosed)
	}
	low, high := prefix, js.Undefined()
	if bytes.Compare(from, prefix) > 0 {
		low = from
	}
	if end, bounded := successor(prefix); bounded {
		if bytes.Compare(low, end) >= 0 {
			return nil, nil // IndexedDB refuses an empty range
		}
		high = toBytes(end)
	}
	packed, err := await(s.shim.Call("scan", s.handle, toBytes(low), high, limit))
	if err != nil {
		return nil, fmt.Errorf("scanning the store: %w", err)
	}
	return unpack(fromBytes(packed)), nil
}

// Apply implements [client.Store]. It returns after the transaction is on disk, as far as the browser can tell
// (durability "strict"). [ErrFenced] and [ErrFull] have changed nothing.
func (s *Store) Apply(b client.Batch) error {
	packed, err := pack(b)
	if err != nil {
		return fmt.Errorf("writing the store: %w", err)
	}
	if s.closed {
		return fmt.Errorf("writing the store: %w", ErrClosed)
	}
	if _, err := await(s.shim.Call("apply", s.handle, toBytes(packed))); err != nil {
		return fmt.Errorf("writing the store: %w", err)
	}
	return nil
}

// Close implements [client.Store] and lets the next tab in. It may be called again.
func (s *Store) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if _, err := await(s.shim.Call("close", s.handle)); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// Destroy closes the store and deletes its database with the sealing key, so that nothing which the browser has not yet
// overwritten can be opened.
func (s *Store) Destroy() error {
	if s.closed {
		return fmt.Errorf("deleting the store: %w", ErrClosed)
	}
	s.closed = true
	if _, err := await(s.shim.Call("destroy", s.handle)); err != nil {
		return fmt.Errorf("deleting the store: %w", err)
	}
	return nil
}

// successor is the first key above all that begin with prefix; false when there is none.
func successor(prefix []byte) ([]byte, bool) {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return nil, false
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end, true
}

const (
	gone       = 1<<32 - 1 // as length: the value is deleted
	lengthSize = 4
)

// pack writes a batch in the form that shim.js reads, and holds it against the bounds.
func pack(b client.Batch) ([]byte, error) {
	if n := len(b.Put) + len(b.Delete); n > client.MaxBatchSize {
		return nil, fmt.Errorf("a batch of %d changes: %w", n, errBounds)
	}
	var packed []byte
	for _, it := range b.Put {
		if len(it.Key) < 1 || len(it.Key) > client.MaxKey || len(it.Value) > client.MaxValue {
			return nil, fmt.Errorf("an item of %d and %d bytes: %w", len(it.Key), len(it.Value), errBounds)
		}
		packed = appendLengths(packed, len(it.Key), uint32(len(it.Value)))
		packed = append(append(packed, it.Key...), it.Value...)
	}
	for _, key := range b.Delete {
		if len(key) < 1 || len(key) > client.MaxKey {
			return nil, fmt.Errorf("a key of %d bytes: %w", len(key), errBounds)
		}
		packed = append(appendLengths(packed, len(key), gone), key...)
	}
	return packed, nil
}

func appendLengths(b []byte, key int, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(key)), value)
}

// unpack reads what shim.js has just written. The items share its memory, each with a capacity of its own.
func unpack(packed []byte) []client.Item {
	var items []client.Item
	for len(packed) > 0 {
		key := int(binary.BigEndian.Uint32(packed))
		value := int(binary.BigEndian.Uint32(packed[lengthSize:]))
		packed = packed[2*lengthSize:]
		items = append(items, client.Item{Key: packed[:key:key], Value: packed[key : key+value : key+value]})
		packed = packed[key+value:]
	}
	return items
}

// await waits for a promise of the shim.
func await(promise js.Value) (js.Value, error) {
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
		name, message := args[0].Get("name").String(), args[0].Get("message").String()
		reason, ours := reasons[name]
		if !ours {
			reason = errors.New(name)
		}
		done <- outcome{err: fmt.Errorf("%w (%s)", reason, message)}
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
