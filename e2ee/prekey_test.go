package e2ee_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func TestStoredPreKeys(t *testing.T) {
	random := testRand(1)
	identity, err := e2ee.NewKeyPair(random)
	check(t, err)
	oneTime, err := e2ee.NewPreKey(random, 1<<24-1)
	check(t, err)
	signed, err := e2ee.NewSignedPreKey(random, identity, 2)
	check(t, err)
	kyber, err := e2ee.NewKyberPreKey(random, identity, 3, false)
	check(t, err)
	last, err := e2ee.NewKyberPreKey(random, identity, 4, true)
	check(t, err)

	gotOneTime, err := e2ee.ParsePreKey(oneTime.Marshal())
	check(t, err)
	gotSigned, err := e2ee.ParseSignedPreKey(signed.Marshal())
	check(t, err)
	gotKyber, err := e2ee.ParseKyberPreKey(kyber.Marshal())
	check(t, err)
	gotLast, err := e2ee.ParseKyberPreKey(last.Marshal())
	check(t, err)
	if diff := cmp.Diff([]any{oneTime, signed, kyber, last}, []any{gotOneTime, gotSigned, gotKyber, gotLast}); diff != "" {
		t.Error(diff)
	}
	if !identity.Public.Verify(signed.Pair.Public[:], signed.Signature[:]) ||
		!identity.Public.Verify(kyber.Pair.Public, kyber.Signature[:]) {
		t.Error("a prekey signature does not verify")
	}

	good := signed.Marshal()
	for name, b := range map[string][]byte{
		"empty": nil, "later format": append([]byte{2}, good[1:]...), "cut": good[:len(good)-1],
		"no fields": {1}, "unknown field": append(bytes.Clone(good), 0x38, 1), "wrong length": {1, 8, 1, 0x12, 1, 9},
	} {
		if _, err := e2ee.ParseSignedPreKey(b); !errors.Is(err, e2ee.ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e2ee.ParsePreKey(kyber.Marshal()); !errors.Is(err, e2ee.ErrState) {
		t.Errorf("a Kyber prekey read as X25519: %v", err)
	}
	if _, err := e2ee.ParseKyberPreKey(good); !errors.Is(err, e2ee.ErrState) {
		t.Errorf("a signed prekey read as Kyber: %v", err)
	}
}

func TestParseKEMPublicKey(t *testing.T) {
	pair, err := e2ee.NewKEMKeyPair(testRand(1))
	check(t, err)
	k, err := e2ee.ParseKEMPublicKey(pair.Public)
	check(t, err)
	if !bytes.Equal(k, pair.Public) || len(k) != 1569 {
		t.Errorf("%d bytes", len(k))
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": k[:1568], "long": append(bytes.Clone(k), 0), "ML-KEM": append([]byte{0x0A}, k[1:]...),
	} {
		if _, err := e2ee.ParseKEMPublicKey(b); !errors.Is(err, e2ee.ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPreKeyUpkeep(t *testing.T) {
	const day = 24 * time.Hour
	now := testTime
	fresh := e2ee.PreKeyInventory{
		SignedMade: now, LastResortMade: now, StatementMade: now, OneTime: 100, OneTimeKyber: 20,
	}
	tests := []struct {
		name   string
		change func(*e2ee.PreKeyInventory)
		want   e2ee.PreKeyUpkeep
	}{
		{"fresh", func(*e2ee.PreKeyInventory) {}, e2ee.PreKeyUpkeep{}},
		{"new device", func(i *e2ee.PreKeyInventory) { *i = e2ee.PreKeyInventory{} },
			e2ee.PreKeyUpkeep{NewSigned: true, NewLastResort: true, NewStatement: true, OneTime: 100, OneTimeKyber: 20}},
		{"signed almost due", func(i *e2ee.PreKeyInventory) { i.SignedMade = now.Add(-7*day + time.Second) },
			e2ee.PreKeyUpkeep{}},
		{"signed due", func(i *e2ee.PreKeyInventory) { i.SignedMade = now.Add(-7 * day) },
			e2ee.PreKeyUpkeep{NewSigned: true, NewStatement: true}},
		{"last resort due", func(i *e2ee.PreKeyInventory) { i.LastResortMade = now.Add(-8 * day) },
			e2ee.PreKeyUpkeep{NewLastResort: true, NewStatement: true}},
		{"statement due", func(i *e2ee.PreKeyInventory) { i.StatementMade = now.Add(-7 * day) },
			e2ee.PreKeyUpkeep{NewStatement: true}},
		{"made in the future", func(i *e2ee.PreKeyInventory) { i.SignedMade = now.Add(day) },
			e2ee.PreKeyUpkeep{NewSigned: true, NewStatement: true}},
		{"enough one-time", func(i *e2ee.PreKeyInventory) { i.OneTime, i.OneTimeKyber = 25, 5 }, e2ee.PreKeyUpkeep{}},
		{"few one-time", func(i *e2ee.PreKeyInventory) { i.OneTime = 24 }, e2ee.PreKeyUpkeep{OneTime: 76}},
		{"few Kyber", func(i *e2ee.PreKeyInventory) { i.OneTimeKyber = 4 }, e2ee.PreKeyUpkeep{OneTimeKyber: 16}},
		{"absurd count", func(i *e2ee.PreKeyInventory) { i.OneTime = -5 }, e2ee.PreKeyUpkeep{OneTime: 100}},
	}
	for _, tt := range tests {
		i := fresh
		tt.change(&i)
		if diff := cmp.Diff(tt.want, i.Due(now)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if e2ee.RetiredPreKeyExpired(now, now.Add(60*day-time.Second)) || !e2ee.RetiredPreKeyExpired(now, now.Add(60*day)) {
		t.Error("a retired key does not expire after exactly 60 days")
	}
}

func TestNextPreKeyID(t *testing.T) {
	for id, want := range map[uint32]uint32{0: 1, 1: 2, 1<<24 - 2: 1<<24 - 1, 1<<24 - 1: 1} {
		if got := e2ee.NextPreKeyID(id); got != want {
			t.Errorf("after %d comes %d, want %d", id, got, want)
		}
	}
}
