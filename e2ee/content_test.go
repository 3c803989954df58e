package e2ee_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func content(body e2ee.Body) e2ee.Content {
	return e2ee.Content{
		Format: 1, MinVersion: 1, Conversation: id16(0xC0), MessageID: id16(0x3D), Sender: id16(0xA1), SenderDevice: 3,
		SentAt: 1767323045000, Number: 17, Class: e2ee.ClassMessage, ExpirySeconds: 3600, ExpiryVersion: 2,
		ProfileKey: bytes.Repeat([]byte{0x50}, 32), Flags: e2ee.FlagViewOnce, Body: body,
	}
}

func pad(tb testing.TB, c e2ee.Content) []byte {
	tb.Helper()
	padded, err := c.Padded()
	if err != nil {
		tb.Fatal(err)
	}
	return padded
}

// encodeContent is a second encoder, written from docs/protocol.md.
func encodeContent(c e2ee.Content) [][]byte {
	return [][]byte{
		uintField(nil, 1, uint64(c.Format)), uintField(nil, 2, uint64(c.MinVersion)),
		bytesField(nil, 3, c.Conversation[:]), bytesField(nil, 4, c.MessageID[:]), bytesField(nil, 5, c.Sender[:]),
		uintField(nil, 6, uint64(c.SenderDevice)), uintField(nil, 7, uint64(c.SentAt)), uintField(nil, 8, c.Number),
		uintField(nil, 9, uint64(c.Class)), uintField(nil, 10, uint64(c.ExpirySeconds)),
		uintField(nil, 11, uint64(c.ExpiryVersion)), bytesField(nil, 12, c.ProfileKey), uintField(nil, 13, uint64(c.Flags)),
		bytesField(nil, int(c.Body.Kind), c.Body.Bytes),
	}
}

func TestContentRoundTrip(t *testing.T) {
	full := content(e2ee.TextBody("Grüße 👋"))
	bare := content(e2ee.TextBody("x"))
	bare.ProfileKey, bare.ExpirySeconds, bare.ExpiryVersion, bare.Flags, bare.Number = nil, 0, 0, 0, 0
	later := content(e2ee.Body{Kind: 111, Bytes: []byte("from the future")})
	later.Format, later.MinVersion = 3, 2
	later.Unknown = bytesField(uintField(nil, 112, 7), 9000, []byte("kept"))
	for name, c := range map[string]e2ee.Content{"full": full, "bare": bare, "later": later} {
		got, err := e2ee.ParseContent(c.Marshal())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if bare := got.ProfileKey; len(bare) == 0 {
			got.ProfileKey = nil
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if want := append(slices.Concat(encodeContent(c)...), c.Unknown...); !bytes.Equal(c.Marshal(), want) {
			t.Errorf("%s: the two encoders differ", name)
		}
		if got.Showable() != (name != "later") {
			t.Errorf("%s: showable is %v", name, got.Showable())
		}
	}
	needsMore := full
	needsMore.Format, needsMore.MinVersion = 2, 2
	if needsMore.Showable() {
		t.Error("a known body that needs a later reader is shown")
	}
}

func TestContentRefuses(t *testing.T) {
	for name, change := range map[string]func(*e2ee.Content){
		"format 0":                 func(c *e2ee.Content) { c.Format = 0 },
		"minimum version 0":        func(c *e2ee.Content) { c.MinVersion = 0 },
		"minimum version > format": func(c *e2ee.Content) { c.MinVersion = 2 },
		"device 0":                 func(c *e2ee.Content) { c.SenderDevice = 0 },
		"device 128":               func(c *e2ee.Content) { c.SenderDevice = 128 },
		"negative time":            func(c *e2ee.Content) { c.SentAt = -1 },
		"class 0":                  func(c *e2ee.Content) { c.Class = 0 },
		"class 4":                  func(c *e2ee.Content) { c.Class = 4 },
		"expiry too long":          func(c *e2ee.Content) { c.ExpirySeconds = e2ee.MaxExpirySeconds + 1 },
		"profile key of 31 bytes":  func(c *e2ee.Content) { c.ProfileKey = make([]byte, 31) },
		"profile key of 33 bytes":  func(c *e2ee.Content) { c.ProfileKey = make([]byte, 33) },
		"no body":                  func(c *e2ee.Content) { c.Body.Kind = 112 },
		"body in a reserved field": func(c *e2ee.Content) { c.Body.Kind = 15 },
		"unknown below the body":   func(c *e2ee.Content) { c.Unknown = uintField(nil, 14, 1) },
		"second body":              func(c *e2ee.Content) { c.Unknown = bytesField(nil, 17, nil) },
	} {
		c := content(e2ee.TextBody("x"))
		change(&c)
		_, err := e2ee.ParseContent(c.Marshal())
		wantErr(t, name, err, e2ee.ErrFormat)
		_, err = c.Padded()
		wantErr(t, name+", sending", err, e2ee.ErrFormat)
	}
	fields := encodeContent(content(e2ee.TextBody("x")))
	for i := range fields {
		_, err := e2ee.ParseContent(slices.Concat(slices.Concat(fields[:i]...), slices.Concat(fields[i+1:]...)))
		wantErr(t, "field missing", err, e2ee.ErrFormat)
		_, err = e2ee.ParseContent(slices.Concat(slices.Concat(fields[:i+1]...), slices.Concat(fields[i:]...)))
		wantErr(t, "field twice", err, e2ee.ErrFormat)
	}
	_, err := e2ee.ParseContent(make([]byte, e2ee.MaxContent+1))
	wantErr(t, "too large", err, e2ee.ErrTooLarge)
	c := content(e2ee.Body{Kind: 100, Bytes: make([]byte, e2ee.MaxContent)})
	_, err = c.Padded()
	wantErr(t, "too large to send", err, e2ee.ErrTooLarge)
}

func TestContentPaddedChecksBody(t *testing.T) {
	_, err := content(e2ee.TextBody("")).Padded()
	wantErr(t, "empty text", err, e2ee.ErrFormat)
	_, err = content(e2ee.TextBody("\xff")).Padded()
	wantErr(t, "no UTF-8", err, e2ee.ErrFormat)
	if padded := pad(t, content(e2ee.TextBody(strings.Repeat("x", e2ee.MaxText)))); len(padded) != 64<<10 {
		t.Errorf("the longest text is padded to %d bytes", len(padded))
	}
}

func FuzzContent(f *testing.F) {
	for _, body := range sampleBodies(f) {
		f.Add(content(body).Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := e2ee.ParseContent(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Marshal(), b) {
			t.Errorf("%x has another encoding", b)
		}
	})
}
