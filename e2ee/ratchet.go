package e2ee

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"sotto/e2ee/internal/spqr"
)

const (
	// maxReceiverChains is how many of the peer's ratchet keys a state knows. A
	// message from an older chain cannot be told from one with a new key.
	maxReceiverChains = 5

	// maxUsedRatchetKeys is how many of its own ratchet keys a state remembers,
	// for retry requests.
	maxUsedRatchetKeys = 16
)

// state is one ratchet session (Double Ratchet §3 with the Triple Ratchet of
// §7). A state that is part of a Session is never changed: encrypt and decrypt
// return a changed copy, so an error cannot leave half a step behind.
type state struct {
	// baseKey is the initiator's base key. It names the handshake.
	baseKey PublicKey
	// The identity keys the handshake was made with. The MAC covers them.
	localIdentity, remoteIdentity PublicKey

	root        [32]byte
	sendRatchet KeyPair
	sendChain   chain
	previous    uint32 // previous_counter of outgoing messages
	receivers   []receiverChain
	pq          *spqr.State

	// pending is set on the initiator's side until the first answer: every
	// message then travels as a prekey message.
	pending *pendingPreKey

	// used are our own last ratchet keys, newest last, the current one included.
	used []PublicKey
}

// receiverChain belongs to one ratchet key of the peer.
type receiverChain struct {
	ratchet PublicKey
	receivingChain
}

type pendingPreKey struct {
	preKeyID                      *uint32
	signedPreKeyID, kyberPreKeyID uint32
	kyberCiphertext               []byte
	created                       time.Time // whole seconds
}

// messageKeys mixes the seed of the Double Ratchet with SPQR's key; either one
// alone is enough to keep the message secret.
type messageKeys struct {
	cipher, mac [32]byte
	iv          [16]byte
}

func deriveMessageKeys(seed [32]byte, pqKey []byte) (messageKeys, error) {
	var k messageKeys
	out, err := hkdf.Key(sha256.New, seed[:], pqKey, "WhisperMessageKeys", 80)
	if err != nil {
		return k, fmt.Errorf("deriving message keys: %w", err)
	}
	copy(k.cipher[:], out[:32])
	copy(k.mac[:], out[32:64])
	copy(k.iv[:], out[64:])
	return k, nil
}

// rootStep is KDF_RK (Double Ratchet §5.2): it mixes a key agreement into root
// and returns a new chain.
func rootStep(root [32]byte, private PrivateKey, public PublicKey) ([32]byte, chain, error) {
	secret, err := private.agree(public)
	if err != nil {
		return root, chain{}, err
	}
	out, err := hkdf.Key(sha256.New, secret, root[:], "WhisperRatchet", 64)
	if err != nil {
		return root, chain{}, fmt.Errorf("deriving a chain: %w", err)
	}
	return [32]byte(out[:32]), chain{key: [32]byte(out[32:])}, nil
}

// newInitiatorState begins a session with the device that published bundle.
func newInitiatorState(rand io.Reader, local Local, bundle *PreKeyBundle, now time.Time) (*state, error) {
	base, err := NewKeyPair(rand)
	if err != nil {
		return nil, err
	}
	secrets, kemCiphertext, err := initiateHandshake(rand, local.Identity, base, bundle)
	if err != nil {
		return nil, err
	}
	ratchet, err := NewKeyPair(rand)
	if err != nil {
		return nil, err
	}
	root, sendChain, err := rootStep(secrets.root, ratchet.Private, bundle.SignedPreKey)
	if err != nil {
		return nil, err
	}
	s := &state{
		baseKey:        base.Public,
		localIdentity:  local.Identity.Public,
		remoteIdentity: bundle.IdentityKey,
		root:           root,
		sendRatchet:    ratchet,
		sendChain:      sendChain,
		receivers:      []receiverChain{{bundle.SignedPreKey, receivingChain{chain: chain{key: secrets.chain}}}},
		pq:             spqr.NewInitiator(secrets.pq),
		pending: &pendingPreKey{
			signedPreKeyID:  bundle.SignedPreKeyID,
			kyberPreKeyID:   bundle.KyberPreKeyID,
			kyberCiphertext: kemCiphertext,
			created:         now.Truncate(time.Second),
		},
		used: []PublicKey{ratchet.Public},
	}
	if bundle.PreKey != nil {
		id := bundle.PreKey.ID
		s.pending.preKeyID = &id
	}
	return s, nil
}

// newResponderState is the other side, before it has decrypted anything. Its
// first ratchet key is the signed prekey the peer used.
func newResponderState(local Local, m *preKeyMessage, signed SignedPreKey, secrets handshakeSecrets) *state {
	return &state{
		baseKey:        m.baseKey,
		localIdentity:  local.Identity.Public,
		remoteIdentity: m.identityKey,
		root:           secrets.root,
		sendRatchet:    signed.Pair,
		sendChain:      chain{key: secrets.chain},
		pq:             spqr.NewResponder(secrets.pq),
	}
}

