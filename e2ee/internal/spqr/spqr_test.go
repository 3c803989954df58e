package spqr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

var testKey = [32]byte{1, 2, 3}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// sent is a message on its way, with the key its sender used.
type sent struct{ msg, key []byte }

// party is one side of a test conversation.
type party struct {
	*State
	rand io.Reader
}

func newParties(seed byte) (a, b *party) {
	return &party{NewInitiator(testKey), rand.NewChaCha8([32]byte{seed, 1})},
		&party{NewResponder(testKey), rand.NewChaCha8([32]byte{seed, 2})}
}

func (p *party) send(t failer) sent {
	t.Helper()
	msg, key, err := p.Send(p.rand)
	if err != nil {
		t.Fatalf("sending: %v", err)
	}
	if len(msg) > 51 || len(key) != 32 {
		t.Fatalf("a message of %d bytes with a key of %d", len(msg), len(key))
	}
	return sent{msg, key}
}

func (p *party) receive(t failer, m sent) {
	t.Helper()
	key, err := p.Receive(m.msg)
	if err != nil {
		t.Fatalf("receiving %x in phase %d: %v", m.msg, p.braid.phase, err)
	}
	if !bytes.Equal(key, m.key) {
		t.Fatalf("receiving %x: another key than the sender's", m.msg)
	}
}

// refuse checks that a message is refused with one error and that this changed
// nothing.
func (p *party) refuse(t failer, msg []byte, want error) {
	t.Helper()
	before := p.Marshal()
	if _, err := p.Receive(msg); !errors.Is(err, want) {
		t.Fatalf("receiving %x: %v, want %v", msg, err, want)
	}
	if !bytes.Equal(before, p.Marshal()) {
		t.Fatalf("the refused message %x changed the state", msg)
	}
}

func TestBalancedConversation(t *testing.T) {
	a, b := newParties(1)
	keys := make(map[string]bool)
	for range 1000 {
		m := a.send(t)
		b.receive(t, m)
		n := b.send(t)
		a.receive(t, n)
		keys[string(m.key)], keys[string(n.key)] = true, true
	}
	if len(keys) != 2000 {
		t.Errorf("2000 messages used %d keys", len(keys))
	}
	if a.Epoch() < 20 || b.Epoch() < 20 {
		t.Errorf("epochs %d and %d after 2000 messages, want at least 20", a.Epoch(), b.Epoch())
	}
}

// network carries the messages of one direction: some are lost, some repeated,
// and one may be overtaken by up to window later ones.
type network struct {
	r       *rand.Rand
	loss    float64
	window  int
	waiting []sent
	arrived []sent
}

func (n *network) carry(t failer, from, to *party) {
	m := from.send(t)
	if n.r.Float64() < n.loss {
		return
	}
	n.waiting = append(n.waiting, m)
	for len(n.waiting) > n.r.IntN(n.window+1) {
		i := n.r.IntN(len(n.waiting))
		if len(n.waiting) > n.window {
			i = 0
		}
		m := n.waiting[i]
		n.waiting = slices.Delete(n.waiting, i, i+1)
		to.receive(t, m)
		n.arrived = append(n.arrived, m)
		if n.r.IntN(10) == 0 {
			to.refuse(t, n.arrived[n.r.IntN(len(n.arrived))].msg, ErrKeyGone)
		}
	}
}

func TestLossReorderingDuplicates(t *testing.T) {
	for _, c := range []struct {
		loss, talk float64 // share of messages lost; share of messages that A sends
		epochs     uint64
	}{{0, 0.5, 20}, {0.1, 0.5, 20}, {0.5, 0.5, 10}, {0.9, 0.5, 2}, {0.1, 0.9, 4}, {0.1, 0.1, 4}} {
		t.Run(fmt.Sprintf("loss %v, A talks %v", c.loss, c.talk), func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(c.loss*100+c.talk*1000)))
			a, b := newParties(2)
			there := &network{r: r, loss: c.loss, window: 8}
			back := &network{r: r, loss: c.loss, window: 8}
			for range 4000 {
				if r.Float64() < c.talk {
					there.carry(t, a, b)
				} else {
					back.carry(t, b, a)
				}
			}
			if a.Epoch() < c.epochs {
				t.Errorf("epoch %d after 4000 messages, want at least %d", a.Epoch(), c.epochs)
			}
			t.Logf("epoch %d, %d messages arrived", a.Epoch(), len(there.arrived)+len(back.arrived))
		})
	}
}

