package e2ee

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// MaxSlots is the most slots a key bundle may have.
	MaxSlots = 16
	// MaxSlotID is the highest slot id; the lowest is 1.
	MaxSlotID = 255
	// MaxSlotParameters bounds the parameters of a slot, in bytes.
	MaxSlotParameters = 512
	// MaxArchiveKeys is the most archive epochs a key bundle may hold.
	MaxArchiveKeys = 1024
	// MaxSealedBundle bounds a sealed key bundle, in bytes. It is chosen so that
	// the base64 of one fits into a request body of 100 KB.
	MaxSealedBundle = 64 << 10

	bundleFormat  = 1
	bundleLabel   = "sotto bundle v1"
	slotLabel     = "sotto slot v1"
	wrappedKeyLen = sealOverhead + 32
)

// SlotType says where the wrapping key of a slot comes from.
type SlotType uint8

// The slot types. Readers keep slots of types they do not know.
const (
	SlotPassword SlotType = 1 // kek of SplitPassword; parameters: PasswordParameters
	SlotRecovery SlotType = 2 // RecoveryCode.Wrap; parameters: SHA-256 of its auth, or none
	SlotPasskey  SlotType = 3 // reserved
	SlotOPAQUE   SlotType = 4 // reserved
	SlotEmail    SlotType = 5 // kek under the salt of the e-mail login; parameters: PasswordParameters
)

// fromPassword: the wrapping key comes from the password, so it is known again
// whenever the user types it and must not be kept in the bundle.
func (t SlotType) fromPassword() bool {
	return t == SlotPassword || t == SlotOPAQUE || t == SlotEmail
}

// SlotInfo is the public part of a slot. The server sees it; opening the bundle
// authenticates it.
type SlotInfo struct {
	ID         uint32 // 1 to MaxSlotID
	Type       SlotType
	Parameters []byte // by type; at most MaxSlotParameters
}

// Slot is one way to open a bundle that is about to be sealed.
type Slot struct {
	ID         uint32
	Type       SlotType
	Parameters []byte
	Wrapping   [32]byte
}

// ArchiveKey is the key of one archive epoch.
type ArchiveKey struct {
	Epoch uint64
	Key   [32]byte
}

// SlotKey is the wrapping key of a slot that does not depend on the password.
type SlotKey struct {
	SlotID uint32
	Key    [32]byte
}

// Bundle is the opened key bundle: what an account must not lose. It lives in
// memory for the moment of use only; a device stores the sealed form.
type Bundle struct {
	Account     [16]byte
	Version     uint64 // 1, 2, 3 …
	AccountKey  PrivateKey
	ArchiveKeys []ArchiveKey // ascending Epoch, at most MaxArchiveKeys
	ListVersion uint64       // of the device list that is current with this version
	ListHash    [32]byte
	SlotKeys    []SlotKey // set by OpenBundle: the keys needed to wrap those slots again
}

// SlotKey returns the wrapping key of a slot for the next version of the
// bundle. Keys that come from the password are not there.
func (b Bundle) SlotKey(id uint32) ([32]byte, bool) {
	for _, k := range b.SlotKeys {
		if k.SlotID == id {
			return k.Key, true
		}
	}
	return [32]byte{}, false
}

// Seal encrypts the bundle under a new bundle key and wraps that for every
// slot. What is written is a whole new version; nothing of an older one remains
// valid. b.SlotKeys is not read: the keys kept inside are those of slots.
//
// It reads 32 bytes of rand for the bundle key, then 12 for each slot, then 12.
// [ErrFormat] is returned for values outside their bounds, no slot, or slots
// not in ascending order of id.
func (b Bundle) Seal(rand io.Reader, slots []Slot) ([]byte, error) {
	b.SlotKeys = nil
	set := make([]SlotInfo, 0, len(slots))
	for _, s := range slots {
		set = append(set, SlotInfo{ID: s.ID, Type: s.Type, Parameters: s.Parameters})
		if !s.Type.fromPassword() {
			b.SlotKeys = append(b.SlotKeys, SlotKey{SlotID: s.ID, Key: s.Wrapping})
		}
	}
	sealed := sealedBundle{account: b.Account, version: b.Version, slots: set}
	if err := firstError(b.check(), sealed.check()); err != nil {
		return nil, fmt.Errorf("sealing a key bundle: %w", err)
	}
	var key [32]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, fmt.Errorf("sealing a key bundle: %w", err)
	}
	for i, s := range slots {
		wrapped, err := sealGCM(rand, s.Wrapping, sealed.slotAAD(i), key[:])
		if err != nil {
			return nil, fmt.Errorf("wrapping the bundle key: %w", err)
		}
		sealed.wrapped = append(sealed.wrapped, wrapped)
	}
	var err error
	if sealed.ciphertext, err = sealGCM(rand, key, sealed.aad(), b.marshal()); err != nil {
		return nil, fmt.Errorf("sealing a key bundle: %w", err)
	}
	out := sealed.marshal()
	if len(out) > MaxSealedBundle {
		return nil, fmt.Errorf("sealing a key bundle of %d bytes: %w", len(out), ErrFormat)
	}
	return out, nil
}

