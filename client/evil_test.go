package client_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// onEntries edits what the server delivers on the socket: pushed, read from the mailbox or by sync.
func (p *person) onEntries(edit func(e *api.Entry)) {
	p.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			i := bytes.IndexByte(text, '[')
			if i < 0 {
				return text, nil
			}
			var args []json.RawMessage
			if json.Unmarshal(text[i:], &args) != nil || len(args) == 0 {
				return text, nil
			}
			last := &args[len(args)-1]
			for _, path := range [][]string{{"entries"}, {"ok", "entries"}, {"ok", "items"}} {
				changed, err := editArray(*last, path, edit)
				if err != nil {
					return nil, err
				}
				*last = changed
			}
			body, err := json.Marshal(args)
			return append(bytes.Clone(text[:i]), body...), err
		}
	})
}

// editArray edits the entries of an array that is reached by a path of keys, if there is one.
func editArray(raw json.RawMessage, path []string, edit func(e *api.Entry)) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object[path[0]] == nil {
		return raw, nil
	}
	if len(path) > 1 {
		inner, err := editArray(object[path[0]], path[1:], edit)
		if err != nil {
			return nil, err
		}
		object[path[0]] = inner
		return json.Marshal(object)
	}
	if path[0] == "items" {
		var items []api.SyncItem
		if err := json.Unmarshal(object["items"], &items); err != nil {
			return nil, err
		}
		for i := range items {
			if items[i].Entry != nil {
				edit(items[i].Entry)
			}
		}
		b, err := json.Marshal(items)
		object["items"] = b
		if err != nil {
			return nil, err
		}
		return json.Marshal(object)
	}
	var entries []api.Entry
	if err := json.Unmarshal(object[path[0]], &entries); err != nil {
		return nil, err
	}
	for i := range entries {
		edit(&entries[i])
	}
	b, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	object[path[0]] = b
	return json.Marshal(object)
}

// TestWrongOutside: the server delivers a message as something that it is not. It is refused, counted once and not
// shown, it is not acknowledged, and when the server tells the truth it is read after all.
func TestWrongOutside(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	self := bob.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "a handshake"))
	bob.reads(id, 1)
	bob.sent(bob.send(id, "its answer")) // from now on every byte of an envelope counts
	ada.reads(id, 2)
	bob.disconnect()
	var other api.MessageID
	if _, err := rand.Read(other[:]); err != nil {
		t.Fatal(err)
	}
	me, _ := bob.Account()
	n := 2
	want := []string{"a handshake", "its answer"}
	for name, edit := range map[string]func(e *api.Entry){
		"message id":           func(e *api.Entry) { e.MessageID = other },
		"own conversation":     func(e *api.Entry) { e.ConversationID = self },
		"unknown conversation": func(e *api.Entry) { e.ConversationID[0] ^= 1 },
		"sender":               func(e *api.Entry) { e.SenderID = me.ID },
		"a stranger":           func(e *api.Entry) { e.SenderID[0] ^= 1 },
		"sender device":        func(e *api.Entry) { e.SenderDevice++ },
		"envelope device":      func(e *api.Entry) { e.EnvelopeDevice++ },
		"no envelope device":   func(e *api.Entry) { e.EnvelopeDevice = 0 },
		"commitment":           func(e *api.Entry) { e.Commitment[0] ^= 1 },
		"short commitment":     func(e *api.Entry) { e.Commitment = e.Commitment[:31] },
		"long tag":             func(e *api.Entry) { e.Tag = append(e.Tag, 0) },
		"class":                func(e *api.Entry) { e.Class = api.ClassSilent },
		"unknown class":        func(e *api.Entry) { e.Class = "loud" },
		"no position":          func(e *api.Entry) { e.Seq = 0 },
		"ciphertext":           func(e *api.Entry) { e.Bytes[len(e.Bytes)/2] ^= 1 },
		"type":                 func(e *api.Entry) { e.Type = 7 },
		"no ciphertext":        func(e *api.Entry) { e.Bytes = nil },
	} {
		t.Run(name, func(t *testing.T) {
			n++
			want = append(want, name)
			sent := ada.send(id, name)
			ada.sent(sent)
			before := bob.counters()
			// Only this message: an answer to what was asked for in an earlier part may arrive now.
			var mu sync.Mutex
			var wrong []int64
			bob.onEntries(func(e *api.Entry) {
				if e.MessageID != sent {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				wrong = append(wrong, e.EntryID)
				edit(e)
			})
			bob.connect()
			counted := func() int64 {
				now := bob.counters()
				return now.Misdelivery + now.Unreadable - before.Misdelivery - before.Unreadable
			}
			bob.until("a notice", func() bool { return counted() > 0 })
			bob.disconnect()
			if c := counted(); c != 1 {
				t.Errorf("counted %d times", c)
			}
			for _, v := range []api.ConversationID{id, self} {
				if page, err := bob.Messages(v, client.Position{}, 100); err == nil {
					for _, m := range page {
						if m.Text() == name {
							t.Error("the message is shown")
						}
					}
				}
			}
			mu.Lock()
			for _, entry := range wrong {
				if waits, err := bob.AckWaits(entry); err != nil || waits {
					t.Errorf("an acknowledgement waits: %v, %v", waits, err)
				}
			}
			mu.Unlock()
			bob.net.honest()
			bob.connect()
			bob.until("the message", func() bool { return bob.settled(id, n) })
			bob.disconnect()
		})
	}
	if diff := cmp.Diff(want, bob.texts(id)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
}

// TestRepeatedEntries: the server delivers everything three times, also under other entry ids. Each message is shown
// once.
func TestRepeatedEntries(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.reads(id, 1)
	// Everything that arrives from now on arrives again with every later entry.
	var seen []api.Entry
	bob.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			prefix := []byte(`42["` + api.EventEntries + `",`)
			rest, ok := bytes.CutPrefix(text, prefix)
			if !ok {
				return text, nil
			}
			var e api.Entries
			if err := json.Unmarshal(rest[:len(rest)-1], &e); err != nil {
				return nil, err
			}
			for _, fresh := range e.Entries {
				again := fresh
				again.EntryID += 1_000
				seen = append(seen, fresh, again)
			}
			e.Entries = append(e.Entries, seen...)
			body, err := json.Marshal(e)
			return append(append(bytes.Clone(prefix), body...), ']'), err
		}
	})
	want := []string{"one"}
	for _, text := range []string{"two", "three", "four"} {
		ada.sent(ada.send(id, text))
		want = append(want, text)
		bob.reads(id, len(want))
	}
	if diff := cmp.Diff(want, bob.texts(id)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	if n := bob.counters(); n != (client.Counters{}) {
		t.Errorf("bob counts %+v", n)
	}
}

