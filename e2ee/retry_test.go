package e2ee_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func TestRetryRequest(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	first := alice.encrypt(t, bob, "x")
	deliver(t, alice, bob, first, "x")
	deliver(t, bob, alice, bob.encrypt(t, alice, "y"), "y")
	second := alice.encrypt(t, bob, "z")
	for _, m := range []e2ee.Message{first, second} {
		e, err := e2ee.NewDecryptionErrorMessage(m, 1_700_000_000_000, 3)
		check(t, err)
		if e.Timestamp != 1_700_000_000_000 || e.Device != 3 || !alice.session(bob).KnowsRatchetKey(*e.RatchetKey) {
			t.Errorf("type %d: %+v", m.Type, e)
		}
		again, err := e2ee.ParseDecryptionErrorMessage(e.Marshal())
		check(t, err)
		if diff := cmp.Diff(e, again); diff != "" {
			t.Error(diff)
		}
	}
	e, err := e2ee.NewDecryptionErrorMessage(newGroup(t).encrypt("x"), 1, 2)
	check(t, err)
	again, err := e2ee.ParseDecryptionErrorMessage(e.Marshal())
	check(t, err)
	if e.RatchetKey != nil || again.RatchetKey != nil {
		t.Error("a group message has no ratchet key")
	}
	for _, m := range []e2ee.Message{
		{Type: e2ee.TypeMessage, Bytes: second.Bytes[:20]}, {Type: e2ee.TypePreKey, Bytes: first.Bytes[:20]},
		{Type: e2ee.TypePlaintext}, {Type: 6},
	} {
		if _, err := e2ee.NewDecryptionErrorMessage(m, 1, 2); !errors.Is(err, e2ee.ErrInvalidMessage) {
			t.Errorf("type %d: %v", m.Type, err)
		}
	}
}

func TestParseDecryptionErrorMessageRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":        nil,
		"no timestamp": {0x18, 1},
		"short key":    {0x0A, 1, 5, 0x10, 1, 0x18, 1},
		"key type":     append(append([]byte{0x0A, 33}, make([]byte, 33)...), 0x10, 1),
		"large device": {0x10, 1, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
	} {
		if _, err := e2ee.ParseDecryptionErrorMessage(b); !errors.Is(err, e2ee.ErrInvalidMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlaintextContent(t *testing.T) {
	e := e2ee.DecryptionErrorMessage{RatchetKey: &e2ee.PublicKey{5, 1}, Timestamp: 0x1234, Device: 3}
	m := e2ee.NewPlaintextContent(e)
	want := slices.Concat([]byte{0xC0, 0x42, 40, 0x0A, 33, 5, 1}, make([]byte, 31),
		[]byte{0x10, 0xB4, 0x24, 0x18, 3, 0x80})
	if m.Type != 8 || !bytes.Equal(m.Bytes, want) {
		t.Errorf("type %d, %x; want %x", m.Type, m.Bytes, want)
	}
	got, err := e2ee.ParsePlaintextContent(m.Bytes)
	check(t, err)
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
	for _, b := range []string{
		"", "\xC0", "\x80", "\xC0\x80", "\xC0x\x80", "\xC0\x0A\x01x\x80",
		string(m.Bytes[1:]), string(m.Bytes[:len(m.Bytes)-1]),
	} {
		if _, err := e2ee.ParsePlaintextContent([]byte(b)); !errors.Is(err, e2ee.ErrInvalidMessage) {
			t.Errorf("%x: %v", b, err)
		}
	}
}