// OpenBundle opens a sealed bundle with the wrapping key of a slot of the given
// type. It returns the public part of all slots as well: the next version must
// have them, too. Errors: [ErrFormat]; [ErrMismatch] for the bundle of another
// account; [ErrSlot] when the key opens no such slot; [ErrBundle].
func OpenBundle(sealed []byte, account [16]byte, slot SlotType, wrapping [32]byte) (Bundle, []SlotInfo, error) {
	s, err := parseSealedBundle(sealed)
	if err != nil {
		return Bundle{}, nil, err
	}
	if s.account != account {
		return Bundle{}, nil, fmt.Errorf("key bundle of another account: %w", ErrMismatch)
	}
	key, ok := s.unwrap(slot, wrapping)
	if !ok {
		return Bundle{}, nil, ErrSlot
	}
	plaintext, ok := openGCM(key, s.aad(), s.ciphertext)
	if !ok {
		return Bundle{}, nil, ErrBundle
	}
	b, err := parseBundle(plaintext)
	if err != nil {
		return Bundle{}, nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	b.Account, b.Version = s.account, s.version
	return b, s.slots, nil
}

// BundleInfo reads what a sealed bundle shows without a key. Nothing of it is
// authenticated before the bundle was opened. It returns [ErrFormat].
func BundleInfo(sealed []byte) (account [16]byte, version uint64, slots []SlotInfo, err error) {
	s, err := parseSealedBundle(sealed)
	return s.account, s.version, s.slots, err
}

// sealedBundle is the outer form. wrapped[i] belongs to slots[i].
type sealedBundle struct {
	account    [16]byte
	version    uint64
	slots      []SlotInfo
	wrapped    [][]byte
	ciphertext []byte
}

func (s sealedBundle) unwrap(slot SlotType, wrapping [32]byte) ([32]byte, bool) {
	for i := range s.slots {
		if s.slots[i].Type != slot {
			continue
		}
		if key, ok := openGCM(wrapping, s.slotAAD(i), s.wrapped[i]); ok && len(key) == 32 {
			return [32]byte(key), true
		}
	}
	return [32]byte{}, false
}

// aad covers the whole slot set, wrapped keys included: who opens the bundle by
// one slot knows that the others are as the owner made them.
func (s sealedBundle) aad() []byte {
	hash := sha256.Sum256(s.appendSlots(nil))
	b := append([]byte(bundleLabel), s.account[:]...)
	b = binary.BigEndian.AppendUint64(b, s.version)
	return append(b, hash[:]...)
}

func (s sealedBundle) slotAAD(i int) []byte {
	b := append([]byte(slotLabel), s.account[:]...)
	b = binary.BigEndian.AppendUint64(b, s.version)
	b = binary.BigEndian.AppendUint32(b, s.slots[i].ID)
	b = binary.BigEndian.AppendUint32(b, uint32(s.slots[i].Type))
	return append(b, s.slots[i].Parameters...)
}

func (s sealedBundle) marshal() []byte {
	var b []byte
	b = appendUintField(b, 1, bundleFormat)
	b = appendBytesField(b, 2, s.account[:])
	b = appendUintField(b, 3, s.version)
	b = s.appendSlots(b)
	return appendBytesField(b, 5, s.ciphertext)
}

func (s sealedBundle) appendSlots(b []byte) []byte {
	for i, slot := range s.slots {
		inner := appendUintField(nil, 1, uint64(slot.ID))
		inner = appendUintField(inner, 2, uint64(slot.Type))
		inner = appendBytesField(inner, 3, slot.Parameters)
		inner = appendBytesField(inner, 4, s.wrapped[i])
		b = appendBytesField(b, 4, inner)
	}
	return b
}

func parseSealedBundle(b []byte) (sealedBundle, error) {
	var s sealedBundle
	if len(b) > MaxSealedBundle {
		return s, fmt.Errorf("key bundle of %d bytes: %w", len(b), ErrFormat)
	}
	format := uint64(0)
	r := readCanonical(b)
	for r.next() && len(s.slots) <= MaxSlots {
		switch r.number {
		case 1:
			format = r.uint64()
		case 2:
			r.fixed(s.account[:])
		case 3:
			s.version = r.uint64()
		case 4:
			slot, wrapped := parseSlot(r)
			s.slots, s.wrapped = append(s.slots, slot), append(s.wrapped, wrapped)
		case 5:
			s.ciphertext = bytes.Clone(r.bytes(MaxSealedBundle))
		}
	}
	if r.err != nil || format != bundleFormat || !bytes.Equal(s.marshal(), b) {
		return sealedBundle{}, fmt.Errorf("key bundle: %w", ErrFormat)
	}
	if err := s.check(); err != nil {
		return sealedBundle{}, err
	}
	return s, nil
}

// parseSlot reads the slot in the current field of outer, which takes the error.
func parseSlot(outer *wireReader) (info SlotInfo, wrapped []byte) {
	r := readCanonical(outer.bytes(MaxSealedBundle))
	for r.next() {
		switch r.number {
		case 1:
			info.ID = r.uint32()
		case 2:
			slotType := r.uint64()
			if slotType > 255 {
				r.err = errWire
			}
			info.Type = SlotType(slotType)
		case 3:
			info.Parameters = bytes.Clone(r.bytes(MaxSlotParameters))
		case 4:
			wrapped = make([]byte, wrappedKeyLen)
			r.fixed(wrapped)
		}
	}
	if r.err != nil {
		outer.err = r.err
	}
	return info, wrapped
}

func (s sealedBundle) check() error {
	if s.version == 0 || len(s.slots) == 0 || len(s.slots) > MaxSlots {
		return fmt.Errorf("key bundle, version %d with %d slots: %w", s.version, len(s.slots), ErrFormat)
	}
	last := uint32(0)
	for _, slot := range s.slots {
		if slot.ID <= last || slot.ID > MaxSlotID || slot.Type == 0 || len(slot.Parameters) > MaxSlotParameters {
			return fmt.Errorf("key bundle, slot %d: %w", slot.ID, ErrFormat)
		}
		last = slot.ID
	}
	return nil
}

func (b Bundle) marshal() []byte {
	var out []byte
	out = appendBytesField(out, 1, b.AccountKey[:])
	for _, k := range b.ArchiveKeys {
		out = appendNumberedKey(out, 2, k.Epoch, k.Key)
	}
	out = appendUintField(out, 3, b.ListVersion)
	out = appendBytesField(out, 4, b.ListHash[:])
	for _, k := range b.SlotKeys {
		out = appendNumberedKey(out, 5, uint64(k.SlotID), k.Key)
	}
	return out
}

func appendNumberedKey(b []byte, field int, number uint64, key [32]byte) []byte {
	return appendBytesField(b, field, appendBytesField(appendUintField(nil, 1, number), 2, key[:]))
}

// parseBundle reads the sealed part, which has come from this account: it can
// only be malformed if another client made it so.
func parseBundle(plaintext []byte) (Bundle, error) {
	var b Bundle
	r := readCanonical(plaintext)
	for r.next() {
		switch r.number {
		case 1:
			r.fixed(b.AccountKey[:])
		case 2:
			epoch, key := parseNumberedKey(r)
			b.ArchiveKeys = append(b.ArchiveKeys, ArchiveKey{Epoch: epoch, Key: key})
		case 3:
			b.ListVersion = r.uint64()
		case 4:
			r.fixed(b.ListHash[:])
		case 5:
			id, key := parseNumberedKey(r)
			b.SlotKeys = append(b.SlotKeys, SlotKey{SlotID: uint32(id), Key: key}) // cut ids differ when encoded again
		}
	}
	if r.err != nil || !bytes.Equal(b.marshal(), plaintext) {
		return Bundle{}, fmt.Errorf("inside of a key bundle: %w", ErrFormat)
	}
	return b, b.check()
}

// parseNumberedKey reads {1 number, 2 key} in the current field of outer, which
// takes the error.
func parseNumberedKey(outer *wireReader) (number uint64, key [32]byte) {
	r := readCanonical(outer.bytes(MaxSealedBundle))
	for r.next() {
		switch r.number {
		case 1:
			number = r.uint64()
		case 2:
			r.fixed(key[:])
		}
	}
	if r.err != nil {
		outer.err = r.err
	}
	return number, key
}

func (b Bundle) check() error {
	if !validArchiveKeys(b.ArchiveKeys) {
		return fmt.Errorf("key bundle, archive keys: %w", ErrFormat)
	}
	return nil
}

// validArchiveKeys: not too many, ascending epochs.
func validArchiveKeys(keys []ArchiveKey) bool {
	for i := 1; i < len(keys); i++ {
		if keys[i-1].Epoch >= keys[i].Epoch {
			return false
		}
	}
	return len(keys) <= MaxArchiveKeys
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
