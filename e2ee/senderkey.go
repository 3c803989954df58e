package e2ee

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Sender keys: a sender gives every member of a group the same chain key once,
// through the pairwise sessions, and encrypts each message once. The signature
// keeps members from writing in each other's name. There is no healing until
// the key is rotated.

const (
	senderKeyVersion     = 3
	senderKeyVersionByte = senderKeyVersion<<4 | senderKeyVersion

	// maxSenderKeyStates is how many chains of one sender and distribution a
	// receiver keeps; the oldest goes.
	maxSenderKeyStates = 5

	// A sender key is due for rotation after so many messages or so long.
	senderKeyMessages = 500
	senderKeyLifetime = 7 * 24 * time.Hour
)

// SenderKey is one's own sending key of one distribution (a group as seen by
// this device). The rules of [Session] about storing it hold: store Marshal()
// in the same transaction as the message.
type SenderKey struct {
	distribution [16]byte
	chainID      uint32
	chain        chain
	signing      KeyPair
	created      time.Time // whole seconds
}

// NewSenderKey makes a sender key. distribution is a UUID that the sender
// chooses for the group.
func NewSenderKey(rand io.Reader, distribution [16]byte, now time.Time) (*SenderKey, error) {
	k := &SenderKey{distribution: distribution, created: now.Truncate(time.Second)}
	var random [4 + 32]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return nil, fmt.Errorf("making a sender key: %w", err)
	}
	k.chainID = binary.BigEndian.Uint32(random[:4]) & math.MaxInt32
	k.chain.key = [32]byte(random[4:])
	var err error
	k.signing, err = NewKeyPair(rand)
	return k, err
}

// Rotate replaces the key. A caller rotates whenever a member or a device of a
// member leaves, and when the key is [SenderKey.Due], and then distributes the
// new key before it sends.
func (k *SenderKey) Rotate(rand io.Reader, now time.Time) error {
	fresh, err := NewSenderKey(rand, k.distribution, now)
	if err != nil {
		return err
	}
	*k = *fresh
	return nil
}

// Due reports whether the key has been used for 500 messages or for 7 days.
func (k *SenderKey) Due(now time.Time) bool {
	return k.chain.index >= senderKeyMessages || now.Sub(k.created) >= senderKeyLifetime
}

// Distribution returns the SenderKeyDistributionMessage that lets its receiver
// decrypt from the next message on. It is secret: it travels in sessions.
func (k *SenderKey) Distribution() []byte {
	b := appendBytesField([]byte{senderKeyVersionByte}, 1, k.distribution[:])
	b = appendUintField(b, 2, uint64(k.chainID))
	b = appendUintField(b, 3, uint64(k.chain.index))
	b = appendBytesField(b, 4, k.chain.key[:])
	return appendBytesField(b, 5, k.signing.Public[:])
}

// Encrypt encrypts plaintext (at most [MaxPlaintext] bytes) for everyone who
// has the key and signs it.
func (k *SenderKey) Encrypt(rand io.Reader, plaintext []byte) (Message, error) {
	if len(plaintext) > MaxPlaintext {
		return Message{}, fmt.Errorf("plaintext of %d bytes: %w", len(plaintext), ErrInvalidMessage)
	}
	if k.chain.index == math.MaxUint32 {
		return Message{}, fmt.Errorf("sender key is used up: %w", ErrNoSession)
	}
	next := k.chain
	key, iv, err := senderMessageKey(next.next())
	if err != nil {
		return Message{}, err
	}
	b := appendBytesField([]byte{senderKeyVersionByte}, 1, k.distribution[:])
	b = appendUintField(b, 2, uint64(k.chainID))
	b = appendUintField(b, 3, uint64(k.chain.index))
	b = appendBytesField(b, 4, encryptCBC(key, iv, plaintext))
	sig, err := k.signing.Private.Sign(rand, b)
	if err != nil {
		return Message{}, err
	}
	k.chain = next
	return Message{Type: TypeSenderKey, Bytes: append(b, sig[:]...)}, nil
}

func senderMessageKey(seed [32]byte) (key [32]byte, iv [16]byte, err error) {
	out, err := hkdf.Key(sha256.New, seed[:], nil, "WhisperGroup", 48)
	if err != nil {
		return key, iv, fmt.Errorf("deriving a sender message key: %w", err)
	}
	return [32]byte(out[16:]), [16]byte(out[:16]), nil
}

// PeerSenderKeys are the sender keys that one remote device has distributed
// under one distribution id: the newest and up to four before it, for messages
// that are still under way. The zero value is empty; a method that returns an
// error has changed nothing.
type PeerSenderKeys struct {
	states []peerSenderKey // newest first
}