func TestJumpLimit(t *testing.T) {
	a, b := newParties(3)
	var messages []sent
	for range maxJump + 2 {
		messages = append(messages, a.send(t))
	}
	number := func(index int) sent { return messages[index-1] }
	b.refuse(t, number(maxJump+1).msg, ErrTooFarAhead)
	b.receive(t, number(1))
	b.refuse(t, number(maxJump+2).msg, ErrTooFarAhead)
	b.receive(t, number(maxJump+1))

	last := maxJump + 1
	b.refuse(t, number(last-maxSkipped-1).msg, ErrKeyGone)
	b.receive(t, number(last-maxSkipped))
	b.refuse(t, number(last-maxSkipped).msg, ErrKeyGone)
	b.receive(t, number(last-1))
	if got := len(b.chains.links[0].receive.skipped); got != maxSkipped-2 {
		t.Errorf("%d keys kept, want %d", got, maxSkipped-2)
	}
	b.receive(t, number(last+1)) // the window moves: number(last-maxSkipped+1) stays, just
	b.receive(t, number(last-maxSkipped+1))
	if size := len(b.Marshal()); size > 3000+maxSkipped*36 {
		t.Errorf("a state of %d bytes", size)
	}
}

func TestSkippedKeysLeaveTheWindow(t *testing.T) {
	a, b := newParties(4)
	early := a.send(t)
	kept := a.send(t)
	for range maxSkipped {
		b.receive(t, a.send(t))
	}
	b.refuse(t, early.msg, ErrKeyGone) // 2001 behind
	b.receive(t, kept)                 // 2000 behind
}

func TestEpochsKept(t *testing.T) {
	a, b := newParties(5)
	var late []sent // one message of A for each of its epochs, not delivered
	seen := uint64(0)
	for b.chains.sendEpoch < 4 {
		m := a.send(t)
		if a.Epoch() > seen {
			seen = a.Epoch()
			late = append(late, m)
			continue
		}
		b.receive(t, m)
		a.receive(t, b.send(t))
	}
	// B sends in epoch 4 of the chains, so it still receives in 3 and later.
	for _, m := range late[:3] {
		b.refuse(t, m.msg, ErrKeyGone)
	}
	b.receive(t, late[3])
	for i, l := range b.chains.links {
		epoch := b.chains.firstEpoch() + uint64(i)
		if erased := l.send.next == [32]byte{}; erased != (epoch < b.chains.sendEpoch) {
			t.Errorf("sending chain of epoch %d erased: %v", epoch, erased)
		}
	}
}

// TestFirstRelease talks to an initiator that does not use keys before it has
// heard from us: it sends epoch 1, index 0.
func TestFirstRelease(t *testing.T) {
	a, b := newParties(6)
	for range 3 {
		parsed, err := parseMessage(a.send(t).msg)
		if err != nil {
			t.Fatal(err)
		}
		parsed.index = 0
		key, err := b.Receive(parsed.marshal())
		if err != nil || key != nil {
			t.Fatalf("key %x, error %v, want neither", key, err)
		}
	}
	if b.braid.phase != headerReceived {
		t.Errorf("phase %d after all chunks of the header, want %d", b.braid.phase, headerReceived)
	}
	for b.Epoch() < 3 {
		b.receive(t, a.send(t))
		a.receive(t, b.send(t))
	}
	for epoch := uint64(2); epoch <= 4; epoch++ {
		b.refuse(t, message{epoch: epoch, index: 0}.marshal(), ErrMessage)
	}
}

// TestOtherEpochs gives messages a wrong epoch that has chains.
func TestOtherEpochs(t *testing.T) {
	a, b := newParties(12)
	for b.braid.phase != ct1Sampled {
		b.receive(t, a.send(t))
		a.receive(t, b.send(t))
	}
	// B has the chains of the next epoch already, A cannot have them.
	b.refuse(t, message{epoch: b.Epoch() + 1, index: 1}.marshal(), ErrMessage)

	for a.Epoch() < 2 {
		b.receive(t, a.send(t))
		a.receive(t, b.send(t))
	}
	for a.braid.phase != noHeader || b.braid.phase != keysSampled {
		b.receive(t, a.send(t))
		a.receive(t, b.send(t))
	}
	before := a.braid
	m := message{epoch: a.Epoch() - 1, index: a.chains.links[0].receive.counter + 1, kind: kindHeader}
	m.chunk.Index = 1000
	if _, err := a.Receive(m.marshal()); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, a.braid) {
		t.Error("a message of an earlier epoch changed the key agreement")
	}
}

