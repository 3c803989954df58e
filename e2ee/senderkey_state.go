package e2ee

import (
	"fmt"
	"time"
)

// The stored forms of sender keys, under the rules of sessions.

const (
	senderKeyFormat      = 1
	peerSenderKeysFormat = 1
)

// Marshal returns the sender key for storage. It contains secret keys.
func (k *SenderKey) Marshal() []byte {
	b := appendBytesField([]byte{senderKeyFormat}, 1, k.distribution[:])
	b = appendUintField(b, 2, uint64(k.chainID))
	b = appendBytesField(b, 3, k.chain.key[:])
	b = appendUintField(b, 4, uint64(k.chain.index))
	b = appendBytesField(b, 5, k.signing.Private[:])
	return appendUintField(b, 6, uint64(k.created.Unix()))
}

// ParseSenderKey reads what [SenderKey.Marshal] wrote, or returns [ErrState].
func ParseSenderKey(b []byte) (*SenderKey, error) {
	if len(b) == 0 || b[0] != senderKeyFormat {
		return nil, fmt.Errorf("sender key format: %w", ErrState)
	}
	k := new(SenderKey)
	var private PrivateKey
	var seen fieldSet
	r := readCanonical(b[1:])
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			r.fixed(k.distribution[:])
		case 2:
			k.chainID = r.uint32()
		case 3:
			r.fixed(k.chain.key[:])
		case 4:
			k.chain.index = r.uint32()
		case 5:
			r.fixed(private[:])
		case 6:
			k.created = time.Unix(int64(r.uint64()), 0)
		default:
			return nil, fmt.Errorf("sender key field %d: %w", r.number, ErrState)
		}
	}
	if r.err != nil || !seen.has(1, 2, 3, 4, 5, 6) {
		return nil, fmt.Errorf("sender key: %w", ErrState)
	}
	var err error
	k.signing, err = KeyPairFromPrivate(private[:])
	return k, err
}

// Marshal returns the keys for storage. It contains secret keys.
func (p *PeerSenderKeys) Marshal() []byte {
	b := []byte{peerSenderKeysFormat}
	for i := range p.states {
		k := &p.states[i]
		f := appendBytesField(nil, 1, k.distribution[:])
		f = appendUintField(f, 2, uint64(k.chainID))
		f = appendBytesField(f, 3, k.signing[:])
		b = appendBytesField(b, 1, k.appendFields(f, 4))
	}
	return b
}

// ParsePeerSenderKeys reads what [PeerSenderKeys.Marshal] wrote, or returns
// [ErrState].
func ParsePeerSenderKeys(b []byte) (*PeerSenderKeys, error) {
	if len(b) == 0 || b[0] != peerSenderKeysFormat {
		return nil, fmt.Errorf("sender keys format: %w", ErrState)
	}
	p := new(PeerSenderKeys)
	r := readCanonical(b[1:])
	for r.next() {
		k, ok := parsePeerSenderKey(r.bytes(maxReceiverBytes))
		if !ok || r.number != 1 || len(p.states) == maxSenderKeyStates {
			return nil, fmt.Errorf("sender keys: %w", ErrState)
		}
		p.states = append(p.states, k)
	}
	if r.err != nil {
		return nil, fmt.Errorf("sender keys: %w", ErrState)
	}
	return p, nil
}

func parsePeerSenderKey(b []byte) (k peerSenderKey, ok bool) {
	var seen fieldSet
	r := readCanonical(b)
	for r.next() {
		seen.add(r.number)
		switch r.number {
		case 1:
			r.fixed(k.distribution[:])
		case 2:
			k.chainID = r.uint32()
		case 3:
			r.fixed(k.signing[:])
		case 4:
			r.fixed(k.key[:])
		case 5:
			k.index = r.uint32()
		case 6:
			k.parseSkipped(r)
		default:
			return k, false
		}
	}
	return k, r.err == nil && seen.has(1, 2, 3, 4, 5, 6)
}
