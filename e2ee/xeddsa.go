package e2ee

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"

	"filippo.io/edwards25519"
)

// SignatureSize is the length of a signature in bytes.
const SignatureSize = 64

// Signature is an XEdDSA signature: R (32 bytes) and s (32 bytes, little
// endian), with the sign bit of the Edwards public key as the highest bit.
type Signature [SignatureSize]byte

// Sign signs message with XEd25519 (XEdDSA §2.4 and §3). It reads 64 bytes of
// rand. One thing differs from the paper: the paper negates the private key
// when the Edwards point has a negative x, here the sign travels in the unused
// top bit of s.
func (k PrivateKey) Sign(rand io.Reader, message []byte) (Signature, error) {
	var z [64]byte
	if _, err := io.ReadFull(rand, z[:]); err != nil {
		return Signature{}, fmt.Errorf("signing: %w", err)
	}
	a := k.scalar()
	public := new(edwards25519.Point).ScalarBaseMult(a).Bytes()

	// hash_1 of the paper: a prefix that no encoded point has.
	prefix := bytes.Repeat([]byte{0xFF}, 32)
	prefix[0] = 0xFE
	r := hashToScalar(prefix, k[:], message, z[:])
	commitment := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	h := hashToScalar(commitment, public, message)
	s := edwards25519.NewScalar().MultiplyAdd(h, a, r)

	var sig Signature
	copy(sig[:32], commitment)
	copy(sig[32:], s.Bytes())
	sig[63] |= public[31] & 0x80
	return sig, nil
}

// Verify reports whether sig is a signature of message by the owner of k. An s
// that is not reduced modulo the group order is refused, so a signature cannot
// be turned into another valid one.
func (k PublicKey) Verify(message []byte, sig []byte) bool {
	if len(sig) != SignatureSize {
		return false
	}
	public, ok := k.edwards(sig[63] >> 7)
	if !ok {
		return false
	}
	sBytes := [32]byte(sig[32:])
	sBytes[31] &= 0x7F
	s, err := edwards25519.NewScalar().SetCanonicalBytes(sBytes[:])
	if err != nil {
		return false
	}
	h := hashToScalar(sig[:32], public.Bytes(), message)
	minus := new(edwards25519.Point).Negate(public)
	commitment := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(h, minus, s)
	return bytes.Equal(commitment.Bytes(), sig[:32])
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic("e2ee: SHA-512 has 64 bytes") // the only error SetUniformBytes has
	}
	return s
}
