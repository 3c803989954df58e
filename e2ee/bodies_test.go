package e2ee_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

func attachment() e2ee.Attachment {
	return e2ee.Attachment{
		AssetID: []byte("asset"), Cipher: e2ee.CipherGCM, Key: id32(0x11), Hash: id32(0x22), Size: 4112, PlainSize: 4000,
		MediaType: "image/webp", Name: "Straße.webp", Width: 640, Height: 480, Duration: 1, Thumbnail: []byte{1, 2, 3},
	}
}

var target = e2ee.Target{Sender: id16(0xA2), MessageID: id16(0x3C)}

// bodyCase is one kind of body: a full value, its encoding, reader and writer.
type bodyCase struct {
	value any
	body  e2ee.Body
	read  func(e2ee.Body) (any, error)
	write func(any) e2ee.Body
}

func caseOf[T any](value T, write func(T) e2ee.Body, read func(e2ee.Body) (T, error)) bodyCase {
	return bodyCase{
		value: value, body: write(value),
		read:  func(b e2ee.Body) (any, error) { return read(b) },
		write: func(v any) e2ee.Body { return write(v.(T)) },
	}
}

func bodyCases(tb testing.TB) map[string]bodyCase {
	l, account := deviceList(tb)
	avatar := attachment()
	keys := []e2ee.ArchiveKey{{Epoch: 2, Key: id32(2)}, {Epoch: 3, Key: id32(3)}}
	return map[string]bodyCase{
		"text":  caseOf("hallo", e2ee.TextBody, e2ee.Body.Text),
		"reply": caseOf(e2ee.Reply{Target: target, Text: "ja"}, e2ee.ReplyBody, e2ee.Body.Reply),
		"reaction": caseOf(e2ee.Reaction{Target: target, Emoji: "👍🏽", Remove: true},
			e2ee.ReactionBody, e2ee.Body.Reaction),
		"edit":   caseOf(e2ee.Edit{Target: target, Text: "besser"}, e2ee.EditBody, e2ee.Body.Edit),
		"delete": caseOf(e2ee.Delete{Target: target, Scope: e2ee.DeleteForAll}, e2ee.DeleteBody, e2ee.Body.Delete),
		"receipt": caseOf(e2ee.Receipt{Kind: e2ee.ReceiptRead, Epoch: 1, Seq: 42, MessageIDs: [][16]byte{id16(1), id16(2)}},
			e2ee.ReceiptBody, e2ee.Body.Receipt),
		"typing": caseOf(e2ee.Typing{Started: true}, e2ee.TypingBody, e2ee.Body.Typing),
		"attachments": caseOf(e2ee.Attachments{Text: "two", Files: []e2ee.Attachment{attachment(), attachment()}},
			e2ee.AttachmentsBody, e2ee.Body.Attachments),
		"list update":  caseOf(signList(tb, l, account), e2ee.ListUpdateBody, e2ee.Body.ListUpdate),
		"archive keys": caseOf(e2ee.ArchiveKeys{BundleVersion: 4, Keys: keys}, e2ee.ArchiveKeysBody, e2ee.Body.ArchiveKeys),
		"retry request": caseOf(e2ee.RetryRequest{Conversation: id16(0xC0), MessageID: id16(0x3C), Error: []byte("error")},
			e2ee.RetryRequestBody, e2ee.Body.RetryRequest),
		"profile": caseOf(e2ee.Profile{Version: 3, DisplayName: "Ada", Status: "da", Avatar: &avatar},
			e2ee.ProfileBody, e2ee.Body.Profile),
	}
}

func sampleBodies(tb testing.TB) []e2ee.Body {
	bodies := []e2ee.Body{{Kind: e2ee.BodySessionRepair}, {Kind: e2ee.BodyExpiryChange}, {Kind: 99, Bytes: []byte("?")}}
	for _, r := range bodyCases(tb) {
		bodies = append(bodies, r.body)
	}
	return bodies
}

