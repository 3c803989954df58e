package e2ee

import (
	"fmt"
	"slices"
	"time"

	"sotto/e2ee/internal/spqr"
)

// The stored form of a session: a format byte and protobuf in canonical form.
// Later versions of this package read every format an earlier one wrote; the
// golden files in testdata hold that.

const sessionFormat = 1

// Bounds of what is read back. SPQR bounds its own state.
const (
	maxStateBytes    = 1 << 20
	maxReceiverBytes = 128 + MaxSkippedKeys*skippedKeyBytes
)

// Marshal returns the session for storage. It contains secret keys.
func (s *Session) Marshal() []byte {
	b := []byte{sessionFormat}
	if s.current != nil {
		b = appendBytesField(b, 1, s.current.marshal())
	}
	for _, st := range s.archived {
		b = appendBytesField(b, 2, st.marshal())
	}
	return b
}

// ParseSession reads what [Session.Marshal] wrote. It returns [ErrState] for
// damaged state and for the format of a later version.
func ParseSession(b []byte) (*Session, error) {
	if len(b) == 0 || b[0] != sessionFormat {
		return nil, fmt.Errorf("session format: %w", ErrState)
	}
	s := NewSession()
	r := readCanonical(b[1:])
	for r.next() {
		st, err := parseState(r.bytes(maxStateBytes))
		if err != nil {
			return nil, err
		}
		switch {
		case r.number == 1 && s.current == nil:
			s.current = st
		case r.number == 2 && len(s.archived) < maxArchived:
			s.archived = append(s.archived, st)
		default:
			return nil, fmt.Errorf("session field %d: %w", r.number, ErrState)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("session: %w", ErrState)
	}
	return s, nil
}

func (s *state) marshal() []byte {
	b := make([]byte, 0, 1024)
	b = appendBytesField(b, 1, s.baseKey[:])
	b = appendBytesField(b, 2, s.localIdentity[:])
	b = appendBytesField(b, 3, s.remoteIdentity[:])
	b = appendBytesField(b, 4, s.root[:])
	b = appendBytesField(b, 5, s.sendRatchet.Private[:])
	b = appendBytesField(b, 6, s.sendRatchet.Public[:])
	b = appendBytesField(b, 7, s.sendChain.key[:])
	b = appendUintField(b, 8, uint64(s.sendChain.index))
	b = appendUintField(b, 9, uint64(s.previous))
	for i := range s.receivers {
		b = appendBytesField(b, 10, s.receivers[i].marshal())
	}
	b = appendBytesField(b, 11, s.pq.Marshal())
	if s.pending != nil {
		b = appendBytesField(b, 12, s.pending.marshal())
	}
	for _, k := range s.used {
		b = appendBytesField(b, 13, k[:])
	}
	return b
}

func parseState(b []byte) (*state, error) {
	s := new(state)
	var seen fieldSet
	r := readCanonical(b)
	for r.next() {
		seen.add(r.number)
		var err error
		switch r.number {
		case 1:
			r.fixed(s.baseKey[:])
		case 2:
			r.fixed(s.localIdentity[:])
		case 3:
			r.fixed(s.remoteIdentity[:])
		case 4:
			r.fixed(s.root[:])
		case 5:
			r.fixed(s.sendRatchet.Private[:])
		case 6:
			r.fixed(s.sendRatchet.Public[:])
		case 7:
			r.fixed(s.sendChain.key[:])
		case 8:
			s.sendChain.index = r.uint32()
		case 9:
			s.previous = r.uint32()
		case 10:
			var c receiverChain
			c, err = parseReceiverChain(r.bytes(maxReceiverBytes))
			s.receivers = append(s.receivers, c)
		case 11:
			s.pq, err = spqr.Parse(r.bytes(maxStateBytes))
		case 12:
			s.pending, err = parsePending(r.bytes(2 * kemCiphertextSize))
		case 13:
			var k PublicKey
			r.fixed(k[:])
			s.used = append(s.used, k)
		default:
			err = errWire
		}
		if err != nil {
			return nil, fmt.Errorf("session state field %d: %w", r.number, ErrState)
		}
	}
	if r.err != nil || !seen.has(1, 2, 3, 4, 5, 6, 7, 8, 9, 11) ||
		len(s.receivers) > maxReceiverChains || len(s.used) > maxUsedRatchetKeys {
		return nil, fmt.Errorf("session state: %w", ErrState)
	}
	return s, nil
}

func (c *receiverChain) marshal() []byte {
	return c.appendFields(appendBytesField(nil, 1, c.ratchet[:]), 2)
}

func parseReceiverChain(b []byte) (receiverChain, error) {
	var c receiverChain
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			r.fixed(c.ratchet[:])
		case 2:
			r.fixed(c.key[:])
		case 3:
			c.index = r.uint32()
		case 4:
			c.parseSkipped(r)
		default:
			return c, errWire
		}
	}
	return c, r.err
}

func (p *pendingPreKey) marshal() []byte {
	var b []byte
	if p.preKeyID != nil {
		b = appendUintField(b, 1, uint64(*p.preKeyID))
	}
	b = appendUintField(b, 2, uint64(p.signedPreKeyID))
	b = appendUintField(b, 3, uint64(p.kyberPreKeyID))
	b = appendBytesField(b, 4, p.kyberCiphertext)
	return appendUintField(b, 5, uint64(p.created.Unix()))
}

func parsePending(b []byte) (*pendingPreKey, error) {
	p := new(pendingPreKey)
	r := readCanonical(b)
	for r.next() {
		switch r.number {
		case 1:
			id := r.uint32()
			p.preKeyID = &id
		case 2:
			p.signedPreKeyID = r.uint32()
		case 3:
			p.kyberPreKeyID = r.uint32()
		case 4:
			p.kyberCiphertext = slices.Clone(r.bytes(kemCiphertextSize))
		case 5:
			p.created = time.Unix(int64(r.uint64()), 0)
		default:
			return nil, errWire
		}
	}
	return p, r.err
}
