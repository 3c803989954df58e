package token_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/token"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	actor  = token.Actor{Account: api.AccountID{1}, Device: api.DeviceID{2}, WireDevice: 3, Login: api.LoginID{4}}
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func pair(t *testing.T, clock *time.Time) (*token.Signer, *token.Verifier) {
	t.Helper()
	now := func() time.Time { return *clock }
	s, err := token.NewSigner(secret, now)
	if err != nil {
		t.Fatal(err)
	}
	return s, token.NewVerifier(s.PublicKeys, now)
}

func TestTokenNamesTheActorUntilItExpires(t *testing.T) {
	clock := start
	s, v := pair(t, &clock)
	for _, a := range []token.Actor{actor, {Account: actor.Account, Login: actor.Login}} {
		clock = start
		signed, expires, err := s.Sign(a)
		if err != nil {
			t.Fatal(err)
		}
		got, until, err := v.Verify(signed)
		if err != nil || got != a || !until.Equal(expires) || expires.Sub(start) > 15*time.Minute {
			t.Fatalf("%+v until %v, %v", got, until, err)
		}
		clock = expires.Add(31 * time.Second)
		if _, _, err := v.Verify(signed); !errs.Is(err, api.CodeUnauthenticated) {
			t.Fatalf("expired token: %v", err)
		}
	}
}

func TestPreviousSecretStaysValid(t *testing.T) {
	clock := start
	old, _ := pair(t, &clock)
	signed, _, err := old.Sign(actor)
	if err != nil {
		t.Fatal(err)
	}
	next, err := token.NewSigner([]byte(strings.Repeat("n", 32)), func() time.Time { return clock }, secret)
	if err != nil {
		t.Fatal(err)
	}
	v := token.NewVerifier(next.PublicKeys, func() time.Time { return clock })
	if got, _, err := v.Verify(signed); err != nil || got != actor {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	if _, err := token.NewSigner([]byte("short"), time.Now); err == nil {
		t.Fatal("a weak secret was taken")
	}
}

// TestForgedTokens takes one valid token apart and puts it together wrongly.
func TestForgedTokens(t *testing.T) {
	clock := start
	s, v := pair(t, &clock)
	valid, _, err := s.Sign(actor)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(valid, ".")
	var header, body map[string]any
	unpack(t, parts[0], &header)
	unpack(t, parts[1], &body)
	_, foreign, _ := ed25519.GenerateKey(nil)

	forge := func(method jwt.SigningMethod, key any, edit func(h, b map[string]any)) string {
		h, b := clone(header), jwt.MapClaims(clone(body))
		edit(h, b)
		tok := jwt.NewWithClaims(method, b)
		for k, val := range h {
			if k != "alg" {
				tok.Header[k] = val
			}
		}
		out, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := func(_, _ map[string]any) {}
	own := signingKey(t)
	if _, _, err := v.Verify(forge(jwt.SigningMethodEdDSA, own, same)); err != nil {
		t.Fatalf("the untouched copy must pass, or the cases below prove nothing: %v", err)
	}
	cases := map[string]string{
		"empty":           "",
		"no signature":    parts[0] + "." + parts[1] + ".",
		"two parts":       parts[0] + "." + parts[1],
		"truncated":       valid[:len(valid)-4],
		"huge":            valid + strings.Repeat("A", 1<<20),
		"none":            forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"hmac with key":   forge(jwt.SigningMethodHS256, []byte(s.PublicKeys()[0].Key), same),
		"foreign key":     forge(jwt.SigningMethodEdDSA, foreign, same),
		"unknown kid":     forge(jwt.SigningMethodEdDSA, own, func(h, _ map[string]any) { h["kid"] = "other" }),
		"no kid":          forge(jwt.SigningMethodEdDSA, own, func(h, _ map[string]any) { delete(h, "kid") }),
		"other type":      forge(jwt.SigningMethodEdDSA, own, func(h, _ map[string]any) { h["typ"] = "JWT" }),
		"own jwk":         forge(jwt.SigningMethodEdDSA, foreign, func(h, _ map[string]any) { h["jwk"] = map[string]string{"kty": "OKP"} }),
		"jku":             forge(jwt.SigningMethodEdDSA, foreign, func(h, _ map[string]any) { h["jku"] = "http://localhost/keys" }),
		"other issuer":    forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { b["iss"] = "other" }),
		"other audience":  forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { b["aud"] = []string{"other"} }),
		"no expiry":       forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { delete(b, "exp") }),
		"from the future": forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { b["iat"] = start.Add(time.Hour).Unix() }),
		"no subject":      forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { delete(b, "sub") }),
		"upper-case id":   forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { b["sub"] = strings.ToUpper(api.AccountID{0xab}.String()) }),
		"no login":        forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { delete(b, "lid") }),
		"half a device":   forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { delete(b, "wid") }),
		"wire id 128":     forge(jwt.SigningMethodEdDSA, own, func(_, b map[string]any) { b["wid"] = 128 }),
	}
	var answer string
	for name, forged := range cases {
		_, _, err := v.Verify(forged)
		if !errs.Is(err, api.CodeUnauthenticated) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if public := errs.As(err).Public; answer == "" {
			answer = public
		} else if public != answer {
			t.Errorf("%s answers differently: %q", name, public)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s, err := token.NewSigner(secret, func() time.Time { return start })
	if err != nil {
		f.Fatal(err)
	}
	v := token.NewVerifier(s.PublicKeys, func() time.Time { return start })
	valid, _, _ := s.Sign(actor)
	f.Add(valid)
	f.Fuzz(func(t *testing.T, in string) {
		if a, _, err := v.Verify(in); err == nil && a != actor {
			t.Fatalf("%q is %+v", in, a)
		}
	})
}

func signingKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	key, err := token.DeriveKeyForTest(secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unpack(t *testing.T, part string, into *map[string]any) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func clone(m map[string]any) map[string]any {
	c := map[string]any{}
	for k, v := range m {
		c[k] = v
	}
	return c
}
