package e2ee

import (
	"fmt"
	"io"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
	"github.com/cloudflare/circl/dh/x25519"
)

// curveKeyType is the first byte of an encoded X25519 public key.
const curveKeyType = 0x05

// PublicKey is an X25519 public key as it travels: the type byte 5 and the
// u-coordinate, 32 bytes, little endian. Values compare with ==.
type PublicKey [33]byte

// PrivateKey is an X25519 private key: 32 bytes, little endian, clamped
// (RFC 7748 §5). The same key agrees on secrets and signs (XEdDSA).
type PrivateKey [32]byte

// KeyPair is a private key with its public half.
type KeyPair struct {
	Public  PublicKey
	Private PrivateKey
}

// NewKeyPair makes a key pair from 32 bytes of rand.
func NewKeyPair(rand io.Reader) (KeyPair, error) {
	var seed [32]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return KeyPair{}, fmt.Errorf("making a key pair: %w", err)
	}
	return KeyPairFromPrivate(seed[:])
}

// KeyPairFromPrivate takes 32 bytes, clamps them and computes the public half.
// It returns [ErrInvalidKey] for any other length.
func KeyPairFromPrivate(b []byte) (KeyPair, error) {
	if len(b) != 32 {
		return KeyPair{}, fmt.Errorf("private key: %w", ErrInvalidKey)
	}
	k := KeyPair{Private: PrivateKey(b)}
	k.Private[0] &= 248
	k.Private[31] = k.Private[31]&127 | 64
	k.Public[0] = curveKeyType
	copy(k.Public[1:], new(edwards25519.Point).ScalarBaseMult(k.Private.scalar()).BytesMontgomery())
	return k, nil
}

// ParsePublicKey takes exactly 33 bytes that begin with the type byte 5, and
// returns [ErrInvalidKey] for anything else. Whether the point is of use shows
// when it is used.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != len(PublicKey{}) || b[0] != curveKeyType {
		return PublicKey{}, fmt.Errorf("public key: %w", ErrInvalidKey)
	}
	return PublicKey(b), nil
}

// agree is X25519. It refuses public keys that give the all-zero secret. The
// implementation is circl's because crypto/ecdh computes the public half again
// for every agreement, which doubles its time.
func (k PrivateKey) agree(remote PublicKey) ([]byte, error) {
	var secret, private, public x25519.Key
	copy(private[:], k[:])
	copy(public[:], remote[1:])
	if !x25519.Shared(&secret, &private, &public) {
		return nil, fmt.Errorf("key agreement: %w", ErrInvalidKey)
	}
	return secret[:], nil
}

// scalar is the clamped private key as a number modulo the group order.
func (k PrivateKey) scalar() *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetBytesWithClamping(k[:])
	if err != nil {
		panic("e2ee: a private key has 32 bytes") // the only error SetBytesWithClamping has
	}
	return s
}

// edwards maps the u-coordinate to the point of the twisted Edwards curve whose
// x has the given sign, y = (u-1)/(u+1). It reports false when there is none:
// u = -1 or u on the twist.
func (k PublicKey) edwards(sign byte) (*edwards25519.Point, bool) {
	var one, u, minus, plus field.Element
	if _, err := u.SetBytes(k[1:]); err != nil {
		return nil, false
	}
	one.One()
	minus.Subtract(&u, &one)
	plus.Add(&u, &one)
	if plus.Equal(new(field.Element)) == 1 {
		return nil, false
	}
	y := minus.Multiply(&minus, plus.Invert(&plus)).Bytes()
	y[31] |= sign << 7
	p, err := new(edwards25519.Point).SetBytes(y)
	return p, err == nil
}

// canonical reports whether the key is the one encoding of a point of the prime
// order subgroup: u < p, on the curve and free of torsion. Honest keys always
// are. A base key identifies a handshake, so it must not have a second form
// that gives the same secrets.
func (k PublicKey) canonical() bool {
	var u field.Element
	if _, err := u.SetBytes(k[1:]); err != nil || [32]byte(u.Bytes()) != [32]byte(k[1:]) {
		return false
	}
	p, ok := k.edwards(0)
	if !ok {
		return false
	}
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		return false
	}
	// The order of p divides L exactly when [L-1]p = -p.
	minusOne := edwards25519.NewScalar().Negate(one)
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	return q.Equal(new(edwards25519.Point).Negate(p)) == 1
}
