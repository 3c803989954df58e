package e2ee_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"filippo.io/edwards25519"
	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

// talking returns two peers whose handshake is over.
func talking(tb testing.TB) (alice, bob *peer) {
	tb.Helper()
	alice, bob = newPeer(tb, 1), newPeer(tb, 2)
	alice.initiate(tb, bob, true)
	deliver(tb, alice, bob, alice.encrypt(tb, bob, "hello"), "hello")
	deliver(tb, bob, alice, bob.encrypt(tb, alice, "hello yourself"), "hello yourself")
	return alice, bob
}

// refuse checks that a message is refused with an error and changes nothing.
func refuse(tb testing.TB, from, to *peer, m e2ee.Message, want error) {
	tb.Helper()
	before := to.session(from).Marshal()
	text, err := to.decrypt(from, m)
	if !errors.Is(err, want) {
		tb.Errorf("got %q, %v; want %v", text, err, want)
	}
	if !bytes.Equal(before, to.session(from).Marshal()) {
		tb.Errorf("%v, but the session changed", err)
	}
}

func TestConversation(t *testing.T) {
	for _, oneTime := range []bool{true, false} {
		t.Run(fmt.Sprintf("one-time prekey %v", oneTime), func(t *testing.T) {
			alice, bob := newPeer(t, 1), newPeer(t, 2)
			alice.initiate(t, bob, oneTime)
			for i := range 3 {
				m := alice.encrypt(t, bob, fmt.Sprint("hello ", i))
				if m.Type != e2ee.TypePreKey {
					t.Fatalf("type %d before the first answer, want 3", m.Type)
				}
				deliver(t, alice, bob, m, fmt.Sprint("hello ", i))
			}
			for i := range 50 {
				for _, way := range [][2]*peer{{bob, alice}, {alice, bob}} {
					m := way[0].encrypt(t, way[1], fmt.Sprint("text ", i))
					if m.Type != e2ee.TypeMessage {
						t.Fatalf("type %d after an answer, want 2", m.Type)
					}
					deliver(t, way[0], way[1], m, fmt.Sprint("text ", i))
				}
			}
			if len(bob.preKeys) != 0 {
				t.Error("the one-time prekey was not consumed")
			}
		})
	}
}

func TestPlaintextSizes(t *testing.T) {
	alice, bob := talking(t)
	for _, n := range []int{0, 1, 15, 16, 17, 64 << 10, e2ee.MaxPlaintext} {
		text := string(bytes.Repeat([]byte{'x'}, n))
		deliver(t, alice, bob, alice.encrypt(t, bob, text), text)
	}
	_, err := alice.session(bob).Encrypt(alice.rand, alice.local, bob.local.Address,
		make([]byte, e2ee.MaxPlaintext+1), testTime)
	if !errors.Is(err, e2ee.ErrInvalidMessage) {
		t.Errorf("plaintext above the limit: %v", err)
	}
}

func TestReorderedAndRepeated(t *testing.T) {
	alice, bob := talking(t)
	var messages []e2ee.Message
	for i := range 10 {
		messages = append(messages, alice.encrypt(t, bob, fmt.Sprint(i)))
	}
	for _, i := range []int{9, 0, 5, 3, 8, 1, 2, 7, 4, 6} {
		deliver(t, alice, bob, messages[i], fmt.Sprint(i))
		refuse(t, alice, bob, messages[i], e2ee.ErrDuplicate)
	}
}