// accountKey opens a person's key bundle with the password: what an attacker would need to forge device lists.
func (p *person) accountKey() e2ee.KeyPair {
	p.t.Helper()
	me, _ := p.Account()
	sealed, err := p.SealedBundle()
	if err != nil {
		p.t.Fatal(err)
	}
	_, _, slots, err := e2ee.BundleInfo(sealed)
	if err != nil {
		p.t.Fatal(err)
	}
	parameters, err := e2ee.ParsePasswordParameters(slots[0].Parameters)
	if err != nil {
		p.t.Fatal(err)
	}
	mk, err := pbkdf2.Key(sha256.New, password, parameters.Salt[:], int(parameters.Iterations), 32)
	if err != nil {
		p.t.Fatal(err)
	}
	_, kek := e2ee.SplitPassword([32]byte(mk))
	bundle, _, err := e2ee.OpenBundle(sealed, me.ID, e2ee.SlotPassword, kek)
	if err != nil {
		p.t.Fatal(err)
	}
	keys, err := e2ee.KeyPairFromPrivate(bundle.AccountKey[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return keys
}

// TestEvilDeviceLists: after first contact the server shows device lists of bob that skip, fork, go back or are signed
// by somebody else. Every one is refused and shown, nothing is pinned, and nothing is encrypted for devices that only
// such a list names.
func TestEvilDeviceLists(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	var one api.AccountLists
	onAnswer(ada, "/lookup", func(a *api.Account) { one = a.Lists })
	id := ada.talk("bob")
	second := w.person("second")
	if err := second.Login(t.Context(), login("bob")); err != nil {
		t.Fatal(err)
	}
	var two api.AccountLists
	onAnswer(ada, "/lookup", func(a *api.Account) { two = a.Lists })
	if _, err := ada.Safety(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	ada.net.honest()

	bobs := &signer{t: t, id: one.AccountID, keys: bob.accountKey(), ids: map[uint32]e2ee.PublicKey{}}
	forger := &signer{t: t, id: one.AccountID, ids: bobs.ids}
	forger.keys = forger.pair()
	newest := two.Lists[0]
	three := bobs.list(3, &newest, 1)
	unsigned := bobs.list(3, &newest, 1)
	unsigned.Signature = newest.Signature
	for _, tc := range []struct {
		name string
		list api.SignedList
		code string
	}{
		{"back", one.Lists[0], client.CodeListBack},
		{"fork", bobs.list(2, &one.Lists[0], 1, 2, 3), client.CodeListFork},
		{"after a fork", bobs.list(3, &one.Lists[0], 1), client.CodeListFork},
		{"skip", bobs.list(4, &three, 1), ""}, // the chain in between is asked for, and the server has none
		{"foreign signature", unsigned, client.CodeListForged},
		{"another account key", forger.list(3, &one.Lists[0], 1), client.CodeListFork},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alerts := ada.counters().Alerts
			onAnswer(ada, "/lookup", func(a *api.Account) { a.Lists.Lists = []api.SignedList{tc.list} })
			if _, err := ada.Safety(t.Context(), "bob"); client.CodeOf(err) != tc.code {
				t.Errorf("looking up: %v, want code %q", err, tc.code)
			}
			onAnswer(ada, "/lookup", func(a *api.Account) {
				a.Lists.Lists = []api.SignedList{tc.list}
				a.Lists.AccountKey = forger.keys.Public[:]
			})
			if _, err := ada.Safety(t.Context(), "bob"); client.CodeOf(err) != tc.code {
				t.Errorf("looking up: %v, want code %q", err, tc.code)
			}
			if now := ada.counters().Alerts; tc.code != "" && now != alerts+2 {
				t.Errorf("%d alerts, want 2", now-alerts)
			}
			if v, err := ada.PinnedVersion(one.AccountID); err != nil || v != 2 {
				t.Errorf("version %d is pinned, %v", v, err)
			}
		})
	}
	// The same lists with the prekeys: the message is not encrypted, waits, and goes out when the server is honest.
	onAnswer(ada, "/prekeys/claim", func(r *api.ClaimResponse) { r.Lists.Lists = []api.SignedList{one.Lists[0]} })
	sends := ada.watchSends()
	events := ada.Events()
	defer events.Close()
	ada.connect()
	m := ada.send(id, "hello")
	if e := ada.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodeListBack {
		t.Errorf("alert %v", e.Err)
	}
	if n := len(sends()); n > 0 {
		t.Errorf("%d sends left", n)
	}
	ada.net.set(func(n *network) { n.response = nil })
	ada.sent(m)
	bob.connect()
	bob.reads(id, 1)
}

// watchSends records the sends that leave.
func (p *person) watchSends() func() []api.Send {
	var all []api.Send
	p.net.set(func(n *network) {
		n.write = func(text []byte) error {
			if f, ok := event(text); ok && f.name == api.EventSend {
				var s api.Send
				if err := json.Unmarshal(f.body, &s); err != nil {
					return err
				}
				p.net.set(func(*network) { all = append(all, s) })
			}
			return nil
		}
	})
	return func() []api.Send {
		p.net.mu.Lock()
		defer p.net.mu.Unlock()
		return append([]api.Send(nil), all...)
	}
}

// TestEvilPreKeys: prekeys that their device has not vouched for are refused before anything is encrypted with them.
func TestEvilPreKeys(t *testing.T) {
	stranger, err := e2ee.NewKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(b *api.PreKeyBundle){
		"identity key":     func(b *api.PreKeyBundle) { b.IdentityKey = stranger.Public[:] },
		"registration id":  func(b *api.PreKeyBundle) { b.RegistrationID ^= 1 },
		"device":           func(b *api.PreKeyBundle) { b.DeviceID = 5 },
		"signed prekey":    func(b *api.PreKeyBundle) { b.SignedPreKey.Key = stranger.Public[:] },
		"signature":        func(b *api.PreKeyBundle) { b.SignedPreKey.Signature[0] ^= 1 },
		"short signature":  func(b *api.PreKeyBundle) { b.SignedPreKey.Signature = b.SignedPreKey.Signature[:63] },
		"kyber prekey":     func(b *api.PreKeyBundle) { b.KyberPreKey.Key[100] ^= 1 },
		"statement":        func(b *api.PreKeyBundle) { b.Statement.Statement[len(b.Statement.Statement)-1] ^= 1 },
		"no statement":     func(b *api.PreKeyBundle) { b.Statement = api.SignedStatement{} },
		"one-time prekey":  func(b *api.PreKeyBundle) { b.OneTimePreKey.Key = b.OneTimePreKey.Key[:32] },
		"signed prekey id": func(b *api.PreKeyBundle) { b.SignedPreKey.ID++ },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ada, bob := w.person("ada"), w.person("bob")
			id := ada.talk("bob")
			sends := ada.watchSends()
			onAnswer(ada, "/prekeys/claim", func(r *api.ClaimResponse) { edit(&r.Bundles[0]) })
			events := ada.Events()
			defer events.Close()
			ada.connect()
			m := ada.send(id, "hello")
			if e := ada.event(events, client.EventAlert); client.CodeOf(e.Err) != client.CodePreKeys {
				t.Errorf("alert %v", e.Err)
			}
			if n := len(sends()); n > 0 {
				t.Errorf("%d sends left", n)
			}
			ada.net.set(func(n *network) { n.response = nil })
			ada.sent(m)
			bob.connect()
			bob.reads(id, 1)
		})
	}
}

