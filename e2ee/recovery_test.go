package e2ee_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sotto/e2ee"
)

const recoveryAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func TestRecoveryCodeTyped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var code e2ee.RecoveryCode
		copy(code[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "code"))
		shown := code.String()
		typed := rapid.SampledFrom([]func(string) string{
			strings.ToLower,
			func(s string) string { return strings.ReplaceAll(s, "-", " ") },
			func(s string) string { return " " + strings.ReplaceAll(s, "-", "") + "\r\n" },
			func(s string) string { return strings.NewReplacer("0", "O", "1", "l").Replace(s) },
			func(s string) string { return strings.NewReplacer("0", "o", "1", "I").Replace(s) },
		}).Draw(t, "typed")(shown)
		got, err := e2ee.ParseRecoveryCode(typed)
		if err != nil || got != code {
			t.Fatalf("%q typed as %q: %v, %v", shown, typed, got, err)
		}
	})
}

func TestRecoveryCodeTypos(t *testing.T) {
	code, err := e2ee.NewRecoveryCode(testRand(6))
	if err != nil {
		t.Fatal(err)
	}
	shown := code.String()
	if len(shown) != 39 || strings.Count(shown, "-") != 7 {
		t.Errorf("shown as %q", shown)
	}
	plain := strings.ReplaceAll(shown, "-", "")
	for i := range plain {
		for _, c := range recoveryAlphabet {
			if byte(c) == plain[i] {
				continue
			}
			_, err := e2ee.ParseRecoveryCode(plain[:i] + string(c) + plain[i+1:])
			wantErr(t, "one wrong character", err, e2ee.ErrRecoveryTypo)
		}
		if i > 0 && plain[i] != plain[i-1] {
			_, err := e2ee.ParseRecoveryCode(plain[:i-1] + string(plain[i]) + string(plain[i-1]) + plain[i+1:])
			wantErr(t, "two characters swapped", err, e2ee.ErrRecoveryTypo)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "short": plain[:31], "long": plain + "0", "U": "U" + plain[1:], "sign": "_" + plain[1:],
		"foreign letter": "Ä" + plain[1:], "rune with the right low byte": string(rune(0x100)+rune(plain[0])) + plain[1:],
		"invalid UTF-8": "\xff" + plain[1:],
	} {
		_, err := e2ee.ParseRecoveryCode(text)
		wantErr(t, name, err, e2ee.ErrRecoveryTypo)
	}
	_, err = e2ee.NewRecoveryCode(&failingReader{left: 15})
	wantErr(t, "no randomness", err, errNoRandomness)
}

func TestRecoveryKeys(t *testing.T) {
	code := e2ee.RecoveryCode(id16(0x5E))
	for label, got := range map[string][32]byte{
		"sotto recovery auth v1": code.Auth(), "sotto recovery wrap v1": code.Wrap(),
	} {
		want, err := hkdf.Key(sha256.New, code[:], nil, label, 32)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:], want) {
			t.Errorf("%s: %x, want %x", label, got, want)
		}
	}
}

func FuzzRecoveryCode(f *testing.F) {
	f.Add(e2ee.RecoveryCode(id16(0)).String())
	f.Add("OIL0-1")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := e2ee.ParseRecoveryCode(text)
		if err != nil {
			return
		}
		if again, err := e2ee.ParseRecoveryCode(code.String()); err != nil || again != code {
			t.Errorf("%q gives %v, which gives %v, %v", text, code, again, err)
		}
	})
}