func TestLimits(t *testing.T) {
	t.Run("forward jump", func(t *testing.T) {
		alice, bob := talking(t)
		for range e2ee.MaxForwardJump - 1 {
			alice.encrypt(t, bob, "lost")
		}
		last := alice.encrypt(t, bob, "last")
		tooFar := alice.encrypt(t, bob, "too far")
		refuse(t, alice, bob, tooFar, e2ee.ErrTooFarAhead)
		deliver(t, alice, bob, last, "last")
		deliver(t, alice, bob, tooFar, "too far")
	})
	t.Run("skipped keys", func(t *testing.T) {
		alice, bob := talking(t)
		var messages []e2ee.Message
		for range e2ee.MaxSkippedKeys + 2 {
			messages = append(messages, alice.encrypt(t, bob, "late"))
		}
		deliver(t, alice, bob, messages[len(messages)-1], "late")
		refuse(t, alice, bob, messages[0], e2ee.ErrDuplicate)
		for _, m := range []e2ee.Message{messages[1], messages[len(messages)-2], messages[1000]} {
			deliver(t, alice, bob, m, "late")
		}
		// The bound holds over several jumps, too.
		alice, bob = talking(t)
		messages = nil
		for range 3 * 1500 {
			messages = append(messages, alice.encrypt(t, bob, "late"))
		}
		for _, i := range []int{1499, 2999, 4499} {
			deliver(t, alice, bob, messages[i], "late")
		}
		refuse(t, alice, bob, messages[2400], e2ee.ErrDuplicate)
		deliver(t, alice, bob, messages[2600], "late")
	})
	t.Run("receiver chains", func(t *testing.T) {
		alice, bob := talking(t)
		early := []e2ee.Message{alice.encrypt(t, bob, "0"), alice.encrypt(t, bob, "1")}
		for i := range 5 { // the first turn does not change the ratchet key
			deliver(t, bob, alice, bob.encrypt(t, alice, "turn"), "turn")
			deliver(t, alice, bob, alice.encrypt(t, bob, fmt.Sprint(i)), fmt.Sprint(i))
		}
		deliver(t, alice, bob, early[0], "0") // the fifth chain back
		deliver(t, bob, alice, bob.encrypt(t, alice, "turn"), "turn")
		deliver(t, alice, bob, alice.encrypt(t, bob, "new"), "new")
		refuse(t, alice, bob, early[1], e2ee.ErrInvalidMessage)
	})
	t.Run("archived states", func(t *testing.T) {
		alice, bob := talking(t)
		old := []e2ee.Message{bob.encrypt(t, alice, "0"), bob.encrypt(t, alice, "1")}
		for range 40 {
			alice.initiate(t, bob, false)
		}
		deliver(t, bob, alice, old[0], "0") // comes back to the front
		for range 41 {
			alice.initiate(t, bob, false)
		}
		refuse(t, bob, alice, old[1], e2ee.ErrInvalidMessage)
	})
	t.Run("unacknowledged session", func(t *testing.T) {
		alice, bob := newPeer(t, 1), newPeer(t, 2)
		alice.initiate(t, bob, true)
		s := alice.session(bob)
		s, err := e2ee.ParseSession(s.Marshal())
		check(t, err)
		late := testTime.Add(30 * 24 * time.Hour)
		if !s.Usable(late.Add(-time.Second)) || s.Usable(late) {
			t.Error("an unanswered session is not usable for exactly 30 days")
		}
		if _, err := s.Encrypt(alice.rand, alice.local, bob.local.Address, nil, late); !errors.Is(err, e2ee.ErrNoSession) {
			t.Errorf("encrypting after 30 days: %v", err)
		}
		deliver(t, alice, bob, alice.encrypt(t, bob, "x"), "x")
		deliver(t, bob, alice, bob.encrypt(t, alice, "y"), "y")
		if !alice.session(bob).Usable(late) {
			t.Error("an answered session expired")
		}
	})
}

func TestNoSession(t *testing.T) {
	alice, bob := talking(t)
	m := alice.encrypt(t, bob, "x")
	bob.sessions = map[e2ee.Address]*e2ee.Session{}
	refuse(t, alice, bob, m, e2ee.ErrNoSession)
	_, err := bob.session(alice).Encrypt(bob.rand, bob.local, alice.local.Address, nil, testTime)
	if !errors.Is(err, e2ee.ErrNoSession) {
		t.Errorf("encrypting without a session: %v", err)
	}
}

