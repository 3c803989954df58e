package e2ee_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func keyBundle(tb testing.TB) e2ee.Bundle {
	return e2ee.Bundle{
		Account: id16(0xA1), Version: 4, AccountKey: newKey(tb, 1).Private,
		ArchiveKeys: []e2ee.ArchiveKey{{Epoch: 1, Key: id32(0xE1)}, {Epoch: 3, Key: id32(0xE3)}},
		ListVersion: 9, ListHash: id32(0x99),
	}
}

// keySlots has one slot of every kind of wrapping key, and one of a type that
// does not exist yet.
func keySlots() []e2ee.Slot {
	parameters := e2ee.PasswordParameters{KDF: e2ee.KDFSplitPBKDF2, Salt: id16(0x5A), Iterations: e2ee.MinIterations}
	return []e2ee.Slot{
		{ID: 1, Type: e2ee.SlotPassword, Parameters: parameters.Marshal(), Wrapping: id32(1)},
		{ID: 2, Type: e2ee.SlotRecovery, Wrapping: id32(2)},
		{ID: 3, Type: e2ee.SlotPasskey, Parameters: []byte("first"), Wrapping: id32(3)},
		{ID: 7, Type: e2ee.SlotPasskey, Parameters: []byte("second"), Wrapping: id32(7)},
		{ID: 8, Type: e2ee.SlotEmail, Parameters: parameters.Marshal(), Wrapping: id32(8)},
		{ID: 255, Type: 200, Wrapping: id32(9)},
	}
}

