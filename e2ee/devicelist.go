package e2ee

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
)

const (
	// MaxDevices is the most devices an account may have.
	MaxDevices = 20
	// MaxDeviceID is the highest wire device id; the lowest is 1.
	MaxDeviceID = 127
	// MaxRegistrationID is the highest registration id (14 bits); the lowest is 1.
	MaxRegistrationID = 1<<14 - 1
	// MaxDeviceListSize bounds an encoded device list, in bytes; a full one has
	// less than half of that.
	MaxDeviceListSize = 4096

	deviceListLabel = "sotto device list v1"
)

// ListedDevice is one device as its account vouches for it.
type ListedDevice struct {
	ID             uint32 // wire device id, 1 to MaxDeviceID
	RegistrationID uint32 // 1 to MaxRegistrationID; tells two devices apart that had the same ID
	IdentityKey    PublicKey
	AddedAt        int64  // milliseconds since 1970
	Capabilities   uint64 // bit set; no bit is defined yet, unknown bits are ignored
}

// DeviceList says which devices an account has. Lists of an account form a
// chain: each names the hash of the one before.
type DeviceList struct {
	Account    [16]byte
	Version    uint64   // 1, 2, 3 … without gaps
	Previous   [32]byte // Hash of version-1; zero in version 1
	Time       int64    // milliseconds since 1970, by the clock of the device that signed
	AccountKey PublicKey
	Devices    []ListedDevice // ascending ID, 0 to MaxDevices
}

// SignedDeviceList is a device list as it travels and is stored: the exact
// bytes that were signed, so that nobody has to encode them again.
type SignedDeviceList struct {
	List      []byte
	Signature []byte // XEdDSA by the account key over "sotto device list v1" || List
}

// Sign encodes and signs the list with the private half of l.AccountKey. It
// returns [ErrFormat] for a list that breaks a bound and [ErrInvalidKey] when
// the key is not that half.
func (l DeviceList) Sign(rand io.Reader, account PrivateKey) (SignedDeviceList, error) {
	if err := l.check(); err != nil {
		return SignedDeviceList{}, fmt.Errorf("signing a device list: %w", err)
	}
	pair, err := KeyPairFromPrivate(account[:])
	if err != nil || pair.Public != l.AccountKey {
		return SignedDeviceList{}, fmt.Errorf("signing a device list: %w", ErrInvalidKey)
	}
	list := l.marshal()
	signature, err := account.Sign(rand, append([]byte(deviceListLabel), list...))
	if err != nil {
		return SignedDeviceList{}, fmt.Errorf("signing a device list: %w", err)
	}
	return SignedDeviceList{List: list, Signature: signature[:]}, nil
}

// Open verifies the signature under the account key that the caller knows and
// returns the list. Errors: [ErrSignature], also when the list names another
// account key; [ErrFormat].
func (s SignedDeviceList) Open(account PublicKey) (DeviceList, error) {
	l, err := s.Parse()
	if err != nil {
		return DeviceList{}, err
	}
	if l.AccountKey != account {
		return DeviceList{}, fmt.Errorf("device list under another account key: %w", ErrSignature)
	}
	return l, nil
}

// Parse verifies the signature under the account key that the list itself
// names: the list is well formed and whole, but whose it is remains open. The
// server and first contact use it. Errors: [ErrSignature], [ErrFormat].
func (s SignedDeviceList) Parse() (DeviceList, error) {
	l, err := parseDeviceList(s.List)
	if err != nil {
		return DeviceList{}, err
	}
	if !l.AccountKey.Verify(append([]byte(deviceListLabel), s.List...), s.Signature) {
		return DeviceList{}, fmt.Errorf("device list: %w", ErrSignature)
	}
	return l, nil
}

// Hash is SHA-256 of the encoded list, without the signature: what the next
// version and pins refer to.
func (s SignedDeviceList) Hash() [32]byte { return sha256.Sum256(s.List) }

// Follows reports whether a client that has seen prev, with the given hash, may
// take l in its place: l is prev itself or its direct successor. Otherwise it
// returns [ErrMismatch] (another account), [ErrListRollback], [ErrListFork] or
// [ErrListGap]. A direct successor under another account key gives
// [ErrAccountKey]: whether to accept it is for the user to decide.
func (l DeviceList) Follows(prev DeviceList, prevHash [32]byte) error {
	switch {
	case l.Account != prev.Account:
		return fmt.Errorf("device list of another account: %w", ErrMismatch)
	case l.Version < prev.Version:
		return ErrListRollback
	case l.Version == prev.Version:
		if sha256.Sum256(l.marshal()) != prevHash {
			return ErrListFork
		}
		return nil
	case l.Version > prev.Version+1:
		return ErrListGap
	case l.Previous != prevHash:
		return ErrListFork
	case l.AccountKey != prev.AccountKey:
		return ErrAccountKey
	}
	return nil
}

