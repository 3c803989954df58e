package e2ee

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem/kyber/kyber1024"
)

// kyberKeyType is the first byte of an encoded Kyber-1024 (round 3) key or
// ciphertext. 0x0A is reserved for ML-KEM-1024.
const kyberKeyType = 0x08

const (
	kemPublicKeySize  = 1 + kyber1024.PublicKeySize  // 1569 bytes
	kemCiphertextSize = 1 + kyber1024.CiphertextSize // 1569 bytes
)

// KEMPublicKey is a Kyber-1024 round 3 public key as it travels: 1569 bytes,
// the type byte 8 and the key.
type KEMPublicKey []byte

// KEMKeyPair is a Kyber-1024 key pair. Private is the 64-byte seed the pair was
// made from; the expanded key of 3168 bytes is computed when it is used.
type KEMKeyPair struct {
	Public  KEMPublicKey
	Private []byte
}

// NewKEMKeyPair makes a key pair from 64 bytes of rand.
func NewKEMKeyPair(rand io.Reader) (KEMKeyPair, error) {
	seed := make([]byte, kyber1024.KeySeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return KEMKeyPair{}, fmt.Errorf("making a KEM key pair: %w", err)
	}
	return kemKeyPairFromSeed(seed)
}

func kemKeyPairFromSeed(seed []byte) (KEMKeyPair, error) {
	if len(seed) != kyber1024.KeySeedSize {
		return KEMKeyPair{}, fmt.Errorf("KEM seed: %w", ErrInvalidKey)
	}
	public, _ := kyber1024.NewKeyFromSeed(seed)
	encoded := make([]byte, kemPublicKeySize)
	encoded[0] = kyberKeyType
	public.Pack(encoded[1:])
	return KEMKeyPair{Public: encoded, Private: seed}, nil
}

// ParseKEMPublicKey takes exactly 1569 bytes that begin with the type byte 8
// and returns a copy. It returns [ErrInvalidKey] for anything else.
func ParseKEMPublicKey(b []byte) (KEMPublicKey, error) {
	if len(b) != kemPublicKeySize || b[0] != kyberKeyType {
		return nil, fmt.Errorf("KEM public key: %w", ErrInvalidKey)
	}
	return append(KEMPublicKey(nil), b...), nil
}

// encapsulate makes a shared secret of 32 bytes and the ciphertext, with its
// type byte, that gives the same secret to the owner of the private key.
func (k KEMPublicKey) encapsulate(rand io.Reader) (ciphertext, secret []byte, err error) {
	if len(k) != kemPublicKeySize || k[0] != kyberKeyType {
		return nil, nil, fmt.Errorf("KEM public key: %w", ErrInvalidKey)
	}
	seed := make([]byte, kyber1024.EncapsulationSeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, nil, fmt.Errorf("encapsulating: %w", err)
	}
	var public kyber1024.PublicKey
	public.Unpack(k[1:])
	ciphertext, secret = make([]byte, kemCiphertextSize), make([]byte, kyber1024.SharedKeySize)
	ciphertext[0] = kyberKeyType
	public.EncapsulateTo(ciphertext[1:], secret, seed)
	return ciphertext, secret, nil
}

// decapsulate returns the secret of a ciphertext. For a ciphertext that was not
// made for this key Kyber returns a pseudorandom secret, not an error.
func (k KEMKeyPair) decapsulate(ciphertext []byte) ([]byte, error) {
	if len(k.Private) != kyber1024.KeySeedSize {
		return nil, fmt.Errorf("KEM seed: %w", ErrInvalidKey)
	}
	if len(ciphertext) != kemCiphertextSize || ciphertext[0] != kyberKeyType {
		return nil, fmt.Errorf("KEM ciphertext: %w", ErrInvalidMessage)
	}
	_, private := kyber1024.NewKeyFromSeed(k.Private)
	secret := make([]byte, kyber1024.SharedKeySize)
	private.DecapsulateTo(secret, ciphertext[1:])
	return secret, nil
}
