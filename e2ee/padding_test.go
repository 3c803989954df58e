package e2ee_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"sotto/e2ee"
)

func TestPadClasses(t *testing.T) {
	for content, want := range map[int]int{
		0: 256, 1: 256, 255: 256, 256: 512, 511: 512, 512: 1024, 32767: 32768, 32768: 65536, 65535: 65536,
	} {
		padded, err := e2ee.Pad(make([]byte, content))
		if err != nil || len(padded) != want {
			t.Errorf("%d bytes padded to %d, %v; want %d", content, len(padded), err, want)
		}
	}
	_, err := e2ee.Pad(make([]byte, e2ee.MaxContent+1))
	wantErr(t, "too large", err, e2ee.ErrTooLarge)
}

func TestPadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Endings in 0x00 and 0x80 look like padding.
		content := append(rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "content"),
			rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0x80}), 0, 300).Draw(t, "ending")...)
		padded, err := e2ee.Pad(content)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e2ee.Unpad(padded)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("got %x, %v", got, err)
		}
	})
}

func TestUnpadRefuses(t *testing.T) {
	good, err := e2ee.Pad(bytes.Repeat([]byte{1}, 300))
	if err != nil {
		t.Fatal(err)
	}
	unmarked := bytes.Clone(good)
	unmarked[300] = 0x81
	for name, b := range map[string][]byte{
		"empty": {}, "zeros": make([]byte, 256), "no mark": unmarked, "cut": good[:511],
		"no class": append(bytes.Clone(good), 0), "class larger than needed": append(bytes.Clone(good), make([]byte, 512)...),
		"larger than the largest class": append(append(bytes.Repeat([]byte{1}, 65536), 0x80), make([]byte, 65535)...),
	} {
		_, err := e2ee.Unpad(b)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func FuzzUnpad(f *testing.F) {
	f.Add(append([]byte{'x', 0x80}, make([]byte, 254)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := e2ee.Unpad(b)
		if err != nil {
			return
		}
		if padded, err := e2ee.Pad(content); err != nil || !bytes.Equal(padded, b) {
			t.Errorf("%x has another padding", content)
		}
	})
}
