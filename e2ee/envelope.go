package e2ee

import (
	"encoding/binary"
	"fmt"
)

const (
	envelopeFormat = 0x01
	pinsSize       = 8 + 32 + 8 + 32 + 8

	// EnvelopeOverhead is what an envelope adds to a padded content, in bytes.
	EnvelopeOverhead = 1 + 32 + pinsSize
)

// Pins tell the receiver which device lists the sender goes by. They are made
// afresh for every envelope and are not committed to.
type Pins struct {
	SenderVersion    uint64   // of the sender's device list
	SenderHash       [32]byte // SignedDeviceList.Hash of it
	RecipientVersion uint64   // of the recipient's list as the sender knows it; 0 in a group
	RecipientHash    [32]byte // in a group: one hash over the lists of all members
	BundleVersion    uint64   // of the key bundle, to own devices; 0 to others
}

// Envelope is the plaintext of one session message.
type Envelope struct {
	Key    FrankingKey
	Pins   Pins
	Padded []byte // size class included; the same bytes for every device
}

// Outside is what the server says about a message. The sender device is the one
// that wrote the message, also when another device of the account made the
// envelope.
type Outside struct {
	Conversation, MessageID, Sender [16]byte
	SenderDevice                    uint32
	Class                           Class
	Commitment                      Commitment
}

// Marshal encodes the envelope: EnvelopeOverhead bytes and the padded content.
func (e Envelope) Marshal() []byte {
	b := make([]byte, 0, EnvelopeOverhead+len(e.Padded))
	b = append(b, envelopeFormat)
	b = append(b, e.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Pins.SenderVersion)
	b = append(b, e.Pins.SenderHash[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Pins.RecipientVersion)
	b = append(b, e.Pins.RecipientHash[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Pins.BundleVersion)
	return append(b, e.Padded...)
}

// ParseEnvelope reads the plaintext of a session message. Padded aliases b.
// Errors: [ErrVersion], [ErrFormat].
func ParseEnvelope(b []byte) (Envelope, error) {
	if len(b) > 0 && b[0] != envelopeFormat {
		return Envelope{}, fmt.Errorf("envelope: %w", ErrVersion)
	}
	if len(b) < EnvelopeOverhead {
		return Envelope{}, fmt.Errorf("envelope of %d bytes: %w", len(b), ErrFormat)
	}
	e := Envelope{Padded: b[EnvelopeOverhead:]}
	if _, err := Unpad(e.Padded); err != nil {
		return Envelope{}, fmt.Errorf("envelope: %w", err)
	}
	b = b[1:]
	b = b[copy(e.Key[:], b):]
	e.Pins.SenderVersion, b = binary.BigEndian.Uint64(b), b[8:]
	b = b[copy(e.Pins.SenderHash[:], b):]
	e.Pins.RecipientVersion, b = binary.BigEndian.Uint64(b), b[8:]
	b = b[copy(e.Pins.RecipientHash[:], b):]
	e.Pins.BundleVersion = binary.BigEndian.Uint64(b)
	return e, nil
}

// Open returns the content if it is what the sender committed to and belongs
// where the server delivered it. Anything else is to be refused, counted and
// not shown. Errors: [ErrCommitment], [ErrMismatch], [ErrFormat].
func (e Envelope) Open(outside Outside) (Content, error) {
	if !outside.Commitment.Opens(e.Key, e.Padded) {
		return Content{}, ErrCommitment
	}
	c, err := parsePadded(e.Padded)
	if err != nil {
		return Content{}, err
	}
	if c.Conversation != outside.Conversation || c.MessageID != outside.MessageID ||
		c.Sender != outside.Sender || c.SenderDevice != outside.SenderDevice || c.Class != outside.Class {
		return Content{}, fmt.Errorf("content: %w", ErrMismatch)
	}
	return c, nil
}

func parsePadded(padded []byte) (Content, error) {
	b, err := Unpad(padded)
	if err != nil {
		return Content{}, err
	}
	return ParseContent(b)
}
