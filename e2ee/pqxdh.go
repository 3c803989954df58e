package e2ee

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
)

// handshakeInfo binds the secrets to the curve, the hash and the KEM (PQXDH §2.2).
const handshakeInfo = "WhisperText_X25519_SHA-256_CRYSTALS-KYBER-1024"

// handshakeSecrets is the outcome of PQXDH: the first root key and chain key of
// the Double Ratchet and the key SPQR starts from.
type handshakeSecrets struct {
	root, chain, pq [32]byte
}

// deriveHandshake is the KDF of PQXDH §3.3. parts are DH1, DH2, DH3, DH4 when
// there is a one-time prekey, and the KEM secret last.
func deriveHandshake(parts ...[]byte) (handshakeSecrets, error) {
	secret := bytes.Repeat([]byte{0xFF}, 32)
	for _, p := range parts {
		secret = append(secret, p...)
	}
	var out handshakeSecrets
	key, err := hkdf.Key(sha256.New, secret, nil, handshakeInfo, 96)
	if err != nil {
		return out, fmt.Errorf("deriving the handshake: %w", err)
	}
	copy(out.root[:], key[:32])
	copy(out.chain[:], key[32:64])
	copy(out.pq[:], key[64:])
	return out, nil
}

// initiateHandshake is the sender's side of PQXDH (§3.3). base is a fresh key
// pair. The bundle's signatures have been verified.
func initiateHandshake(rand io.Reader, identity, base KeyPair, b *PreKeyBundle) (
	secrets handshakeSecrets, kemCiphertext []byte, err error,
) {
	agreements := []struct {
		private PrivateKey
		public  PublicKey
	}{
		{identity.Private, b.SignedPreKey},
		{base.Private, b.IdentityKey},
		{base.Private, b.SignedPreKey},
	}
	if b.PreKey != nil {
		agreements = append(agreements, agreements[2])
		agreements[3].public = b.PreKey.Key
	}
	var parts [][]byte
	for _, a := range agreements {
		secret, err := a.private.agree(a.public)
		if err != nil {
			return secrets, nil, err
		}
		parts = append(parts, secret)
	}
	kemCiphertext, kemSecret, err := b.KyberPreKey.encapsulate(rand)
	if err != nil {
		return secrets, nil, err
	}
	secrets, err = deriveHandshake(append(parts, kemSecret)...)
	return secrets, kemCiphertext, err
}

// answerHandshake is the receiver's side of PQXDH (§3.4). preKey is nil when
// the message names no one-time prekey. A base key that is not canonical is
// refused: it names the handshake and must have one form only.
func answerHandshake(identity KeyPair, m *preKeyMessage, signed SignedPreKey, kyber KyberPreKey, preKey *PreKey) (
	handshakeSecrets, error,
) {
	if !m.baseKey.canonical() {
		return handshakeSecrets{}, fmt.Errorf("base key: %w", ErrInvalidKey)
	}
	agreements := []struct {
		private PrivateKey
		public  PublicKey
	}{
		{signed.Pair.Private, m.identityKey},
		{identity.Private, m.baseKey},
		{signed.Pair.Private, m.baseKey},
	}
	if preKey != nil {
		agreements = append(agreements, agreements[2])
		agreements[3].private = preKey.Pair.Private
	}
	var parts [][]byte
	for _, a := range agreements {
		secret, err := a.private.agree(a.public)
		if err != nil {
			return handshakeSecrets{}, err
		}
		parts = append(parts, secret)
	}
	kemSecret, err := kyber.Pair.decapsulate(m.kyberCiphertext)
	if err != nil {
		return handshakeSecrets{}, err
	}
	return deriveHandshake(append(parts, kemSecret)...)
}
