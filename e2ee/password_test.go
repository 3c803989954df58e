package e2ee_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"sotto/e2ee"
)

func TestSplitPassword(t *testing.T) {
	mk := id32(0x4D)
	auth, kek := e2ee.SplitPassword(mk)
	if len(auth) != e2ee.AuthSize {
		t.Errorf("auth has %d characters", len(auth))
	}
	proof, err := hkdf.Key(sha256.New, mk[:], nil, "sotto auth v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	if auth != base64.RawURLEncoding.EncodeToString(proof) {
		t.Error("auth is not HKDF with its label")
	}
	wrap, err := hkdf.Key(sha256.New, mk[:], nil, "sotto wrap v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kek[:], wrap) {
		t.Error("kek is not HKDF with its label")
	}
}

func TestPasswordParameters(t *testing.T) {
	p, err := e2ee.NewPasswordParameters(testRand(4))
	if err != nil {
		t.Fatal(err)
	}
	got, err := e2ee.ParsePasswordParameters(p.Marshal())
	if err != nil || got != p {
		t.Errorf("round trip: %v, %v", got, err)
	}
	_, err = e2ee.NewPasswordParameters(&failingReader{left: 15})
	wantErr(t, "no randomness", err, errNoRandomness)

	for name, change := range map[string]func(*e2ee.PasswordParameters){
		"too few iterations":  func(p *e2ee.PasswordParameters) { p.Iterations = e2ee.MinIterations - 1 },
		"too many iterations": func(p *e2ee.PasswordParameters) { p.Iterations = e2ee.MaxIterations + 1 },
		"another method":      func(p *e2ee.PasswordParameters) { p.KDF = "split-pbkdf2-v0" },
		"no method":           func(p *e2ee.PasswordParameters) { p.KDF = "" },
	} {
		bad := p
		change(&bad)
		wantErr(t, name, bad.Check(), e2ee.ErrFormat)
		_, err := e2ee.ParsePasswordParameters(bad.Marshal())
		wantErr(t, name+", parsed", err, e2ee.ErrFormat)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "cut": p.Marshal()[:30], "unknown field": uintField(p.Marshal(), 4, 1),
	} {
		_, err := e2ee.ParsePasswordParameters(b)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func FuzzPasswordParameters(f *testing.F) {
	f.Add(e2ee.PasswordParameters{KDF: e2ee.KDFSplitPBKDF2, Salt: id16(1), Iterations: e2ee.MinIterations}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := e2ee.ParsePasswordParameters(b)
		if err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Errorf("two encodings of %v", p)
		}
	})
}
