package e2ee_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"sotto/e2ee"
)

// FuzzDecrypt gives a device whatever an attacker sends. Nothing decrypts but
// what the peer wrote, and what does not decrypt changes nothing.
func FuzzDecrypt(f *testing.F) {
	alice, bob := talking(f)
	alice.initiate(f, bob, true)
	first := alice.encrypt(f, bob, "genuine")
	second := bob.encrypt(f, alice, "unused")
	deliver(f, bob, alice, second, "unused")
	third := alice.encrypt(f, bob, "genuine")
	for _, m := range []e2ee.Message{first, second, third} {
		f.Add(m.Type, m.Bytes)
	}
	f.Add(e2ee.TypeSenderKey, newGroup(f).encrypt("x").Bytes)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		s := bob.session(alice).Clone()
		before := s.Marshal()
		got, err := s.Decrypt(testRand(1), bob.local, alice.local.Address, e2ee.Message{Type: kind, Bytes: b}, bob)
		switch {
		case err == nil && string(got.Plaintext) != "genuine":
			t.Fatalf("decrypted %q", got.Plaintext)
		case err == nil:
		case !isDocumented(err):
			t.Fatalf("undocumented error: %v", err)
		case !bytes.Equal(before, s.Marshal()):
			t.Fatalf("%v, but the session changed", err)
		}
	})
}

// FuzzTraffic lets an attacker control the network between two devices: each
// byte of the script sends, delivers, repeats, loses or falsifies a message.
func FuzzTraffic(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 2, 1, 3, 0x44, 0, 0x52, 2})
	f.Add(bytes.Repeat([]byte{0, 2, 1, 3}, 20))
	f.Add([]byte{0, 1, 0x40, 0x83, 2, 0x24, 0x67, 5, 4, 6, 7, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		peers := [2]*peer{newPeer(t, 1), newPeer(t, 2)}
		var queues [2][]e2ee.Message // from the peer of that index
		texts := map[string]bool{}   // true: decrypted
		for i, op := range script {
			from, position := int(op&1), int(op>>3)
			sender, receiver := peers[from], peers[1-from]
			if op&6 == 0 {
				if !sender.session(receiver).Usable(testTime) {
					sender.initiate(t, receiver, op>>3&1 == 0)
				}
				text := fmt.Sprint(i)
				texts[text] = false
				queues[from] = append(queues[from], sender.encrypt(t, receiver, text))
				continue
			}
			if len(queues[from]) == 0 {
				continue
			}
			m := queues[from][position%len(queues[from])]
			switch op & 6 {
			case 4: // falsified
				m.Bytes = bytes.Clone(m.Bytes)
				m.Bytes[(i*31+position*7)%len(m.Bytes)] ^= 1 << (i % 8)
			case 6: // the device loses its current state
				receiver.session(sender).ArchiveCurrent()
				continue
			}
			before := receiver.session(sender).Marshal()
			text, err := receiver.decrypt(sender, m)
			if err != nil {
				if !isDocumented(err) || !bytes.Equal(before, receiver.session(sender).Marshal()) {
					t.Fatalf("step %d: %v, session changed: %v", i, err, !bytes.Equal(before, receiver.session(sender).Marshal()))
				}
				continue
			}
			if was, sent := texts[text]; was || !sent {
				t.Fatalf("step %d: decrypted %q, sent %v, before %v", i, text, sent, was)
			}
			texts[text] = true
		}
	})
}

// FuzzParseSession: what is accepted encodes as it was, and can be used.
func FuzzParseSession(f *testing.F) {
	alice, bob := talking(f)
	alice.initiate(f, bob, true)
	f.Add(alice.session(bob).Marshal())
	f.Add(bob.session(alice).Marshal())
	b, err := os.ReadFile("testdata/session_v1.json")
	check(f, err)
	var g goldenSessions
	check(f, json.Unmarshal(b, &g))
	for _, c := range g.Cases {
		f.Add(c.Sessions[0])
		f.Add(c.Sessions[1])
	}
	m := bob.encrypt(f, alice, "x")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := e2ee.ParseSession(b)
		if err != nil {
			if !errors.Is(err, e2ee.ErrState) {
				t.Fatalf("undocumented error: %v", err)
			}
			return
		}
		if !bytes.Equal(s.Marshal(), b) {
			t.Fatal("encodes differently")
		}
		random := testRand(1)
		_, encryptErr := s.Encrypt(random, alice.local, bob.local.Address, nil, testTime)
		_, decryptErr := s.Decrypt(random, alice.local, bob.local.Address, m, alice)
		if encryptErr == nil || decryptErr == nil {
			_, err := e2ee.ParseSession(s.Marshal())
			check(t, err)
		}
	})
}

