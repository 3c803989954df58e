package e2ee

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// The types of [Message], as in libsignal. 6 is reserved for sealed sender.
const (
	TypeMessage   uint8 = 2 // in an established session
	TypePreKey    uint8 = 3 // begins a session
	TypeSenderKey uint8 = 7 // to a group, see [SenderKey]
	TypePlaintext uint8 = 8 // not encrypted, see [NewPlaintextContent]
)

const (
	// sessionVersion is the only session version spoken: PQXDH and SPQR. 3 was
	// X3DH.
	sessionVersion = 4
	versionByte    = sessionVersion<<4 | sessionVersion
	macSize        = 8
	addressesSize  = 2 * (17 + 1)
)

// MaxPlaintext is the size in bytes of the largest plaintext that can be
// encrypted. Longer ones and longer messages are refused.
const MaxPlaintext = 512 << 10

// maxPQRatchet bounds the SPQR part of a message: version, three varints, type
// and a chunk of 32 bytes.
const maxPQRatchet = 64

// maxDevice is the highest wire device id.
const maxDevice = 127

// Address names a device: an account id (a UUID) and a device id, 1 to 127.
type Address struct {
	Account [16]byte
	Device  uint32
}

// Message is what goes into an envelope. Bytes of types 2, 3 and 7 are
// authenticated, those of type 8 are not.
type Message struct {
	Type  uint8
	Bytes []byte
}

// signalMessage is a parsed SignalMessage (type 2). The slices alias the input.
type signalMessage struct {
	ratchetKey        PublicKey
	counter, previous uint32
	ciphertext        []byte
	pqRatchet         []byte
	addresses         []byte // nil when absent

	body []byte // what the MAC covers: version byte and protobuf
	mac  []byte
}

// preKeyMessage is a parsed PreKeySignalMessage (type 3).
type preKeyMessage struct {
	preKeyID                      *uint32
	baseKey, identityKey          PublicKey
	inner                         *signalMessage
	registrationID                uint32
	signedPreKeyID, kyberPreKeyID uint32
	kyberCiphertext               []byte
}

// addressBytes is the addresses field: each address as a service id (kind 0 and
// the UUID) and a device id byte.
func addressBytes(sender, recipient Address) ([]byte, error) {
	b := make([]byte, 0, addressesSize)
	for _, a := range [...]Address{sender, recipient} {
		if a.Device < 1 || a.Device > maxDevice {
			return nil, fmt.Errorf("device id %d: %w", a.Device, ErrInvalidMessage)
		}
		b = append(b, 0)
		b = append(b, a.Account[:]...)
		b = append(b, byte(a.Device))
	}
	return b, nil
}

// marshal writes version byte, protobuf and MAC. It does not read body and mac.
func (m *signalMessage) marshal(macKey [32]byte, sender, receiver PublicKey) []byte {
	b := make([]byte, 0, 64+len(m.ciphertext)+len(m.pqRatchet)+len(m.addresses)+macSize)
	b = append(b, versionByte)
	b = appendBytesField(b, 1, m.ratchetKey[:])
	b = appendUintField(b, 2, uint64(m.counter))
	b = appendUintField(b, 3, uint64(m.previous))
	b = appendBytesField(b, 4, m.ciphertext)
	b = appendBytesField(b, 5, m.pqRatchet)
	if m.addresses != nil {
		b = appendBytesField(b, 6, m.addresses)
	}
	return append(b, messageMAC(macKey, sender, receiver, b)...)
}

// messageMAC also covers the identity keys, which the Double Ratchet paper puts
// into the associated data.
func messageMAC(key [32]byte, sender, receiver PublicKey, body []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(sender[:])
	h.Write(receiver[:])
	h.Write(body)
	return h.Sum(nil)[:macSize]
}

func (m *signalMessage) authentic(key [32]byte, sender, receiver PublicKey) bool {
	return hmac.Equal(m.mac, messageMAC(key, sender, receiver, m.body))
}