func TestSimultaneousInitiation(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	bob.initiate(t, alice, true)
	fromAlice, fromBob := alice.encrypt(t, bob, "from alice"), bob.encrypt(t, alice, "from bob")
	deliver(t, alice, bob, fromAlice, "from alice")
	deliver(t, bob, alice, fromBob, "from bob")
	refuse(t, alice, bob, fromAlice, e2ee.ErrDuplicate)
	// Both now send in the session the other began, and again at once.
	fromAlice, fromBob = alice.encrypt(t, bob, "2a"), bob.encrypt(t, alice, "2b")
	deliver(t, alice, bob, fromAlice, "2a")
	deliver(t, bob, alice, fromBob, "2b")
	for i := range 3 {
		m := alice.encrypt(t, bob, fmt.Sprint(i))
		if m.Type != e2ee.TypeMessage {
			t.Errorf("message %d has type %d: the peers have not settled", i, m.Type)
		}
		deliver(t, alice, bob, m, fmt.Sprint(i))
		deliver(t, bob, alice, bob.encrypt(t, alice, "r"), "r")
	}
}

func TestArchivedStateIsPromoted(t *testing.T) {
	alice, bob := talking(t)
	underWay := bob.encrypt(t, alice, "under way")
	alice.session(bob).ArchiveCurrent()
	if alice.session(bob).Usable(testTime) {
		t.Fatal("usable after ArchiveCurrent")
	}
	deliver(t, bob, alice, underWay, "under way")
	if !alice.session(bob).Usable(testTime) {
		t.Error("the state that decrypted is not current")
	}
	deliver(t, alice, bob, alice.encrypt(t, bob, "back"), "back")
	for range 20 { // it has left the archive
		underWay = bob.encrypt(t, alice, "under way")
		alice.session(bob).ArchiveCurrent()
		deliver(t, bob, alice, underWay, "under way")
		deliver(t, alice, bob, alice.encrypt(t, bob, "back"), "back")
	}
	if size := len(alice.session(bob).Marshal()); size > 8<<10 {
		t.Errorf("one state takes %d bytes", size)
	}
}

func TestArchivedStateForgetsTheHandshake(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	before := len(alice.session(bob).Marshal())
	alice.session(bob).ArchiveCurrent()
	if after := len(alice.session(bob).Marshal()); after > before-1569 {
		t.Errorf("%d bytes before, %d after: the Kyber ciphertext is still there", before, after)
	}
}

// What SPQR says of a message that belongs to another session means nothing.
func TestMessageOfForgottenSession(t *testing.T) {
	alice, bob := talking(t)
	old := alice.encrypt(t, bob, "old")
	clear(bob.sessions)
	alice.initiate(t, bob, true)
	for range 5 {
		deliver(t, alice, bob, alice.encrypt(t, bob, "x"), "x")
	}
	refuse(t, alice, bob, old, e2ee.ErrInvalidMessage)
}

// A device was reset: same address, new identity. A late message of before must
// not bring the old keys back for sending.
func TestOldIdentityStaysArchived(t *testing.T) {
	alice, bob := talking(t)
	late := bob.encrypt(t, alice, "late")
	reset := newPeer(t, 99)
	reset.local.Address = bob.local.Address
	alice.initiate(t, reset, true)
	got, err := alice.session(bob).Decrypt(alice.rand, alice.local, bob.local.Address, late, alice)
	check(t, err)
	if got.RemoteIdentity != bob.local.Identity.Public || string(got.Plaintext) != "late" {
		t.Errorf("late message: %q from %x", got.Plaintext, got.RemoteIdentity)
	}
	if k, ok := alice.session(bob).RemoteIdentity(); !ok || k != reset.local.Identity.Public {
		t.Error("the session went back to the old identity")
	}
	refuse(t, bob, alice, late, e2ee.ErrDuplicate)
}

