package e2ee

import (
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// maxArchived is how many old states a session keeps; the oldest goes.
	maxArchived = 40

	// unacknowledgedLifetime is how long a state that was never answered may be
	// used for sending. The peer keeps retired prekeys for longer.
	unacknowledgedLifetime = 30 * 24 * time.Hour
)

// Local is this device: its address, its identity key pair and its
// registration id (14 bits, chosen at random when the device was made).
type Local struct {
	Address        Address
	Identity       KeyPair
	RegistrationID uint32
}

// Session is the record of all ratchet sessions with one remote device: the
// current one, which is used for sending, and up to 40 archived ones, which
// still decrypt (Sesame §3). The zero value is an empty session.
//
// A method that returns an error has changed nothing. After one that succeeds
// the caller stores Marshal() in the same transaction as the effect of the
// call: the message to be sent, or the plaintext received and what
// [Received.Consumed] names. A message that was sent from a state that was not
// stored uses its keys twice.
//
// A Session must not be used by two goroutines at once.
type Session struct {
	current  *state
	archived []*state // most recent first
}

// NewSession returns an empty session.
func NewSession() *Session { return new(Session) }

// Clone returns an independent copy. It is cheap: states and the list of them
// are shared, because they are replaced, never changed.
func (s *Session) Clone() *Session {
	c := *s
	return &c
}

// Usable reports whether there is a current state that may be used for sending.
// One that this side began and that was not answered for 30 days may not.
func (s *Session) Usable(now time.Time) bool {
	if s.current == nil {
		return false
	}
	p := s.current.pending
	return p == nil || now.Sub(p.created) < unacknowledgedLifetime
}

// RemoteIdentity returns the peer's identity key of the current state. A caller
// compares it with the peer's device list before it encrypts.
func (s *Session) RemoteIdentity() (PublicKey, bool) {
	if s.current == nil {
		return PublicKey{}, false
	}
	return s.current.remoteIdentity, true
}

// KnowsRatchetKey reports whether k is one of the last 16 ratchet keys that a
// state of this session has sent with. Retry requests for other keys are
// ignored.
func (s *Session) KnowsRatchetKey(k PublicKey) bool {
	for st := range s.states() {
		if slices.Contains(st.used, k) {
			return true
		}
	}
	return false
}

// SentWith reports whether k is one of the ratchet keys that the current state has
// sent with. If a message under it did not decrypt, that state is to be replaced;
// an archived one has been already.
func (s *Session) SentWith(k PublicKey) bool {
	return s.current != nil && slices.Contains(s.current.used, k)
}

// states walks over the current state and then the archived ones; the index is
// -1 for the current one.
func (s *Session) states() func(yield func(*state) bool) {
	return func(yield func(*state) bool) {
		if s.current != nil && !yield(s.current) {
			return
		}
		for _, st := range s.archived {
			if !yield(st) {
				return
			}
		}
	}
}

// ArchiveCurrent leaves the session without a current state, so that the next
// message needs [Session.Initiate]. What is under way still decrypts.
func (s *Session) ArchiveCurrent() {
	s.promote(nil)
}

// promote makes st current. The state that was current goes to the front of the
// archive and will not send prekey messages again; st leaves the archive.
func (s *Session) promote(st *state) {
	archived := make([]*state, 0, len(s.archived)+1)
	if s.current != nil {
		old := *s.current
		old.pending = nil
		archived = append(archived, &old)
	}
	archived = append(archived, s.archived...)
	s.current, s.archived = st, archived[:min(len(archived), maxArchived)]
}

// Initiate begins a new session with the device that published bundle and
// archives the current one (PQXDH §3.3). It verifies the bundle's signatures,
// but not whether the identity key belongs to the peer: the caller has checked
// that against the peer's signed device list. It returns [ErrInvalidKey] for a
// bundle that does not verify. now is kept in whole seconds.
func (s *Session) Initiate(rand io.Reader, local Local, bundle PreKeyBundle, now time.Time) error {
	if err := bundle.verify(); err != nil {
		return err
	}
	st, err := newInitiatorState(rand, local, &bundle, now)
	if err != nil {
		return fmt.Errorf("initiating a session: %w", err)
	}
	s.promote(st)
	return nil
}

