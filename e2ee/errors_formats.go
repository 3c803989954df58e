package e2ee

import "errors"

// The errors of Sotto's own formats. They are wrapped with what was being read
// or made; test with [errors.Is]. None of them contains key material or
// plaintext.
var (
	// ErrFormat: bytes are not the canonical encoding of the structure, or a
	// value is outside its bounds. Functions that make a structure return it for
	// values that every reader would refuse.
	ErrFormat = errors.New("e2ee: invalid format")

	// ErrTooLarge: a content does not fit into the largest size class.
	ErrTooLarge = errors.New("e2ee: content too large")

	// ErrSignature: a signed structure does not verify under the key it must
	// have been signed with.
	ErrSignature = errors.New("e2ee: invalid signature")

	// ErrMismatch: an authentic structure belongs to something else than what it
	// was delivered as: another account, device, conversation, message or class.
	ErrMismatch = errors.New("e2ee: structure does not match its outside")

	// ErrListRollback: a device list is older than one already seen.
	ErrListRollback = errors.New("e2ee: device list goes back")

	// ErrListFork: a device list contradicts one already seen: the same version
	// with another hash, or a successor of another list.
	ErrListFork = errors.New("e2ee: device list forks")

	// ErrListGap: lists between the one seen and this one are missing. Fetch
	// them and check them one after the other.
	ErrListGap = errors.New("e2ee: device list skips versions")

	// ErrAccountKey: a device list continues the chain, but under another account
	// key. The account was reset: an identity change for its peers.
	ErrAccountKey = errors.New("e2ee: account key changed")

	// ErrStatementStale: a prekey statement is older than [StatementLifetime].
	ErrStatementStale = errors.New("e2ee: prekey statement too old")

	// ErrStatementRollback: a prekey statement goes back from one already seen.
	ErrStatementRollback = errors.New("e2ee: prekey statement goes back")

	// ErrCommitment: padded content and franking key do not open the commitment
	// that the server holds.
	ErrCommitment = errors.New("e2ee: commitment does not open")

	// ErrSlot: a wrapping key opens no slot of the wanted type. This is what a
	// wrong password or recovery code looks like.
	ErrSlot = errors.New("e2ee: no slot opens")

	// ErrBundle: the slot opened, but the sealed part of the key bundle did not,
	// or what it holds is not valid: the bundle was tampered with.
	ErrBundle = errors.New("e2ee: key bundle tampered with")

	// ErrRecoveryTypo: the text is not a recovery code: wrong length, a foreign
	// character or a checksum that does not fit.
	ErrRecoveryTypo = errors.New("e2ee: mistyped recovery code")

	// ErrArchive: an archive record or account state does not open under the key
	// of its epoch, or not as what it was stored under.
	ErrArchive = errors.New("e2ee: archive record does not open")
)
