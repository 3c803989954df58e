package e2ee

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// The parsers behind a signature or a seal. Fuzzing them through the signature
// would never get past it.

func FuzzDeviceList(f *testing.F) {
	f.Add(DeviceList{Version: 1, AccountKey: PublicKey{curveKeyType}, Devices: []ListedDevice{
		{ID: 1, RegistrationID: 1, IdentityKey: PublicKey{curveKeyType}},
		{ID: 127, RegistrationID: 16383, IdentityKey: PublicKey{curveKeyType}, AddedAt: 1, Capabilities: 1},
	}}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseDeviceList(b)
		if err != nil {
			return
		}
		if !bytes.Equal(l.marshal(), b) || l.check() != nil || l.FreeID() > MaxDevices {
			t.Errorf("accepted %x as %+v", b, l)
		}
	})
}

func FuzzPreKeyStatement(f *testing.F) {
	f.Add(PreKeyStatement{Device: 1, RegistrationID: 1, SignedPreKeyID: 1, LastResortID: 1, Time: 1}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStatement(b)
		if err == nil && (!bytes.Equal(s.marshal(), b) || s.check() != nil) {
			t.Errorf("accepted %x as %+v", b, s)
		}
	})
}

func FuzzSealedBundle(f *testing.F) {
	f.Add(sealedBundle{
		version: 1, ciphertext: make([]byte, 60), wrapped: [][]byte{make([]byte, wrappedKeyLen), make([]byte, wrappedKeyLen)},
		slots: []SlotInfo{{ID: 1, Type: SlotPassword, Parameters: []byte{1}}, {ID: 2, Type: SlotRecovery}},
	}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSealedBundle(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.marshal(), b) || len(s.slots) != len(s.wrapped) {
			t.Errorf("accepted %x as %+v", b, s)
		}
		if _, _, err := OpenBundle(b, s.account, s.slots[0].Type, [32]byte{}); err == nil {
			t.Error("opened with a guessed key")
		}
	})
}

func FuzzBundleInside(f *testing.F) {
	f.Add(Bundle{
		ArchiveKeys: []ArchiveKey{{Epoch: 1}, {Epoch: 2}}, ListVersion: 1, SlotKeys: []SlotKey{{SlotID: 2}},
	}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		bundle, err := parseBundle(b)
		if err == nil && !bytes.Equal(bundle.marshal(), b) {
			t.Errorf("accepted %x as %+v", b, bundle)
		}
	})
}

func FuzzRecord(f *testing.F) {
	padded, err := Pad([]byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Record{Padded: padded, SenderDevice: 1}.marshal())
	f.Add(Record{Padded: padded, SenderDevice: 1, Epoch: 1, Seq: 2, ServerTime: 3, Tag: make([]byte, TagSize)}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := parseRecord(b)
		if err == nil && (!bytes.Equal(rec.marshal(), b) || rec.check() != nil) {
			t.Errorf("accepted %x as %+v", b, rec)
		}
	})
}

// TestBundleInside: who holds a slot of the account may seal anything.
func TestBundleInside(t *testing.T) {
	account, key := [16]byte{1}, [32]byte{2}
	good := Bundle{ArchiveKeys: []ArchiveKey{{Epoch: 1}}, SlotKeys: []SlotKey{{SlotID: 1, Key: [32]byte{2}}}}.marshal()
	largeID := Bundle{SlotKeys: []SlotKey{{SlotID: 1}}}
	for name, inside := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "unknown field": appendUintField(bytes.Clone(good), 6, 0),
		"field twice":          append(bytes.Clone(good), good...),
		"epochs not ascending": Bundle{ArchiveKeys: make([]ArchiveKey, 2)}.marshal(),
		"slot id of 33 bits":   appendNumberedKey(largeID.marshal(), 5, 1<<32+2, key),
	} {
		s := sealedBundle{account: account, version: 1, slots: []SlotInfo{{ID: 1, Type: SlotRecovery}}}
		rand := bytes.NewReader(make([]byte, 24))
		wrapped, err := sealGCM(rand, key, s.slotAAD(0), key[:])
		if err != nil {
			t.Fatal(err)
		}
		s.wrapped = [][]byte{wrapped}
		if s.ciphertext, err = sealGCM(rand, key, s.aad(), inside); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenBundle(s.marshal(), account, SlotRecovery, key); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
		s.ciphertext = s.ciphertext[:gcmNonceSize-1]
		if _, _, err := OpenBundle(s.marshal(), account, SlotRecovery, key); !errors.Is(err, ErrBundle) {
			t.Errorf("ciphertext shorter than a nonce: %v", err)
		}
	}
}

// TestLabelsDocumented holds docs/protocol.md against the labels in use.
func TestLabelsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## 15. All labels")
	for _, label := range []string{
		deviceListLabel, statementLabel, authLabel, wrapLabel, recoveryCodeLabel, recoveryAuthLabel, recoveryWrapLabel,
		bundleLabel, slotLabel, commitmentLabel, tagLabel, archiveLabel, stateLabel, directLabel,
	} {
		if !strings.Contains(table, `"`+label+`"`) {
			t.Errorf("the table of labels lacks %q", label)
		}
	}
}
