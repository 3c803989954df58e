package e2ee

import (
	"bytes"
	"fmt"
)

const (
	// ContentFormat is the highest content format this package can show.
	ContentFormat = 1
	// MaxExpirySeconds is the longest expiry timer: 366 days.
	MaxExpirySeconds = 366 * 24 * 60 * 60

	// Fields 1 to 13 of a content are always there, in every later format too.
	// Body kinds are the field numbers from minBody to maxBody; higher numbers are
	// for fields of later formats.
	minBody = 16
	maxBody = 111

	profileKeySize = 32
)

// Class is how the server treats a message. It stands in the content as well,
// so that the server cannot change it.
type Class uint8

// The classes.
const (
	ClassMessage   Class = 1 // takes a position, for every device, archived, notifies
	ClassSilent    Class = 2 // no position, for named devices, kept until acknowledged or 30 days
	ClassEphemeral Class = 3 // never stored, only for devices that are connected
)

// ContentFlags are properties of a message that need no room of their own.
type ContentFlags uint64

// FlagViewOnce: shown once, then erased; never archived. Unknown flags are
// ignored.
const FlagViewOnce ContentFlags = 1 << 0

// Content is what a message says, before padding. All devices get the same
// bytes.
type Content struct {
	Format     uint32 // of the writer; ContentFormat when this package writes
	MinVersion uint32 // lowest format a reader must know to show it, at most Format

	Conversation, MessageID, Sender [16]byte
	SenderDevice                    uint32 // the device that wrote it, 1 to MaxDeviceID
	SentAt                          int64  // milliseconds since 1970, by the sender's clock

	// Number counts the messages of class message that SenderDevice wrote in
	// Conversation: 1, 2, 3 … A receiver that misses one knows that it does.
	// It means nothing in the other classes.
	Number uint64

	Class         Class
	ExpirySeconds uint32 // 0 is never; at most MaxExpirySeconds
	ExpiryVersion uint32 // raised with every change of the timer; the higher one counts
	ProfileKey    []byte // empty, or the 32 bytes that open the sender's profile picture
	Flags         ContentFlags

	Body Body

	// Unknown holds the encoded fields of later formats, as they came.
	Unknown []byte
}

// Body is the one body of a content. Bodies of unknown kinds keep their bytes:
// a later version of the client shows them.
type Body struct {
	Kind  BodyKind
	Bytes []byte
}

// Showable reports whether this package knows enough to show the content. Keep
// and archive it in any case.
func (c Content) Showable() bool { return c.MinVersion <= ContentFormat && c.Body.Kind.known() }

// Marshal encodes the content as it is, without a check of bounds. Senders use
// [Content.Padded].
func (c Content) Marshal() []byte {
	var b []byte
	b = appendUintField(b, 1, uint64(c.Format))
	b = appendUintField(b, 2, uint64(c.MinVersion))
	b = appendBytesField(b, 3, c.Conversation[:])
	b = appendBytesField(b, 4, c.MessageID[:])
	b = appendBytesField(b, 5, c.Sender[:])
	b = appendUintField(b, 6, uint64(c.SenderDevice))
	b = appendUintField(b, 7, uint64(c.SentAt))
	b = appendUintField(b, 8, c.Number)
	b = appendUintField(b, 9, uint64(c.Class))
	b = appendUintField(b, 10, uint64(c.ExpirySeconds))
	b = appendUintField(b, 11, uint64(c.ExpiryVersion))
	b = appendBytesField(b, 12, c.ProfileKey)
	b = appendUintField(b, 13, uint64(c.Flags))
	b = appendBytesField(b, int(c.Body.Kind), c.Body.Bytes)
	return append(b, c.Unknown...)
}

// Padded encodes and pads the content. It returns [ErrFormat] for a content or
// body that every receiver would refuse, and [ErrTooLarge].
func (c Content) Padded() ([]byte, error) {
	b := c.Marshal()
	if _, err := ParseContent(b); err != nil {
		return nil, fmt.Errorf("making a content: %w", err)
	}
	if err := c.Body.check(); err != nil {
		return nil, fmt.Errorf("making a content: %w", err)
	}
	return Pad(b)
}

// ParseContent reads an unpadded content. Format, minimum version and body may
// be later ones; the body itself is read by the method for its kind. It returns
// [ErrFormat]; [ErrTooLarge] above MaxContent.
func ParseContent(b []byte) (Content, error) {
	var c Content
	if len(b) > MaxContent {
		return c, fmt.Errorf("content of %d bytes: %w", len(b), ErrTooLarge)
	}
	r := readCanonical(b)
	for r.next() {
		c.read(r)
	}
	// A missing or repeated field makes the second encoding differ.
	if r.err != nil || !bytes.Equal(c.Marshal(), b) || !c.valid() {
		return Content{}, fmt.Errorf("content: %w", ErrFormat)
	}
	return c, nil
}

func (c *Content) read(r *wireReader) {
	switch r.number {
	case 1:
		c.Format = r.uint32()
	case 2:
		c.MinVersion = r.uint32()
	case 3:
		r.fixed(c.Conversation[:])
	case 4:
		r.fixed(c.MessageID[:])
	case 5:
		r.fixed(c.Sender[:])
	case 6:
		c.SenderDevice = r.uint32()
	case 7:
		c.SentAt = millis(r)
	case 8:
		c.Number = r.uint64()
	case 9:
		c.Class = Class(small(r))
	case 10:
		c.ExpirySeconds = r.uint32()
	case 11:
		c.ExpiryVersion = r.uint32()
	case 12:
		c.ProfileKey = bytes.Clone(r.bytes(profileKeySize))
	case 13:
		c.Flags = ContentFlags(r.uint64())
	default:
		switch {
		case r.number > maxBody:
			c.Unknown = append(c.Unknown, r.raw...)
		case r.number >= minBody:
			c.Body = Body{Kind: BodyKind(r.number), Bytes: bytes.Clone(r.bytes(MaxContent))}
		}
	}
}

func (c Content) valid() bool {
	return c.Format >= 1 && c.MinVersion >= 1 && c.MinVersion <= c.Format &&
		validDevice(c.SenderDevice) &&
		c.Class >= ClassMessage && c.Class <= ClassEphemeral &&
		c.ExpirySeconds <= MaxExpirySeconds &&
		(len(c.ProfileKey) == 0 || len(c.ProfileKey) == profileKeySize) &&
		c.Body.Kind >= minBody && c.Body.Kind <= maxBody
}

// small reads a varint field of at most 8 bits.
func small(r *wireReader) uint8 {
	v := r.uint64()
	if v > 255 {
		r.err = errWire
	}
	return uint8(v)
}
