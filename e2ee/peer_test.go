package e2ee_test

import (
	"bytes"
	"math/rand/v2"
	"time"

	"filippo.io/edwards25519/field"
	"pgregory.net/rapid"

	"sotto/e2ee"
)

// testTime is the clock of all tests.
var testTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testRand(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// peer is a device with its prekeys and its session with each other peer: the
// smallest store that obeys the rules of [e2ee.Session].
type peer struct {
	rand     *rand.ChaCha8
	local    e2ee.Local
	preKeys  map[uint32]e2ee.PreKey
	signed   map[uint32]e2ee.SignedPreKey
	kyber    map[uint32]e2ee.KyberPreKey
	used     map[kyberUse]bool
	sessions map[e2ee.Address]*e2ee.Session
	lastID   uint32
}

type kyberUse struct {
	kyberID, signedID uint32
	base              e2ee.PublicKey
}

func newPeer(tb rapid.TB, seed uint64) *peer {
	tb.Helper()
	p := &peer{
		rand:     testRand(seed),
		preKeys:  map[uint32]e2ee.PreKey{},
		signed:   map[uint32]e2ee.SignedPreKey{},
		kyber:    map[uint32]e2ee.KyberPreKey{},
		used:     map[kyberUse]bool{},
		sessions: map[e2ee.Address]*e2ee.Session{},
	}
	identity, err := e2ee.NewKeyPair(p.rand)
	check(tb, err)
	p.local = e2ee.Local{
		Address:        e2ee.Address{Account: [16]byte{byte(seed), byte(seed >> 8)}, Device: 1},
		Identity:       identity,
		RegistrationID: uint32(1000 + seed%1000),
	}
	p.signed[1], err = e2ee.NewSignedPreKey(p.rand, identity, 1)
	check(tb, err)
	p.kyber[1], err = e2ee.NewKyberPreKey(p.rand, identity, 1, true)
	check(tb, err)
	return p
}

// bundle is what a server would hand out; with a fresh one-time prekey or none.
func (p *peer) bundle(tb rapid.TB, oneTime bool) e2ee.PreKeyBundle {
	tb.Helper()
	b := e2ee.PreKeyBundle{
		Address: p.local.Address, RegistrationID: p.local.RegistrationID, IdentityKey: p.local.Identity.Public,
		SignedPreKeyID: 1, SignedPreKey: p.signed[1].Pair.Public, SignedPreKeySignature: p.signed[1].Signature,
		KyberPreKeyID: 1, KyberPreKey: p.kyber[1].Pair.Public, KyberPreKeySignature: p.kyber[1].Signature,
	}
	if oneTime {
		p.lastID++
		k, err := e2ee.NewPreKey(p.rand, p.lastID)
		check(tb, err)
		p.preKeys[k.ID] = k
		b.PreKey = &e2ee.PublicPreKey{ID: k.ID, Key: k.Pair.Public}
	}
	return b
}

func (p *peer) session(with *peer) *e2ee.Session {
	s := p.sessions[with.local.Address]
	if s == nil {
		s = e2ee.NewSession()
		p.sessions[with.local.Address] = s
	}
	return s
}

func (p *peer) initiate(tb rapid.TB, with *peer, oneTime bool) {
	tb.Helper()
	check(tb, p.session(with).Initiate(p.rand, p.local, with.bundle(tb, oneTime), testTime))
}

func (p *peer) encrypt(tb rapid.TB, to *peer, text string) e2ee.Message {
	tb.Helper()
	m, err := p.session(to).Encrypt(p.rand, p.local, to.local.Address, []byte(text), testTime)
	check(tb, err)
	return m
}

// decrypt commits what a message consumed, as a client does.
func (p *peer) decrypt(from *peer, m e2ee.Message) (string, error) {
	got, err := p.session(from).Decrypt(p.rand, p.local, from.local.Address, m, p)
	if err != nil {
		return "", err
	}
	if c := got.Consumed; c != nil {
		if c.PreKeyID != nil {
			delete(p.preKeys, *c.PreKeyID)
		}
		if p.kyber[c.KyberPreKeyID].LastResort {
			p.used[kyberUse{c.KyberPreKeyID, c.SignedPreKeyID, c.BaseKey}] = true
		} else {
			delete(p.kyber, c.KyberPreKeyID)
		}
	}
	return string(got.Plaintext), nil
}

func (p *peer) PreKey(id uint32) (e2ee.PreKey, error) { return lookup(p.preKeys, id) }

func (p *peer) SignedPreKey(id uint32) (e2ee.SignedPreKey, error) { return lookup(p.signed, id) }

func (p *peer) KyberPreKey(id uint32) (e2ee.KyberPreKey, error) { return lookup(p.kyber, id) }

func (p *peer) KyberUsed(kyberID, signedID uint32, base e2ee.PublicKey) (bool, error) {
	return p.used[kyberUse{kyberID, signedID, base}], nil
}

func lookup[K any](m map[uint32]K, id uint32) (K, error) {
	k, ok := m[id]
	if !ok {
		return k, e2ee.ErrNoPreKey
	}
	return k, nil
}

// deliver decrypts and checks a message, and that the session survives storage.
func deliver(tb rapid.TB, from, to *peer, m e2ee.Message, want string) {
	tb.Helper()
	got, err := to.decrypt(from, m)
	check(tb, err)
	if got != want {
		tb.Fatalf("decrypted %q, want %q", got, want)
	}
	stored := to.session(from).Marshal()
	again, err := e2ee.ParseSession(stored)
	check(tb, err)
	if !bytes.Equal(again.Marshal(), stored) {
		tb.Fatal("a stored session encodes differently after it was read")
	}
	to.sessions[from.local.Address] = again
}

func check(tb rapid.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// montgomeryToEdwards is the encoding of the point with positive x,
// y = (u-1)/(u+1).
func montgomeryToEdwards(tb rapid.TB, key e2ee.PublicKey) []byte {
	tb.Helper()
	one := new(field.Element).One()
	u, err := new(field.Element).SetBytes(key[1:])
	check(tb, err)
	y := new(field.Element).Add(u, one)
	y.Invert(y)
	return y.Multiply(y, u.Subtract(u, one)).Bytes()
}
