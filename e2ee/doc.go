// Package e2ee is the protocol core of Sotto: end-to-end encrypted sessions
// between devices, messages to groups, and the formats that accounts, device
// lists, contents and history have on the wire.
//
// It is pure computation. It has no network, no database, no clock and no
// global randomness: time and an [io.Reader] of random bytes are arguments, and
// state is a value that the caller stores. It compiles for js/wasm.
//
// # Sessions
//
// Sessions are wire compatible with today's Signal protocol:
//
//   - keys and signatures: X25519 and XEdDSA ([PrivateKey.Sign]), with the sign
//     bit of the public key in the signature;
//   - handshake: PQXDH with Kyber-1024 round 3 ([Session.Initiate]); there is no
//     handshake without Kyber;
//   - messages: the Double Ratchet mixed with the Sparse Post-Quantum Ratchet,
//     together the Triple Ratchet ([Session.Encrypt], [Session.Decrypt]); it is
//     always on;
//   - records: current and archived states as in Sesame ([Session]).
//
// The papers are at https://signal.org/docs: XEdDSA, PQXDH revision 3, Double
// Ratchet revision 4, Sesame, ML-KEM Braid. What is on the wire differs from them
// in these points: the sign bit above; a MAC of 8 bytes; the identity keys are
// covered by that MAC instead of associated data; the labels begin with
// "Whisper"; the KEM secret comes last in the key derivation; and a key is signed
// with its type byte.
//
// A device begins with one it has a [PreKeyBundle] of:
//
//	s := e2ee.NewSession()
//	if err := s.Initiate(rand, local, bundle, now); err != nil { … }
//	m, err := s.Encrypt(rand, local, bundle.Address, plaintext, now)
//
// The receiver decrypts it with an empty session and its prekeys:
//
//	got, err := s.Decrypt(rand, local, sender, m, prekeys)
//
// and commits, in one transaction: s.Marshal(), got.Plaintext, and what
// got.Consumed says has been used up.
//
// # Trust
//
// This package does not know whom to trust. Before [Session.Initiate] the caller
// has found the bundle's identity key in the peer's signed device list; after
// [Session.Decrypt], and before it commits, it looks for
// [Received].RemoteIdentity there. The account key that signs device lists is
// what people compare: [SafetyNumber].
//
// # Errors and state
//
// Every error is one of a small set of sentinels, wrapped with the step that
// went wrong; see [ErrInvalidMessage] and its neighbours. Errors contain no
// secrets. A call that returns an error has changed nothing: a state is replaced
// by a changed copy only after the message has verified. Unauthenticated bytes
// cannot make state grow.
//
// Stored state begins with a format byte. This version writes format 1; later
// versions read it. State of a later format is [ErrState].
//
// # Limits
//
// A message may skip 25,000 keys of its chain ([MaxForwardJump]); 2,000 skipped
// keys are kept for a chain ([MaxSkippedKeys]), 5 receiving chains for a state, 40
// archived states for a session, 5 keys for a sender and group. A plaintext has
// at most 512 KiB ([MaxPlaintext]). There is no exception for one's own devices.
//
// # Groups
//
// A [SenderKey] encrypts a message once for a whole group. Its distribution
// message travels in the sessions; [PeerSenderKeys] is the receiving side. A
// sender key heals only by rotation: rotate when a member or a device leaves and
// when [SenderKey.Due] says so.
//
// # Repair
//
// A device that cannot decrypt sends a [DecryptionErrorMessage]. Its receiver
// acts on it only for a ratchet key its session has used
// ([Session.KnowsRatchetKey]): it archives the current state, begins a new
// session and sends the content again. [ErrDuplicate] for a message that the
// caller has not seen before, by its id, is treated the same way: a peer that
// came back with an old state repeats keys. A device that knows that its state
// is old archives every session before it sends; otherwise messages may decrypt
// for a while until the post-quantum ratchets of the two sides contradict each
// other, and are refused then.
//
// # Upkeep
//
// [PreKeyInventory.Due] says which prekeys a device makes and uploads;
// [RetiredPreKeyExpired] when it deletes old ones.
package e2ee
