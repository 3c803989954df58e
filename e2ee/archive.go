package e2ee

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	archiveFormat = 0x01

	// MaxRecord bounds a sealed archive record, in bytes.
	MaxRecord = MaxPadded + 1024

	// MaxStateName bounds the name of an account state, in bytes.
	MaxStateName = 128

	archiveLabel = "sotto archive v1"
	stateLabel   = "sotto state v1"

	// archiveHeader is format (1) and epoch (8), in clear before the sealed part.
	archiveHeader = 1 + 8
)

// RecordPlace is where an archive record belongs. It does not open as the
// record of another place.
type RecordPlace struct {
	Account      [16]byte // whose archive it is
	Conversation [16]byte
	MessageID    [16]byte
}

// Record is one message in the archive of one account.
type Record struct {
	Padded       []byte // padded content
	Key          FrankingKey
	Sender       [16]byte
	SenderDevice uint32
	SentAt       int64 // milliseconds since 1970

	// For a received message only, zero in the sender's own record:
	Epoch, Seq uint64 // position
	ServerTime int64  // milliseconds since 1970
	Tag        []byte // franking tag, TagSize bytes or none
}

// Content opens the record's padded content and compares it with the record and
// its place. It returns [ErrMismatch] or [ErrFormat].
func (rec Record) Content(at RecordPlace) (Content, error) {
	c, err := parsePadded(rec.Padded)
	if err != nil {
		return Content{}, err
	}
	if c.Conversation != at.Conversation || c.MessageID != at.MessageID ||
		c.Sender != rec.Sender || c.SenderDevice != rec.SenderDevice || c.SentAt != rec.SentAt {
		return Content{}, fmt.Errorf("archived content: %w", ErrMismatch)
	}
	return c, nil
}

// SealArchive encrypts a record with the archive key of the current epoch. It
// reads 12 bytes of rand. [ErrFormat] is returned for a record that breaks a
// bound.
func SealArchive(rand io.Reader, key ArchiveKey, at RecordPlace, rec Record) ([]byte, error) {
	if err := rec.check(); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	sealed, err := sealGCM(rand, at.key(key), at.aad(key.Epoch), rec.marshal())
	if err != nil {
		return nil, fmt.Errorf("sealing an archive record: %w", err)
	}
	return append(appendArchiveHeader(nil, key.Epoch), sealed...), nil
}

// OpenArchive decrypts a record with the archive key of its epoch, see
// [ArchiveEpoch]. It returns [ErrArchive] for anything that was not sealed as
// the record of that place.
func OpenArchive(key ArchiveKey, at RecordPlace, sealed []byte) (Record, error) {
	epoch, err := ArchiveEpoch(sealed)
	if err != nil || epoch != key.Epoch || len(sealed) > MaxRecord {
		return Record{}, ErrArchive
	}
	plaintext, ok := openGCM(at.key(key), at.aad(epoch), sealed[archiveHeader:])
	if !ok {
		return Record{}, ErrArchive
	}
	rec, err := parseRecord(plaintext)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return rec, nil
}

// ArchiveEpoch reads the archive epoch of a sealed record or account state,
// which stands in clear. Errors: [ErrFormat], [ErrVersion].
func ArchiveEpoch(sealed []byte) (uint64, error) {
	if len(sealed) < archiveHeader+sealOverhead {
		return 0, fmt.Errorf("archive record of %d bytes: %w", len(sealed), ErrFormat)
	}
	if sealed[0] != archiveFormat {
		return 0, fmt.Errorf("archive record: %w", ErrVersion)
	}
	return binary.BigEndian.Uint64(sealed[1:]), nil
}

// StatePlace is where a piece of account state belongs: one version of one
// name.
type StatePlace struct {
	Account [16]byte
	Name    string // 1 to MaxStateName bytes; the server sees it
	Version uint64 // 1, 2, 3 … of that name
}

