package e2ee

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// The bounds of attachments, in bytes unless named otherwise.
const (
	MaxAttachments    = 10 // in one message
	MaxAssetID        = 64
	MaxAttachmentSize = 1 << 40
	MaxMediaType      = 127
	MaxFileName       = 255
	MaxThumbnail      = 16 << 10
)

// AttachmentCipher says how the bytes of an attachment are encrypted.
type AttachmentCipher uint8

// CipherGCM is AES-256-GCM over the whole attachment under a key used once, with
// a nonce of twelve zero bytes; the ciphertext ends with the tag. Other numbers
// are reserved.
const CipherGCM AttachmentCipher = 1

// Attachment points to an encrypted blob and holds what opens it.
type Attachment struct {
	AssetID []byte // what the server calls the blob, 1 to MaxAssetID bytes
	Cipher  AttachmentCipher
	Key     [32]byte // random, for this attachment only
	Hash    [32]byte // SHA-256 of the ciphertext; checked before it is opened
	Size    uint64   // of the ciphertext in bytes, 1 to MaxAttachmentSize

	PlainSize uint64 // of the plaintext in bytes without padding, at most Size
	MediaType string // as the sender says; "" is unknown; at most MaxMediaType bytes
	Name      string // file name, "" for none; at most MaxFileName bytes
	Width     uint32 // pixels; 0 for no picture
	Height    uint32 // pixels
	Duration  uint32 // milliseconds; 0 for neither sound nor film
	Thumbnail []byte // JPEG or WebP, at most MaxThumbnail bytes
}

// The sizes of sealed attachments, in bytes. Up to a MiB each is twice the one
// before, above that they are whole MiBs: a server learns no more of the length.
const (
	minSealed = 4 << 10
	maxSealed = 16 << 20

	// MaxAttachmentPlain is the longest attachment that [SealAttachment] takes.
	MaxAttachmentPlain = maxSealed - gcmTagSize
)

// SealAttachment encrypts and pads an attachment and returns the pointer to the
// result, which the server calls by its SHA-256 in hexadecimal. The same key and
// plaintext always give the same bytes, so that an upload can go on with them.
// The key is random and seals nothing else, ever: the nonce is always the same.
// Errors: [ErrFormat] for an empty attachment, [ErrTooLarge] for one of more than
// MaxAttachmentPlain bytes.
func SealAttachment(key [32]byte, plaintext []byte) (sealed []byte, a Attachment, err error) {
	switch {
	case len(plaintext) == 0:
		return nil, a, fmt.Errorf("sealing an attachment: %w", ErrFormat)
	case len(plaintext) > MaxAttachmentPlain:
		return nil, a, fmt.Errorf("sealing an attachment of %d bytes: %w", len(plaintext), ErrTooLarge)
	}
	size := sealedSize(len(plaintext))
	padded := make([]byte, size-gcmTagSize, size)
	copy(padded, plaintext)
	sealed = newGCM(key).Seal(padded[:0], make([]byte, gcmNonceSize), padded, nil)
	a = Attachment{
		Cipher: CipherGCM, Key: key, Hash: sha256.Sum256(sealed), Size: uint64(size), PlainSize: uint64(len(plaintext)),
	}
	a.AssetID = hex.AppendEncode(nil, a.Hash[:])
	return sealed, a, nil
}

// Open checks the hash of a sealed attachment, decrypts it and takes the padding
// off. It returns [ErrVersion] for another cipher and [ErrFormat] for anything
// but what the pointer says; nothing of that may be used.
func (a Attachment) Open(sealed []byte) ([]byte, error) {
	if a.Cipher != CipherGCM {
		return nil, fmt.Errorf("opening an attachment of cipher %d: %w", a.Cipher, ErrVersion)
	}
	if uint64(len(sealed)) != a.Size || sha256.Sum256(sealed) != a.Hash {
		return nil, fmt.Errorf("opening an attachment: not the bytes that were sealed: %w", ErrFormat)
	}
	padded, err := newGCM(a.Key).Open(nil, make([]byte, gcmNonceSize), sealed, nil)
	if err != nil || a.PlainSize > uint64(len(padded)) {
		return nil, fmt.Errorf("opening an attachment: %w", ErrFormat)
	}
	return padded[:a.PlainSize:a.PlainSize], nil
}

