// Package token signs and verifies the JWT that proves a login (EdDSA only). The user service alone signs, with a key
// pair derived from its secret; every other service verifies with the public keys that it asks from the user service.
package token

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sotto/api"
	"sotto/internal/errs"
)

const (
	issuer     = "sotto"
	audience   = "sotto"
	headerType = "at+jwt"
	lifetime   = api.TokenLifetimeSeconds * time.Second
	leeway     = 30 * time.Second // clock difference between services
	maxLength  = 2_048            // bytes of a token; ours have about 400
	minSecret  = 32               // bytes
)

// Actor is who asks: an account through one of its logins. Every rule takes it as a parameter.
type Actor struct {
	Account    api.AccountID
	Device     api.DeviceID     // zero while the login has not added a device
	WireDevice api.WireDeviceID // 0 likewise
	Login      api.LoginID
}

// IsZero tells that nobody is signed in.
func (a Actor) IsZero() bool { return a.Account.IsZero() }

// HasDevice tells whether the login belongs to a device, which everything but adding one requires.
func (a Actor) HasDevice() bool { return !a.Device.IsZero() }

// Ref names the actor's device as envelopes do.
func (a Actor) Ref() api.DeviceRef {
	return api.DeviceRef{AccountID: a.Account, DeviceID: a.WireDevice}
}

type claims struct {
	jwt.RegisteredClaims
	Login      string `json:"lid"`
	Device     string `json:"did,omitempty"`
	WireDevice uint32 `json:"wid,omitempty"`
}

// PublicKey verifies tokens whose header names KID.
type PublicKey struct {
	KID string            `json:"kid"`
	Key ed25519.PublicKey `json:"key"`
}

// Signer makes tokens. It is safe for concurrent use.
type Signer struct {
	key  ed25519.PrivateKey
	kid  string
	prev []PublicKey
	now  func() time.Time
}

// NewSigner derives the key pair from the secret. Tokens signed under previous secrets stay valid until they expire.
func NewSigner(secret []byte, now func() time.Time, previous ...[]byte) (*Signer, error) {
	key, kid, err := deriveKey(secret)
	if err != nil {
		return nil, err
	}
	s := &Signer{key: key, kid: kid, now: now}
	for _, p := range previous {
		old, oldKID, err := deriveKey(p)
		if err != nil {
			return nil, err
		}
		s.prev = append(s.prev, PublicKey{KID: oldKID, Key: old.Public().(ed25519.PublicKey)})
	}
	return s, nil
}

func deriveKey(secret []byte) (ed25519.PrivateKey, string, error) {
	if len(secret) < minSecret {
		return nil, "", fmt.Errorf("the token secret has %d bytes, at least %d are needed", len(secret), minSecret)
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "sotto token v1", ed25519.SeedSize)
	if err != nil {
		return nil, "", fmt.Errorf("deriving the token key: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return key, base64.RawURLEncoding.EncodeToString(sum[:6]), nil
}

// PublicKeys gives the current key first, then the previous ones.
func (s *Signer) PublicKeys() []PublicKey {
	return append([]PublicKey{{KID: s.kid, Key: s.key.Public().(ed25519.PublicKey)}}, s.prev...)
}

// Sign makes a token for the actor, valid for 15 minutes.
func (s *Signer) Sign(a Actor) (string, time.Time, error) {
	now := s.now()
	expires := now.Add(lifetime).Truncate(time.Second)
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: a.Account.String(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Login: a.Login.String(),
	}
	if a.HasDevice() {
		c.Device, c.WireDevice = a.Device.String(), uint32(a.WireDevice)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["kid"], t.Header["typ"] = s.kid, headerType
	signed, err := t.SignedString(s.key)
	return signed, expires, errs.Wrap("signing a token", err)
}

// Verifier checks tokens. It is safe for concurrent use. It does not know which logins have ended.
type Verifier struct {
	keys   func() []PublicKey
	parser *jwt.Parser
}

// NewVerifier asks keys for the valid public keys at each check.
func NewVerifier(keys func() []PublicKey, now func() time.Time) *Verifier {
	return &Verifier{keys: keys, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now), jwt.WithStrictDecoding(),
	)}
}

// errToken is one answer for every fault, so that it tells nothing about which check failed.
var errToken = errs.New(errs.Unauthenticated, api.CodeUnauthenticated, "You are not signed in, or the token has expired. Sign in or renew.")

// Verify returns the actor and when the token expires.
func (v *Verifier) Verify(token string) (Actor, time.Time, error) {
	if token == "" || len(token) > maxLength {
		return Actor{}, time.Time{}, errToken
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, v.key); err != nil {
		return Actor{}, time.Time{}, errToken.Because(err)
	}
	a, err := c.actor()
	if err != nil {
		return Actor{}, time.Time{}, errToken.Because(err)
	}
	return a, c.ExpiresAt.Time, nil
}

func (v *Verifier) key(t *jwt.Token) (any, error) {
	if t.Header["typ"] != headerType {
		return nil, fmt.Errorf("token type %v", t.Header["typ"])
	}
	for _, k := range v.keys() {
		if t.Header["kid"] == k.KID {
			return k.Key, nil
		}
	}
	return nil, fmt.Errorf("unknown key %v", t.Header["kid"])
}

func (c *claims) actor() (a Actor, err error) {
	if a.Account, err = api.ParseAccountID(c.Subject); err != nil {
		return Actor{}, err
	}
	if a.Login, err = api.ParseLoginID(c.Login); err != nil {
		return Actor{}, err
	}
	if c.Device == "" && c.WireDevice == 0 {
		return a, nil
	}
	if a.Device, err = api.ParseDeviceID(c.Device); err != nil {
		return Actor{}, err
	}
	a.WireDevice = api.WireDeviceID(c.WireDevice)
	if a.WireDevice == 0 || a.WireDevice > api.MaxWireDeviceID {
		return Actor{}, fmt.Errorf("wire device id %d", c.WireDevice)
	}
	return a, nil
}
