package e2ee

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
)

const (
	// MinIterations and MaxIterations bound PBKDF2. The client enforces them, so
	// that a server can neither weaken the key nor keep a device busy for hours.
	MinIterations = 600_000
	MaxIterations = 10_000_000

	// MinPassword and MaxPassword bound a password, in bytes of UTF-8 in NFC.
	MinPassword = 10
	MaxPassword = 1024

	// KDFSplitPBKDF2 is the name of the method whose parameters
	// [PasswordParameters] holds: mk = PBKDF2-SHA256(password, salt, iterations, 32
	// bytes), then [SplitPassword].
	KDFSplitPBKDF2 = "split-pbkdf2-v1"

	// AuthSize is the length of the auth proof, in characters.
	AuthSize = 43

	authLabel = "sotto auth v1"
	wrapLabel = "sotto wrap v1"
)

// PasswordParameters is what turns a password into mk. It is handed out before
// sign-in and is also the parameters of a password slot, where the bundle
// authenticates it.
type PasswordParameters struct {
	KDF        string // KDFSplitPBKDF2
	Salt       [16]byte
	Iterations uint32
}

// NewPasswordParameters makes parameters with a salt of 16 bytes from rand and
// MinIterations. A new salt belongs to every new password.
func NewPasswordParameters(rand io.Reader) (PasswordParameters, error) {
	p := PasswordParameters{KDF: KDFSplitPBKDF2, Iterations: MinIterations}
	if _, err := io.ReadFull(rand, p.Salt[:]); err != nil {
		return PasswordParameters{}, fmt.Errorf("choosing a salt: %w", err)
	}
	return p, nil
}

// Check returns [ErrFormat] for another method or iterations out of bounds. A
// client calls it before it spends the password on parameters from a server.
func (p PasswordParameters) Check() error {
	if p.KDF != KDFSplitPBKDF2 {
		return fmt.Errorf("password method: %w", ErrFormat)
	}
	if p.Iterations < MinIterations || p.Iterations > MaxIterations {
		return fmt.Errorf("%d password iterations: %w", p.Iterations, ErrFormat)
	}
	return nil
}

// Marshal encodes the parameters for [Slot].
func (p PasswordParameters) Marshal() []byte {
	var b []byte
	b = appendBytesField(b, 1, []byte(p.KDF))
	b = appendBytesField(b, 2, p.Salt[:])
	return appendUintField(b, 3, uint64(p.Iterations))
}

// ParsePasswordParameters reads what [PasswordParameters.Marshal] wrote, and
// checks it. It returns [ErrFormat].
func ParsePasswordParameters(b []byte) (PasswordParameters, error) {
	var p PasswordParameters
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			p.KDF = string(r.bytes(len(KDFSplitPBKDF2)))
		case 2:
			r.fixed(p.Salt[:])
		case 3:
			p.Iterations = r.uint32()
		}
	}
	if r.err != nil || !bytes.Equal(p.Marshal(), b) {
		return PasswordParameters{}, fmt.Errorf("password parameters: %w", ErrFormat)
	}
	return p, p.Check()
}

// SplitPassword derives two independent keys from mk. auth is what the server
// is shown: AuthSize characters of base64url without padding. kek wraps the
// bundle key and never leaves the client.
func SplitPassword(mk [32]byte) (auth string, kek [32]byte) {
	proof := deriveKey(mk[:], authLabel)
	return base64.RawURLEncoding.EncodeToString(proof[:]), deriveKey(mk[:], wrapLabel)
}
