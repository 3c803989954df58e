// Package mlkem768 encapsulates to an ML-KEM-768 key (FIPS 203) that arrives in
// two parts, and gives out the ciphertext in two parts.
//
// The first part of a ciphertext (960 bytes) and the shared key need only the
// 64-byte [Header] of the encapsulation key; the second part (128 bytes) needs
// its 1152-byte vector as well. Both parts together are exactly the ciphertext
// that ML-KEM.Encaps_internal makes from the same key and the same randomness,
// so the owner of the key decapsulates with the standard library.
//
// Everything derived from the randomness is handled in constant time.
package mlkem768

import (
	"crypto/sha3"
	"errors"
	"slices"
)

// Sizes in bytes.
const (
	HeaderSize      = 64   // rho || SHA3-256(encapsulation key)
	VectorSize      = 1152 // the vector t, in the NTT domain
	Ciphertext1Size = 960  // the compressed vector u
	Ciphertext2Size = 128  // the compressed polynomial v
	SharedKeySize   = 32
	RandomSize      = 32 // the input m of ML-KEM.Encaps_internal
)

// rank is the module rank k of ML-KEM-768.
const rank = 3

// ErrKey reports a vector that does not belong to the header or fails the
// modulus check of FIPS 203 §7.2.
var ErrKey = errors.New("mlkem768: invalid encapsulation key")

// Header is the part of an encapsulation key that is sent first: its seed rho
// and its hash.
type Header [HeaderSize]byte

// Split takes an encapsulation key of 1184 bytes apart.
func Split(encapsulationKey []byte) (Header, [VectorSize]byte) {
	var h Header
	hash := sha3.Sum256(encapsulationKey)
	copy(h[:32], encapsulationKey[VectorSize:])
	copy(h[32:], hash[:])
	return h, [VectorSize]byte(encapsulationKey)
}

// Encapsulate1 makes the shared key and the first part of its ciphertext from
// 32 random bytes. The header must be authenticated: it cannot be checked.
func (h Header) Encapsulate1(random [RandomSize]byte) (ct1 [Ciphertext1Size]byte, shared [SharedKeySize]byte) {
	shared, coins := h.derive(random)
	y := sampleVector(coins)
	packed := ct1[:0]
	for i := range rank {
		var u poly
		for j := range y {
			a := sampleUniform(h[:32], byte(i), byte(j))
			u.addProduct(&a, &y[j])
		}
		u.inverseNTT()
		noise := sampleNoise(coins, byte(rank+i))
		u.add(&noise)
		packed = u.compress(10).appendBits(packed, 10)
	}
	return ct1, shared
}

// Encapsulate2 makes the second part of the ciphertext that [Header.Encapsulate1]
// began with the same random bytes. It returns [ErrKey] when the vector is not
// the one the header speaks of.
func (h Header) Encapsulate2(random [RandomSize]byte, vector *[VectorSize]byte) (ct2 [Ciphertext2Size]byte, err error) {
	if sha3.Sum256(slices.Concat(vector[:], h[:32])) != [32]byte(h[32:]) {
		return ct2, ErrKey
	}
	_, coins := h.derive(random)
	y := sampleVector(coins)
	var v poly
	for i := range y {
		t, ok := parse12(vector[384*i : 384*(i+1)])
		if !ok {
			return ct2, ErrKey
		}
		v.addProduct(&t, &y[i])
	}
	v.inverseNTT()
	noise := sampleNoise(coins, 2*rank)
	v.add(&noise)
	message := parseMessage(random)
	v.add(&message)
	v.compress(4).appendBits(ct2[:0], 4)
	return ct2, nil
}

// derive is the hash G of FIPS 203: the shared key and the coins of the
// encryption.
func (h Header) derive(random [RandomSize]byte) (shared, coins [32]byte) {
	sum := sha3.Sum512(slices.Concat(random[:], h[32:]))
	return [32]byte(sum[:32]), [32]byte(sum[32:])
}

// sampleVector makes the secret vector y, in the NTT domain.
func sampleVector(coins [32]byte) [rank]poly {
	var y [rank]poly
	for i := range y {
		y[i] = sampleNoise(coins, byte(i))
		y[i].ntt()
	}
	return y
}
