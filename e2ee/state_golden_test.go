package e2ee_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"sotto/e2ee"
)

// The golden files hold state as format 1 wrote it. They are never written
// again: a later version adds a file and opens all of them. With E2EE_WRITE_STATE
// set a missing file is made.

type goldenMessage struct {
	Type  uint8
	Bytes []byte
	Text  string
}

// goldenSessions are two devices, Alice and Bob, at several points of a
// conversation. Everything is as it was stored; messages are under way to Bob.
type goldenSessions struct {
	Identities      [2][]byte // private keys
	RegistrationIDs [2]uint32
	BobPreKey       []byte
	BobSigned       []byte
	BobKyber        []byte
	Cases           []goldenCase
}

type goldenCase struct {
	Turns    int // messages exchanged before
	Sessions [2][]byte
	ToBob    []goldenMessage
}

type goldenSenderKeys struct {
	Key      []byte
	Member   []byte
	Messages []goldenMessage
}

func golden[T any](t *testing.T, file string, write func() T) T {
	t.Helper()
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("E2EE_WRITE_STATE") != "" {
		b, err = json.MarshalIndent(write(), "", " ")
		check(t, err)
		check(t, os.WriteFile(file, append(b, '\n'), 0o644))
	}
	check(t, err)
	var v T
	check(t, json.Unmarshal(b, &v))
	return v
}

// writeGoldenSessions covers a handshake under way, skipped keys, an archived
// state and, with the number of turns, the phases of SPQR.
func writeGoldenSessions(t *testing.T) goldenSessions {
	alice, bob := newPeer(t, 1), newPeer(t, 2)
	g := goldenSessions{
		Identities:      [2][]byte{alice.local.Identity.Private[:], bob.local.Identity.Private[:]},
		RegistrationIDs: [2]uint32{alice.local.RegistrationID, bob.local.RegistrationID},
		BobSigned:       bob.signed[1].Marshal(),
		BobKyber:        bob.kyber[1].Marshal(),
	}
	alice.initiate(t, bob, false)
	alice.encrypt(t, bob, "never arrives")
	alice.initiate(t, bob, true)
	g.BobPreKey = bob.preKeys[1].Marshal()
	for turn := range 201 {
		if turn%25 == 0 {
			c := goldenCase{Turns: turn}
			for i := range 4 {
				text := fmt.Sprintf("turn %d message %d", turn, i)
				m := alice.encrypt(t, bob, text)
				if i == 2 {
					deliver(t, alice, bob, m, text)
					continue
				}
				c.ToBob = append(c.ToBob, goldenMessage{m.Type, m.Bytes, text})
			}
			c.Sessions = [2][]byte{alice.session(bob).Marshal(), bob.session(alice).Marshal()}
			g.Cases = append(g.Cases, c)
		}
		deliver(t, alice, bob, alice.encrypt(t, bob, "x"), "x")
		deliver(t, bob, alice, bob.encrypt(t, alice, "x"), "x")
	}
	return g
}

func TestOldSessionsOpen(t *testing.T) {
	g := golden(t, "testdata/session_v1.json", func() goldenSessions { return writeGoldenSessions(t) })
	if len(g.Cases) != 9 {
		t.Fatalf("%d cases", len(g.Cases))
	}
	for _, c := range g.Cases {
		alice, bob := newPeer(t, 1), newPeer(t, 2)
		for i, p := range []*peer{alice, bob} {
			identity, err := e2ee.KeyPairFromPrivate(g.Identities[i])
			check(t, err)
			p.local.Identity, p.local.RegistrationID = identity, g.RegistrationIDs[i]
			p.rand = testRand(uint64(1000 + i)) // not the numbers these keys were made from
			s, err := e2ee.ParseSession(c.Sessions[i])
			check(t, err)
			p.sessions[[]*peer{bob, alice}[i].local.Address] = s
		}
		var err error
		bob.preKeys[1], err = e2ee.ParsePreKey(g.BobPreKey)
		check(t, err)
		bob.signed[1], err = e2ee.ParseSignedPreKey(g.BobSigned)
		check(t, err)
		bob.kyber[1], err = e2ee.ParseKyberPreKey(g.BobKyber)
		check(t, err)
		for i := range c.ToBob { // the last one first
			m := c.ToBob[len(c.ToBob)-1-i]
			deliver(t, alice, bob, e2ee.Message{Type: m.Type, Bytes: m.Bytes}, m.Text)
		}
		for i := range 100 {
			deliver(t, bob, alice, bob.encrypt(t, alice, fmt.Sprint(i)), fmt.Sprint(i))
			deliver(t, alice, bob, alice.encrypt(t, bob, fmt.Sprint(i)), fmt.Sprint(i))
		}
	}
}

func TestOldSenderKeysOpen(t *testing.T) {
	g := golden(t, "testdata/senderkey_v1.json", func() goldenSenderKeys {
		g := newGroup(t)
		var messages []goldenMessage
		for i := range 5 {
			m := g.encrypt(fmt.Sprint(i))
			messages = append(messages, goldenMessage{m.Type, m.Bytes, fmt.Sprint(i)})
		}
		g.deliver(e2ee.Message{Type: messages[3].Type, Bytes: messages[3].Bytes}, "3")
		return goldenSenderKeys{g.key.Marshal(), g.member.Marshal(), append(messages[:3], messages[4])}
	})
	key, err := e2ee.ParseSenderKey(g.Key)
	check(t, err)
	member, err := e2ee.ParsePeerSenderKeys(g.Member)
	check(t, err)
	opened := &group{t, key, member}
	if len(g.Messages) != 4 {
		t.Fatalf("%d messages", len(g.Messages))
	}
	for _, m := range g.Messages {
		opened.deliver(e2ee.Message{Type: m.Type, Bytes: m.Bytes}, m.Text)
	}
	opened.deliver(opened.encrypt("new"), "new")
}

func TestLaterFormatsAreRefused(t *testing.T) {
	alice, bob := talking(t)
	g := newGroup(t)
	for name, tt := range map[string]struct {
		stored []byte
		parse  func([]byte) error
	}{
		"session": {alice.session(bob).Marshal(), func(b []byte) error {
			_, err := e2ee.ParseSession(b)
			return err
		}},
		"sender key":       {g.key.Marshal(), func(b []byte) error { _, err := e2ee.ParseSenderKey(b); return err }},
		"peer sender keys": {g.member.Marshal(), func(b []byte) error { _, err := e2ee.ParsePeerSenderKeys(b); return err }},
	} {
		check(t, tt.parse(tt.stored))
		for what, b := range map[string][]byte{
			"empty":         nil,
			"later format":  append([]byte{2}, tt.stored[1:]...),
			"cut":           tt.stored[:len(tt.stored)-1],
			"unknown field": append(append([]byte{}, tt.stored...), 0x78, 1),
		} {
			if err := tt.parse(b); !errors.Is(err, e2ee.ErrState) {
				t.Errorf("%s, %s: %v, want ErrState", name, what, err)
			}
		}
	}
}
