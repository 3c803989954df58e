package e2ee

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
)

const (
	recoveryChecksumSize = 4 // bytes
	recoveryLength       = 32
	recoveryGroup        = 4 // characters between two dashes

	recoveryCodeLabel = "sotto recovery code v1"
	recoveryAuthLabel = "sotto recovery auth v1"
	recoveryWrapLabel = "sotto recovery wrap v1"

	// recoveryAlphabet leaves out I, L, O and U: three look like digits, the
	// fourth makes words.
	recoveryAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// RecoveryCode is the 128 bit secret that a user writes down. It opens the
// recovery slot of the key bundle.
type RecoveryCode [16]byte

// NewRecoveryCode takes 16 bytes of rand.
func NewRecoveryCode(rand io.Reader) (RecoveryCode, error) {
	var c RecoveryCode
	if _, err := io.ReadFull(rand, c[:]); err != nil {
		return RecoveryCode{}, fmt.Errorf("making a recovery code: %w", err)
	}
	return c, nil
}

// String is the code as the user sees it: 32 characters in eight groups of
// four, the secret and a 32 bit checksum in base 32. It is a secret; do not log
// it.
func (c RecoveryCode) String() string {
	text := recoveryEncoding().EncodeToString(append(c[:], c.checksum()...))
	var b strings.Builder
	for i := 0; i < len(text); i += recoveryGroup {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(text[i : i+recoveryGroup])
	}
	return b.String()
}

// ParseRecoveryCode reads a code as people type it: upper or lower case, any
// spaces and dashes, O for 0, I or L for 1. It returns [ErrRecoveryTypo] for
// anything else.
func ParseRecoveryCode(text string) (RecoveryCode, error) {
	plain := make([]byte, 0, recoveryLength)
	for _, r := range text {
		switch {
		case r == ' ' || r == '-' || r == '\t' || r == '\r' || r == '\n':
			continue
		case r >= 'a' && r <= 'z':
			r += 'A' - 'a'
		}
		switch r {
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if r > 'Z' || len(plain) == recoveryLength {
			return RecoveryCode{}, ErrRecoveryTypo
		}
		plain = append(plain, byte(r))
	}
	b, err := recoveryEncoding().DecodeString(string(plain))
	if err != nil || len(b) != len(RecoveryCode{})+recoveryChecksumSize {
		return RecoveryCode{}, ErrRecoveryTypo
	}
	c := RecoveryCode(b[:len(RecoveryCode{})])
	if string(c.checksum()) != string(b[len(c):]) {
		return RecoveryCode{}, ErrRecoveryTypo
	}
	return c, nil
}

// Auth is what the client proves to the server that it has the code. The server
// stores SHA-256 of it.
func (c RecoveryCode) Auth() [32]byte { return deriveKey(c[:], recoveryAuthLabel) }

// Wrap is the wrapping key of the recovery slot. It never leaves the client.
func (c RecoveryCode) Wrap() [32]byte { return deriveKey(c[:], recoveryWrapLabel) }

func (c RecoveryCode) checksum() []byte {
	sum := sha256.Sum256(append([]byte(recoveryCodeLabel), c[:]...))
	return sum[:recoveryChecksumSize]
}

func recoveryEncoding() *base32.Encoding {
	return base32.NewEncoding(recoveryAlphabet).WithPadding(base32.NoPadding)
}