func sealBundle(tb testing.TB, b e2ee.Bundle, slots []e2ee.Slot) []byte {
	tb.Helper()
	sealed, err := b.Seal(testRand(3), slots)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestBundleEverySlotOpens(t *testing.T) {
	b, slots := keyBundle(t), keySlots()
	sealed := sealBundle(t, b, slots)
	want := b
	want.SlotKeys = []e2ee.SlotKey{{SlotID: 2, Key: id32(2)}, {SlotID: 3, Key: id32(3)}, {SlotID: 7, Key: id32(7)},
		{SlotID: 255, Key: id32(9)}}
	for _, s := range slots {
		got, infos, err := e2ee.OpenBundle(sealed, b.Account, s.Type, s.Wrapping)
		if err != nil {
			t.Errorf("slot %d: %v", s.ID, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("slot %d: %s", s.ID, diff)
		}
		if len(infos) != len(slots) || !bytes.Equal(infos[3].Parameters, []byte("second")) {
			t.Errorf("slot %d: slots %v", s.ID, infos)
		}
	}
	account, version, infos, err := e2ee.BundleInfo(sealed)
	if err != nil || account != b.Account || version != 4 || len(infos) != len(slots) || infos[4].Type != e2ee.SlotEmail {
		t.Errorf("BundleInfo: %x, %d, %v, %v", account, version, infos, err)
	}
}

// TestBundleNextVersion does what a client does when the user typed the password
// and a device is removed: every slot is wrapped again.
func TestBundleNextVersion(t *testing.T) {
	b, slots := keyBundle(t), keySlots()
	b, infos, err := e2ee.OpenBundle(sealBundle(t, b, slots), b.Account, e2ee.SlotPassword, id32(1))
	if err != nil {
		t.Fatal(err)
	}
	fromPassword := map[uint32][32]byte{1: id32(1), 8: id32(8)}
	next := make([]e2ee.Slot, 0, len(infos))
	for _, info := range infos {
		key, ok := b.SlotKey(info.ID)
		if !ok {
			key = fromPassword[info.ID]
		}
		next = append(next, e2ee.Slot{ID: info.ID, Type: info.Type, Parameters: info.Parameters, Wrapping: key})
	}
	b.Version++
	sealed := sealBundle(t, b, next)
	for _, s := range slots {
		if got, _, err := e2ee.OpenBundle(sealed, b.Account, s.Type, s.Wrapping); err != nil || got.Version != 5 {
			t.Errorf("slot %d: version %d, %v", s.ID, got.Version, err)
		}
	}
}

func TestBundleRefuses(t *testing.T) {
	b, slots := keyBundle(t), keySlots()
	sealed := sealBundle(t, b, slots)

	_, _, err := e2ee.OpenBundle(sealed, b.Account, e2ee.SlotPassword, id32(99))
	wantErr(t, "wrong password", err, e2ee.ErrSlot)
	_, _, err = e2ee.OpenBundle(sealed, b.Account, e2ee.SlotRecovery, id32(1))
	wantErr(t, "key of another slot type", err, e2ee.ErrSlot)
	_, _, err = e2ee.OpenBundle(sealed, id16(2), e2ee.SlotPassword, id32(1))
	wantErr(t, "another account", err, e2ee.ErrMismatch)

	// Whatever a server changes, the bundle does not open, or not with its keys.
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, _, err := e2ee.OpenBundle(bad, b.Account, e2ee.SlotPassword, id32(1)); err == nil {
			t.Errorf("opens with byte %d changed", i)
		}
	}
	bad := bytes.Clone(sealed)
	bad[len(bad)-1] ^= 1
	_, _, err = e2ee.OpenBundle(bad, b.Account, e2ee.SlotPassword, id32(1))
	wantErr(t, "sealed part changed", err, e2ee.ErrBundle)
	bad = bytes.Clone(sealed)
	bad[bytes.Index(bad, []byte("second"))] ^= 1
	_, _, err = e2ee.OpenBundle(bad, b.Account, e2ee.SlotPassword, id32(1))
	wantErr(t, "parameters of another slot changed", err, e2ee.ErrBundle)

	for name, raw := range map[string][]byte{
		"empty": {}, "cut": sealed[:len(sealed)-1], "unknown field": uintField(bytes.Clone(sealed), 6, 0),
		"too long": append(bytes.Clone(sealed), make([]byte, e2ee.MaxSealedBundle)...),
		"format 2": append([]byte{8, 2}, sealed[2:]...),
	} {
		_, _, _, err := e2ee.BundleInfo(raw)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func TestBundleBounds(t *testing.T) {
	many := make([]e2ee.ArchiveKey, e2ee.MaxArchiveKeys+1)
	for i := range many {
		many[i] = e2ee.ArchiveKey{Epoch: 1<<64 - 1 - uint64(len(many)-i)}
	}
	full := keyBundle(t)
	full.ArchiveKeys = many[1:]
	largest := make([]e2ee.Slot, e2ee.MaxSlots)
	for i := range largest {
		largest[i] = e2ee.Slot{ID: uint32(e2ee.MaxSlotID - len(largest) + i + 1), Type: 255, Wrapping: id32(byte(i)),
			Parameters: make([]byte, e2ee.MaxSlotParameters)}
	}
	if sealed := sealBundle(t, full, largest); len(sealed) > e2ee.MaxSealedBundle {
		t.Errorf("the largest bundle has %d bytes", len(sealed))
	}
	if _, err := full.Seal(testRand(3), append([]e2ee.Slot{{ID: 1, Type: 1}}, largest...)); err == nil {
		t.Error("17 slots sealed")
	}

	for name, change := range map[string]func(*e2ee.Bundle, *[]e2ee.Slot){
		"version 0":             func(b *e2ee.Bundle, _ *[]e2ee.Slot) { b.Version = 0 },
		"too many archive keys": func(b *e2ee.Bundle, _ *[]e2ee.Slot) { b.ArchiveKeys = many },
		"epochs not ascending":  func(b *e2ee.Bundle, _ *[]e2ee.Slot) { b.ArchiveKeys[1].Epoch = 1 },
		"no slot":               func(_ *e2ee.Bundle, s *[]e2ee.Slot) { *s = nil },
		"slot id 0":             func(_ *e2ee.Bundle, s *[]e2ee.Slot) { (*s)[0].ID = 0 },
		"slot ids equal":        func(_ *e2ee.Bundle, s *[]e2ee.Slot) { (*s)[1].ID = 1 },
		"slot id too high":      func(_ *e2ee.Bundle, s *[]e2ee.Slot) { (*s)[5].ID = 256 },
		"slot type 0":           func(_ *e2ee.Bundle, s *[]e2ee.Slot) { (*s)[0].Type = 0 },
		"parameters too long": func(_ *e2ee.Bundle, s *[]e2ee.Slot) {
			(*s)[0].Parameters = make([]byte, e2ee.MaxSlotParameters+1)
		},
	} {
		b, slots := keyBundle(t), keySlots()
		change(&b, &slots)
		_, err := b.Seal(testRand(3), slots)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
	for _, left := range []int{0, 32, 32 + 12*len(keySlots())} {
		_, err := keyBundle(t).Seal(&failingReader{left: left}, keySlots())
		wantErr(t, "no randomness", err, errNoRandomness)
	}
}
