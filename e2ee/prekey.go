package e2ee

import (
	"fmt"
	"io"
)

// preKeyFormat is the first byte of every stored prekey.
const preKeyFormat = 1

// maxPreKeyID: prekey ids have 24 bits.
const maxPreKeyID = 1<<24 - 1

// PreKey is a one-time X25519 prekey. It is deleted when the first message that
// uses it has been decrypted.
type PreKey struct {
	ID   uint32
	Pair KeyPair
}

// SignedPreKey is an X25519 prekey with a signature of its 33 public bytes by
// the device identity key. It is used many times and rotated, see
// [PreKeyInventory].
type SignedPreKey struct {
	ID        uint32
	Pair      KeyPair
	Signature Signature
}

// KyberPreKey is a Kyber-1024 prekey with a signature of its 1569 public bytes
// by the device identity key. A last-resort key is used many times and rotated;
// any other is deleted like a one-time prekey.
type KyberPreKey struct {
	ID         uint32
	Pair       KEMKeyPair
	Signature  Signature
	LastResort bool
}

// PublicPreKey is the public half of a one-time prekey.
type PublicPreKey struct {
	ID  uint32
	Key PublicKey
}

// PreKeyBundle is what a server hands out about one device, so that others can
// begin a session with it while it is offline.
type PreKeyBundle struct {
	Address
	RegistrationID uint32
	IdentityKey    PublicKey

	PreKey *PublicPreKey // nil when the device has run out of one-time prekeys

	SignedPreKeyID        uint32
	SignedPreKey          PublicKey
	SignedPreKeySignature Signature

	KyberPreKeyID        uint32
	KyberPreKey          KEMPublicKey
	KyberPreKeySignature Signature
}

// NewPreKey makes a one-time prekey. Ids have 24 bits and are not 0, see
// [NextPreKeyID].
func NewPreKey(rand io.Reader, id uint32) (PreKey, error) {
	pair, err := NewKeyPair(rand)
	return PreKey{ID: id, Pair: pair}, err
}

// NewSignedPreKey makes a prekey and signs it with the device identity key.
func NewSignedPreKey(rand io.Reader, identity KeyPair, id uint32) (SignedPreKey, error) {
	pair, err := NewKeyPair(rand)
	if err != nil {
		return SignedPreKey{}, err
	}
	sig, err := identity.Private.Sign(rand, pair.Public[:])
	if err != nil {
		return SignedPreKey{}, err
	}
	return SignedPreKey{ID: id, Pair: pair, Signature: sig}, nil
}

// NewKyberPreKey makes a Kyber prekey and signs it with the device identity key.
func NewKyberPreKey(rand io.Reader, identity KeyPair, id uint32, lastResort bool) (KyberPreKey, error) {
	pair, err := NewKEMKeyPair(rand)
	if err != nil {
		return KyberPreKey{}, err
	}
	sig, err := identity.Private.Sign(rand, pair.Public)
	if err != nil {
		return KyberPreKey{}, err
	}
	return KyberPreKey{ID: id, Pair: pair, Signature: sig, LastResort: lastResort}, nil
}

// verify checks both signatures of the bundle, and that its keys are usable.
func (b *PreKeyBundle) verify() error {
	keys := []PublicKey{b.IdentityKey, b.SignedPreKey}
	if b.PreKey != nil {
		keys = append(keys, b.PreKey.Key)
	}
	for _, k := range keys {
		if k[0] != curveKeyType {
			return fmt.Errorf("type of a bundle key: %w", ErrInvalidKey)
		}
	}
	if !b.IdentityKey.Verify(b.SignedPreKey[:], b.SignedPreKeySignature[:]) {
		return fmt.Errorf("signature of the signed prekey: %w", ErrInvalidKey)
	}
	if !b.IdentityKey.Verify(b.KyberPreKey, b.KyberPreKeySignature[:]) {
		return fmt.Errorf("signature of the Kyber prekey: %w", ErrInvalidKey)
	}
	return nil
}

// Marshal returns the secret key for storage: a format byte and fields in
// protobuf wire format.
func (k PreKey) Marshal() []byte { return marshalPreKey(k.ID, k.Pair.Private[:], nil, false) }

// Marshal returns the secret key for storage, like [PreKey.Marshal].
func (k SignedPreKey) Marshal() []byte {
	return marshalPreKey(k.ID, k.Pair.Private[:], k.Signature[:], false)
}

// Marshal returns the secret key for storage, like [PreKey.Marshal]; the key
// itself takes 64 bytes.
func (k KyberPreKey) Marshal() []byte {
	return marshalPreKey(k.ID, k.Pair.Private, k.Signature[:], k.LastResort)
}

// ParsePreKey reads what [PreKey.Marshal] wrote, or returns [ErrState].
func ParsePreKey(b []byte) (PreKey, error) {
	stored, err := parsePreKey(b)
	if err != nil {
		return PreKey{}, err
	}
	pair, err := KeyPairFromPrivate(stored.secret)
	if err != nil {
		return PreKey{}, fmt.Errorf("stored prekey: %w", ErrState)
	}
	return PreKey{ID: stored.id, Pair: pair}, nil
}

// ParseSignedPreKey reads what [SignedPreKey.Marshal] wrote, or returns
// [ErrState].
func ParseSignedPreKey(b []byte) (SignedPreKey, error) {
	stored, err := parsePreKey(b)
	if err != nil {
		return SignedPreKey{}, err
	}
	pair, err := KeyPairFromPrivate(stored.secret)
	if err != nil {
		return SignedPreKey{}, fmt.Errorf("stored prekey: %w", ErrState)
	}
	return SignedPreKey{ID: stored.id, Pair: pair, Signature: stored.signature}, nil
}

// ParseKyberPreKey reads what [KyberPreKey.Marshal] wrote, or returns
// [ErrState].
func ParseKyberPreKey(b []byte) (KyberPreKey, error) {
	stored, err := parsePreKey(b)
	if err != nil {
		return KyberPreKey{}, err
	}
	pair, err := kemKeyPairFromSeed(stored.secret)
	if err != nil {
		return KyberPreKey{}, fmt.Errorf("stored prekey: %w", ErrState)
	}
	return KyberPreKey{ID: stored.id, Pair: pair, Signature: stored.signature, LastResort: stored.lastResort}, nil
}

type storedPreKey struct {
	id         uint32
	secret     []byte
	signature  Signature
	lastResort bool
}

func marshalPreKey(id uint32, secret, signature []byte, lastResort bool) []byte {
	b := appendUintField([]byte{preKeyFormat}, 1, uint64(id))
	b = appendBytesField(b, 2, secret)
	if signature != nil {
		b = appendBytesField(b, 3, signature)
	}
	if lastResort {
		b = appendUintField(b, 4, 1)
	}
	return b
}

func parsePreKey(b []byte) (storedPreKey, error) {
	if len(b) == 0 || b[0] != preKeyFormat {
		return storedPreKey{}, fmt.Errorf("stored prekey: %w", ErrState)
	}
	var k storedPreKey
	var seen fieldSet
	r := readCanonical(b[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			k.id = r.uint32()
		case 2:
			k.secret = append([]byte(nil), r.bytes(64)...)
		case 3:
			r.fixed(k.signature[:])
		case 4:
			k.lastResort = r.uint64() == 1
		default:
			r.err = errWire
		}
	}
	if r.err != nil || !seen.has(1, 2) {
		return storedPreKey{}, fmt.Errorf("stored prekey: %w", ErrState)
	}
	return k, nil
}