func TestPreKeys(t *testing.T) {
	t.Run("unknown", func(t *testing.T) {
		for name, forget := range map[string]func(*peer){
			"one-time": func(p *peer) { clear(p.preKeys) },
			"signed":   func(p *peer) { clear(p.signed) },
			"Kyber":    func(p *peer) { clear(p.kyber) },
		} {
			alice, bob := newPeer(t, 1), newPeer(t, 2)
			alice.initiate(t, bob, true)
			forget(bob)
			t.Run(name, func(t *testing.T) { refuse(t, alice, bob, alice.encrypt(t, bob, "x"), e2ee.ErrNoPreKey) })
		}
	})
	t.Run("last resort replayed", func(t *testing.T) {
		alice, bob := newPeer(t, 1), newPeer(t, 2)
		alice.initiate(t, bob, false)
		m := alice.encrypt(t, bob, "x")
		deliver(t, alice, bob, m, "x")
		delete(bob.sessions, alice.local.Address)
		refuse(t, alice, bob, m, e2ee.ErrReused)
		alice.initiate(t, bob, false)
		deliver(t, alice, bob, alice.encrypt(t, bob, "again"), "again")
	})
	t.Run("one-time Kyber", func(t *testing.T) {
		alice, bob := newPeer(t, 1), newPeer(t, 2)
		k, err := e2ee.NewKyberPreKey(bob.rand, bob.local.Identity, 7, false)
		check(t, err)
		bob.kyber[7] = k
		b := bob.bundle(t, false)
		b.KyberPreKeyID, b.KyberPreKey, b.KyberPreKeySignature = 7, k.Pair.Public, k.Signature
		check(t, alice.session(bob).Initiate(alice.rand, alice.local, b, testTime))
		m := alice.encrypt(t, bob, "x")
		deliver(t, alice, bob, m, "x")
		delete(bob.sessions, alice.local.Address)
		refuse(t, alice, bob, m, e2ee.ErrNoPreKey)
	})
	t.Run("not consumed by a forgery", func(t *testing.T) {
		alice, bob := newPeer(t, 1), newPeer(t, 2)
		alice.initiate(t, bob, true)
		m := alice.encrypt(t, bob, "x")
		m.Bytes[bytes.Index(m.Bytes, alice.local.Identity.Public[:])+40]++ // in the inner message
		refuse(t, alice, bob, m, e2ee.ErrInvalidMessage)
		if len(bob.preKeys) != 1 || len(bob.used) != 0 {
			t.Error("a forged message used up a prekey")
		}
	})
}

func TestBundleRefused(t *testing.T) {
	mallory := newPeer(t, 66)
	for name, spoil := range map[string]func(b *e2ee.PreKeyBundle){
		"identity":            func(b *e2ee.PreKeyBundle) { b.IdentityKey = mallory.local.Identity.Public },
		"signed prekey":       func(b *e2ee.PreKeyBundle) { b.SignedPreKey = mallory.signed[1].Pair.Public },
		"its signature":       func(b *e2ee.PreKeyBundle) { b.SignedPreKeySignature[3]++ },
		"Kyber prekey":        func(b *e2ee.PreKeyBundle) { b.KyberPreKey = mallory.kyber[1].Pair.Public },
		"its signature too":   func(b *e2ee.PreKeyBundle) { b.KyberPreKeySignature[3]++ },
		"no Kyber prekey":     func(b *e2ee.PreKeyBundle) { b.KyberPreKey = nil },
		"signatures swapped":  func(b *e2ee.PreKeyBundle) { b.KyberPreKeySignature = b.SignedPreKeySignature },
		"one-time key type":   func(b *e2ee.PreKeyBundle) { b.PreKey.Key[0] = 7 },
		"one-time zero point": func(b *e2ee.PreKeyBundle) { b.PreKey.Key = e2ee.PublicKey{5} },
	} {
		alice, bob := talking(t)
		before := alice.session(bob).Marshal()
		b := bob.bundle(t, true)
		spoil(&b)
		if err := alice.session(bob).Initiate(alice.rand, alice.local, b, testTime); !errors.Is(err, e2ee.ErrInvalidKey) {
			t.Errorf("%s: %v, want ErrInvalidKey", name, err)
		}
		if !bytes.Equal(before, alice.session(bob).Marshal()) {
			t.Errorf("%s: a refused bundle changed the session", name)
		}
	}

	// A KEM type we do not speak, correctly signed.
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	b := bob.bundle(t, false)
	b.KyberPreKey = append(e2ee.KEMPublicKey{0x0A}, b.KyberPreKey[1:]...)
	var err error
	b.KyberPreKeySignature, err = bob.local.Identity.Private.Sign(bob.rand, b.KyberPreKey)
	check(t, err)
	if err := alice.session(bob).Initiate(alice.rand, alice.local, b, testTime); !errors.Is(err, e2ee.ErrInvalidKey) {
		t.Errorf("KEM type 10: %v", err)
	}
}

