package e2ee_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"sotto/e2ee"
)

// group is one sender and one receiver of a group.
type group struct {
	tb     testing.TB
	key    *e2ee.SenderKey
	member *e2ee.PeerSenderKeys
}

func newGroup(tb testing.TB) *group {
	tb.Helper()
	k, err := e2ee.NewSenderKey(testRand(1), [16]byte{7}, testTime)
	check(tb, err)
	g := &group{tb, k, new(e2ee.PeerSenderKeys)}
	check(tb, g.member.Accept(k.Distribution()))
	return g
}

func (g *group) encrypt(text string) e2ee.Message {
	g.tb.Helper()
	m, err := g.key.Encrypt(testRand(2), []byte(text))
	check(g.tb, err)
	return m
}

// deliver decrypts, and takes both sides through storage.
func (g *group) deliver(m e2ee.Message, want string) {
	g.tb.Helper()
	got, err := g.member.Decrypt(m)
	check(g.tb, err)
	if string(got) != want {
		g.tb.Fatalf("decrypted %q, want %q", got, want)
	}
	member, err := e2ee.ParsePeerSenderKeys(g.member.Marshal())
	check(g.tb, err)
	key, err := e2ee.ParseSenderKey(g.key.Marshal())
	check(g.tb, err)
	if !bytes.Equal(member.Marshal(), g.member.Marshal()) || !bytes.Equal(key.Marshal(), g.key.Marshal()) {
		g.tb.Fatal("stored keys encode differently after they were read")
	}
	g.member, g.key = member, key
}

func (g *group) refuse(m e2ee.Message, want error) {
	g.tb.Helper()
	before := g.member.Marshal()
	if _, err := g.member.Decrypt(m); !errors.Is(err, want) {
		g.tb.Errorf("got %v, want %v", err, want)
	}
	if !bytes.Equal(before, g.member.Marshal()) {
		g.tb.Error("a refused message changed the keys")
	}
}

func TestGroupMessages(t *testing.T) {
	g := newGroup(t)
	var messages []e2ee.Message
	for i := range 20 {
		messages = append(messages, g.encrypt(fmt.Sprint(i)))
	}
	for _, i := range []int{3, 0, 19, 7, 1, 2, 18} {
		g.deliver(messages[i], fmt.Sprint(i))
		g.refuse(messages[i], e2ee.ErrDuplicate)
	}
	if id, err := e2ee.PeekSenderKeyMessage(messages[0].Bytes); err != nil || id != [16]byte{7} {
		t.Errorf("distribution %x, %v", id, err)
	}
}

func TestLateMemberReadsFromNowOn(t *testing.T) {
	g := newGroup(t)
	early := g.encrypt("before")
	late := *g
	late.member = new(e2ee.PeerSenderKeys)
	check(t, late.member.Accept(g.key.Distribution()))
	late.refuse(early, e2ee.ErrDuplicate)
	m := g.encrypt("after")
	late.deliver(m, "after")
	g.deliver(m, "after")
	// The same key again does not turn the chain back.
	check(t, g.member.Accept(g.key.Distribution()))
	g.deliver(early, "before")
}

func TestSenderKeyRotation(t *testing.T) {
	g := newGroup(t)
	underWay := []e2ee.Message{g.encrypt("0"), g.encrypt("1")}
	for i := range 4 {
		check(t, g.key.Rotate(testRand(uint64(10+i)), testTime))
		distribution := g.key.Distribution()
		m := g.encrypt("new")
		g.refuse(m, e2ee.ErrNoSession)
		check(t, g.member.Accept(distribution))
		g.deliver(m, "new")
	}
	g.deliver(underWay[0], "0") // the fifth key back
	check(t, g.key.Rotate(testRand(99), testTime))
	check(t, g.member.Accept(g.key.Distribution()))
	g.refuse(underWay[1], e2ee.ErrNoSession)
}

