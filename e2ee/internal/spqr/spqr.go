// Package spqr is the Sparse Post-Quantum Ratchet, version 1: the part of the
// Triple Ratchet that mixes an ML-KEM-768 key agreement into the message keys.
//
// Every ratchet message carries a small message of this package. A key
// agreement ([ML-KEM Braid]) is spread over many of them in chunks of 32 bytes
// and survives loss, repetition and reordering; each one that completes starts
// an epoch with a new pair of KDF chains, one for each direction. Every message
// also has its own key out of those chains, which the Double Ratchet uses as a
// salt.
//
// The messages travel in clear. They are authenticated by the MAC of the
// ratchet message around them, made with keys that depend on theirs: so a
// receiver works on a [State.Clone] and keeps it only when that MAC is right.
//
// [ML-KEM Braid]: https://signal.org/docs/specifications/mlkembraid/
package spqr

import (
	"errors"
	"fmt"
	"io"
)

var (
	// ErrMessage reports a message that is malformed, of another version, or
	// against the protocol.
	ErrMessage = errors.New("spqr: invalid message")
	// ErrKeyGone reports a message whose key was used before or is too old to
	// be kept.
	ErrKeyGone = errors.New("spqr: message key used or no longer kept")
	// ErrTooFarAhead reports a message more than 25,000 keys ahead.
	ErrTooFarAhead = errors.New("spqr: message too far ahead")
	// ErrState reports a serialised state that is malformed, or one that can
	// make no more keys.
	ErrState = errors.New("spqr: invalid state")
)

// State is one side of the ratchet. A method that returns an error has not
// changed it. It is not safe for use by several goroutines.
type State struct {
	braid  braid
	chains chains
}

// NewInitiator returns the state of the side that started the session. The key
// is the third output of the PQXDH key schedule.
func NewInitiator(key [32]byte) *State {
	return &State{
		braid:  braid{epoch: 1, phase: keysUnsampled, auth: newAuthenticator(key)},
		chains: newChains(key, true),
	}
}

// NewResponder returns the state of the side that was called.
func NewResponder(key [32]byte) *State {
	return &State{
		braid:  braid{epoch: 1, phase: noHeader, auth: newAuthenticator(key)},
		chains: newChains(key, false),
	}
}

// Clone returns an independent copy. It is cheap: all parts that can be large
// are shared, and never written to.
func (s *State) Clone() *State {
	c := *s
	return &c
}

// Epoch is the number of the key agreement in progress, from 1.
func (s *State) Epoch() uint64 { return s.braid.epoch }

// Send makes the message to put into the next ratchet message (at most 51
// bytes) and the 32-byte key to mix into that one's keys. It reads at most
// 64 bytes of rand. Errors are those of rand, and [ErrState] when the 2^32-1 keys
// of an epoch are used up.
func (s *State) Send(rand io.Reader) (msg, key []byte, err error) {
	braid, m, secret, err := s.braid.send(rand)
	if err != nil {
		return nil, nil, err
	}
	chains := s.chains
	if secret != nil {
		chains = chains.add(*secret)
	}
	chains, index, messageKey, err := chains.send(m.epoch - 1)
	if err != nil {
		return nil, nil, err
	}
	m.index = index
	s.braid, s.chains = braid, chains
	return m.marshal(), messageKey[:], nil
}

// Receive takes the message out of a ratchet message and returns the 32-byte
// key that its sender mixed in. The key is nil for the messages an initiator of
// the protocol's first release sends before it has heard from us: epoch 1,
// index 0. Errors are [ErrMessage], [ErrKeyGone] and [ErrTooFarAhead].
func (s *State) Receive(msg []byte) (key []byte, err error) {
	m, err := parseMessage(msg)
	if err != nil {
		return nil, err
	}
	braid, secret, err := s.braid.receive(m)
	if err != nil {
		return nil, err
	}
	chains := s.chains
	if secret != nil {
		chains = chains.add(*secret)
	}
	if m.index == 0 {
		if m.epoch != 1 {
			return nil, fmt.Errorf("index: %w", ErrMessage)
		}
	} else {
		var messageKey [32]byte
		if chains, messageKey, err = chains.receive(m.epoch-1, m.index); err != nil {
			return nil, err
		}
		key = messageKey[:]
	}
	s.braid, s.chains = braid, chains
	return key, nil
}
