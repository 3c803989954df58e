package e2ee_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

// deviceList is version 2 of the list of an account with two devices.
func deviceList(tb testing.TB) (e2ee.DeviceList, e2ee.KeyPair) {
	account := newKey(tb, 1)
	return e2ee.DeviceList{
		Account: id16(0xA1), Version: 2, Previous: id32(0x11), Time: 1767323045000, AccountKey: account.Public,
		Devices: []e2ee.ListedDevice{
			{ID: 1, RegistrationID: 4711, IdentityKey: newKey(tb, 2).Public, AddedAt: 1767323000000},
			{ID: 3, RegistrationID: 16383, IdentityKey: newKey(tb, 3).Public, AddedAt: 1767323044000, Capabilities: 5},
		},
	}, account
}

func signList(tb testing.TB, l e2ee.DeviceList, account e2ee.KeyPair) e2ee.SignedDeviceList {
	tb.Helper()
	signed, err := l.Sign(testRand(9), account.Private)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

// signRaw signs bytes that need not be a device list.
func signRaw(tb testing.TB, list []byte, account e2ee.KeyPair) e2ee.SignedDeviceList {
	tb.Helper()
	sig, err := account.Private.Sign(testRand(9), append([]byte("sotto device list v1"), list...))
	if err != nil {
		tb.Fatal(err)
	}
	return e2ee.SignedDeviceList{List: list, Signature: sig[:]}
}

func TestDeviceListRoundTrip(t *testing.T) {
	l, account := deviceList(t)
	signed := signList(t, l, account)
	got, err := signed.Open(account.Public)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l, got); diff != "" {
		t.Error(diff)
	}
	if again := signList(t, l, account); !bytes.Equal(again.List, signed.List) || again.Hash() != signed.Hash() {
		t.Error("the same list has two encodings")
	}
}

func TestDeviceListSignature(t *testing.T) {
	l, account := deviceList(t)
	signed := signList(t, l, account)
	other := newKey(t, 77)

	_, err := signed.Open(other.Public)
	wantErr(t, "another account key", err, e2ee.ErrSignature)
	_, err = l.Sign(testRand(9), other.Private)
	wantErr(t, "signing with another key", err, e2ee.ErrInvalidKey)
	_, err = signRaw(t, signed.List, other).Parse()
	wantErr(t, "signed by another key than it names", err, e2ee.ErrSignature)
	_, err = l.Sign(&failingReader{left: 63}, account.Private)
	wantErr(t, "no randomness", err, errNoRandomness)

	for i := range signed.List {
		bad := e2ee.SignedDeviceList{List: bytes.Clone(signed.List), Signature: signed.Signature}
		bad.List[i] ^= 1
		if _, err := bad.Parse(); err == nil {
			t.Errorf("accepted with byte %d of the list changed", i)
		}
	}
	for i := range signed.Signature {
		bad := e2ee.SignedDeviceList{List: signed.List, Signature: bytes.Clone(signed.Signature)}
		bad.Signature[i] ^= 1
		_, err := bad.Parse()
		wantErr(t, "changed signature", err, e2ee.ErrSignature)
	}
	// A list must not verify as a statement of the same key, nor the other way round.
	_, err = e2ee.SignedStatement{Statement: signed.List, Signature: signed.Signature}.Open(account.Public)
	wantErr(t, "list as statement", err, e2ee.ErrFormat)
}

func TestDeviceListBounds(t *testing.T) {
	tests := map[string]func(*e2ee.DeviceList){
		"version 0":                func(l *e2ee.DeviceList) { l.Version = 0 },
		"version 1 with previous":  func(l *e2ee.DeviceList) { l.Version = 1 },
		"version 2 without":        func(l *e2ee.DeviceList) { l.Previous = [32]byte{} },
		"negative time":            func(l *e2ee.DeviceList) { l.Time = -1 },
		"time too late":            func(l *e2ee.DeviceList) { l.Time = e2ee.MaxTime + 1 },
		"account key type":         func(l *e2ee.DeviceList) { l.AccountKey[0] = 6 },
		"id 0":                     func(l *e2ee.DeviceList) { l.Devices[0].ID = 0 },
		"id 128":                   func(l *e2ee.DeviceList) { l.Devices[1].ID = 128 },
		"ids equal":                func(l *e2ee.DeviceList) { l.Devices[1].ID = 1 },
		"ids descending":           func(l *e2ee.DeviceList) { slices.Reverse(l.Devices) },
		"registration id 0":        func(l *e2ee.DeviceList) { l.Devices[0].RegistrationID = 0 },
		"registration id too high": func(l *e2ee.DeviceList) { l.Devices[0].RegistrationID = 1 << 14 },
		"identity key type":        func(l *e2ee.DeviceList) { l.Devices[0].IdentityKey[0] = 8 },
		"device added too late":    func(l *e2ee.DeviceList) { l.Devices[0].AddedAt = e2ee.MaxTime + 1 },
		"21 devices":               func(l *e2ee.DeviceList) { l.Devices = manyDevices(t, e2ee.MaxDevices+1) },
	}
	for name, change := range tests {
		l, account := deviceList(t)
		change(&l)
		_, err := l.Sign(testRand(9), account.Private)
		wantErr(t, name+", signing", err, e2ee.ErrFormat)
		_, err = signRaw(t, encodeList(l), account).Parse()
		wantErr(t, name+", parsing", err, e2ee.ErrFormat)
	}

	l, account := deviceList(t)
	l.Devices = manyDevices(t, e2ee.MaxDevices)
	l.Version, l.Time = 1<<63, e2ee.MaxTime
	signed := signList(t, l, account)
	if len(signed.List) > e2ee.MaxDeviceListSize/2 {
		t.Errorf("a full list has %d bytes", len(signed.List))
	}
	if _, err := signed.Parse(); err != nil {
		t.Errorf("20 devices: %v", err)
	}
	l.Devices = nil
	if _, err := signList(t, l, account).Parse(); err != nil {
		t.Errorf("no devices: %v", err)
	}
}

