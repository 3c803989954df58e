package e2ee

import "testing"

// TestPreviousCounter: the field has no effect on our side, so only its value
// shows that it is right.
func TestPreviousCounter(t *testing.T) {
	random := seededRand(1)
	remote, err := NewKeyPair(random)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ sent, want uint32 }{{0, 0}, {1, 0}, {2, 1}, {10, 9}} {
		s := &state{sendChain: chain{index: tt.sent}}
		if err := s.stepSender(random, remote.Public); err != nil {
			t.Fatal(err)
		}
		if s.previous != tt.want || s.sendChain.index != 0 {
			t.Errorf("after %d messages: previous counter %d, want %d", tt.sent, s.previous, tt.want)
		}
	}
}
