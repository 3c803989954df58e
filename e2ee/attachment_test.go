package e2ee_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"sotto/e2ee"
)

// TestSealAttachment: what is sealed opens to the same bytes, the same key and file give the same ciphertext, and its
// length is one of a few.
func TestSealAttachment(t *testing.T) {
	for plain, size := range map[int]uint64{
		1: 4 << 10, 4<<10 - 16: 4 << 10, 4<<10 - 15: 8 << 10, 100_000: 128 << 10, 1<<20 - 16: 1 << 20, 1 << 20: 2 << 20,
		5 << 20: 6 << 20, e2ee.MaxAttachmentPlain: 16 << 20,
	} {
		file := bytes.Repeat([]byte{0x61}, plain)
		sealed, a, err := e2ee.SealAttachment(id32(7), file)
		if err != nil {
			t.Fatalf("%d bytes: %v", plain, err)
		}
		if uint64(len(sealed)) != size || a.Size != size || a.PlainSize != uint64(plain) {
			t.Errorf("%d bytes became %d, the pointer says %d and %d", plain, len(sealed), a.Size, a.PlainSize)
		}
		if got, err := a.Open(sealed); err != nil || !bytes.Equal(got, file) {
			t.Errorf("%d bytes open to %d, %v", plain, len(got), err)
		}
		if again, _, err := e2ee.SealAttachment(id32(7), file); err != nil || !bytes.Equal(again, sealed) {
			t.Errorf("%d bytes sealed again are others, %v", plain, err)
		}
	}
	for plain, want := range map[int]error{0: e2ee.ErrFormat, e2ee.MaxAttachmentPlain + 1: e2ee.ErrTooLarge} {
		if _, _, err := e2ee.SealAttachment(id32(7), make([]byte, plain)); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", plain, err)
		}
	}
}

// TestOpenAttachmentRefuses: nothing opens but what the pointer says.
func TestOpenAttachmentRefuses(t *testing.T) {
	sealed, a, err := e2ee.SealAttachment(id32(7), []byte("a file"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(a *e2ee.Attachment, sealed *[]byte){
		"another cipher": func(a *e2ee.Attachment, _ *[]byte) { a.Cipher = 2 },
		"another key":    func(a *e2ee.Attachment, _ *[]byte) { a.Key[0] ^= 1 },
		"another hash":   func(a *e2ee.Attachment, _ *[]byte) { a.Hash[0] ^= 1 },
		"another size":   func(a *e2ee.Attachment, _ *[]byte) { a.Size++ },
		"an end beyond":  func(a *e2ee.Attachment, _ *[]byte) { a.PlainSize = a.Size },
		"a changed byte": func(_ *e2ee.Attachment, s *[]byte) { (*s)[9] ^= 1 },
		"a cut one":      func(_ *e2ee.Attachment, s *[]byte) { *s = (*s)[:len(*s)-1] },
		"a changed byte with its hash": func(a *e2ee.Attachment, s *[]byte) {
			(*s)[9] ^= 1
			a.Hash = sha256.Sum256(*s)
		},
	} {
		changed, bytesOf := a, bytes.Clone(sealed)
		change(&changed, &bytesOf)
		if got, err := changed.Open(bytesOf); err == nil || got != nil {
			t.Errorf("%s opens to %d bytes", name, len(got))
		}
	}
}