// Device returns the listed device with that id.
func (l DeviceList) Device(id uint32) (ListedDevice, bool) {
	for _, d := range l.Devices {
		if d.ID == id {
			return d, true
		}
	}
	return ListedDevice{}, false
}

// FreeID is the lowest device id that no listed device has, or 0 when the list
// is full.
func (l DeviceList) FreeID() uint32 {
	if len(l.Devices) >= MaxDevices {
		return 0
	}
	id := uint32(1)
	for _, d := range l.Devices {
		if d.ID != id {
			break
		}
		id++
	}
	return id
}

func (l DeviceList) marshal() []byte {
	var b []byte
	b = appendBytesField(b, 1, l.Account[:])
	b = appendUintField(b, 2, l.Version)
	b = appendBytesField(b, 3, l.Previous[:])
	b = appendUintField(b, 4, uint64(l.Time))
	b = appendBytesField(b, 5, l.AccountKey[:])
	for _, d := range l.Devices {
		b = appendBytesField(b, 6, d.marshal())
	}
	return b
}

func (d ListedDevice) marshal() []byte {
	var b []byte
	b = appendUintField(b, 1, uint64(d.ID))
	b = appendUintField(b, 2, uint64(d.RegistrationID))
	b = appendBytesField(b, 3, d.IdentityKey[:])
	b = appendUintField(b, 4, uint64(d.AddedAt))
	return appendUintField(b, 5, d.Capabilities)
}

// parseDeviceList relies on one comparison at the end for everything canonical:
// a missing, repeated or unknown field makes the second encoding differ.
func parseDeviceList(b []byte) (DeviceList, error) {
	var l DeviceList
	if len(b) > MaxDeviceListSize {
		return l, fmt.Errorf("device list of %d bytes: %w", len(b), ErrFormat)
	}
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			r.fixed(l.Account[:])
		case 2:
			l.Version = r.uint64()
		case 3:
			r.fixed(l.Previous[:])
		case 4:
			l.Time = millis(r)
		case 5:
			r.fixed(l.AccountKey[:])
		case 6:
			l.Devices = append(l.Devices, parseListedDevice(r))
		}
	}
	if r.err != nil || !bytes.Equal(l.marshal(), b) {
		return DeviceList{}, fmt.Errorf("device list: %w", ErrFormat)
	}
	return l, l.check()
}

// parseListedDevice reads the device in the current field of outer, which takes
// the error.
func parseListedDevice(outer *wireReader) ListedDevice {
	var d ListedDevice
	r := readCanonical(outer.bytes(MaxDeviceListSize))
	for r.next() {
		switch r.number {
		case 1:
			d.ID = r.uint32()
		case 2:
			d.RegistrationID = r.uint32()
		case 3:
			r.fixed(d.IdentityKey[:])
		case 4:
			d.AddedAt = millis(r)
		case 5:
			d.Capabilities = r.uint64()
		}
	}
	if r.err != nil {
		outer.err = r.err
	}
	return d
}

func (l DeviceList) check() error {
	if _, err := ParsePublicKey(l.AccountKey[:]); err != nil {
		return fmt.Errorf("device list, account key: %w", ErrFormat)
	}
	if l.Version == 0 || (l.Version == 1) != (l.Previous == [32]byte{}) {
		return fmt.Errorf("device list, version %d and hash of the previous one: %w", l.Version, ErrFormat)
	}
	if !validTime(l.Time) {
		return fmt.Errorf("device list, time: %w", ErrFormat)
	}
	if len(l.Devices) > MaxDevices {
		return fmt.Errorf("device list of %d devices: %w", len(l.Devices), ErrFormat)
	}
	last := uint32(0)
	for _, d := range l.Devices {
		if d.ID <= last {
			return fmt.Errorf("device list, ids not ascending: %w", ErrFormat)
		}
		last = d.ID
		if err := d.check(); err != nil {
			return err
		}
	}
	return nil
}

func (d ListedDevice) check() error {
	_, err := ParsePublicKey(d.IdentityKey[:])
	if err != nil || !validDevice(d.ID) || !validRegistration(d.RegistrationID) || !validTime(d.AddedAt) {
		return fmt.Errorf("device list, device %d: %w", d.ID, ErrFormat)
	}
	return nil
}

func validDevice(id uint32) bool       { return id >= 1 && id <= MaxDeviceID }
func validRegistration(id uint32) bool { return id >= 1 && id <= MaxRegistrationID }
