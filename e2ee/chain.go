package e2ee

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	// MaxForwardJump is how many message keys one message may skip in its chain.
	// SPQR counts the message itself, so a session stops one message earlier.
	MaxForwardJump = 25_000

	// MaxSkippedKeys is how many skipped message keys a chain keeps. When it is
	// full the oldest goes, and its message counts as a duplicate.
	MaxSkippedKeys = 2_000
)

// chain is a symmetric-key ratchet (Double Ratchet §2.2). Sessions and sender
// keys use the same one. index is the counter of the next message.
type chain struct {
	key   [32]byte
	index uint32
}

// next returns the seed of the message at index and moves the chain on.
func (c *chain) next() (seed [32]byte) {
	seed = hmacByte(c.key, 1)
	c.key = hmacByte(c.key, 2)
	c.index++
	return seed
}

func hmacByte(key [32]byte, b byte) [32]byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte{b})
	return [32]byte(h.Sum(nil))
}

// receivingChain keeps the seeds of messages that have not come yet, in
// ascending order of index. The array behind skipped is never written in place,
// so a copied chain may share it.
type receivingChain struct {
	chain
	skipped []skippedKey
}

type skippedKey struct {
	index uint32
	seed  [32]byte
}

// seek returns the seed of the message with this counter and removes it from
// the chain, keeping the seeds of those it skips. After an error the chain is
// unchanged.
func (c *receivingChain) seek(counter uint32) ([32]byte, error) {
	if counter < c.index {
		i, found := slices.BinarySearchFunc(c.skipped, counter,
			func(k skippedKey, counter uint32) int { return cmp.Compare(k.index, counter) })
		if !found {
			return [32]byte{}, fmt.Errorf("message %d: %w", counter, ErrDuplicate)
		}
		seed := c.skipped[i].seed
		c.skipped = slices.Concat(c.skipped[:i], c.skipped[i+1:])
		return seed, nil
	}
	jump := counter - c.index
	if jump > MaxForwardJump || counter == math.MaxUint32 {
		return [32]byte{}, fmt.Errorf("message %d after %d: %w", counter, c.index, ErrTooFarAhead)
	}
	if jump > 0 {
		kept := min(int(jump), MaxSkippedKeys)
		old := c.skipped[max(0, len(c.skipped)+kept-MaxSkippedKeys):]
		c.skipped = append(make([]skippedKey, 0, len(old)+kept), old...)
		for c.index < counter {
			index := c.index
			if seed := c.next(); counter-index <= uint32(kept) {
				c.skipped = append(c.skipped, skippedKey{index, seed})
			}
		}
	}
	return c.next(), nil
}

// The stored form of a chain: fields first to first+2 of its structure.

const skippedKeyBytes = 4 + 32

func (c *receivingChain) appendFields(b []byte, first int) []byte {
	b = appendBytesField(b, first, c.key[:])
	b = appendUintField(b, first+1, uint64(c.index))
	skipped := make([]byte, 0, len(c.skipped)*skippedKeyBytes)
	for _, k := range c.skipped {
		skipped = binary.BigEndian.AppendUint32(skipped, k.index)
		skipped = append(skipped, k.seed[:]...)
	}
	return appendBytesField(b, first+2, skipped)
}

// parseSkipped reads the third of these fields.
func (c *receivingChain) parseSkipped(r *wireReader) {
	b := r.bytes(MaxSkippedKeys * skippedKeyBytes)
	if len(b)%skippedKeyBytes != 0 {
		r.err = errWire
		return
	}
	for len(b) > 0 {
		k := skippedKey{binary.BigEndian.Uint32(b), [32]byte(b[4:skippedKeyBytes])}
		if n := len(c.skipped); k.index >= c.index || (n > 0 && k.index <= c.skipped[n-1].index) {
			r.err = errWire
			return
		}
		c.skipped = append(c.skipped, k)
		b = b[skippedKeyBytes:]
	}
}