// Encrypt encrypts plaintext (at most [MaxPlaintext] bytes) for remote with the
// current state. Until the peer has answered, every message is of type 3 and
// carries the handshake. It returns [ErrNoSession] when the session is not
// [Session.Usable].
func (s *Session) Encrypt(
	rand io.Reader, local Local, remote Address, plaintext []byte, now time.Time,
) (Message, error) {
	if !s.Usable(now) {
		return Message{}, fmt.Errorf("encrypting: %w", ErrNoSession)
	}
	if len(plaintext) > MaxPlaintext {
		return Message{}, fmt.Errorf("plaintext of %d bytes: %w", len(plaintext), ErrInvalidMessage)
	}
	var addresses []byte
	p := s.current.pending
	if p != nil {
		var err error
		if addresses, err = addressBytes(local.Address, remote); err != nil {
			return Message{}, err
		}
	}
	next, body, err := s.current.encrypt(rand, plaintext, addresses)
	if err != nil {
		return Message{}, err
	}
	s.current = next
	if p == nil {
		return Message{Type: TypeMessage, Bytes: body}, nil
	}
	outer := preKeyMessage{
		preKeyID:        p.preKeyID,
		baseKey:         next.baseKey,
		identityKey:     next.localIdentity,
		registrationID:  local.RegistrationID,
		signedPreKeyID:  p.signedPreKeyID,
		kyberPreKeyID:   p.kyberPreKeyID,
		kyberCiphertext: p.kyberCiphertext,
	}
	return Message{Type: TypePreKey, Bytes: outer.marshal(body)}, nil
}

// PreKeySource looks up this device's prekeys while a prekey message is
// decrypted. It only reads. Unknown ids are [ErrNoPreKey].
type PreKeySource interface {
	PreKey(id uint32) (PreKey, error)
	SignedPreKey(id uint32) (SignedPreKey, error)
	KyberPreKey(id uint32) (KyberPreKey, error)
	// KyberUsed reports whether a handshake with this last-resort Kyber prekey,
	// signed prekey and base key has been answered before: the replay guard.
	KyberUsed(kyberID, signedID uint32, base PublicKey) (bool, error)
}

// Received is a decrypted message.
type Received struct {
	Plaintext []byte

	// RemoteIdentity is the identity key that authenticated the message. The
	// caller checks it against the peer's device list before it commits.
	RemoteIdentity PublicKey

	// RegistrationID comes from a prekey message; else it is 0. It is not
	// authenticated: the device list says what it must be.
	RegistrationID uint32

	// Consumed is set when the message began a session.
	Consumed *Consumed
}

// Consumed names what a new session has used up. The caller commits it together
// with the session: it deletes the one-time prekey and a Kyber prekey that is
// not a last-resort one, and for a last-resort one remembers the triple of
// Kyber prekey id, signed prekey id and base key for as long as it keeps the
// key.
type Consumed struct {
	PreKeyID       *uint32 // nil: none was used
	KyberPreKeyID  uint32
	SignedPreKeyID uint32
	BaseKey        PublicKey
}

// Decrypt decrypts a message of type 2 or 3 from remote. What it returns is
// authenticated; [ErrDuplicate] says that the message was decrypted before. A
// message in an archived state makes that state current, and a prekey message
// makes its session current, so that two devices that begin at once settle on
// one session.
func (s *Session) Decrypt(rand io.Reader, local Local, remote Address, m Message, keys PreKeySource) (Received, error) {
	addresses, err := addressBytes(remote, local.Address)
	if err != nil {
		return Received{}, err
	}
	switch m.Type {
	case TypeMessage:
		parsed, err := parseSignalMessage(m.Bytes)
		if err != nil {
			return Received{}, err
		}
		return s.decryptMessage(rand, parsed, addresses)
	case TypePreKey:
		parsed, err := parsePreKeyMessage(m.Bytes)
		if err != nil {
			return Received{}, err
		}
		return s.decryptPreKey(rand, local, parsed, addresses, keys)
	default:
		return Received{}, fmt.Errorf("message type %d in a session: %w", m.Type, ErrInvalidMessage)
	}
}

