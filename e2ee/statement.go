package e2ee

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"time"
)

const (
	// StatementLifetime is how long a prekey statement is good for.
	StatementLifetime = 30 * 24 * time.Hour
	// MaxStatementSize bounds an encoded prekey statement, in bytes.
	MaxStatementSize = 256

	statementLabel = "sotto prekeys v1"
)

// PreKeyStatement is what a device says about its current prekeys, so that the
// server cannot hand out retired ones.
type PreKeyStatement struct {
	Account          [16]byte
	Device           uint32
	RegistrationID   uint32
	SignedPreKeyID   uint32
	SignedPreKeyHash [32]byte // PreKeyHash of the 33 bytes of the signed prekey
	LastResortID     uint32
	LastResortHash   [32]byte // PreKeyHash of the 1569 bytes of the last-resort Kyber prekey
	Time             int64    // milliseconds since 1970; later than in every earlier statement of the device
}

// SignedStatement is a statement as it travels and is stored.
type SignedStatement struct {
	Statement []byte
	Signature []byte // XEdDSA by the device identity key over "sotto prekeys v1" || Statement
}

// PreKeyHash is SHA-256 of an encoded public key, the type byte included.
func PreKeyHash(public []byte) [32]byte { return sha256.Sum256(public) }

// Sign encodes the statement and signs it with the device identity key. It
// returns [ErrFormat] for a value outside its bounds.
func (s PreKeyStatement) Sign(rand io.Reader, device PrivateKey) (SignedStatement, error) {
	if err := s.check(); err != nil {
		return SignedStatement{}, fmt.Errorf("signing: %w", err)
	}
	statement := s.marshal()
	signature, err := device.Sign(rand, append([]byte(statementLabel), statement...))
	if err != nil {
		return SignedStatement{}, fmt.Errorf("signing a prekey statement: %w", err)
	}
	return SignedStatement{Statement: statement, Signature: signature[:]}, nil
}

// Open verifies the statement under the identity key that the device list gives
// for the device. Errors: [ErrSignature], [ErrFormat].
func (s SignedStatement) Open(device PublicKey) (PreKeyStatement, error) {
	statement, err := parseStatement(s.Statement)
	if err != nil {
		return PreKeyStatement{}, err
	}
	if !device.Verify(append([]byte(statementLabel), s.Statement...), s.Signature) {
		return PreKeyStatement{}, fmt.Errorf("prekey statement: %w", ErrSignature)
	}
	return statement, nil
}

// Check reports whether a prekey bundle may be used at the given time. The
// bundle must be of the device that made the statement and carry the signed
// prekey it names. A Kyber prekey with the id of the last-resort one must be
// that one; any other is a one-time Kyber prekey, which its own signature
// covers. Errors: [ErrMismatch], [ErrStatementStale].
func (s PreKeyStatement) Check(b PreKeyBundle, now time.Time) error {
	if s.Account != b.Account || s.Device != b.Device || s.RegistrationID != b.RegistrationID {
		return fmt.Errorf("prekey statement of another device: %w", ErrMismatch)
	}
	if s.SignedPreKeyID != b.SignedPreKeyID || s.SignedPreKeyHash != PreKeyHash(b.SignedPreKey[:]) {
		return fmt.Errorf("prekey statement, signed prekey: %w", ErrMismatch)
	}
	if s.LastResortID == b.KyberPreKeyID && s.LastResortHash != PreKeyHash(b.KyberPreKey) {
		return fmt.Errorf("prekey statement, last-resort prekey: %w", ErrMismatch)
	}
	if s.Time < now.Add(-StatementLifetime).UnixMilli() {
		return ErrStatementStale
	}
	return nil
}

// Follows reports whether s may replace a statement seen earlier under the same
// device identity key: it is later, or the same. Errors: [ErrStatementRollback].
func (s PreKeyStatement) Follows(seen PreKeyStatement) error {
	if s.Time < seen.Time || (s.Time == seen.Time && s != seen) {
		return ErrStatementRollback
	}
	return nil
}

func (s PreKeyStatement) marshal() []byte {
	var b []byte
	b = appendBytesField(b, 1, s.Account[:])
	b = appendUintField(b, 2, uint64(s.Device))
	b = appendUintField(b, 3, uint64(s.RegistrationID))
	b = appendUintField(b, 4, uint64(s.SignedPreKeyID))
	b = appendBytesField(b, 5, s.SignedPreKeyHash[:])
	b = appendUintField(b, 6, uint64(s.LastResortID))
	b = appendBytesField(b, 7, s.LastResortHash[:])
	return appendUintField(b, 8, uint64(s.Time))
}

func parseStatement(b []byte) (PreKeyStatement, error) {
	var s PreKeyStatement
	if len(b) > MaxStatementSize {
		return s, fmt.Errorf("prekey statement of %d bytes: %w", len(b), ErrFormat)
	}
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			r.fixed(s.Account[:])
		case 2:
			s.Device = r.uint32()
		case 3:
			s.RegistrationID = r.uint32()
		case 4:
			s.SignedPreKeyID = r.uint32()
		case 5:
			r.fixed(s.SignedPreKeyHash[:])
		case 6:
			s.LastResortID = r.uint32()
		case 7:
			r.fixed(s.LastResortHash[:])
		case 8:
			s.Time = millis(r)
		}
	}
	if r.err != nil || !bytes.Equal(s.marshal(), b) {
		return PreKeyStatement{}, fmt.Errorf("prekey statement: %w", ErrFormat)
	}
	return s, s.check()
}

func (s PreKeyStatement) check() error {
	if !validDevice(s.Device) || !validRegistration(s.RegistrationID) || !validTime(s.Time) ||
		!validPreKey(s.SignedPreKeyID) || !validPreKey(s.LastResortID) {
		return fmt.Errorf("prekey statement: %w", ErrFormat)
	}
	return nil
}

func validPreKey(id uint32) bool { return id >= 1 && id <= maxPreKeyID }
