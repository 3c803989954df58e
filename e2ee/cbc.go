package e2ee

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

var errPadding = errors.New("bad padding")

// encryptCBC is AES-256-CBC with PKCS#7.
func encryptCBC(key [32]byte, iv [16]byte, plaintext []byte) []byte {
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	out := make([]byte, len(plaintext)+pad)
	copy(out, plaintext)
	for i := len(plaintext); i < len(out); i++ {
		out[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(newAES(key), iv[:]).CryptBlocks(out, out)
	return out
}

// decryptCBC is only called for a ciphertext that has been authenticated, so
// that its error is no padding oracle.
func decryptCBC(key [32]byte, iv [16]byte, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) == 0 || len(ciphertext)%aes.BlockSize != 0 {
		return nil, errPadding
	}
	out := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(newAES(key), iv[:]).CryptBlocks(out, ciphertext)
	pad := int(out[len(out)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, errPadding
	}
	for _, b := range out[len(out)-pad:] {
		if int(b) != pad {
			return nil, errPadding
		}
	}
	return out[:len(out)-pad], nil
}

func newAES(key [32]byte) cipher.Block {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("e2ee: AES-256 takes 32 bytes") // the only error NewCipher has
	}
	return block
}
