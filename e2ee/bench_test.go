package e2ee_test

import (
	"testing"

	"sotto/e2ee"
)

// The unit of all of these is one message of 256 bytes, the smallest size class.
var benchText = string(make([]byte, 256))

func BenchmarkInitiate(b *testing.B) {
	alice, bob := newPeer(b, 1), newPeer(b, 2)
	bundle := bob.bundle(b, true)
	for b.Loop() {
		check(b, e2ee.NewSession().Initiate(alice.rand, alice.local, bundle, testTime))
	}
}

// BenchmarkAnswer is the receipt of the first message of a session.
func BenchmarkAnswer(b *testing.B) {
	alice, bob := newPeer(b, 1), newPeer(b, 2)
	alice.initiate(b, bob, true)
	m := alice.encrypt(b, bob, benchText)
	for b.Loop() {
		_, err := e2ee.NewSession().Decrypt(bob.rand, bob.local, alice.local.Address, m, bob)
		check(b, err)
	}
}

// BenchmarkEncrypt is sending in one chain: no DH ratchet step.
func BenchmarkEncrypt(b *testing.B) {
	alice, bob := talking(b)
	for b.Loop() {
		alice.encrypt(b, bob, benchText)
	}
}

// BenchmarkDecrypt is receiving in one chain.
func BenchmarkDecrypt(b *testing.B) {
	alice, bob := talking(b)
	deliver(b, alice, bob, alice.encrypt(b, bob, "opens the chain"), "opens the chain")
	m := alice.encrypt(b, bob, benchText)
	s := bob.session(alice)
	for b.Loop() {
		_, err := s.Clone().Decrypt(bob.rand, bob.local, alice.local.Address, m, bob)
		check(b, err)
	}
}

// BenchmarkSendReceive is one message sent and received, each in the other
// direction than the one before: a DH ratchet step and SPQR at every message.
func BenchmarkSendReceive(b *testing.B) {
	alice, bob := talking(b)
	for b.Loop() {
		_, err := bob.decrypt(alice, alice.encrypt(b, bob, benchText))
		check(b, err)
		alice, bob = bob, alice
	}
}

// BenchmarkStore is reading and writing the record of a session in use.
func BenchmarkStore(b *testing.B) {
	alice, bob := talking(b)
	for range 200 {
		deliver(b, alice, bob, alice.encrypt(b, bob, "x"), "x")
		alice, bob = bob, alice
	}
	stored := alice.session(bob).Marshal()
	b.ReportMetric(float64(len(stored)), "bytes")
	for b.Loop() {
		s, err := e2ee.ParseSession(stored)
		check(b, err)
		s.Marshal()
	}
}

// BenchmarkGroupEncrypt is one message for a whole group: with sender keys its
// size does not matter.
func BenchmarkGroupEncrypt(b *testing.B) {
	random := testRand(1)
	k, err := e2ee.NewSenderKey(random, [16]byte{1}, testTime)
	check(b, err)
	for b.Loop() {
		_, err := k.Encrypt(random, []byte(benchText))
		check(b, err)
	}
}

// BenchmarkGroupDistribute gives a sender key to a group of 1,000 devices, each
// in its session.
func BenchmarkGroupDistribute(b *testing.B) {
	alice, bob := talking(b)
	k, err := e2ee.NewSenderKey(alice.rand, [16]byte{1}, testTime)
	check(b, err)
	for b.Loop() {
		for range 1000 {
			_, err := alice.session(bob).Clone().Encrypt(alice.rand, alice.local, bob.local.Address, k.Distribution(), testTime)
			check(b, err)
		}
	}
}

func BenchmarkSafetyNumber(b *testing.B) {
	alice, bob := newPeer(b, 1), newPeer(b, 2)
	for b.Loop() {
		e2ee.SafetyNumber(alice.local.Address.Account, alice.local.Identity.Public,
			bob.local.Address.Account, bob.local.Identity.Public)
	}
}
