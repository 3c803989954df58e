package spqr

import (
	"encoding/binary"
	"fmt"
	"math"

	"sotto/e2ee/internal/erasure"
)

// messageVersion is the first byte of every message.
const messageVersion = 1

// kind says what the chunk of a message belongs to.
type kind uint8

const (
	kindNone     kind = 0 // no chunk
	kindHeader   kind = 1
	kindEK       kind = 2
	kindEKCt1Ack kind = 3 // a chunk of the encapsulation key; all of ct1 arrived
	kindCt1Ack   kind = 4 // no chunk; all of ct1 arrived
	kindCt1      kind = 5
	kindCt2      kind = 6
)

func (k kind) hasChunk() bool { return k != kindNone && k != kindCt1Ack }

// message is what one side tells the other with one ratchet message. It is not
// secret; the ratchet message's MAC authenticates it.
type message struct {
	epoch uint64 // of the key agreement, from 1; the message key is of epoch-1
	index uint32 // number of the message key in its chain, from 1
	kind  kind
	chunk erasure.Chunk // when kind.hasChunk
}

func (m message) marshal() []byte {
	b := make([]byte, 0, 1+10+5+1+3+erasure.ChunkSize)
	b = append(b, messageVersion)
	b = binary.AppendUvarint(b, m.epoch)
	b = binary.AppendUvarint(b, uint64(m.index))
	b = append(b, byte(m.kind))
	if m.kind.hasChunk() {
		b = binary.AppendUvarint(b, uint64(m.chunk.Index))
		b = append(b, m.chunk.Data[:]...)
	}
	return b
}

// parseMessage ignores bytes after the message, as other implementations do:
// they leave room for what later versions may add.
func parseMessage(b []byte) (message, error) {
	if len(b) == 0 || b[0] != messageVersion {
		return message{}, fmt.Errorf("version: %w", ErrMessage)
	}
	b = b[1:]
	epoch, b, ok1 := cutUvarint(b, math.MaxUint64)
	index, b, ok2 := cutUvarint(b, math.MaxUint32)
	if !ok1 || !ok2 || epoch == 0 || len(b) == 0 || b[0] > byte(kindCt2) {
		return message{}, fmt.Errorf("header: %w", ErrMessage)
	}
	m := message{epoch: epoch, index: uint32(index), kind: kind(b[0])}
	if !m.kind.hasChunk() {
		return m, nil
	}
	number, b, ok := cutUvarint(b[1:], math.MaxUint16)
	if !ok || len(b) < erasure.ChunkSize {
		return message{}, fmt.Errorf("chunk: %w", ErrMessage)
	}
	m.chunk.Index = uint16(number)
	copy(m.chunk.Data[:], b)
	return m, nil
}

// cutUvarint takes a number of at most limit from the front of b.
func cutUvarint(b []byte, limit uint64) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > limit {
		return 0, nil, false
	}
	return v, b[n:], true
}
