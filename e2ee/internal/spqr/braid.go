package spqr

import (
	"crypto/hmac"
	"crypto/mlkem"
	"fmt"
	"io"
	"slices"

	"sotto/e2ee/internal/erasure"
	"sotto/e2ee/internal/mlkem768"
)

// Sizes of the payloads that travel in chunks, in bytes.
const (
	tagSize    = 32
	headerSize = mlkem768.HeaderSize + tagSize
	ekSize     = mlkem768.VectorSize
	ct1Size    = mlkem768.Ciphertext1Size
	ct2Size    = mlkem768.Ciphertext2Size + tagSize
)

// phase is where a braid stands within its epoch. In each epoch one side owns
// an ML-KEM key and the other encapsulates to it; the roles swap every epoch.
type phase uint8

const (
	// The owner of the key.
	keysUnsampled     phase = 0 // has no key yet
	keysSampled       phase = 1 // sends the header
	headerSent        phase = 2 // sends ek, receives ct1
	ct1Received       phase = 3 // sends ek and that ct1 is here
	ekSentCt1Received phase = 4 // sends that ct1 is here, receives ct2
	// The other side.
	noHeader        phase = 5  // receives the header
	headerReceived  phase = 6  // has it, has not encapsulated yet
	ct1Sampled      phase = 7  // sends ct1, receives ek
	ekReceivedCt1   phase = 8  // sends ct1, has ek
	ct1Acknowledged phase = 9  // ct1 has arrived, receives ek
	ct2Sampled      phase = 10 // sends ct2
	numberOfPhases        = 11
)

// braid is the state machine of ML-KEM Braid. It is a value: no slice in it is
// written to once it is there, so that a copy is independent.
type braid struct {
	epoch uint64 // of the key being agreed on, from 1
	phase phase
	auth  authenticator

	// Which of these are in use depends on the phase; see contents.
	seed   []byte          // of the decapsulation key
	header mlkem768.Header // of the other side's key
	random []byte          // that this side encapsulates with
	ct1    []byte
	ek     []byte
	out    outgoing
	in     []erasure.Chunk // distinct chunks of the payload that is arriving
}

// outgoing is a payload on its way out, one chunk with each message.
type outgoing struct {
	payload []byte
	next    uint16 // number of the next chunk; wraps
}

// following starts a new phase of the same epoch with nothing but what all
// phases have.
func (b braid) following(p phase) braid {
	return braid{epoch: b.epoch, phase: p, auth: b.auth}
}

// sending is what a phase puts into its messages.
func (b braid) sending() kind {
	switch b.phase {
	case keysSampled:
		return kindHeader
	case headerSent:
		return kindEK
	case ct1Received:
		return kindEKCt1Ack
	case ekSentCt1Received:
		return kindCt1Ack
	case ct1Sampled, ekReceivedCt1:
		return kindCt1
	case ct2Sampled:
		return kindCt2
	case keysUnsampled, noHeader, headerReceived, ct1Acknowledged:
		return kindNone
	}
	return kindNone
}

// send returns the machine after sending, the content of the message and, when
// this message made the secret of the epoch, that secret.
func (b braid) send(rand io.Reader) (next braid, m message, secret *[32]byte, err error) {
	switch b.phase {
	case keysUnsampled:
		b, err = b.generate(rand)
	case headerReceived:
		b, secret, err = b.encapsulate(rand)
	default:
	}
	if err != nil {
		return braid{}, message{}, nil, err
	}
	m = message{epoch: b.epoch, kind: b.sending()}
	if m.kind.hasChunk() {
		m.chunk = erasure.Encode(b.out.payload, b.out.next)
		b.out.next++
	}
	return b, m, secret, nil
}

// generate makes the key of the epoch.
func (b braid) generate(rand io.Reader) (braid, error) {
	seed := make([]byte, mlkem.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return braid{}, fmt.Errorf("making an ML-KEM key: %w", err)
	}
	header, _, err := encapsulationKey(seed)
	if err != nil {
		return braid{}, err
	}
	next := b.following(keysSampled)
	next.seed = seed
	next.out.payload = slices.Concat(header[:], b.auth.headerTag(b.epoch, header[:]))
	return next, nil
}

func encapsulationKey(seed []byte) (header mlkem768.Header, ek []byte, err error) {
	key, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return header, nil, fmt.Errorf("ML-KEM seed: %w", ErrState)
	}
	header, vector := mlkem768.Split(key.EncapsulationKey().Bytes())
	return header, vector[:], nil
}

// encapsulate makes ct1 and the secret of the epoch.
func (b braid) encapsulate(rand io.Reader) (braid, *[32]byte, error) {
	random := make([]byte, mlkem768.RandomSize)
	if _, err := io.ReadFull(rand, random); err != nil {
		return braid{}, nil, fmt.Errorf("encapsulating: %w", err)
	}
	ct1, shared := b.header.Encapsulate1([mlkem768.RandomSize]byte(random))
	secret := epochSecret(shared, b.epoch)
	next := b.following(ct1Sampled)
	next.auth = b.auth.update(b.epoch, secret)
	next.header, next.random = b.header, random
	next.out.payload = ct1[:]
	return next, &secret, nil
}

