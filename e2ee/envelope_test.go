package e2ee_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func envelope(tb testing.TB) (e2ee.Envelope, e2ee.Outside) {
	tb.Helper()
	c := content(e2ee.TextBody("hallo"))
	e := e2ee.Envelope{
		Key: e2ee.FrankingKey(id32(0xF0)), Padded: pad(tb, c),
		Pins: e2ee.Pins{SenderVersion: 2, SenderHash: id32(0x51), RecipientVersion: 5, RecipientHash: id32(0x52),
			BundleVersion: 4},
	}
	return e, e2ee.Outside{
		Conversation: c.Conversation, MessageID: c.MessageID, Sender: c.Sender, SenderDevice: c.SenderDevice,
		Class: c.Class, Commitment: e2ee.Commit(e.Key, e.Padded),
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	e, outside := envelope(t)
	b := e.Marshal()
	be64 := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	want := slices.Concat([]byte{1}, e.Key[:], be64(2), e.Pins.SenderHash[:], be64(5), e.Pins.RecipientHash[:],
		be64(4), e.Padded)
	if !bytes.Equal(b, want) {
		t.Errorf("layout %x, want %x", b, want)
	}
	if len(b) != e2ee.EnvelopeOverhead+256 {
		t.Errorf("%d bytes", len(b))
	}
	got, err := e2ee.ParseEnvelope(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
	c, err := got.Open(outside)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.Body.Text(); err != nil || text != "hallo" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestEnvelopeOutside(t *testing.T) {
	for name, change := range map[string]func(*e2ee.Outside){
		"conversation":  func(o *e2ee.Outside) { o.Conversation[0]++ },
		"message id":    func(o *e2ee.Outside) { o.MessageID[0]++ },
		"sender":        func(o *e2ee.Outside) { o.Sender[0]++ },
		"sender device": func(o *e2ee.Outside) { o.SenderDevice++ },
		"class":         func(o *e2ee.Outside) { o.Class = e2ee.ClassSilent },
	} {
		e, outside := envelope(t)
		change(&outside)
		_, err := e.Open(outside)
		wantErr(t, name, err, e2ee.ErrMismatch)
	}
	for name, change := range map[string]func(*e2ee.Envelope, *e2ee.Outside){
		"commitment": func(_ *e2ee.Envelope, o *e2ee.Outside) { o.Commitment[0]++ },
		"key":        func(e *e2ee.Envelope, _ *e2ee.Outside) { e.Key[0]++ },
		"content":    func(e *e2ee.Envelope, _ *e2ee.Outside) { e.Padded[9]++ },
	} {
		e, outside := envelope(t)
		change(&e, &outside)
		_, err := e.Open(outside)
		wantErr(t, name, err, e2ee.ErrCommitment)
	}
	// The pins are not committed to: they differ between envelopes.
	e, outside := envelope(t)
	e.Pins = e2ee.Pins{}
	_, err := e.Open(outside)
	wantErr(t, "other pins", err, nil)

	// A sender may commit to anything; it is refused all the same.
	for name, padded := range map[string][]byte{
		"no padding": make([]byte, 256), "no content": append([]byte{0x80}, make([]byte, 255)...),
	} {
		e := e2ee.Envelope{Padded: padded}
		_, err := e.Open(e2ee.Outside{Commitment: e2ee.Commit(e.Key, padded)})
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func TestParseEnvelopeRefuses(t *testing.T) {
	e, _ := envelope(t)
	b := e.Marshal()
	_, err := e2ee.ParseEnvelope(append([]byte{2}, b[1:]...))
	wantErr(t, "version 2", err, e2ee.ErrVersion)
	for name, raw := range map[string][]byte{
		"empty": {}, "version only": b[:1], "no content": b[:e2ee.EnvelopeOverhead], "cut": b[:len(b)-1],
		"longer": append(bytes.Clone(b), 0),
	} {
		_, err := e2ee.ParseEnvelope(raw)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
}

func FuzzEnvelope(f *testing.F) {
	e, outside := envelope(f)
	f.Add(e.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := e2ee.ParseEnvelope(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Marshal(), b) {
			t.Errorf("%x has another encoding", b)
		}
		o := outside
		o.Commitment = e2ee.Commit(e.Key, e.Padded)
		if c, err := e.Open(o); err == nil && (c.Sender != o.Sender || c.MessageID != o.MessageID) {
			t.Error("opened as another message")
		}
	})
}