func TestTamperedMessage(t *testing.T) {
	alice, bob := talking(t)
	m := alice.encrypt(t, bob, "established")
	for i := range m.Bytes {
		forged := e2ee.Message{Type: m.Type, Bytes: slices.Clone(m.Bytes)}
		forged.Bytes[i] ^= 1 << (i % 8)
		refuseForgery(t, alice, bob, forged, "established", i)
	}
	deliver(t, alice, bob, m, "established")
}

func TestTamperedPreKeyMessage(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	m := alice.encrypt(t, bob, "first")
	kyber := bytes.Index(m.Bytes, append([]byte{0x42, 0xA1, 0x0C}, 0x08)) + 4 // field 8, 1569 bytes, type 8
	for i := range m.Bytes {
		if i > kyber && i%31 != 0 {
			continue // any byte of the ciphertext is like another
		}
		forged := e2ee.Message{Type: m.Type, Bytes: slices.Clone(m.Bytes)}
		forged.Bytes[i] ^= 1 << (i % 8)
		refuseForgery(t, alice, bob, forged, "first", i)
	}
	deliver(t, alice, bob, m, "first")
}

// refuseForgery allows that a change has no meaning (the low half of the
// version, the registration id): then the message still says who and what.
func refuseForgery(t *testing.T, from, to *peer, m e2ee.Message, text string, position int) {
	t.Helper()
	s := to.session(from).Clone()
	before := s.Marshal()
	got, err := s.Decrypt(to.rand, to.local, from.local.Address, m, to)
	if err == nil {
		if string(got.Plaintext) != text || got.RemoteIdentity != from.local.Identity.Public {
			t.Errorf("byte %d changed: decrypted %q", position, got.Plaintext)
		}
		return
	}
	if !isDocumented(err) {
		t.Errorf("byte %d changed: undocumented error %v", position, err)
	}
	if !bytes.Equal(before, s.Marshal()) {
		t.Errorf("byte %d changed: the session changed", position)
	}
}

// isDocumented reports whether err is one that Decrypt may return.
func isDocumented(err error) bool {
	documented := []error{
		e2ee.ErrInvalidKey, e2ee.ErrInvalidMessage, e2ee.ErrVersion, e2ee.ErrNoSession, e2ee.ErrDuplicate,
		e2ee.ErrTooFarAhead, e2ee.ErrNoPreKey, e2ee.ErrReused,
	}
	return slices.ContainsFunc(documented, func(target error) bool { return errors.Is(err, target) })
}

func TestVersions(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	first := alice.encrypt(t, bob, "x")
	alice, bob = talking(t)
	second := alice.encrypt(t, bob, "x")
	for _, m := range []e2ee.Message{first, second} {
		for _, version := range []byte{0x33, 0x34, 0x55} {
			m.Bytes[0] = version
			refuse(t, alice, bob, m, e2ee.ErrVersion)
		}
	}
	// A Double Ratchet without SPQR: key, counter, ciphertext and MAC.
	plain := slices.Concat([]byte{0x44, 0x0A, 33, 5}, make([]byte, 32), []byte{0x10, 0, 0x22, 0}, make([]byte, 8))
	refuse(t, alice, bob, e2ee.Message{Type: e2ee.TypeMessage, Bytes: plain}, e2ee.ErrVersion)
	refuse(t, alice, bob, e2ee.Message{Type: e2ee.TypeMessage}, e2ee.ErrInvalidMessage)
	refuse(t, alice, bob, e2ee.Message{Type: e2ee.TypeSenderKey, Bytes: second.Bytes}, e2ee.ErrInvalidMessage)
}