func TestMalformedMessages(t *testing.T) {
	a, b := newParties(7)
	good := a.send(t).msg
	for name, msg := range map[string][]byte{
		"empty":             {},
		"version 0":         append([]byte{0}, good[1:]...),
		"version 2":         append([]byte{2}, good[1:]...),
		"cut":               good[:len(good)-1],
		"epoch 0":           append([]byte{1, 0}, good[2:]...),
		"epoch overflow":    append([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, good[2:]...),
		"epoch ahead":       append([]byte{1, 2}, good[2:]...),
		"index over 32 bit": append([]byte{1, 1, 0x80, 0x80, 0x80, 0x80, 0x10}, good[3:]...),
		"unknown kind":      append([]byte{1, 1, 1, 7}, good[4:]...),
		"chunk number":      append([]byte{1, 1, 1, 1, 0x80, 0x80, 0x04}, good[5:]...),
		"no kind":           {1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) { b.refuse(t, msg, ErrMessage) })
	}
	b.receive(t, sent{append(good, 1, 2, 3), firstKeyOfA(t)})
}

// firstKeyOfA is the key of the first message of an initiator.
func firstKeyOfA(t *testing.T) []byte {
	_, key, err := NewInitiator(testKey).Send(rand.NewChaCha8([32]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestForgedPayloads changes the last chunk of each payload that is
// authenticated. The side that notices must refuse it, stay as it was and go on
// with the right chunk.
func TestForgedPayloads(t *testing.T) {
	for _, forged := range []struct {
		kind kind
		last uint16
	}{{kindHeader, 2}, {kindEKCt1Ack, 35}, {kindCt2, 4}} {
		t.Run(fmt.Sprint(forged.kind), func(t *testing.T) {
			a, b := newParties(8)
			forgeries := 0
			talk := func(from, to *party) {
				m := from.send(t)
				parsed, err := parseMessage(m.msg)
				if err != nil {
					t.Fatal(err)
				}
				if parsed.kind == forged.kind && parsed.chunk.Index == forged.last {
					forgeries++
					parsed.chunk.Data[7] ^= 1
					to.refuse(t, parsed.marshal(), ErrMessage)
				}
				to.receive(t, m)
			}
			for range 200 {
				talk(a, b)
				talk(b, a)
			}
			if forgeries == 0 || a.Epoch() < 4 {
				t.Errorf("%d forgeries, epoch %d", forgeries, a.Epoch())
			}
		})
	}
}

// TestForgedKey changes a chunk of ek that completes it before word of ct1 is
// there. It shows when the ciphertext is to be finished.
func TestForgedKey(t *testing.T) {
	a, b := newParties(8)
	for b.braid.phase != ct1Sampled || a.braid.phase != headerSent {
		b.receive(t, a.send(t))
		a.receive(t, b.send(t))
	}
	for b.braid.phase == ct1Sampled {
		m := a.send(t)
		parsed, err := parseMessage(m.msg)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.chunk.Index == 20 {
			parsed.chunk.Data[0] ^= 1
		}
		b.receive(t, sent{parsed.marshal(), m.key})
	}
	for a.braid.phase == headerSent {
		a.receive(t, b.send(t))
	}
	b.refuse(t, a.send(t).msg, ErrMessage)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestFailingRandomness(t *testing.T) {
	a, b := newParties(9)
	try := func(p *party) {
		before := p.Marshal()
		if _, _, err := p.Send(failingReader{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("phase %d: %v, want the reader's error", p.braid.phase, err)
		}
		if !bytes.Equal(before, p.Marshal()) {
			t.Fatal("a failed Send changed the state")
		}
	}
	try(a)
	for b.braid.phase != headerReceived {
		b.receive(t, a.send(t))
	}
	try(b)
	a.receive(t, b.send(t))
}

func TestCloneIsIndependent(t *testing.T) {
	a, b := newParties(10)
	for i := range 60 {
		b.receive(t, a.send(t))
		before := a.Marshal()
		copied := &party{a.Clone(), rand.NewChaCha8([32]byte{99})}
		b2 := &party{b.Clone(), rand.NewChaCha8([32]byte{98})}
		for range 1 + i%10 {
			b2.receive(t, copied.send(t))
			copied.receive(t, b2.send(t))
		}
		if !bytes.Equal(before, a.Marshal()) {
			t.Fatal("using a clone changed the original")
		}
		before = copied.Marshal()
		b.send(t) // lost, so that the original gets another chunk than the clone did
		a.receive(t, b.send(t))
		if !bytes.Equal(before, copied.Marshal()) {
			t.Fatal("using the original changed the clone")
		}
	}
}

func BenchmarkSendReceive(b *testing.B) {
	a, c := newParties(11)
	for b.Loop() {
		c.receive(b, a.send(b))
		a.receive(b, c.send(b))
	}
}
