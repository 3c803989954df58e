package e2ee

import (
	"bytes"
	"crypto/sha256"
)

const directLabel = "sotto dm v1"

// DirectConversation is the id of the conversation of two accounts, or of an
// account with itself: the first 16 bytes of SHA-256 over "sotto dm v1" and the
// two account ids, smaller first, as a UUID of version 8. Clients compare it
// with what a server calls that conversation.
func DirectConversation(a, b [16]byte) [16]byte {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	h := sha256.New()
	h.Write([]byte(directLabel))
	h.Write(a[:])
	h.Write(b[:])
	id := [16]byte(h.Sum(nil))
	id[6] = id[6]&0x0F | 0x80
	id[8] = id[8]&0x3F | 0x80
	return id
}
