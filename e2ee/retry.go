package e2ee

import "fmt"

const (
	plaintextMark = 0xC0 // first byte of a PlaintextContent
	contentEnd    = 0x80 // last byte: the end mark of padding
	retryField    = 8    // of the content between them
)

// DecryptionErrorMessage asks the sender of a message that did not decrypt to
// send it again. It may arrive unauthenticated, so it must never do more than
// cause that: the sender acts on it only when [Session.KnowsRatchetKey].
type DecryptionErrorMessage struct {
	RatchetKey *PublicKey // of the message that failed; nil when it was of type 7
	Timestamp  uint64     // when that message was sent, in ms
	Device     uint32     // the device that sent it
}

// NewDecryptionErrorMessage makes the request for a message of type 2, 3 or 7.
// It returns [ErrInvalidMessage] when the message cannot be parsed at all.
func NewDecryptionErrorMessage(failed Message, timestamp uint64, device uint32) (DecryptionErrorMessage, error) {
	e := DecryptionErrorMessage{Timestamp: timestamp, Device: device}
	switch failed.Type {
	case TypeMessage:
		m, err := parseSignalMessage(failed.Bytes)
		if err != nil {
			return e, err
		}
		e.RatchetKey = &m.ratchetKey
	case TypePreKey:
		m, err := parsePreKeyMessage(failed.Bytes)
		if err != nil {
			return e, err
		}
		e.RatchetKey = &m.inner.ratchetKey
	case TypeSenderKey:
	default:
		return e, fmt.Errorf("retry request for type %d: %w", failed.Type, ErrInvalidMessage)
	}
	return e, nil
}

// Marshal returns the protobuf encoding.
func (e DecryptionErrorMessage) Marshal() []byte {
	var b []byte
	if e.RatchetKey != nil {
		b = appendBytesField(b, 1, e.RatchetKey[:])
	}
	b = appendUintField(b, 2, e.Timestamp)
	return appendUintField(b, 3, uint64(e.Device))
}

// ParseDecryptionErrorMessage reads what [DecryptionErrorMessage.Marshal]
// wrote, or returns [ErrInvalidMessage].
func ParseDecryptionErrorMessage(b []byte) (DecryptionErrorMessage, error) {
	var e DecryptionErrorMessage
	var seen fieldSet
	r := readWire(b)
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			e.RatchetKey = new(PublicKey)
			r.fixed(e.RatchetKey[:])
		case 2:
			e.Timestamp = r.uint64()
		case 3:
			e.Device = r.uint32()
		}
	}
	if r.err != nil || !seen.has(2) || (e.RatchetKey != nil && e.RatchetKey[0] != curveKeyType) {
		return DecryptionErrorMessage{}, fmt.Errorf("parsing a retry request: %w", ErrInvalidMessage)
	}
	return e, nil
}

// NewPlaintextContent wraps a retry request that there is no session to send
// in: type 8, 0xC0 || content || 0x80, where the content has the request as
// field 8. Nothing else may travel unencrypted, so this is the only content.
func NewPlaintextContent(e DecryptionErrorMessage) Message {
	b := appendBytesField([]byte{plaintextMark}, retryField, e.Marshal())
	return Message{Type: TypePlaintext, Bytes: append(b, contentEnd)}
}

// ParsePlaintextContent returns the retry request in a type 8 message. It is not
// authenticated in any way.
func ParsePlaintextContent(b []byte) (DecryptionErrorMessage, error) {
	if len(b) < 2 || b[0] != plaintextMark || b[len(b)-1] != contentEnd {
		return DecryptionErrorMessage{}, fmt.Errorf("parsing a plaintext content: %w", ErrInvalidMessage)
	}
	var request []byte
	r := readWire(b[1 : len(b)-1])
	for r.next() {
		if r.number == retryField {
			request = r.bytes(len(b))
		}
	}
	if r.err != nil {
		return DecryptionErrorMessage{}, fmt.Errorf("parsing a plaintext content: %w", ErrInvalidMessage)
	}
	return ParseDecryptionErrorMessage(request)
}