type peerSenderKey struct {
	distribution [16]byte
	chainID      uint32
	signing      PublicKey
	receivingChain
}

// Accept adds the key of a SenderKeyDistributionMessage that came through a
// session with its sender. A key that is known already keeps its place in the
// chain. The caller has found this record by [PeekSenderKeyDistribution].
func (p *PeerSenderKeys) Accept(distribution []byte) error {
	k, err := parseDistribution(distribution)
	if err != nil {
		return err
	}
	for _, known := range p.states {
		if known.distribution != k.distribution {
			return fmt.Errorf("another distribution: %w", ErrInvalidMessage)
		}
		if known.chainID == k.chainID && known.signing == k.signing {
			return nil
		}
	}
	states := slices.Insert(p.states, 0, k)
	p.states = states[:min(len(states), maxSenderKeyStates)]
	return nil
}

// Decrypt verifies and decrypts a message of type 7. It returns [ErrNoSession]
// when the sender has not (yet) distributed the key.
func (p *PeerSenderKeys) Decrypt(m Message) ([]byte, error) {
	if m.Type != TypeSenderKey {
		return nil, fmt.Errorf("message type %d with a sender key: %w", m.Type, ErrInvalidMessage)
	}
	parsed, err := parseSenderKeyMessage(m.Bytes)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.states, func(k peerSenderKey) bool {
		return k.distribution == parsed.distribution && k.chainID == parsed.chainID
	})
	if i < 0 {
		return nil, fmt.Errorf("unknown sender key: %w", ErrNoSession)
	}
	next := p.states[i]
	if !next.signing.Verify(parsed.body, parsed.signature) {
		return nil, fmt.Errorf("signature of a group message: %w", ErrInvalidMessage)
	}
	seed, err := next.seek(parsed.iteration)
	if err != nil {
		return nil, err
	}
	key, iv, err := senderMessageKey(seed)
	if err != nil {
		return nil, err
	}
	plaintext, err := decryptCBC(key, iv, parsed.ciphertext)
	if err != nil {
		return nil, fmt.Errorf("group message body: %w", ErrInvalidMessage)
	}
	p.states[i] = next
	return plaintext, nil
}

// PeekSenderKeyMessage returns the distribution id of a type 7 message. It is
// not authenticated until the message has been decrypted.
func PeekSenderKeyMessage(b []byte) (distribution [16]byte, err error) {
	m, err := parseSenderKeyMessage(b)
	return m.distribution, err
}

// PeekSenderKeyDistribution returns the distribution id of a
// SenderKeyDistributionMessage.
func PeekSenderKeyDistribution(b []byte) (distribution [16]byte, err error) {
	k, err := parseDistribution(b)
	return k.distribution, err
}

type senderKeyMessage struct {
	distribution       [16]byte
	chainID, iteration uint32
	ciphertext         []byte

	body, signature []byte
}

func parseSenderKeyMessage(b []byte) (senderKeyMessage, error) {
	var m senderKeyMessage
	if err := checkSenderKeyVersion(b); err != nil {
		return m, err
	}
	if len(b) < 1+SignatureSize {
		return m, fmt.Errorf("group message too short: %w", ErrInvalidMessage)
	}
	m.body, m.signature = b[:len(b)-SignatureSize], b[len(b)-SignatureSize:]
	var seen fieldSet
	r := readWire(m.body[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			r.fixed(m.distribution[:])
		case 2:
			m.chainID = r.uint32()
		case 3:
			m.iteration = r.uint32()
		case 4:
			m.ciphertext = r.bytes(MaxPlaintext + 16)
		}
	}
	if r.err != nil || !seen.has(1, 2, 3, 4) {
		return m, fmt.Errorf("parsing a group message: %w", ErrInvalidMessage)
	}
	return m, nil
}

func parseDistribution(b []byte) (peerSenderKey, error) {
	var k peerSenderKey
	if err := checkSenderKeyVersion(b); err != nil {
		return k, err
	}
	var seen fieldSet
	r := readWire(b[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			r.fixed(k.distribution[:])
		case 2:
			k.chainID = r.uint32()
		case 3:
			k.index = r.uint32()
		case 4:
			r.fixed(k.key[:])
		case 5:
			r.fixed(k.signing[:])
		}
	}
	if r.err != nil || !seen.has(1, 2, 3, 4, 5) || k.signing[0] != curveKeyType {
		return k, fmt.Errorf("parsing a sender key: %w", ErrInvalidMessage)
	}
	return k, nil
}

func checkSenderKeyVersion(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("empty group message: %w", ErrInvalidMessage)
	}
	if b[0]>>4 != senderKeyVersion {
		return fmt.Errorf("group message version %d: %w", b[0]>>4, ErrVersion)
	}
	return nil
}