func TestAddresses(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	m := alice.encrypt(t, bob, "x")
	s := bob.session(alice)
	other := alice.local.Address
	other.Device = 2
	if _, err := s.Decrypt(bob.rand, bob.local, other, m, bob); !errors.Is(err, e2ee.ErrInvalidMessage) {
		t.Errorf("another sender address: %v", err)
	}
	elsewhere := bob.local
	elsewhere.Address.Account[15]++
	if _, err := s.Decrypt(bob.rand, elsewhere, alice.local.Address, m, bob); !errors.Is(err, e2ee.ErrInvalidMessage) {
		t.Errorf("another recipient address: %v", err)
	}
	for _, device := range []uint32{0, 128} {
		other.Device = device
		if _, err := s.Decrypt(bob.rand, bob.local, other, m, bob); !errors.Is(err, e2ee.ErrInvalidMessage) {
			t.Errorf("decrypting from device %d: %v", device, err)
		}
		_, err := alice.session(bob).Encrypt(alice.rand, alice.local, other, nil, testTime)
		if !errors.Is(err, e2ee.ErrInvalidMessage) {
			t.Errorf("encrypting for device %d: %v", device, err)
		}
	}
	deliver(t, alice, bob, m, "x")
}

func TestBaseKeyMustBeCanonical(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	m := alice.encrypt(t, bob, "x")
	info, err := e2ee.PeekPreKeyMessage(m.Bytes)
	check(t, err)
	position := bytes.Index(m.Bytes, info.BaseKey[:])

	topBit := e2ee.Message{Type: m.Type, Bytes: slices.Clone(m.Bytes)}
	topBit.Bytes[position+32] |= 0x80 // gives the same secrets
	refuse(t, alice, bob, topBit, e2ee.ErrInvalidKey)

	mixed := e2ee.Message{Type: m.Type, Bytes: slices.Clone(m.Bytes)}
	copy(mixed.Bytes[position+1:], withTorsion(t, info.BaseKey)) // gives the same secrets, too
	refuse(t, alice, bob, mixed, e2ee.ErrInvalidKey)
	deliver(t, alice, bob, m, "x")
}

// withTorsion adds a point of order 8 to a key: clamped scalars do not see it.
func withTorsion(t *testing.T, key e2ee.PublicKey) []byte {
	t.Helper()
	order8, err := new(edwards25519.Point).SetBytes([]byte{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	})
	check(t, err)
	p, err := new(edwards25519.Point).SetBytes(montgomeryToEdwards(t, key))
	check(t, err)
	return p.Add(p, order8).BytesMontgomery()
}

