package e2ee

import "errors"

// The errors of sessions, keys and sender keys. Functions wrap them with the
// step that went wrong; test with [errors.Is]. An error never contains key
// material or plaintext, and a call that returns one has changed nothing.
var (
	// ErrInvalidKey: a key has the wrong length or type, is not canonical, or
	// its signature does not verify.
	ErrInvalidKey = errors.New("e2ee: invalid key")

	// ErrInvalidMessage: a message is malformed, or no session authenticates it.
	ErrInvalidMessage = errors.New("e2ee: invalid message")

	// ErrVersion: a message has a protocol version this package does not speak.
	ErrVersion = errors.New("e2ee: unsupported version")

	// ErrNoSession: there is no session (or sender key) that this message could
	// belong to, or none that may be used for sending.
	ErrNoSession = errors.New("e2ee: no session")

	// ErrDuplicate: the key of the message has been used, or dropped because it
	// was old. The message id tells the caller which of them: a retry request
	// is for messages it has not seen.
	ErrDuplicate = errors.New("e2ee: duplicate message")

	// ErrTooFarAhead: the message would skip more keys than [MaxForwardJump].
	ErrTooFarAhead = errors.New("e2ee: message too far ahead")

	// ErrNoPreKey: a prekey message names a prekey that this device does not
	// have (any more). A [PreKeySource] returns it for unknown ids.
	ErrNoPreKey = errors.New("e2ee: unknown prekey")

	// ErrReused: a prekey message repeats a handshake with a last-resort Kyber
	// prekey that was already answered.
	ErrReused = errors.New("e2ee: prekey message replayed")

	// ErrState: serialised state is damaged or from a later version.
	ErrState = errors.New("e2ee: unreadable state")
)
