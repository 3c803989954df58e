package user

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sotto/api"
	"sotto/internal/errs"
)

const (
	bcryptCost        = 12
	verifierPrefix    = "v1$" // names the form, so that a later one can live beside it
	maxHashingWaiters = 16    // requests; one more is refused at once
	hashingRetryAfter = 2 * time.Second
	requestHashLabel  = "sotto request v1"
)

// dummyVerifier costs as much to compare with as a real one; unknown names are compared with it and always fail.
var dummyVerifier = []byte(verifierPrefix + "$2a$12$" + strings.Repeat(".", 53))

// hashing runs bcrypt in few slots with a short queue, because an unbounded login route is a self-made outage: cost 12
// takes a fifth of a second of a core.
type hashing struct {
	pepper  []byte
	slots   chan struct{} // holds a token for each bcrypt that runs
	waiters chan struct{} // holds a token for each request that runs or waits
	compare func(hash, password []byte) error
}

func newHashing(pepper []byte, slots int) *hashing {
	return &hashing{
		pepper: pepper, slots: make(chan struct{}, slots), waiters: make(chan struct{}, slots+maxHashingWaiters),
		compare: bcrypt.CompareHashAndPassword,
	}
}

// Make returns the verifier of an auth proof: "v1$" and bcrypt over base64(HMAC-SHA256(pepper, auth)).
func (h *hashing) Make(ctx context.Context, auth string) (verifier []byte, err error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	hash, err := bcrypt.GenerateFromPassword(h.peppered(auth), bcryptCost)
	return append([]byte(verifierPrefix), hash...), errs.Wrap("hashing a proof", err)
}

// Check compares the proof with the verifier, or with the dummy when there is none: always exactly one bcrypt.
func (h *hashing) Check(ctx context.Context, verifier []byte, auth string) (bool, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	known := len(verifier) > 0
	if !known {
		verifier = dummyVerifier
	}
	hash := strings.TrimPrefix(string(verifier), verifierPrefix)
	return h.compare([]byte(hash), h.peppered(auth)) == nil && known, nil
}

// peppered is 44 characters, below bcrypt's limit of 72.
func (h *hashing) peppered(auth string) []byte {
	mac := hmac.New(sha256.New, h.pepper)
	mac.Write([]byte(auth))
	return base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
}

// requestHash recognises the same bytes again. It is keyed with the pepper because the body holds the proof: a plain
// hash of it would let whoever steals the database try passwords without bcrypt and pepper.
func (h *hashing) requestHash(body []byte) (sum [32]byte) {
	mac := hmac.New(sha256.New, h.pepper)
	mac.Write([]byte(requestHashLabel))
	mac.Write(body)
	mac.Sum(sum[:0])
	return sum
}

func (h *hashing) acquire(ctx context.Context) (release func(), err error) {
	select {
	case h.waiters <- struct{}{}:
	default:
		return nil, errs.New(errs.Limited, api.CodeLimited,
			"Too many people are signing in just now. Try again in a moment.").
			WithRetryAfter(hashingRetryAfter)
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.waiters }, nil
	case <-ctx.Done():
		<-h.waiters
		return nil, errs.Wrap("waiting for a hashing slot", ctx.Err())
	}
}