func TestPeekPreKeyMessage(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	m := alice.encrypt(t, bob, "x")
	info, err := e2ee.PeekPreKeyMessage(m.Bytes)
	check(t, err)
	got, err := bob.session(alice).Decrypt(bob.rand, bob.local, alice.local.Address, m, bob)
	check(t, err)
	id := uint32(1)
	if diff := cmp.Diff(e2ee.PreKeyMessageInfo{
		IdentityKey: alice.local.Identity.Public, RegistrationID: 1001, BaseKey: info.BaseKey,
		PreKeyID: &id, SignedPreKeyID: 1, KyberPreKeyID: 1,
	}, info); diff != "" {
		t.Error(diff)
	}
	want := e2ee.Received{
		Plaintext: []byte("x"), RemoteIdentity: alice.local.Identity.Public, RegistrationID: 1001,
		Consumed: &e2ee.Consumed{PreKeyID: &id, KyberPreKeyID: 1, SignedPreKeyID: 1, BaseKey: info.BaseKey},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := bob.session(alice).Decrypt(bob.rand, bob.local, alice.local.Address, alice.encrypt(t, bob, "y"), bob)
	check(t, err)
	if again.Consumed != nil || again.RegistrationID != 1001 {
		t.Errorf("second prekey message: %+v", again)
	}
	if _, err := e2ee.PeekPreKeyMessage(m.Bytes[:200]); !errors.Is(err, e2ee.ErrInvalidMessage) {
		t.Errorf("cut message: %v", err)
	}
}

// A prekey message that repeats a base key under another identity belongs to
// neither.
func TestBaseKeyOfAnotherIdentity(t *testing.T) {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	alice.initiate(t, bob, true)
	deliver(t, alice, bob, alice.encrypt(t, bob, "x"), "x")
	m := alice.encrypt(t, bob, "y")
	position := bytes.Index(m.Bytes, alice.local.Identity.Public[:])
	copy(m.Bytes[position:], newPeer(t, 66).local.Identity.Public[:])
	refuse(t, alice, bob, m, e2ee.ErrInvalidMessage)
}

func TestKnowsRatchetKey(t *testing.T) {
	alice, bob := talking(t)
	var keys []e2ee.PublicKey
	for range 18 {
		m := alice.encrypt(t, bob, "x")
		e, err := e2ee.NewDecryptionErrorMessage(m, 0, 1)
		check(t, err)
		keys = append(keys, *e.RatchetKey)
		deliver(t, alice, bob, m, "x")
		deliver(t, bob, alice, bob.encrypt(t, alice, "y"), "y")
	}
	if s := alice.session(bob); !s.SentWith(keys[17]) || s.SentWith(keys[0]) {
		t.Error("the current state has sent with its last 16 ratchet keys")
	}
	alice.session(bob).ArchiveCurrent()
	if alice.session(bob).SentWith(keys[17]) {
		t.Error("without a current state a key counts as one of it")
	}
	for i, k := range keys { // one more has been made since, so 15 of these are left
		if got, want := alice.session(bob).KnowsRatchetKey(k), i >= len(keys)-15; got != want {
			t.Errorf("key %d known: %v, want %v", i, got, want)
		}
	}
	if bob.session(alice).KnowsRatchetKey(keys[17]) {
		t.Error("the peer's key is taken for an own one")
	}
}

func TestFailingRandomnessChangesNothing(t *testing.T) {
	alice, bob := talking(t)
	m := bob.encrypt(t, alice, "x")
	deliver(t, bob, alice, m, "x")
	deliver(t, alice, bob, alice.encrypt(t, bob, "y"), "y")
	m = bob.encrypt(t, alice, "needs a ratchet step")
	broken := iotest.ErrReader(errors.New("no randomness"))
	s := alice.session(bob)
	before := s.Marshal()
	if _, err := s.Decrypt(broken, alice.local, bob.local.Address, m, alice); err == nil {
		t.Error("a ratchet step without randomness")
	}
	if err := s.Initiate(broken, alice.local, bob.bundle(t, true), testTime); err == nil {
		t.Error("a handshake without randomness")
	}
	if !bytes.Equal(before, s.Marshal()) {
		t.Error("the session changed")
	}
	deliver(t, bob, alice, m, "needs a ratchet step")
}

func TestCloneIsIndependent(t *testing.T) {
	alice, bob := talking(t)
	for range 20 { // fills the list of own ratchet keys
		deliver(t, alice, bob, alice.encrypt(t, bob, "x"), "x")
		deliver(t, bob, alice, bob.encrypt(t, alice, "x"), "x")
	}
	skipped := []e2ee.Message{alice.encrypt(t, bob, "0"), alice.encrypt(t, bob, "1"), alice.encrypt(t, bob, "2")}
	deliver(t, alice, bob, alice.encrypt(t, bob, "3"), "3")

	s := bob.session(alice)
	clone := s.Clone()
	before := clone.Marshal()
	receive := func(m e2ee.Message, want string) {
		t.Helper()
		got, err := s.Decrypt(bob.rand, bob.local, alice.local.Address, m, bob)
		check(t, err)
		if string(got.Plaintext) != want {
			t.Errorf("decrypted %q", got.Plaintext)
		}
	}
	receive(skipped[0], "0")
	for range 3 {
		m, err := s.Encrypt(bob.rand, bob.local, alice.local.Address, []byte("y"), testTime)
		check(t, err)
		deliver(t, bob, alice, m, "y")
		receive(alice.encrypt(t, bob, "z"), "z")
	}
	s.ArchiveCurrent()
	if !bytes.Equal(before, clone.Marshal()) {
		t.Error("the clone changed with the session")
	}
	s = clone
	receive(skipped[1], "1")
}