// copy returns a state that shares only what is never written in place: the
// skipped keys of a chain and the pending prekey.
func (s *state) copy() *state {
	c := *s
	c.receivers = slices.Clone(s.receivers)
	c.pq = s.pq.Clone()
	c.used = slices.Clone(s.used)
	return &c
}

// encrypt returns the state after the message and the message. addresses is nil
// or the field of that name.
func (s *state) encrypt(rand io.Reader, plaintext, addresses []byte) (*state, []byte, error) {
	if s.sendChain.index == math.MaxUint32 {
		return nil, nil, fmt.Errorf("sending chain is used up: %w", ErrNoSession)
	}
	next := s.copy()
	pqMessage, pqKey, err := next.pq.Send(rand)
	if err != nil {
		return nil, nil, fmt.Errorf("post-quantum part: %w", err)
	}
	m := &signalMessage{
		ratchetKey: s.sendRatchet.Public,
		counter:    s.sendChain.index,
		previous:   s.previous,
		pqRatchet:  pqMessage,
		addresses:  addresses,
	}
	keys, err := deriveMessageKeys(next.sendChain.next(), pqKey)
	if err != nil {
		return nil, nil, err
	}
	m.ciphertext = encryptCBC(keys.cipher, keys.iv, plaintext)
	return next, m.marshal(keys.mac, s.localIdentity, s.remoteIdentity), nil
}

// decrypt returns the state after the message and the plaintext. addresses is
// what the field of that name must be, if the message has it.
func (s *state) decrypt(rand io.Reader, m *signalMessage, addresses []byte) (*state, []byte, error) {
	next := s.copy()
	i, known := next.receiver(m.ratchetKey)
	if !known {
		if err := next.stepReceiver(m.ratchetKey); err != nil {
			return nil, nil, fmt.Errorf("ratchet step: %w", ErrInvalidMessage)
		}
		i = len(next.receivers) - 1
	}
	seed, err := next.receivers[i].seek(m.counter)
	if err != nil {
		return nil, nil, err
	}
	pqKey, err := next.pq.Receive(m.pqRatchet)
	if err != nil {
		return nil, nil, pqError(err, known)
	}
	keys, err := deriveMessageKeys(seed, pqKey)
	if err != nil {
		return nil, nil, err
	}
	if !m.authentic(keys.mac, s.remoteIdentity, s.localIdentity) {
		return nil, nil, fmt.Errorf("message is not authentic: %w", ErrInvalidMessage)
	}
	if m.addresses != nil && !hmac.Equal(m.addresses, addresses) {
		return nil, nil, fmt.Errorf("message for other addresses: %w", ErrInvalidMessage)
	}
	plaintext, err := decryptCBC(keys.cipher, keys.iv, m.ciphertext)
	if err != nil {
		return nil, nil, fmt.Errorf("message body: %w", ErrInvalidMessage)
	}
	if !known {
		if err := next.stepSender(rand, m.ratchetKey); err != nil {
			return nil, nil, err
		}
	}
	next.pending = nil
	return next, plaintext, nil
}

// pqError: that a key is gone means something only when the message belongs to
// this state.
func pqError(err error, known bool) error {
	switch {
	case known && errors.Is(err, spqr.ErrKeyGone):
		return fmt.Errorf("post-quantum key: %w", ErrDuplicate)
	case errors.Is(err, spqr.ErrTooFarAhead):
		return fmt.Errorf("post-quantum key: %w", ErrTooFarAhead)
	default:
		return fmt.Errorf("post-quantum part: %w", ErrInvalidMessage)
	}
}

func (s *state) receiver(ratchet PublicKey) (int, bool) {
	i := slices.IndexFunc(s.receivers, func(r receiverChain) bool { return r.ratchet == ratchet })
	return i, i >= 0
}

// stepReceiver is the first half of the DH ratchet step: a receiver chain for a
// new ratchet key of the peer.
func (s *state) stepReceiver(ratchet PublicKey) error {
	root, c, err := rootStep(s.root, s.sendRatchet.Private, ratchet)
	if err != nil {
		return err
	}
	s.root = root
	if len(s.receivers) == maxReceiverChains {
		s.receivers = slices.Delete(s.receivers, 0, 1)
	}
	s.receivers = append(s.receivers, receiverChain{ratchet, receivingChain{chain: c}})
	return nil
}

// stepSender is the second half: a new ratchet key and sender chain. It follows
// only on a message that has been verified.
func (s *state) stepSender(rand io.Reader, ratchet PublicKey) error {
	pair, err := NewKeyPair(rand)
	if err != nil {
		return err
	}
	root, c, err := rootStep(s.root, pair.Private, ratchet)
	if err != nil {
		return err
	}
	s.previous = max(s.sendChain.index, 1) - 1
	s.root, s.sendRatchet, s.sendChain = root, pair, c
	s.used = append(s.used, pair.Public)
	if len(s.used) > maxUsedRatchetKeys {
		s.used = slices.Delete(s.used, 0, 1)
	}
	return nil
}
