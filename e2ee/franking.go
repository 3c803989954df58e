package e2ee

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// TagSize is the length of a franking tag in bytes: key id (4) and HMAC (32).
	TagSize = 4 + 32

	commitmentLabel = "sotto franking v1"
	tagLabel        = "sotto franking tag v1"
)

// FrankingKey opens the commitment of one message. It travels inside the
// envelopes and is the same for all of them.
type FrankingKey [32]byte

// Commitment binds the sender to a padded content without showing it.
type Commitment [32]byte

// NewFrankingKey makes the key of one message from 32 bytes of rand.
func NewFrankingKey(rand io.Reader) (FrankingKey, error) {
	var k FrankingKey
	if _, err := io.ReadFull(rand, k[:]); err != nil {
		return FrankingKey{}, fmt.Errorf("making a franking key: %w", err)
	}
	return k, nil
}

// Commit is HMAC-SHA256(kf, "sotto franking v1" || padded).
func Commit(kf FrankingKey, padded []byte) Commitment {
	mac := hmac.New(sha256.New, kf[:])
	mac.Write([]byte(commitmentLabel))
	mac.Write(padded)
	return Commitment(mac.Sum(nil))
}

// Opens reports, in constant time, whether kf and padded are what was committed
// to.
func (c Commitment) Opens(kf FrankingKey, padded []byte) bool {
	want := Commit(kf, padded)
	return hmac.Equal(c[:], want[:])
}

// TagInput is what a server vouches for when it stores a message. Seq is 0 for
// a silent message.
type TagInput struct {
	Conversation, MessageID, Sender [16]byte
	SenderDevice                    uint32
	Epoch, Seq                      uint64
	ServerTime                      int64 // milliseconds since 1970
	Commitment                      Commitment
}

// Tag makes the franking tag under the server's key with the id kid: the id,
// big endian, and HMAC-SHA256 over "sotto franking tag v1" and the fields, all
// of fixed length. TagSize bytes.
func Tag(kid uint32, key [32]byte, in TagInput) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(tagLabel))
	mac.Write(in.encode())
	return mac.Sum(binary.BigEndian.AppendUint32(nil, kid))
}

// VerifyTag reports whether the tag was made over in by a server key that keys
// still knows.
func VerifyTag(keys func(kid uint32) ([32]byte, bool), tag []byte, in TagInput) bool {
	if len(tag) != TagSize {
		return false
	}
	kid := binary.BigEndian.Uint32(tag)
	key, ok := keys(kid)
	return ok && hmac.Equal(tag, Tag(kid, key, in))
}

func (in TagInput) encode() []byte {
	b := make([]byte, 0, 3*16+4+3*8+32)
	b = append(b, in.Conversation[:]...)
	b = append(b, in.MessageID[:]...)
	b = append(b, in.Sender[:]...)
	b = binary.BigEndian.AppendUint32(b, in.SenderDevice)
	b = binary.BigEndian.AppendUint64(b, in.Epoch)
	b = binary.BigEndian.AppendUint64(b, in.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(in.ServerTime))
	return append(b, in.Commitment[:]...)
}
