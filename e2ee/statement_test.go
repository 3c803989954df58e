package e2ee_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

// statement goes with statementBundle.
func statement(tb testing.TB) (e2ee.PreKeyStatement, e2ee.KeyPair) {
	signedPreKey := newKey(tb, 11).Public
	return e2ee.PreKeyStatement{
		Account: id16(0xA1), Device: 3, RegistrationID: 4711,
		SignedPreKeyID: 7, SignedPreKeyHash: e2ee.PreKeyHash(signedPreKey[:]),
		LastResortID: 1<<24 - 1, LastResortHash: e2ee.PreKeyHash(kyberBytes()),
		Time: testTime.UnixMilli(),
	}, newKey(tb, 10)
}

func kyberBytes() []byte { return append([]byte{8}, bytes.Repeat([]byte{0x42}, 1568)...) }

func statementBundle(tb testing.TB) e2ee.PreKeyBundle {
	return e2ee.PreKeyBundle{
		Address: e2ee.Address{Account: id16(0xA1), Device: 3}, RegistrationID: 4711, IdentityKey: newKey(tb, 10).Public,
		SignedPreKeyID: 7, SignedPreKey: newKey(tb, 11).Public,
		KyberPreKeyID: 1<<24 - 1, KyberPreKey: kyberBytes(),
	}
}

func TestStatementRoundTrip(t *testing.T) {
	s, device := statement(t)
	signed, err := s.Sign(testRand(1), device.Private)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signed.Open(device.Public)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, got); diff != "" {
		t.Error(diff)
	}
	_, err = signed.Open(newKey(t, 77).Public)
	wantErr(t, "another device", err, e2ee.ErrSignature)
	for i := range signed.Statement {
		bad := e2ee.SignedStatement{Statement: bytes.Clone(signed.Statement), Signature: signed.Signature}
		bad.Statement[i] ^= 1
		if _, err := bad.Open(device.Public); err == nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
	for name, raw := range map[string][]byte{
		"empty": {}, "unknown field": uintField(bytes.Clone(signed.Statement), 9, 0),
		"cut": signed.Statement[:len(signed.Statement)-1], "too long": make([]byte, e2ee.MaxStatementSize+1),
	} {
		sig, err := device.Private.Sign(testRand(1), append([]byte("sotto prekeys v1"), raw...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = e2ee.SignedStatement{Statement: raw, Signature: sig[:]}.Open(device.Public)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
	_, err = s.Sign(&failingReader{}, device.Private)
	wantErr(t, "no randomness", err, errNoRandomness)
}

func TestStatementBounds(t *testing.T) {
	for name, change := range map[string]func(*e2ee.PreKeyStatement){
		"device 0":             func(s *e2ee.PreKeyStatement) { s.Device = 0 },
		"device 128":           func(s *e2ee.PreKeyStatement) { s.Device = 128 },
		"registration id 0":    func(s *e2ee.PreKeyStatement) { s.RegistrationID = 0 },
		"signed prekey id 0":   func(s *e2ee.PreKeyStatement) { s.SignedPreKeyID = 0 },
		"signed prekey id big": func(s *e2ee.PreKeyStatement) { s.SignedPreKeyID = 1 << 24 },
		"last resort id big":   func(s *e2ee.PreKeyStatement) { s.LastResortID = 1 << 24 },
		"time":                 func(s *e2ee.PreKeyStatement) { s.Time = -1 },
	} {
		s, device := statement(t)
		change(&s)
		_, err := s.Sign(testRand(1), device.Private)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func TestStatementCheck(t *testing.T) {
	s, _ := statement(t)
	lifetime := e2ee.StatementLifetime
	tests := []struct {
		name   string
		change func(*e2ee.PreKeyBundle)
		now    time.Time
		want   error
	}{
		{"fits", func(*e2ee.PreKeyBundle) {}, testTime, nil},
		{"30 days old", func(*e2ee.PreKeyBundle) {}, testTime.Add(lifetime), nil},
		{"older", func(*e2ee.PreKeyBundle) {}, testTime.Add(lifetime + time.Millisecond), e2ee.ErrStatementStale},
		{"made by a clock that is ahead", func(*e2ee.PreKeyBundle) {}, testTime.Add(-time.Hour), nil},
		{"other account", func(b *e2ee.PreKeyBundle) { b.Account[0]++ }, testTime, e2ee.ErrMismatch},
		{"other device", func(b *e2ee.PreKeyBundle) { b.Device++ }, testTime, e2ee.ErrMismatch},
		{"other registration", func(b *e2ee.PreKeyBundle) { b.RegistrationID++ }, testTime, e2ee.ErrMismatch},
		{"other signed prekey id", func(b *e2ee.PreKeyBundle) { b.SignedPreKeyID++ }, testTime, e2ee.ErrMismatch},
		{"other signed prekey", func(b *e2ee.PreKeyBundle) { b.SignedPreKey[5]++ }, testTime, e2ee.ErrMismatch},
		{"other last-resort key", func(b *e2ee.PreKeyBundle) { b.KyberPreKey[5]++ }, testTime, e2ee.ErrMismatch},
		{"one-time Kyber key", func(b *e2ee.PreKeyBundle) { b.KyberPreKeyID, b.KyberPreKey = 5, nil }, testTime, nil},
	}
	for _, tt := range tests {
		b := statementBundle(t)
		tt.change(&b)
		wantErr(t, tt.name, s.Check(b, tt.now), tt.want)
	}
}

func TestStatementFollows(t *testing.T) {
	seen, _ := statement(t)
	later, earlier, other := seen, seen, seen
	later.Time++
	earlier.Time--
	other.SignedPreKeyID++
	wantErr(t, "the same", seen.Follows(seen), nil)
	wantErr(t, "later", later.Follows(seen), nil)
	wantErr(t, "earlier", earlier.Follows(seen), e2ee.ErrStatementRollback)
	wantErr(t, "same time, other keys", other.Follows(seen), e2ee.ErrStatementRollback)
}
