package e2ee

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
)

func seededRand(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func TestKeyPairMatchesX25519(t *testing.T) {
	random := seededRand(1)
	for range 20 {
		pair, err := NewKeyPair(random)
		if err != nil {
			t.Fatal(err)
		}
		private, err := ecdh.X25519().NewPrivateKey(pair.Private[:])
		if err != nil {
			t.Fatal(err)
		}
		if pair.Public[0] != 5 || !bytes.Equal(private.PublicKey().Bytes(), pair.Public[1:]) {
			t.Fatalf("public half %x, want 05%x", pair.Public, private.PublicKey().Bytes())
		}
		if !pair.Public.canonical() {
			t.Fatalf("%x: a fresh key is not canonical", pair.Public)
		}
	}
}

func TestAgreeVector(t *testing.T) { // RFC 7748 §5.2, iterated
	scalar := append([]byte{9}, make([]byte, 31)...)
	u := scalar
	for i := 1; i <= 1000; i++ {
		pair, err := KeyPairFromPrivate(scalar)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := pair.Private.agree(PublicKey(append([]byte{5}, u...)))
		if err != nil {
			t.Fatal(err)
		}
		scalar, u = secret, scalar
		if i == 1 && !bytes.Equal(scalar, unhex(t, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")) {
			t.Fatalf("after one step: %x", scalar)
		}
	}
	if !bytes.Equal(scalar, unhex(t, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")) {
		t.Fatalf("after 1000 steps: %x", scalar)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParsePublicKeyRefuses(t *testing.T) {
	pair, err := NewKeyPair(seededRand(2))
	if err != nil {
		t.Fatal(err)
	}
	wrongType := pair.Public
	wrongType[0] = 6
	for name, b := range map[string][]byte{
		"empty": nil, "short": pair.Public[:32], "long": append(pair.Public[:], 0), "type": wrongType[:],
	} {
		if _, err := ParsePublicKey(b); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%s: %v, want ErrInvalidKey", name, err)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	pair, err := NewKeyPair(seededRand(3))
	if err != nil {
		t.Fatal(err)
	}
	good, ok := pair.Public.edwards(0)
	if !ok {
		t.Fatal("a fresh key is not on the curve")
	}
	// A point of order 8: the encoding is one of the known small-order points.
	torsion, err := new(edwards25519.Point).SetBytes(
		unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
	if err != nil {
		t.Fatal(err)
	}
	mixed := new(edwards25519.Point).Add(good, torsion)
	topBit := pair.Public
	topBit[32] |= 0x80
	minusOne := append([]byte{0xEC}, bytes.Repeat([]byte{0xFF}, 31)...)
	minusOne[31] = 0x7F
	aboveP := append([]byte{0xF6}, bytes.Repeat([]byte{0xFF}, 31)...) // p + 9: another form of the base point
	aboveP[31] = 0x7F
	for name, u := range map[string][]byte{
		"mixed order":  mixed.BytesMontgomery(),
		"top bit":      topBit[1:],
		"zero":         make([]byte, 32),
		"one":          append([]byte{1}, make([]byte, 31)...),
		"minus one":    minusOne,
		"not reduced":  aboveP,
		"on the twist": append([]byte{2}, make([]byte, 31)...),
	} {
		if PublicKey(append([]byte{5}, u...)).canonical() {
			t.Errorf("%s: accepted", name)
		}
	}
	if !(PublicKey(append([]byte{5, 9}, make([]byte, 31)...))).canonical() {
		t.Error("the base point was refused")
	}
}

func TestAgreeRefusesSmallOrder(t *testing.T) {
	pair, err := NewKeyPair(seededRand(4))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Private.agree(PublicKey{5}); !errors.Is(err, ErrInvalidKey) {
		t.Errorf("all-zero point: %v, want ErrInvalidKey", err)
	}
}

func TestXEdDSA(t *testing.T) {
	random := seededRand(5)
	signs := map[byte]bool{}
	for i := range 20 {
		pair, err := NewKeyPair(random)
		if err != nil {
			t.Fatal(err)
		}
		message := []byte("a message")
		sig, err := pair.Private.Sign(random, message)
		if err != nil {
			t.Fatal(err)
		}
		if !pair.Public.Verify(message, sig[:]) {
			t.Fatal("good signature refused")
		}
		signs[sig[63]>>7] = true
		if i >= 2 {
			continue
		}
		for bit := range len(sig) * 8 {
			forged := sig
			forged[bit/8] ^= 1 << (bit % 8)
			if pair.Public.Verify(message, forged[:]) {
				t.Fatalf("signature with bit %d flipped accepted", bit)
			}
		}
		if pair.Public.Verify([]byte("another message"), sig[:]) {
			t.Fatal("signature accepted for another message")
		}
		if pair.Public.Verify(message, sig[:63]) {
			t.Fatal("short signature accepted")
		}
	}
	if len(signs) != 2 {
		t.Error("20 keys did not cover both signs of the Edwards point")
	}
}