func parseSignalMessage(b []byte) (*signalMessage, error) {
	if err := checkVersion(b); err != nil {
		return nil, err
	}
	if len(b) < 1+macSize {
		return nil, fmt.Errorf("message too short: %w", ErrInvalidMessage)
	}
	m := &signalMessage{body: b[:len(b)-macSize], mac: b[len(b)-macSize:]}
	var seen fieldSet
	r := readWire(m.body[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			r.fixed(m.ratchetKey[:])
		case 2:
			m.counter = r.uint32()
		case 3:
			m.previous = r.uint32()
		case 4:
			m.ciphertext = r.bytes(MaxPlaintext + 16)
		case 5:
			m.pqRatchet = r.bytes(maxPQRatchet)
		case 6:
			m.addresses = r.bytes(addressesSize)
		}
	}
	if r.err != nil || !seen.has(1, 2, 4) || m.ratchetKey[0] != curveKeyType {
		return nil, fmt.Errorf("parsing a message: %w", ErrInvalidMessage)
	}
	if len(m.pqRatchet) == 0 {
		return nil, fmt.Errorf("message without SPQR: %w", ErrVersion)
	}
	return m, nil
}

// marshal writes version byte and protobuf around a whole SignalMessage.
func (m *preKeyMessage) marshal(inner []byte) []byte {
	b := make([]byte, 0, 128+len(m.kyberCiphertext)+len(inner))
	b = append(b, versionByte)
	if m.preKeyID != nil {
		b = appendUintField(b, 1, uint64(*m.preKeyID))
	}
	b = appendBytesField(b, 2, m.baseKey[:])
	b = appendBytesField(b, 3, m.identityKey[:])
	b = appendBytesField(b, 4, inner)
	b = appendUintField(b, 5, uint64(m.registrationID))
	b = appendUintField(b, 6, uint64(m.signedPreKeyID))
	b = appendUintField(b, 7, uint64(m.kyberPreKeyID))
	return appendBytesField(b, 8, m.kyberCiphertext)
}

func parsePreKeyMessage(b []byte) (*preKeyMessage, error) {
	if err := checkVersion(b); err != nil {
		return nil, err
	}
	m := new(preKeyMessage)
	var seen fieldSet
	var inner []byte
	r := readWire(b[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			id := r.uint32()
			m.preKeyID = &id
		case 2:
			r.fixed(m.baseKey[:])
		case 3:
			r.fixed(m.identityKey[:])
		case 4:
			inner = r.bytes(MaxPlaintext + 1024)
		case 5:
			m.registrationID = r.uint32()
		case 6:
			m.signedPreKeyID = r.uint32()
		case 7:
			m.kyberPreKeyID = r.uint32()
		case 8:
			m.kyberCiphertext = r.bytes(kemCiphertextSize)
		}
	}
	if r.err != nil || !seen.has(2, 3, 4, 6, 7, 8) ||
		m.baseKey[0] != curveKeyType || m.identityKey[0] != curveKeyType {
		return nil, fmt.Errorf("parsing a prekey message: %w", ErrInvalidMessage)
	}
	var err error
	m.inner, err = parseSignalMessage(inner)
	return m, err
}

func checkVersion(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("empty message: %w", ErrInvalidMessage)
	}
	if b[0]>>4 != sessionVersion {
		return fmt.Errorf("message version %d: %w", b[0]>>4, ErrVersion)
	}
	return nil
}

// PreKeyMessageInfo is what a prekey message says of itself. Nothing of it is
// authenticated until the message has been decrypted.
type PreKeyMessageInfo struct {
	IdentityKey    PublicKey
	RegistrationID uint32
	BaseKey        PublicKey
	PreKeyID       *uint32 // nil: no one-time prekey was used
	SignedPreKeyID uint32
	KyberPreKeyID  uint32
}

// PeekPreKeyMessage reads the outside of a type 3 message, so that the caller
// can decide about its identity key before decrypting it.
func PeekPreKeyMessage(b []byte) (PreKeyMessageInfo, error) {
	m, err := parsePreKeyMessage(b)
	if err != nil {
		return PreKeyMessageInfo{}, err
	}
	return PreKeyMessageInfo{
		IdentityKey:    m.identityKey,
		RegistrationID: m.registrationID,
		BaseKey:        m.baseKey,
		PreKeyID:       m.preKeyID,
		SignedPreKeyID: m.signedPreKeyID,
		KyberPreKeyID:  m.kyberPreKeyID,
	}, nil
}

// fieldSet remembers which of the fields 1 to 63 were present.
type fieldSet uint64

func (s *fieldSet) add(number int) {
	if number < 64 {
		*s |= 1 << number
	}
}

func (s *fieldSet) has(numbers ...int) bool {
	for _, n := range numbers {
		if *s&(1<<n) == 0 {
			return false
		}
	}
	return true
}
