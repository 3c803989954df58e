package e2ee

import (
	"errors"
	"slices"
	"testing"

	"sotto/e2ee/internal/spqr"
)

// A stored session that breaks a bound or an invariant is refused, even though
// this version would never write it.
func TestParseSessionBounds(t *testing.T) {
	good := func() *state {
		return &state{
			pq: spqr.NewInitiator([32]byte{1}),
			receivers: slices.Repeat([]receiverChain{{receivingChain: receivingChain{
				chain: chain{index: 9}, skipped: []skippedKey{{index: 2}, {index: 8}},
			}}}, maxReceiverChains),
			used: make([]PublicKey, maxUsedRatchetKeys),
		}
	}
	tests := []struct {
		name  string
		spoil func(*Session)
		ok    bool
	}{
		{"full", func(*Session) {}, true},
		{"receivers", func(s *Session) { s.current.receivers = append(s.current.receivers, receiverChain{}) }, false},
		{"own ratchet keys", func(s *Session) { s.current.used = append(s.current.used, PublicKey{}) }, false},
		{"archive", func(s *Session) { s.archived = append(s.archived, good()) }, false},
		{"skipped key ahead", func(s *Session) { s.current.receivers[0].index = 8 }, false},
		{"skipped keys out of order", func(s *Session) { s.current.receivers[0].skipped[0].index = 8 }, false},
		{"too many skipped keys", func(s *Session) {
			c := &s.current.receivers[0]
			c.index, c.skipped = 5000, nil
			for i := range uint32(MaxSkippedKeys + 1) {
				c.skipped = append(c.skipped, skippedKey{index: i})
			}
		}, false},
	}
	for _, tt := range tests {
		s := &Session{current: good()}
		for range maxArchived {
			s.archived = append(s.archived, good())
		}
		tt.spoil(s)
		if _, err := ParseSession(s.Marshal()); tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