func TestBodies(t *testing.T) {
	for name, r := range bodyCases(t) {
		c, err := e2ee.ParseContent(content(r.body).Marshal())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := r.read(c.Body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(r.value, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !c.Showable() {
			t.Errorf("%s: not showable", name)
		}
		pad(t, c)

		later := e2ee.Body{Kind: r.body.Kind, Bytes: bytesField(bytes.Clone(r.body.Bytes), 100, []byte("new"))}
		if got, err := r.read(later); err != nil || !cmp.Equal(r.value, got) {
			t.Errorf("%s with a field of a later format: %v, %v", name, got, err)
		}
		for what, b := range map[string]e2ee.Body{
			"another kind":  {Kind: r.body.Kind + 40, Bytes: r.body.Bytes},
			"no fields":     {Kind: r.body.Kind},
			"cut":           {Kind: r.body.Kind, Bytes: r.body.Bytes[:len(r.body.Bytes)-1]},
			"unknown first": {Kind: r.body.Kind, Bytes: append(uintField(nil, 100, 1), r.body.Bytes...)},
			"wrong type":    {Kind: r.body.Kind, Bytes: append([]byte{1 << 3, 1, 1<<3 | 2, 0}, r.body.Bytes...)},
		} {
			_, err := r.read(b)
			wantErr(t, name+", "+what, err, e2ee.ErrFormat)
		}
	}
}

func TestBodyBounds(t *testing.T) {
	profile := func(change func(*e2ee.Profile)) e2ee.Body {
		p := e2ee.Profile{Version: 1, DisplayName: "Ada"}
		change(&p)
		return e2ee.ProfileBody(p)
	}
	file := func(change func(*e2ee.Attachment)) e2ee.Body {
		a := attachment()
		change(&a)
		return e2ee.AttachmentsBody(e2ee.Attachments{Files: []e2ee.Attachment{a}})
	}
	list := func(size, signature int) e2ee.Body {
		return e2ee.ListUpdateBody(
			e2ee.SignedDeviceList{List: make([]byte, size), Signature: make([]byte, signature)})
	}
	long := func(n int) string { return strings.Repeat("x", n+1) }
	epochs := e2ee.ArchiveKeys{Keys: []e2ee.ArchiveKey{{Epoch: 2}, {Epoch: 2}}}
	for name, body := range map[string]e2ee.Body{
		"text too long":      e2ee.TextBody(long(e2ee.MaxText)),
		"text not UTF-8":     e2ee.TextBody("a\xf0"),
		"reply without text": e2ee.ReplyBody(e2ee.Reply{Target: target}),
		"reply too long":     e2ee.ReplyBody(e2ee.Reply{Text: long(e2ee.MaxText)}),
		"reaction without":   e2ee.ReactionBody(e2ee.Reaction{}),
		"reaction too long":  e2ee.ReactionBody(e2ee.Reaction{Emoji: long(e2ee.MaxEmoji)}),
		"edit without text":  e2ee.EditBody(e2ee.Edit{}),
		"delete scope 0":     e2ee.DeleteBody(e2ee.Delete{}),
		"delete scope 3":     e2ee.DeleteBody(e2ee.Delete{Scope: 3}),
		"receipt of nothing": e2ee.ReceiptBody(e2ee.Receipt{Kind: e2ee.ReceiptRead}),
		"receipt kind 0":     e2ee.ReceiptBody(e2ee.Receipt{Seq: 1}),
		"receipt kind 3":     e2ee.ReceiptBody(e2ee.Receipt{Kind: 3, Seq: 1}),
		"receipt too long":   e2ee.ReceiptBody(e2ee.Receipt{Kind: 1, MessageIDs: make([][16]byte, 101)}),
		"typing 2":           {Kind: e2ee.BodyTyping, Bytes: uintField(nil, 1, 2)},
		"no attachment":      e2ee.AttachmentsBody(e2ee.Attachments{Text: "x"}),
		"11 attachments":     e2ee.AttachmentsBody(e2ee.Attachments{Files: slicesOf(attachment(), 11)}),
		"caption too long": e2ee.AttachmentsBody(
			e2ee.Attachments{Text: long(e2ee.MaxText), Files: slicesOf(attachment(), 1)}),
		"no asset id":           file(func(a *e2ee.Attachment) { a.AssetID = nil }),
		"asset id too long":     file(func(a *e2ee.Attachment) { a.AssetID = make([]byte, 65) }),
		"cipher 0":              file(func(a *e2ee.Attachment) { a.Cipher = 0 }),
		"size 0":                file(func(a *e2ee.Attachment) { a.Size, a.PlainSize = 0, 0 }),
		"size too big":          file(func(a *e2ee.Attachment) { a.Size = e2ee.MaxAttachmentSize + 1 }),
		"plaintext bigger":      file(func(a *e2ee.Attachment) { a.PlainSize = a.Size + 1 }),
		"media type too long":   file(func(a *e2ee.Attachment) { a.MediaType = long(e2ee.MaxMediaType) }),
		"name too long":         file(func(a *e2ee.Attachment) { a.Name = long(e2ee.MaxFileName) }),
		"thumbnail too long":    file(func(a *e2ee.Attachment) { a.Thumbnail = make([]byte, e2ee.MaxThumbnail+1) }),
		"list too long":         list(e2ee.MaxDeviceListSize+1, 64),
		"short signature":       list(9, 63),
		"no archive key":        e2ee.ArchiveKeysBody(e2ee.ArchiveKeys{BundleVersion: 1}),
		"archive epochs equal":  e2ee.ArchiveKeysBody(epochs),
		"retry without error":   e2ee.RetryRequestBody(e2ee.RetryRequest{}),
		"retry error too long":  e2ee.RetryRequestBody(e2ee.RetryRequest{Error: make([]byte, e2ee.MaxRetryError+1)}),
		"no display name":       profile(func(p *e2ee.Profile) { p.DisplayName = "" }),
		"display name too long": profile(func(p *e2ee.Profile) { p.DisplayName = long(e2ee.MaxDisplayName) }),
		"status too long":       profile(func(p *e2ee.Profile) { p.Status = long(e2ee.MaxStatus) }),
		"bad avatar":            profile(func(p *e2ee.Profile) { p.Avatar = &e2ee.Attachment{} }),
	} {
		_, err := content(body).Padded()
		wantErr(t, name, err, e2ee.ErrFormat)
	}
	for name, body := range map[string]e2ee.Body{
		"receipt of a position": e2ee.ReceiptBody(e2ee.Receipt{Kind: e2ee.ReceiptRead, Epoch: 1, Seq: 5}),
		"receipt of ids":        e2ee.ReceiptBody(e2ee.Receipt{Kind: e2ee.ReceiptViewed, MessageIDs: make([][16]byte, 100)}),
		"typing stopped":        e2ee.TypingBody(e2ee.Typing{}),
		"no avatar":             profile(func(p *e2ee.Profile) { p.Avatar = nil }),
		"unknown cipher":        file(func(a *e2ee.Attachment) { a.Cipher = 9 }),
	} {
		pad(t, content(body))
		if !content(body).Showable() {
			t.Errorf("%s: not showable", name)
		}
	}
}

func slicesOf[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// FuzzBodies hands the same bytes to every reader. What one accepts begins with
// the encoding of what it read.
func FuzzBodies(f *testing.F) {
	all := bodyCases(f)
	for _, c := range all {
		f.Add(c.body.Bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, c := range all {
			v, err := c.read(e2ee.Body{Kind: c.body.Kind, Bytes: b})
			if err == nil && !bytes.HasPrefix(b, c.write(v).Bytes) {
				t.Errorf("%s: %v has another encoding", name, v)
			}
		}
	})
}