// TestEvilConversations: a conversation is what its id says, and a name means the account it meant before.
func TestEvilConversations(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	for name, edit := range map[string]func(v *api.Conversation){
		"another id":      func(v *api.Conversation) { v.ConversationID[0] ^= 1 },
		"another member":  func(v *api.Conversation) { v.Members[0][0] ^= 1; v.Members[1][0] ^= 1 },
		"a third member":  func(v *api.Conversation) { v.Members = append(v.Members, api.AccountID{1}) },
		"another kind":    func(v *api.Conversation) { v.Kind = "group" },
		"the self of ada": func(v *api.Conversation) { v.Kind, v.Members = api.KindSelf, v.Members[:1] },
	} {
		onAnswer(ada, "/conversations", edit)
		if _, err := ada.Conversation(t.Context(), "bob"); client.CodeOf(err) != client.CodeServer {
			t.Errorf("%s: %v", name, err)
		}
	}
	ada.net.honest()
	if all, err := ada.Conversations(); err != nil || len(all) > 0 {
		t.Errorf("conversations %+v, %v", all, err)
	}
	ada.talk("bob")
	var self api.Account
	onAnswer(ada, "/lookup", func(a *api.Account) { self = *a })
	ada.talk("ada")
	onAnswer(ada, "/lookup", func(a *api.Account) { *a = self; a.Username = "bob" })
	if _, err := ada.Conversation(t.Context(), "bob"); client.CodeOf(err) != client.CodeIdentity {
		t.Errorf("another account under the name of bob: %v", err)
	}
}

