package user

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"sotto/api"
	"sotto/internal/errs"
)

const (
	attemptLifetime = 2 * time.Minute
	attemptSize     = 16 + sha256.Size + 8 // bytes before sealing
	fakeSaltLabel   = "sotto fake salt v1"
)

// What an attempt was begun for: one for the password cannot be finished with the recovery code, nor the other way.
const (
	attemptPassword = "sotto attempt v1"
	attemptEmail    = "sotto email attempt v1"
	attemptRecovery = "sotto recovery attempt v1"
	attemptRestored = "sotto restored attempt v1"
)

// attempt is what login start hands to login finish through the client. It is sealed and of one length, so that it does
// not show whether the name is known, and stateless, so that any replica can finish it.
type attempt struct {
	account api.AccountID // zero for an unknown name
	name    [sha256.Size]byte
	expires int64 // milliseconds
}

type attemptSealer struct {
	aead cipher.AEAD
	rand io.Reader
}

func newAttemptSealer(key []byte, rand io.Reader) (*attemptSealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("attempt key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return &attemptSealer{aead: aead, rand: rand}, errs.Wrap("attempt key", err)
}

func (s *attemptSealer) seal(label string, a attempt) (string, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return "", errs.Wrap("choosing a nonce", err)
	}
	plain := make([]byte, 0, attemptSize)
	plain = append(plain, a.account[:]...)
	plain = append(plain, a.name[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(a.expires))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(label))), nil
}

var errAttempt = errs.Invalidf("This sign-in attempt is not valid any more. Start again.")

// open returns errAttempt for everything that this server did not seal or that has expired.
func (s *attemptSealer) open(label, text string, now int64) (attempt, error) {
	sealedSize := s.aead.NonceSize() + attemptSize + s.aead.Overhead()
	if len(text) != base64.RawURLEncoding.EncodedLen(sealedSize) {
		return attempt{}, errAttempt
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return attempt{}, errAttempt.Because(err)
	}
	plain, err := s.aead.Open(nil, b[:s.aead.NonceSize()], b[s.aead.NonceSize():], []byte(label))
	if err != nil {
		return attempt{}, errAttempt.Because(err)
	}
	a := attempt{
		account: api.AccountID(plain[:16]), name: [sha256.Size]byte(plain[16:48]),
		expires: int64(binary.BigEndian.Uint64(plain[48:])),
	}
	if now >= a.expires {
		return attempt{}, errAttempt
	}
	return a, nil
}

// fakeParameters are what an unknown name is answered: the same at every try and on every replica.
func fakeParameters(secret []byte, name string) api.LoginParameters {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(fakeSaltLabel))
	mac.Write([]byte(name))
	return api.LoginParameters{Salt: mac.Sum(nil)[:api.SaltSize], Iterations: api.MinIterations}
}