// decryptMessage tries every state, the current one first. A state that knows
// the chain and has passed the counter ends the search: no other can have it.
func (s *Session) decryptMessage(rand io.Reader, m *signalMessage, addresses []byte) (Received, error) {
	var first error
	for st := range s.states() {
		next, plaintext, err := st.decrypt(rand, m, addresses)
		if err == nil {
			s.replace(st, next)
			return Received{Plaintext: plaintext, RemoteIdentity: next.remoteIdentity}, nil
		}
		if first == nil {
			first = err
		}
		if _, known := st.receiver(m.ratchetKey); known {
			return Received{}, err
		}
	}
	if first == nil {
		return Received{}, fmt.Errorf("decrypting: %w", ErrNoSession)
	}
	return Received{}, first
}

// replace puts next, which came out of old, in old's place and makes it
// current. One exception: a state of another identity than the current one
// stays in the archive, or a late message of a device that was reset would
// bring its old keys back for sending.
func (s *Session) replace(old, next *state) {
	if old == s.current {
		s.current = next
		return
	}
	i := slices.Index(s.archived, old)
	if s.current != nil && s.current.remoteIdentity != next.remoteIdentity {
		s.archived = slices.Clone(s.archived)
		s.archived[i] = next
		return
	}
	s.archived = slices.Concat(s.archived[:i], s.archived[i+1:])
	s.promote(next)
}

// decryptPreKey decrypts with the state that the message's handshake made: one
// the session knows by its base key, or a new one.
func (s *Session) decryptPreKey(
	rand io.Reader, local Local, m *preKeyMessage, addresses []byte, keys PreKeySource,
) (Received, error) {
	var known *state
	for st := range s.states() {
		if st.baseKey == m.baseKey {
			known = st
			break
		}
	}
	if known != nil {
		if known.remoteIdentity != m.identityKey {
			return Received{}, fmt.Errorf("base key of another identity: %w", ErrInvalidMessage)
		}
		next, plaintext, err := known.decrypt(rand, m.inner, addresses)
		if err != nil {
			return Received{}, err
		}
		s.replace(known, next)
		return Received{
			Plaintext: plaintext, RemoteIdentity: m.identityKey, RegistrationID: m.registrationID,
		}, nil
	}
	st, err := answer(local, m, keys)
	if err != nil {
		return Received{}, fmt.Errorf("answering a handshake: %w", err)
	}
	next, plaintext, err := st.decrypt(rand, m.inner, addresses)
	if err != nil {
		return Received{}, err
	}
	s.promote(next)
	return Received{
		Plaintext: plaintext, RemoteIdentity: m.identityKey, RegistrationID: m.registrationID,
		Consumed: &Consumed{
			PreKeyID: m.preKeyID, KyberPreKeyID: m.kyberPreKeyID, SignedPreKeyID: m.signedPreKeyID, BaseKey: m.baseKey,
		},
	}, nil
}

// answer looks up the prekeys a handshake names and makes the responder's state.
func answer(local Local, m *preKeyMessage, keys PreKeySource) (*state, error) {
	signed, err := keys.SignedPreKey(m.signedPreKeyID)
	if err != nil {
		return nil, err
	}
	kyber, err := keys.KyberPreKey(m.kyberPreKeyID)
	if err != nil {
		return nil, err
	}
	if kyber.LastResort {
		used, err := keys.KyberUsed(m.kyberPreKeyID, m.signedPreKeyID, m.baseKey)
		if err != nil {
			return nil, err
		}
		if used {
			return nil, fmt.Errorf("base key: %w", ErrReused)
		}
	}
	var preKey *PreKey
	if m.preKeyID != nil {
		k, err := keys.PreKey(*m.preKeyID)
		if err != nil {
			return nil, err
		}
		preKey = &k
	}
	secrets, err := answerHandshake(local.Identity, m, signed, kyber, preKey)
	if err != nil {
		return nil, err
	}
	return newResponderState(local, m, signed, secrets), nil
}