func FuzzSenderKey(f *testing.F) {
	g := newGroup(f)
	stored := g.member.Marshal()
	f.Add(stored)
	f.Add(g.key.Marshal())
	f.Add(g.key.Distribution())
	f.Add(g.encrypt("genuine").Bytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		member, err := e2ee.ParsePeerSenderKeys(stored)
		check(t, err)
		text, err := member.Decrypt(e2ee.Message{Type: e2ee.TypeSenderKey, Bytes: b})
		if err == nil && string(text) != "genuine" {
			t.Fatalf("decrypted %q", text)
		}
		if err != nil && (!isDocumented(err) || !bytes.Equal(member.Marshal(), stored)) {
			t.Fatalf("%v, or the keys changed", err)
		}
		if err := member.Accept(b); err != nil && !isDocumented(err) {
			t.Fatalf("undocumented error: %v", err)
		}
		if p, err := e2ee.ParsePeerSenderKeys(b); err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Fatal("peer sender keys encode differently")
		}
		if k, err := e2ee.ParseSenderKey(b); err == nil && !bytes.Equal(k.Marshal(), b) {
			t.Fatal("sender key encodes differently")
		}
	})
}

// FuzzParsers covers the parsers that have no state behind them.
func FuzzParsers(f *testing.F) {
	alice, bob := newPeer(f, 1), newPeer(f, 2)
	alice.initiate(f, bob, true)
	m := alice.encrypt(f, bob, "x")
	e, err := e2ee.NewDecryptionErrorMessage(m, 1, 2)
	check(f, err)
	_, own := e2ee.SafetyNumber(safetyParties())
	f.Add(m.Bytes)
	f.Add(e.Marshal())
	f.Add(e2ee.NewPlaintextContent(e).Bytes)
	f.Add(own)
	f.Add(bob.signed[1].Marshal())
	f.Add(bob.kyber[1].Marshal())
	f.Add(bob.preKeys[1].Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := e2ee.PeekPreKeyMessage(b); err == nil && info.IdentityKey[0] != 5 {
			t.Error("identity key of another type")
		}
		if e, err := e2ee.ParseDecryptionErrorMessage(b); err == nil {
			again, err := e2ee.ParseDecryptionErrorMessage(e.Marshal())
			if err != nil || again.Timestamp != e.Timestamp || again.Device != e.Device {
				t.Errorf("%+v reads back as %+v, %v", e, again, err)
			}
		}
		if e, err := e2ee.ParsePlaintextContent(b); err == nil {
			again, err := e2ee.ParsePlaintextContent(e2ee.NewPlaintextContent(e).Bytes)
			if err != nil || again.Timestamp != e.Timestamp {
				t.Errorf("%+v reads back as %+v, %v", e, again, err)
			}
		}
		if ok, err := e2ee.CompareScannable(own, b); ok && err != nil {
			t.Errorf("equal with an error: %v", err)
		}
		if k, err := e2ee.ParseKyberPreKey(b); err == nil {
			again, err := e2ee.ParseKyberPreKey(k.Marshal())
			if err != nil || !bytes.Equal(again.Marshal(), k.Marshal()) {
				t.Errorf("Kyber prekey reads back differently: %v", err)
			}
		}
		for _, parse := range []func([]byte) error{
			func(b []byte) error { _, err := e2ee.ParsePreKey(b); return err },
			func(b []byte) error { _, err := e2ee.ParseSignedPreKey(b); return err },
		} {
			if err := parse(b); err != nil && !errors.Is(err, e2ee.ErrState) {
				t.Errorf("undocumented error: %v", err)
			}
		}
	})
}
