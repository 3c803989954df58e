package interop

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// maxLate is how many later messages of its direction can overtake a message.
// A receiver keeps five receiving chains: one that is later than that fails
// with both libraries.
const maxLate = 4

// network carries the messages of two parties, badly.
type network struct {
	r       *rand.Rand
	sides   [2]*party
	loss    float64
	waiting [2][]message // to each side
	last    [2][]message // the last few that arrived at each side

	sent, arrived, repeated int
	epoch                   uint64 // the highest of the post-quantum ratchet
}

// exchange sends n messages; share is the part of the first side.
func (n *network) exchange(t *testing.T, messages int, share float64) {
	t.Helper()
	for range messages {
		from := 1
		if n.r.Float64() < share {
			from = 0
		}
		n.send(t, from)
		for to := range n.sides {
			for len(n.waiting[to]) > 0 && (len(n.waiting[to]) > maxLate || n.r.IntN(2) == 0) {
				n.deliver(t, to)
			}
		}
	}
}

func (n *network) send(t *testing.T, from int) {
	t.Helper()
	n.sent++
	plaintext := fmt.Appendf(nil, "message %d%*s", n.sent, n.r.IntN(200), "")
	m := n.sides[from].encrypt(t, n.sides[1-from], plaintext)
	n.epoch = max(n.epoch, epochOf(t, m))
	if n.r.Float64() >= n.loss {
		n.waiting[1-from] = append(n.waiting[1-from], m)
	}
}

// deliver hands over a message: the one that waits longest when it is its time,
// else any. Sometimes it repeats one of the last.
func (n *network) deliver(t *testing.T, to int) {
	t.Helper()
	i := 0
	if len(n.waiting[to]) <= maxLate {
		i = n.r.IntN(len(n.waiting[to]))
	}
	m := n.waiting[to][i]
	n.waiting[to] = slices.Delete(n.waiting[to], i, i+1)
	n.sides[to].decrypt(t, n.sides[1-to], m)
	n.arrived++
	n.last[to] = append(n.last[to], m)
	if len(n.last[to]) > maxLate {
		n.last[to] = n.last[to][1:]
	}
	if n.r.IntN(10) == 0 {
		n.repeated++
		again := n.last[to][n.r.IntN(len(n.last[to]))]
		if a := n.sides[to].tryDecrypt(t, n.sides[1-to], again); !a.Duplicate {
			t.Fatalf("%s meets a repeated message of type %d with %+v", n.sides[to].name, again.kind, a)
		}
	}
}

// settle delivers everything and then lets each side get one answer, so that
// both have proven that they go on.
func (n *network) settle(t *testing.T) {
	t.Helper()
	n.loss = 0
	for range 2 {
		for to := range n.sides {
			n.send(t, 1-to)
			for len(n.waiting[to]) > 0 {
				n.deliver(t, to)
			}
		}
	}
}

// field finds the first length-delimited field of that number in a protobuf
// message.
func field(t *testing.T, b []byte, number uint64) []byte {
	t.Helper()
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		value, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			break
		}
		b = b[n+m:]
		switch {
		case tag&7 == 0:
			continue
		case tag&7 != 2 || value > uint64(len(b)):
			t.Fatalf("not a protobuf message: %x", b)
		case tag>>3 == number:
			return b[:value]
		}
		b = b[value:]
	}
	t.Fatalf("no field %d", number)
	return nil
}

// innerMessage is the message of type 2 in a prekey message.
func innerMessage(t *testing.T, m message) []byte {
	t.Helper()
	if m.kind != 3 {
		t.Fatalf("type %d, want 3", m.kind)
	}
	return field(t, m.data[1:], 4)
}

// epochOf reads the epoch of the post-quantum ratchet, which every message has
// in clear: version || varint epoch || … in field 5.
func epochOf(t *testing.T, m message) uint64 {
	t.Helper()
	data := m.data
	if m.kind == 3 {
		data = innerMessage(t, m)
	}
	ratchet := field(t, data[1:len(data)-8], 5)
	if len(ratchet) < 4 || ratchet[0] != 1 {
		t.Fatalf("post-quantum ratchet message %x", ratchet)
	}
	epoch, _ := binary.Uvarint(ratchet[1:])
	return epoch
}

// swapScannable turns what one side shows into what the other one shows.
func swapScannable(t *testing.T, b []byte) []byte {
	t.Helper()
	local, remote := field(t, b, 2), field(t, b, 3)
	out := append([]byte{1 << 3, 2, 2<<3 | 2, byte(len(remote))}, remote...)
	out = append(out, 3<<3|2, byte(len(local)))
	return append(out, local...)
}