// TestHole: the server keeps a message back and gives no reason. That is counted and shown, once.
func TestHole(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	ada.sent(ada.send(id, "kept back"))
	ada.sent(ada.send(id, "delivered"))
	bob.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			i := bytes.IndexByte(text, '[')
			if i < 0 || !bytes.HasPrefix(text, []byte("43")) {
				return text, nil
			}
			var args []api.Reply[struct {
				api.MailboxPage
				Items   []api.SyncItem `json:"items,omitempty"`
				Through uint64         `json:"through,omitempty"`
				LastSeq uint64         `json:"last_seq,omitempty"`
			}]
			if json.Unmarshal(text[i:], &args) != nil || len(args) != 1 || args[0].Ok == nil {
				return text, nil
			}
			page := args[0].Ok
			if len(page.Items) == 0 && len(page.Entries) == 0 {
				return text, nil
			}
			if len(page.Entries) > 0 && page.Entries[0].Seq == 1 {
				page.Entries = page.Entries[1:]
			}
			if len(page.Items) > 0 && page.Items[0].Seq == 1 {
				page.Items[0].Entry, page.Items[0].Reason, page.Through = nil, "", 0
			}
			body, err := json.Marshal(args)
			return append(bytes.Clone(text[:i]), body...), err
		}
	})
	bob.connect()
	bob.until("the hole", func() bool { return bob.counters().Holes > 0 })
	bob.disconnect()
	if got := bob.texts(id); strings.Join(got, ",") != "delivered" {
		t.Errorf("bob reads %q", got)
	}
	bob.net.honest()
	bob.connect()
	if diff := cmp.Diff([]string{"kept back", "delivered"}, bob.reads(id, 2)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	if n := bob.counters(); n != (client.Counters{Holes: 1}) {
		t.Errorf("bob counts %+v", n)
	}
}