// receive returns the machine after a message and, when it completed the
// secret of the epoch, that secret. Messages of earlier epochs and repeated
// ones change nothing.
func (b braid) receive(m message) (next braid, secret *[32]byte, err error) {
	if m.epoch < b.epoch {
		return b, nil, nil
	}
	if m.epoch > b.epoch {
		if b.phase != ct2Sampled || m.epoch-b.epoch != 1 {
			return braid{}, nil, fmt.Errorf("epoch ahead: %w", ErrMessage)
		}
		// The other side has the secret and has gone on; now this side makes
		// the key. Its first message has nothing for us.
		b.epoch++
		return b.following(keysUnsampled), nil, nil
	}
	switch b.phase {
	case keysSampled, headerSent:
		next, err = b.receiveCt1(m)
	case ct1Received, ekSentCt1Received:
		return b.receiveCt2(m)
	case noHeader:
		next, err = b.receiveHeader(m)
	case ct1Sampled, ekReceivedCt1, ct1Acknowledged:
		next, err = b.receiveEK(m)
	case keysUnsampled, headerReceived, ct2Sampled:
		next = b
	}
	return next, nil, err
}

// gather adds a chunk to those that arrived. When they are all there it returns
// the payload of the given size in bytes.
func (b braid) gather(c erasure.Chunk, size int) (braid, []byte) {
	if slices.ContainsFunc(b.in, func(have erasure.Chunk) bool { return have.Index == c.Index }) {
		return b, nil
	}
	b.in = append(slices.Clip(b.in), c)
	if len(b.in)*erasure.ChunkSize < size {
		return b, nil
	}
	return b, erasure.Decode(b.in)
}

func (b braid) receiveCt1(m message) (braid, error) {
	if m.kind != kindCt1 {
		return b, nil
	}
	if b.phase == keysSampled {
		_, ek, err := encapsulationKey(b.seed)
		if err != nil {
			return braid{}, err
		}
		seed := b.seed
		b = b.following(headerSent)
		b.seed, b.out.payload = seed, ek
	}
	b, ct1 := b.gather(m.chunk, ct1Size)
	if ct1 == nil {
		return b, nil
	}
	next := b.following(ct1Received)
	next.seed, next.out, next.ct1 = b.seed, b.out, ct1
	return next, nil
}

func (b braid) receiveCt2(m message) (braid, *[32]byte, error) {
	if m.kind != kindCt2 {
		return b, nil, nil
	}
	if b.phase == ct1Received {
		next := b.following(ekSentCt1Received)
		next.seed, next.ct1 = b.seed, b.ct1
		b = next
	}
	b, payload := b.gather(m.chunk, ct2Size)
	if payload == nil {
		return b, nil, nil
	}
	ct2, tag := payload[:mlkem768.Ciphertext2Size], payload[mlkem768.Ciphertext2Size:]
	key, err := mlkem.NewDecapsulationKey768(b.seed)
	if err != nil {
		return braid{}, nil, fmt.Errorf("ML-KEM seed: %w", ErrState)
	}
	shared, err := key.Decapsulate(slices.Concat(b.ct1, ct2))
	if err != nil {
		return braid{}, nil, fmt.Errorf("ciphertext: %w", ErrMessage)
	}
	secret := epochSecret([32]byte(shared), b.epoch)
	auth := b.auth.update(b.epoch, secret)
	if !hmac.Equal(tag, auth.ciphertextTag(b.epoch, b.ct1, ct2)) {
		return braid{}, nil, fmt.Errorf("ciphertext tag: %w", ErrMessage)
	}
	return braid{epoch: b.epoch + 1, phase: noHeader, auth: auth}, &secret, nil
}

func (b braid) receiveHeader(m message) (braid, error) {
	if m.kind != kindHeader {
		return b, nil
	}
	b, payload := b.gather(m.chunk, headerSize)
	if payload == nil {
		return b, nil
	}
	header, tag := payload[:mlkem768.HeaderSize], payload[mlkem768.HeaderSize:]
	if !hmac.Equal(tag, b.auth.headerTag(b.epoch, header)) {
		return braid{}, fmt.Errorf("header tag: %w", ErrMessage)
	}
	next := b.following(headerReceived)
	next.header = mlkem768.Header(header)
	return next, nil
}

// receiveEK waits for two things that may come in either order: all of ek, and
// word that all of ct1 has arrived.
func (b braid) receiveEK(m message) (braid, error) {
	acknowledged := m.kind == kindEKCt1Ack || m.kind == kindCt1Ack
	if b.phase == ekReceivedCt1 {
		if acknowledged {
			return b.finish(b.out.payload, b.ek)
		}
		return b, nil
	}
	if m.kind != kindEK && m.kind != kindEKCt1Ack {
		return b, nil
	}
	b, ek := b.gather(m.chunk, ekSize)
	ct1 := b.ct1
	if b.phase == ct1Sampled {
		ct1 = b.out.payload
	}
	acknowledged = acknowledged || b.phase == ct1Acknowledged
	switch {
	case ek != nil && acknowledged:
		return b.finish(ct1, ek)
	case ek != nil:
		next := b.following(ekReceivedCt1)
		next.header, next.random, next.out, next.ek = b.header, b.random, b.out, ek
		return next, nil
	case acknowledged:
		next := b.following(ct1Acknowledged)
		next.header, next.random, next.in, next.ct1 = b.header, b.random, b.in, ct1
		return next, nil
	}
	return b, nil
}

// finish makes ct2 once ek is complete and ct1 has arrived.
func (b braid) finish(ct1, ek []byte) (braid, error) {
	ct2, err := b.header.Encapsulate2([mlkem768.RandomSize]byte(b.random), (*[ekSize]byte)(ek))
	if err != nil {
		return braid{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	next := b.following(ct2Sampled)
	next.out.payload = slices.Concat(ct2[:], b.auth.ciphertextTag(b.epoch, ct1, ct2[:]))
	return next, nil
}