// sealedSize is the smallest size that holds n bytes and a tag.
func sealedSize(n int) int {
	const mib = 1 << 20
	n += gcmTagSize
	if n > mib {
		return (n + mib - 1) / mib * mib
	}
	size := minSealed
	for size < n {
		size *= 2
	}
	return size
}

// Attachments is a message with files.
type Attachments struct {
	Text  string       // caption, at most MaxText bytes
	Files []Attachment // 1 to MaxAttachments
}

func (a Attachment) marshal() []byte {
	b := appendBytesField(nil, 1, a.AssetID)
	b = appendUintField(b, 2, uint64(a.Cipher))
	b = appendBytesField(b, 3, a.Key[:])
	b = appendBytesField(b, 4, a.Hash[:])
	b = appendUintField(b, 5, a.Size)
	b = appendUintField(b, 6, a.PlainSize)
	b = appendBytesField(b, 7, []byte(a.MediaType))
	b = appendBytesField(b, 8, []byte(a.Name))
	b = appendUintField(b, 9, uint64(a.Width))
	b = appendUintField(b, 10, uint64(a.Height))
	b = appendUintField(b, 11, uint64(a.Duration))
	return appendBytesField(b, 12, a.Thumbnail)
}

// parseAttachment reads the attachment in the current field of outer, which
// takes the error.
func parseAttachment(outer *wireReader) Attachment {
	var a Attachment
	r := readCanonical(outer.bytes(MaxContent))
	for r.next() {
		a.read(r)
	}
	if r.err != nil {
		outer.err = r.err
	}
	return a
}

func (a *Attachment) read(r *wireReader) {
	switch r.number {
	case 1:
		a.AssetID = bytes.Clone(r.bytes(MaxAssetID))
	case 2:
		a.Cipher = AttachmentCipher(small(r))
	case 3:
		r.fixed(a.Key[:])
	case 4:
		r.fixed(a.Hash[:])
	case 5:
		a.Size = r.uint64()
	case 6:
		a.PlainSize = r.uint64()
	case 7:
		a.MediaType = string(r.bytes(MaxMediaType))
	case 8:
		a.Name = string(r.bytes(MaxFileName))
	case 9:
		a.Width = r.uint32()
	case 10:
		a.Height = r.uint32()
	case 11:
		a.Duration = r.uint32()
	case 12:
		a.Thumbnail = bytes.Clone(r.bytes(MaxThumbnail))
	}
}

// valid leaves the cipher open: a pointer with a later one is shown, but not
// opened.
func (a Attachment) valid() bool {
	return len(a.AssetID) > 0 && a.Cipher > 0 &&
		a.Size > 0 && a.Size <= MaxAttachmentSize && a.PlainSize <= a.Size &&
		validText(a.MediaType, 0, MaxMediaType) && validText(a.Name, 0, MaxFileName)
}

func (a Attachments) marshal() []byte {
	b := appendBytesField(nil, 1, []byte(a.Text))
	for _, f := range a.Files {
		b = appendBytesField(b, 2, f.marshal())
	}
	return b
}

func (a Attachments) valid() bool {
	if len(a.Files) == 0 || len(a.Files) > MaxAttachments || !validText(a.Text, 0, MaxText) {
		return false
	}
	for _, f := range a.Files {
		if !f.valid() {
			return false
		}
	}
	return true
}

func (a *Attachments) read(r *wireReader) {
	switch r.number {
	case 1:
		a.Text = string(r.bytes(MaxText))
	case 2:
		a.Files = append(a.Files, parseAttachment(r))
	}
}
