package e2ee_test

import (
	"crypto/sha256"
	"slices"
	"testing"

	"sotto/e2ee"
)

func TestDirectConversation(t *testing.T) {
	a, b := id16(0x10), id16(0xF0)
	id := e2ee.DirectConversation(a, b)
	if id != e2ee.DirectConversation(b, a) {
		t.Error("depends on the order of the accounts")
	}
	if id[6]>>4 != 8 || id[8]>>6 != 2 {
		t.Errorf("%x is not a UUID of version 8", id)
	}
	want := sha256.Sum256(slices.Concat([]byte("sotto dm v1"), a[:], b[:]))
	want[6], want[8] = want[6]&0x0F|0x80, want[8]&0x3F|0x80
	if id != [16]byte(want[:16]) {
		t.Errorf("%x, want %x", id, want[:16])
	}
	if self := e2ee.DirectConversation(a, a); self == id || self == e2ee.DirectConversation(b, b) {
		t.Error("conversations share an id")
	}
}
