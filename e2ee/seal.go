package e2ee

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
)

const (
	gcmNonceSize = 12
	gcmTagSize   = 16

	// sealOverhead is what sealGCM adds to a plaintext, in bytes.
	sealOverhead = gcmNonceSize + gcmTagSize
)

// MaxTime is the latest time in a format, in milliseconds since 1970: the end
// of the year 9999. Times before 1970 are refused as well.
const MaxTime = 253402300799999

// sealGCM encrypts with AES-256-GCM under a nonce of 12 bytes from rand and
// returns nonce || ciphertext || tag.
func sealGCM(rand io.Reader, key [32]byte, aad, plaintext []byte) ([]byte, error) {
	out := make([]byte, gcmNonceSize, len(plaintext)+sealOverhead)
	if _, err := io.ReadFull(rand, out); err != nil {
		return nil, fmt.Errorf("choosing a nonce: %w", err)
	}
	return newGCM(key).Seal(out, out, plaintext, aad), nil
}

// openGCM reverses sealGCM and reports false for anything not sealed with the
// same key and associated data.
func openGCM(key [32]byte, aad, sealed []byte) ([]byte, bool) {
	if len(sealed) < sealOverhead {
		return nil, false
	}
	plaintext, err := newGCM(key).Open(nil, sealed[:gcmNonceSize], sealed[gcmNonceSize:], aad)
	return plaintext, err == nil
}

func newGCM(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("e2ee: an AES-256 key has 32 bytes") // the only error NewCipher has
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("e2ee: AES has blocks of 16 bytes") // the only error NewGCM has
	}
	return aead
}

// deriveKey is HKDF-SHA256 with an empty salt and 32 bytes of output. Labels
// have a fixed length and what follows them has a fixed length or comes last,
// so that two uses never share an info string.
func deriveKey(secret []byte, label string, context ...[]byte) [32]byte {
	info := label + string(bytes.Join(context, nil))
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		panic("e2ee: HKDF-SHA256 gives 32 bytes") // it fails above 255*32 bytes only
	}
	return [32]byte(key)
}

// millis reads a varint field that holds a time. Out of bounds is an error of r.
func millis(r *wireReader) int64 {
	v := r.uint64()
	if v > MaxTime {
		r.err = errWire
		return 0
	}
	return int64(v)
}

func validTime(ms int64) bool { return ms >= 0 && ms <= MaxTime }
