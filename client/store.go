package client

import "errors"

// ErrNotFound is what [Store.Get] returns for a key that is not there.
var ErrNotFound = errors.New("client: key not found")

// Bounds of a store, in bytes and items. A store refuses what is larger; the client stays far below.
const (
	MaxKey       = 256
	MaxValue     = 4 << 20
	MaxScan      = 4_096 // items of one Scan
	MaxBatchSize = 4_096 // puts and deletes of one Batch
)

// Store is an ordered map from bytes to bytes on one device. All state of a [Client] is in it, and the client reads it
// again whenever it needs it: what an Apply has not made durable does not exist.
//
// Methods are called by one goroutine at a time, except Close. Implementations: client/sqlitestore; client/storetest
// holds the conformance suite.
type Store interface {
	// Get returns the value of key, or [ErrNotFound].
	Get(key []byte) ([]byte, error)
	// Scan returns, in ascending order of key, the first limit items whose keys begin with prefix and are not below
	// from. A nil from begins at the prefix.
	Scan(prefix, from []byte, limit int) ([]Item, error)
	// Apply makes all changes of b, or none. When it returns nil they survive a loss of power. After an error they
	// may have been made or not: the store must be opened again to find out.
	Apply(b Batch) error
	// Close releases the store. A closed store refuses everything.
	Close() error
}

// Item is one entry of a store.
type Item struct{ Key, Value []byte }

// Batch is a change of a store. No key is named twice. Deleting a key that is not there is no error.
type Batch struct {
	Put    []Item
	Delete [][]byte
}