// manyDevices have the highest ids that there are.
func manyDevices(tb testing.TB, n int) []e2ee.ListedDevice {
	devices := make([]e2ee.ListedDevice, n)
	key := newKey(tb, 2).Public
	for i := range devices {
		devices[i] = e2ee.ListedDevice{ID: uint32(e2ee.MaxDeviceID - n + 1 + i), RegistrationID: e2ee.MaxRegistrationID,
			IdentityKey: key, AddedAt: e2ee.MaxTime, Capabilities: 1<<64 - 1}
	}
	return devices
}

// encodeList is a second encoder, written from docs/protocol.md. It checks
// nothing.
func encodeList(l e2ee.DeviceList) []byte {
	b := bytesField(nil, 1, l.Account[:])
	b = uintField(b, 2, l.Version)
	b = bytesField(b, 3, l.Previous[:])
	b = uintField(b, 4, uint64(l.Time))
	b = bytesField(b, 5, l.AccountKey[:])
	for _, d := range l.Devices {
		inner := uintField(nil, 1, uint64(d.ID))
		inner = uintField(inner, 2, uint64(d.RegistrationID))
		inner = bytesField(inner, 3, d.IdentityKey[:])
		inner = uintField(inner, 4, uint64(d.AddedAt))
		inner = uintField(inner, 5, d.Capabilities)
		b = bytesField(b, 6, inner)
	}
	return b
}

func TestDeviceListCanonical(t *testing.T) {
	l, account := deviceList(t)
	list := signList(t, l, account).List
	if diff := cmp.Diff(encodeList(l), list); diff != "" {
		t.Fatalf("the two encoders differ: %s", diff)
	}
	head := bytesField(nil, 1, l.Account[:])
	version := uintField(nil, 2, l.Version)
	rest := list[len(head)+len(version):]
	tests := map[string][]byte{
		"empty":             {},
		"cut":               list[:len(list)-1],
		"unknown field":     uintField(bytes.Clone(list), 7, 0),
		"field twice":       slices.Concat(head, version, version, rest),
		"field missing":     slices.Concat(head, rest),
		"fields swapped":    slices.Concat(version, head, rest),
		"padded varint":     slices.Concat(head, []byte{2 << 3, 0x82, 0}, rest),
		"wrong wire type":   slices.Concat(head, bytesField(nil, 2, []byte{2}), rest),
		"unknown in device": bytesField(bytes.Clone(list), 6, uintField(nil, 6, 1)),
		"empty device":      bytesField(bytes.Clone(list), 6, nil),
		"device a number":   uintField(bytes.Clone(list), 6, 9),
		"too long":          bytesField(bytes.Clone(list), 6, make([]byte, e2ee.MaxDeviceListSize)),
	}
	for name, raw := range tests {
		_, err := signRaw(t, raw, account).Parse()
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func TestDeviceListFollows(t *testing.T) {
	prev, account := deviceList(t)
	hash := signList(t, prev, account).Hash()
	next := prev
	next.Version, next.Previous = 3, hash

	with := func(change func(*e2ee.DeviceList)) e2ee.DeviceList {
		l := next
		change(&l)
		return l
	}
	tests := []struct {
		name string
		list e2ee.DeviceList
		want error
	}{
		{"successor", next, nil},
		{"the same list", prev, nil},
		{"same version, other list", with(func(l *e2ee.DeviceList) { *l = prev; l.Time++ }), e2ee.ErrListFork},
		{"older", with(func(l *e2ee.DeviceList) { l.Version, l.Previous = 1, [32]byte{} }), e2ee.ErrListRollback},
		{"skips one", with(func(l *e2ee.DeviceList) { l.Version = 4 }), e2ee.ErrListGap},
		{"successor of another list", with(func(l *e2ee.DeviceList) { l.Previous[0]++ }), e2ee.ErrListFork},
		{"another account", with(func(l *e2ee.DeviceList) { l.Account[0]++ }), e2ee.ErrMismatch},
		{"reset account", with(func(l *e2ee.DeviceList) { l.AccountKey = newKey(t, 5).Public }), e2ee.ErrAccountKey},
		{"reset that also forks", with(func(l *e2ee.DeviceList) {
			l.AccountKey, l.Previous = newKey(t, 5).Public, id32(7)
		}), e2ee.ErrListFork},
	}
	for _, tt := range tests {
		wantErr(t, tt.name, tt.list.Follows(prev, hash), tt.want)
	}
	last := prev
	last.Version = 1<<64 - 1
	wantErr(t, "version 0 after the last", with(func(l *e2ee.DeviceList) { l.Version = 0 }).Follows(last, hash),
		e2ee.ErrListRollback)
}

func TestDeviceListIDs(t *testing.T) {
	l, _ := deviceList(t)
	if d, ok := l.Device(3); !ok || d.RegistrationID != 16383 {
		t.Errorf("Device(3) = %v, %v", d, ok)
	}
	if _, ok := l.Device(2); ok {
		t.Error("Device(2) found")
	}
	if id := l.FreeID(); id != 2 {
		t.Errorf("FreeID = %d, want 2", id)
	}
	l.Devices = nil
	if id := l.FreeID(); id != 1 {
		t.Errorf("FreeID of an empty list = %d, want 1", id)
	}
	l.Devices = manyDevices(t, e2ee.MaxDevices)
	if id := l.FreeID(); id != 0 {
		t.Errorf("FreeID of a full list = %d, want 0", id)
	}
}