func TestSenderKeyDue(t *testing.T) {
	g := newGroup(t)
	week := testTime.Add(7 * 24 * time.Hour)
	if g.key.Due(week.Add(-time.Second)) || !g.key.Due(week) {
		t.Error("not due after exactly 7 days")
	}
	for range 499 {
		g.encrypt("x")
	}
	if g.key.Due(testTime) {
		t.Error("due after 499 messages")
	}
	g.encrypt("x")
	if !g.key.Due(testTime) {
		t.Error("not due after 500 messages")
	}
	check(t, g.key.Rotate(testRand(3), testTime))
	if g.key.Due(testTime) {
		t.Error("due right after a rotation")
	}
}

func TestSenderKeyLimits(t *testing.T) {
	g := newGroup(t)
	first := g.encrypt("first")
	for range e2ee.MaxForwardJump - 1 {
		g.encrypt("lost")
	}
	last := g.encrypt("last")
	g.refuse(g.encrypt("too far"), e2ee.ErrTooFarAhead)
	g.deliver(last, "last")
	g.refuse(first, e2ee.ErrDuplicate) // only 2,000 skipped keys are kept
	if n := len(g.member.Marshal()); n > 2000*36+256 {
		t.Errorf("%d bytes of state", n)
	}
	if _, err := g.key.Encrypt(testRand(4), make([]byte, e2ee.MaxPlaintext+1)); !errors.Is(err, e2ee.ErrInvalidMessage) {
		t.Errorf("plaintext above the limit: %v", err)
	}
}

func TestGroupForgery(t *testing.T) {
	g := newGroup(t)
	m := g.encrypt("x")
	for i := range m.Bytes {
		forged := e2ee.Message{Type: m.Type, Bytes: slices.Clone(m.Bytes)}
		forged.Bytes[i] ^= 1 << (i % 8)
		if got, err := g.member.Decrypt(forged); err == nil {
			t.Errorf("byte %d changed: decrypted %q", i, got)
		}
	}
	// Another member, who knows the chain, signs with a key of his own.
	stranger, err := e2ee.NewSenderKey(testRand(5), [16]byte{7}, testTime)
	check(t, err)
	other, err := stranger.Encrypt(testRand(6), []byte("x"))
	check(t, err)
	g.refuse(other, e2ee.ErrNoSession)
	g.refuse(e2ee.Message{Type: e2ee.TypeMessage, Bytes: m.Bytes}, e2ee.ErrInvalidMessage)
	m.Bytes[0] = 0x44
	g.refuse(m, e2ee.ErrVersion)
}

func TestDistributionRefused(t *testing.T) {
	g := newGroup(t)
	other, err := e2ee.NewSenderKey(testRand(8), [16]byte{8}, testTime)
	check(t, err)
	good := g.key.Distribution()
	wrongKeyType := slices.Clone(good)
	wrongKeyType[len(good)-33] = 6
	before := g.member.Marshal()
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":                {nil, e2ee.ErrInvalidMessage},
		"version":              {append([]byte{0x22}, good[1:]...), e2ee.ErrVersion},
		"cut":                  {good[:len(good)-1], e2ee.ErrInvalidMessage},
		"field missing":        {good[:len(good)-35], e2ee.ErrInvalidMessage},
		"signing key type":     {wrongKeyType, e2ee.ErrInvalidMessage},
		"another distribution": {other.Distribution(), e2ee.ErrInvalidMessage},
	} {
		if err := g.member.Accept(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if !bytes.Equal(before, g.member.Marshal()) {
		t.Error("a refused distribution changed the keys")
	}
	if id, err := e2ee.PeekSenderKeyDistribution(good); err != nil || id != [16]byte{7} {
		t.Errorf("distribution %x, %v", id, err)
	}
}

func TestSenderKeyWithoutRandomness(t *testing.T) {
	g := newGroup(t)
	broken := iotest.ErrReader(errors.New("no randomness"))
	before := g.key.Marshal()
	if _, err := g.key.Encrypt(broken, []byte("x")); err == nil {
		t.Error("signed without randomness")
	}
	if err := g.key.Rotate(broken, testTime); err == nil {
		t.Error("rotated without randomness")
	}
	if !bytes.Equal(before, g.key.Marshal()) {
		t.Error("the key changed")
	}
}
