// Package interop proves that e2ee speaks the protocol of the official library:
// both run as processes, and these tests carry messages between them over a
// network that loses, repeats and reorders.
//
// SOTTO_SCALE multiplies the number of messages, SOTTO_SEED repeats a run's
// choices (keys are always new).
package interop

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// buildDir holds the builds of our party while the tests run.
var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sotto-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// messagesPerConversation is the length of each conversation at scale 1.
const messagesPerConversation = 300

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("%s is %q, not a positive number", variable, text)
	}
	return n
}

// pair is our party and the official one, and what the test decides by.
type pair struct {
	library      string
	ours, theirs *party
	r            *rand.Rand
	length       int
}

func startPair(t *testing.T, ours build, theirs release) *pair {
	t.Helper()
	return &pair{
		library: theirs.version,
		ours:    start(t, ours.name, ours.command(t)...),
		theirs:  startOfficial(t, theirs),
	}
}

// reset makes both parties new devices that know nothing of each other.
func (p *pair) reset(t *testing.T) {
	t.Helper()
	for i, party := range []*party{p.ours, p.theirs} {
		party.become(t, p.uuid(), uint32(i+1))
	}
}

func (p *pair) uuid() []byte {
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(p.r.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
	return id
}

// both calls f once with each party as the first one.
func (p *pair) both(t *testing.T, name string, f func(t *testing.T, a, b *party)) {
	t.Run(name+", we begin", func(t *testing.T) {
		p.reset(t)
		f(t, p.ours, p.theirs)
	})
	t.Run(name+", they begin", func(t *testing.T) {
		p.reset(t)
		f(t, p.theirs, p.ours)
	})
}

func TestInterop(t *testing.T) {
	seed := number(t, "SOTTO_SEED", rand.Uint64()|1)
	t.Logf("SOTTO_SEED=%d", seed)
	length := messagesPerConversation * int(number(t, "SOTTO_SCALE", 1))
	for i, build := range builds {
		for j, library := range official {
			t.Run(build.name+" with "+library.version, func(t *testing.T) {
				t.Parallel()
				p := startPair(t, build, library)
				p.r = rand.New(rand.NewPCG(seed, uint64(i*len(official)+j)))
				p.length = length
				p.both(t, "session with a one-time prekey", p.conversation(true))
				p.both(t, "session without a one-time prekey", p.conversation(false))
				p.both(t, "simultaneous initiation", p.simultaneous)
				p.both(t, "a second session", p.secondSession)
				p.both(t, "tampered messages", p.tampered)
				p.both(t, "forged bundles", p.forgedBundles)
				p.both(t, "another sender", p.anotherSender)
				p.both(t, "signatures", p.signatures)
				p.both(t, "sender keys", p.senderKeys)
				t.Run("safety numbers", p.safetyNumbers)
				t.Run("retry requests", p.retryRequests)
			})
		}
	}
}

// TestLimits lets many messages pass by unseen. Both libraries must keep the
// keys of the same ones, and refuse the same jumps.
func TestLimits(t *testing.T) {
	t.Parallel()
	p := startPair(t, builds[0], official[0])
	p.r = rand.New(rand.NewPCG(1, 2))
	send := func(t *testing.T, a, b *party, n int) []message {
		a.initiate(t, b, true)
		b.decrypt(t, a, a.encrypt(t, b, []byte("hello")))
		a.decrypt(t, b, b.encrypt(t, a, []byte("hello")))
		messages := make([]message, n)
		for i := range messages {
			messages[i] = a.encrypt(t, b, fmt.Appendf(nil, "%d", i))
		}
		return messages
	}
	p.both(t, "2,000 skipped keys", func(t *testing.T, a, b *party) {
		messages := send(t, a, b, 2010)
		last := len(messages) - 1
		b.decrypt(t, a, messages[last])
		for _, behind := range []int{2001, 2009} {
			if got := b.tryDecrypt(t, a, messages[last-behind]); !got.Duplicate {
				t.Errorf("%s, %d behind: %+v, want the error for duplicates", b.name, behind, got)
			}
		}
		for _, behind := range []int{2000, 1999, 1} {
			b.decrypt(t, a, messages[last-behind])
		}
	})
	if number(t, "SOTTO_SCALE", 1) == 1 {
		return // 25,000 messages take 20 s
	}
	p.both(t, "jump of 25,000", func(t *testing.T, a, b *party) {
		messages := send(t, a, b, 25_001)
		if got := b.tryDecrypt(t, a, messages[25_000]); got.Error == "" || got.Duplicate {
			t.Errorf("%s jumps over 25,000 messages: %+v", b.name, got)
		}
		b.decrypt(t, a, messages[24_999])
	})
}

// conversation is random traffic with losses, reordering and repetition, then
// some in which one side does most of the talking and half is lost.
func (p *pair) conversation(oneTime bool) func(t *testing.T, a, b *party) {
	return func(t *testing.T, a, b *party) {
		a.initiate(t, b, oneTime)
		b.decrypt(t, a, a.encrypt(t, b, []byte("hello")))
		net := &network{r: p.r, sides: [2]*party{a, b}, loss: 0.1}
		net.exchange(t, p.length*2/3, 0.5)
		epochs := net.epoch
		if want := uint64(1 + p.length*2/3/150); epochs < want {
			t.Errorf("epoch %d of the post-quantum ratchet, want at least %d", epochs, want)
		}
		net.loss = 0.5
		net.exchange(t, p.length/6, 0.9)
		net.exchange(t, p.length/6, 0.1)
		net.settle(t)
		t.Logf("%d sent, %d arrived, %d repeated, epoch %d", net.sent, net.arrived, net.repeated, net.epoch)
	}
}

// simultaneous lets both sides begin and their first messages cross.
func (p *pair) simultaneous(t *testing.T, a, b *party) {
	a.initiate(t, b, true)
	b.initiate(t, a, true)
	fromA, fromB := a.encrypt(t, b, []byte("A begins")), b.encrypt(t, a, []byte("B begins"))
	b.decrypt(t, a, fromA)
	a.decrypt(t, b, fromB)
	net := &network{r: p.r, sides: [2]*party{a, b}, loss: 0.1}
	net.exchange(t, 100, 0.5)
	net.settle(t)
}

// secondSession begins anew in the middle of a conversation, while messages of
// the first session are still under way.
func (p *pair) secondSession(t *testing.T, a, b *party) {
	a.initiate(t, b, true)
	b.decrypt(t, a, a.encrypt(t, b, []byte("in the first session")))
	net := &network{r: p.r, sides: [2]*party{a, b}}
	net.exchange(t, 20, 0.5)
	net.settle(t)
	late := [2]message{a.encrypt(t, b, []byte("late 1")), b.encrypt(t, a, []byte("late 2"))}
	a.initiate(t, b, false)
	b.decrypt(t, a, a.encrypt(t, b, []byte("in the second session")))
	a.decrypt(t, b, late[1])
	b.decrypt(t, a, late[0])
	net.exchange(t, 50, 0.5)
	net.settle(t)
}

// tampered changes each part of messages of both types. None may be accepted,
// and the right message must still open afterwards.
func (p *pair) tampered(t *testing.T, a, b *party) {
	a.initiate(t, b, true)
	first := a.encrypt(t, b, []byte("the first message"))
	inner := innerMessage(t, first)
	offset := bytes.Index(first.data, inner)
	refuse := func(from, to *party, m message, position int) {
		t.Helper()
		wrong := m
		wrong.data = bytes.Clone(m.data)
		wrong.data[position] ^= 1 << p.r.IntN(8)
		if a := to.tryDecrypt(t, from, wrong); a.Error == "" {
			t.Fatalf("%s accepts a message of type %d with byte %d changed", to.name, m.kind, position)
		}
	}
	for range 40 {
		// Inside a prekey message only the inner message is authenticated as it
		// stands; the rest around it is, through the keys that come out of it.
		refuse(a, b, first, offset+p.r.IntN(len(inner)))
	}
	b.decrypt(t, a, first)
	reply := b.encrypt(t, a, []byte("the reply"))
	for position := range reply.data {
		refuse(b, a, reply, position)
	}
	a.decrypt(t, b, reply)
	plain := a.encrypt(t, b, []byte("a message of type 2"))
	for position := range plain.data {
		refuse(a, b, plain, position)
	}
	b.decrypt(t, a, plain)
}

// forgedBundles changes what the identity key has signed, and the signatures.
func (p *pair) forgedBundles(t *testing.T, a, b *party) {
	good := b.ask(t, request{Do: "bundle", OneTime: true}).Bundle
	for _, name := range []string{"signed", "signedSignature", "kyber", "kyberSignature", "identity"} {
		var fields map[string]any
		if err := json.Unmarshal(good, &fields); err != nil {
			t.Fatal(err)
		}
		value, err := base64.StdEncoding.DecodeString(fields[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		value[20] ^= 1
		fields[name] = value
		r := b.about("initiate", nil)
		if r.Bundle, err = json.Marshal(fields); err != nil {
			t.Fatal(err)
		}
		if got := a.try(t, r); got.Error == "" {
			t.Errorf("%s accepts a bundle with %s changed", a.name, name)
		}
	}
	r := b.about("initiate", nil)
	r.Bundle = good
	a.ask(t, r)
}

// anotherSender lets a first message arrive in the name of another device of
// its sender. The addresses in it are authenticated from release 0.92 on.
func (p *pair) anotherSender(t *testing.T, a, b *party) {
	a.initiate(t, b, true)
	m := a.encrypt(t, b, []byte("the first message"))
	other := *a
	other.device = 77
	got := b.tryDecrypt(t, &other, m)
	if authenticated := p.library != "0.86.9"; authenticated && got.Error == "" {
		t.Errorf("%s takes a message of device %d for one of device %d", b.name, a.device, other.device)
	} else if !authenticated && got.Error != "" {
		t.Errorf("%s: %s", b.name, got.Error)
	}
}

func (p *pair) signatures(t *testing.T, a, b *party) {
	for i := range 30 {
		data := make([]byte, i*i)
		for j := range data {
			data[j] = byte(p.r.Uint32())
		}
		signature := a.ask(t, request{Do: "sign", Data: data}).Data
		verify := request{Do: "verify", Key: a.key, Data: data, Signature: signature}
		if !b.ask(t, verify).OK {
			t.Fatalf("%s does not accept a signature of %d bytes by %s", b.name, len(data), a.name)
		}
		verify.Signature = bytes.Clone(signature)
		verify.Signature[p.r.IntN(64)] ^= 1 << p.r.IntN(8)
		if b.ask(t, verify).OK {
			t.Fatalf("%s accepts the changed signature %x of %x", b.name, verify.Signature, data)
		}
	}
}

func (p *pair) senderKeys(t *testing.T, a, b *party) {
	group := p.uuid()
	as := func(from *party, do string, data []byte) request {
		r := from.about(do, data)
		r.Group = group
		return r
	}
	b.ask(t, as(a, "accept", a.ask(t, as(a, "distribute", nil)).Data))
	var sent []message
	for i := range 50 {
		plaintext := fmt.Appendf(nil, "group message %d", i)
		m := a.ask(t, as(a, "groupEncrypt", plaintext))
		if m.Type != 7 {
			t.Fatalf("%s makes a group message of type %d", a.name, m.Type)
		}
		sent = append(sent, message{m.Type, m.Data, plaintext})
	}
	p.r.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	for _, m := range sent {
		wrong := bytes.Clone(m.data)
		wrong[p.r.IntN(len(wrong))] ^= 1 << p.r.IntN(8)
		if got := b.try(t, as(a, "groupDecrypt", wrong)); got.Error == "" {
			t.Fatalf("%s accepts a changed group message", b.name)
		}
		if got := b.ask(t, as(a, "groupDecrypt", m.data)); !bytes.Equal(got.Data, m.plaintext) {
			t.Fatalf("%s decrypts %q as %q", b.name, m.plaintext, got.Data)
		}
		if got := b.try(t, as(a, "groupDecrypt", m.data)); !got.Duplicate {
			t.Fatalf("%s meets a repeated group message with %+v", b.name, got)
		}
	}
}

func (p *pair) safetyNumbers(t *testing.T) {
	for range 3 {
		p.reset(t)
		number := func(own, other *party) answer {
			r := other.about("fingerprint", nil)
			r.Key = other.key
			return own.ask(t, r)
		}
		ours, theirs := number(p.ours, p.theirs), number(p.theirs, p.ours)
		if ours.Digits != theirs.Digits || len(ours.Digits) != 60 {
			t.Errorf("we show %s, they show %s", ours.Digits, theirs.Digits)
		}
		// The scannable form names the one who shows it first; so it is compared
		// with what the other side would make in our place.
		if mirrored := swapScannable(t, theirs.Data); !bytes.Equal(ours.Data, mirrored) {
			t.Errorf("we show %x, they expect %x", ours.Data, mirrored)
		}
	}
}

func (p *pair) retryRequests(t *testing.T) {
	p.reset(t)
	p.ours.initiate(t, p.theirs, true)
	first := p.ours.encrypt(t, p.theirs, []byte("first"))
	p.theirs.decrypt(t, p.ours, first)
	second := p.theirs.encrypt(t, p.ours, []byte("second"))
	for _, m := range []message{first, second} {
		r := request{Do: "retryRequest", Type: m.kind, Data: m.data}
		ours, theirs := p.ours.ask(t, r).Data, p.theirs.ask(t, r).Data
		if !bytes.Equal(ours, theirs) {
			t.Errorf("for type %d we make %x, they make %x", m.kind, ours, theirs)
		}
	}
}
