package api

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// AccountID names an account for ever: it survives a change of username and a reset. It is a random UUID chosen by the
// client at registration, and the service id of the session wire format.
type AccountID [16]byte

// DeviceID names a device in SQL and REST. It is a random UUID chosen by the client. Envelopes name a device by its
// WireDeviceID instead.
type DeviceID [16]byte

// LoginID names a login, that is, one signed-in token family of one account.
type LoginID [16]byte

// ConversationID names a conversation: a hash of the member ids for kinds direct and self, random for groups.
type ConversationID [16]byte

// MessageID is 128 random bits chosen by the sending client before its first try.
type MessageID [16]byte

// EventID names a durable event between services.
type EventID [16]byte

// UploadID names an asset of an account from the start of its upload.
type UploadID [16]byte

// WireDeviceID is the small device number of the session wire format, 1 to 127, unique within an account's device list.
type WireDeviceID uint32

// MaxWireDeviceID is the largest device number that the session wire format allows.
const MaxWireDeviceID WireDeviceID = 127

// ErrID is wrapped by every parser of an id.
var ErrID = errors.New("not a valid id")

// ParseAccountID reads the canonical lower-case UUID form.
func ParseAccountID(s string) (AccountID, error) {
	b, err := parseUUID(s)
	return AccountID(b), err
}

// ParseDeviceID reads the canonical lower-case UUID form.
func ParseDeviceID(s string) (DeviceID, error) {
	b, err := parseUUID(s)
	return DeviceID(b), err
}

// ParseLoginID reads the canonical lower-case UUID form.
func ParseLoginID(s string) (LoginID, error) {
	b, err := parseUUID(s)
	return LoginID(b), err
}

// ParseConversationID reads the canonical lower-case UUID form.
func ParseConversationID(s string) (ConversationID, error) {
	b, err := parseUUID(s)
	return ConversationID(b), err
}

// ParseMessageID reads the canonical lower-case UUID form.
func ParseMessageID(s string) (MessageID, error) {
	b, err := parseUUID(s)
	return MessageID(b), err
}

// ParseEventID reads the canonical lower-case UUID form.
func ParseEventID(s string) (EventID, error) {
	b, err := parseUUID(s)
	return EventID(b), err
}

// ParseUploadID reads the canonical lower-case UUID form.
func ParseUploadID(s string) (UploadID, error) {
	b, err := parseUUID(s)
	return UploadID(b), err
}

// String returns the canonical lower-case UUID form, as for every id here.
func (id AccountID) String() string      { return formatUUID(id) }
func (id DeviceID) String() string       { return formatUUID(id) }
func (id LoginID) String() string        { return formatUUID(id) }
func (id ConversationID) String() string { return formatUUID(id) }
func (id MessageID) String() string      { return formatUUID(id) }
func (id EventID) String() string        { return formatUUID(id) }
func (id UploadID) String() string       { return formatUUID(id) }

// MarshalText makes JSON carry the canonical UUID form, also as an object key.
func (id AccountID) MarshalText() ([]byte, error)      { return []byte(formatUUID(id)), nil }
func (id DeviceID) MarshalText() ([]byte, error)       { return []byte(formatUUID(id)), nil }
func (id LoginID) MarshalText() ([]byte, error)        { return []byte(formatUUID(id)), nil }
func (id ConversationID) MarshalText() ([]byte, error) { return []byte(formatUUID(id)), nil }
func (id MessageID) MarshalText() ([]byte, error)      { return []byte(formatUUID(id)), nil }
func (id EventID) MarshalText() ([]byte, error)        { return []byte(formatUUID(id)), nil }
func (id UploadID) MarshalText() ([]byte, error)       { return []byte(formatUUID(id)), nil }

// UnmarshalText accepts exactly the canonical form; everything else is ErrID.
func (id *AccountID) UnmarshalText(b []byte) error      { return unmarshalUUID((*[16]byte)(id), b) }
func (id *DeviceID) UnmarshalText(b []byte) error       { return unmarshalUUID((*[16]byte)(id), b) }
func (id *LoginID) UnmarshalText(b []byte) error        { return unmarshalUUID((*[16]byte)(id), b) }
func (id *ConversationID) UnmarshalText(b []byte) error { return unmarshalUUID((*[16]byte)(id), b) }
func (id *MessageID) UnmarshalText(b []byte) error      { return unmarshalUUID((*[16]byte)(id), b) }
func (id *EventID) UnmarshalText(b []byte) error        { return unmarshalUUID((*[16]byte)(id), b) }
func (id *UploadID) UnmarshalText(b []byte) error       { return unmarshalUUID((*[16]byte)(id), b) }

// IsZero tells that no id was given.
func (id AccountID) IsZero() bool      { return id == AccountID{} }
func (id DeviceID) IsZero() bool       { return id == DeviceID{} }
func (id LoginID) IsZero() bool        { return id == LoginID{} }
func (id ConversationID) IsZero() bool { return id == ConversationID{} }
func (id MessageID) IsZero() bool      { return id == MessageID{} }

const uuidLen = 36 // characters

func formatUUID(id [16]byte) string {
	var b [uuidLen]byte
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
	return string(b[:])
}

func unmarshalUUID(dst *[16]byte, b []byte) error {
	id, err := parseUUID(string(b))
	if err != nil {
		return err
	}
	*dst = id
	return nil
}

// parseUUID is strict on purpose: two spellings of one id would be two keys in somebody's map.
func parseUUID(s string) (id [16]byte, err error) {
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("%w: want 8-4-4-4-12 lower-case hexadecimal digits", ErrID)
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	for i := 0; i < len(digits); i++ {
		if c := digits[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id, fmt.Errorf("%w: want lower-case hexadecimal digits", ErrID)
		}
	}
	_, err = hex.Decode(id[:], []byte(digits))
	return id, err
}
