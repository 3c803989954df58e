package spqr

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Labels of the key schedule. The two spaces in the first one are part of it.
const (
	labelChainStart = "Signal PQ Ratchet V1 Chain  Start"
	labelAddEpoch   = "Signal PQ Ratchet V1 Chain Add Epoch"
	labelChainNext  = "Signal PQ Ratchet V1 Chain Next"

	labelBraid       = "Signal_PQCKA_V1_MLKEM768"
	labelEpochSecret = labelBraid + ":SCKA Key"
	labelAuthUpdate  = labelBraid + ":Authenticator Update"
	labelHeaderTag   = labelBraid + ":ekheader"
	labelCtTag       = labelBraid + ":ciphertext"
)

// derive is HKDF-SHA256. A nil salt is 32 zero bytes.
func derive(salt, key []byte, info string, size int) []byte {
	out, err := hkdf.Key(sha256.New, key, salt, info, size)
	if err != nil {
		// Only outputs above 8,160 bytes and, in FIPS 140-only mode, short keys
		// are errors; ours are constants.
		panic("spqr: " + err.Error())
	}
	return out
}

func be64(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

// epochSecret makes the secret of an epoch from the shared key of ML-KEM.
func epochSecret(shared [32]byte, epoch uint64) [32]byte {
	return [32]byte(derive(nil, shared[:], labelEpochSecret+be64(epoch), 32))
}

// authenticator makes the tags that tie each epoch's key agreement to all
// earlier ones (ML-KEM Braid, "Authenticator").
type authenticator struct {
	root, mac [32]byte
}

func newAuthenticator(key [32]byte) authenticator {
	return authenticator{}.update(1, key)
}

func (a authenticator) update(epoch uint64, secret [32]byte) authenticator {
	out := derive(nil, append(a.root[:], secret[:]...), labelAuthUpdate+be64(epoch), 64)
	return authenticator{root: [32]byte(out[:32]), mac: [32]byte(out[32:])}
}

func (a authenticator) tag(label string, epoch uint64, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, a.mac[:])
	h.Write([]byte(label + be64(epoch)))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// headerTag authenticates rho || H(ek), with the authenticator as it was before
// this epoch's secret.
func (a authenticator) headerTag(epoch uint64, header []byte) []byte {
	return a.tag(labelHeaderTag, epoch, header)
}

// ciphertextTag authenticates both parts of the ciphertext, with the
// authenticator that has this epoch's secret.
func (a authenticator) ciphertextTag(epoch uint64, ct1, ct2 []byte) []byte {
	return a.tag(labelCtTag, epoch, ct1, ct2)
}