// SealState encrypts a piece of account state, padded like a content, with the
// archive key of the current epoch. It reads 12 bytes of rand. Errors:
// [ErrFormat]; [ErrTooLarge] above MaxContent bytes.
func SealState(rand io.Reader, key ArchiveKey, at StatePlace, value []byte) ([]byte, error) {
	if len(at.Name) == 0 || len(at.Name) > MaxStateName || at.Version == 0 {
		return nil, fmt.Errorf("sealing account state: %w", ErrFormat)
	}
	padded, err := Pad(value)
	if err != nil {
		return nil, fmt.Errorf("sealing account state: %w", err)
	}
	sealed, err := sealGCM(rand, at.key(key), at.aad(key.Epoch), padded)
	if err != nil {
		return nil, fmt.Errorf("sealing account state: %w", err)
	}
	return append(appendArchiveHeader(nil, key.Epoch), sealed...), nil
}

// OpenState decrypts a piece of account state. It returns [ErrArchive] for
// anything that was not sealed as that version of that name.
func OpenState(key ArchiveKey, at StatePlace, sealed []byte) ([]byte, error) {
	epoch, err := ArchiveEpoch(sealed)
	if err != nil || epoch != key.Epoch || len(sealed) > MaxRecord {
		return nil, ErrArchive
	}
	padded, ok := openGCM(at.key(key), at.aad(epoch), sealed[archiveHeader:])
	if !ok {
		return nil, ErrArchive
	}
	value, err := Unpad(padded)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return value, nil
}

func appendArchiveHeader(b []byte, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, archiveFormat), epoch)
}

func (at RecordPlace) key(k ArchiveKey) [32]byte {
	return deriveKey(k.Key[:], archiveLabel, at.Conversation[:], at.MessageID[:])
}

func (at RecordPlace) aad(epoch uint64) []byte {
	b := append([]byte{archiveFormat}, at.Account[:]...)
	b = append(b, at.Conversation[:]...)
	b = append(b, at.MessageID[:]...)
	return binary.BigEndian.AppendUint64(b, epoch)
}

// key differs for every version, so a nonce that repeats between versions is
// harmless.
func (at StatePlace) key(k ArchiveKey) [32]byte {
	return deriveKey(k.Key[:], stateLabel, binary.BigEndian.AppendUint64(nil, at.Version), []byte(at.Name))
}

func (at StatePlace) aad(epoch uint64) []byte {
	b := append([]byte{archiveFormat}, at.Account[:]...)
	b = binary.BigEndian.AppendUint64(b, at.Version)
	b = binary.BigEndian.AppendUint64(b, epoch)
	return append(b, at.Name...)
}

func (rec Record) marshal() []byte {
	b := make([]byte, 0, len(rec.Padded)+256)
	b = appendBytesField(b, 1, rec.Padded)
	b = appendBytesField(b, 2, rec.Key[:])
	b = appendBytesField(b, 3, rec.Sender[:])
	b = appendUintField(b, 4, uint64(rec.SenderDevice))
	b = appendUintField(b, 5, uint64(rec.SentAt))
	b = appendUintField(b, 6, rec.Epoch)
	b = appendUintField(b, 7, rec.Seq)
	b = appendUintField(b, 8, uint64(rec.ServerTime))
	return appendBytesField(b, 9, rec.Tag)
}

func parseRecord(b []byte) (Record, error) {
	var rec Record
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			rec.Padded = bytes.Clone(r.bytes(MaxPadded))
		case 2:
			r.fixed(rec.Key[:])
		case 3:
			r.fixed(rec.Sender[:])
		case 4:
			rec.SenderDevice = r.uint32()
		case 5:
			rec.SentAt = millis(r)
		case 6:
			rec.Epoch = r.uint64()
		case 7:
			rec.Seq = r.uint64()
		case 8:
			rec.ServerTime = millis(r)
		case 9:
			rec.Tag = bytes.Clone(r.bytes(TagSize))
		}
	}
	if r.err != nil || !bytes.Equal(rec.marshal(), b) {
		return Record{}, fmt.Errorf("archive record: %w", ErrFormat)
	}
	if err := rec.check(); err != nil {
		return Record{}, err
	}
	return rec, nil
}

func (rec Record) check() error {
	_, err := Unpad(rec.Padded)
	if err != nil || !validDevice(rec.SenderDevice) || !validTime(rec.SentAt) || !validTime(rec.ServerTime) ||
		(len(rec.Tag) != 0 && len(rec.Tag) != TagSize) {
		return fmt.Errorf("archive record: %w", ErrFormat)
	}
	return nil
}
