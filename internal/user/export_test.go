package user

import "context"

// WrapComparison puts wrap around every bcrypt comparison until restore is called. Nobody may use the service meanwhile.
func WrapComparison(s *Service, wrap func(real func() error) error) (restore func()) {
	real := s.hashing.compare
	s.hashing.compare = func(hash, password []byte) error {
		return wrap(func() error { return real(hash, password) })
	}
	return func() { s.hashing.compare = real }
}

// MaxPlainLogins bounds the logins of an account without a device.
const MaxPlainLogins = maxPlainLogins

// MaxHashingWaiters bounds the requests that wait for a hashing slot.
const MaxHashingWaiters = maxHashingWaiters

// Hashing is the door to the slots alone.
type Hashing = hashing

// NewHashing compares with compare instead of bcrypt.
func NewHashing(slots int, compare func(hash, password []byte) error) *Hashing {
	h := newHashing([]byte("pepper"), slots)
	h.compare = compare
	return h
}

// CheckAnything runs one comparison in a slot.
func CheckAnything(ctx context.Context, h *Hashing) error {
	_, err := h.Check(ctx, nil, "proof")
	return err
}
