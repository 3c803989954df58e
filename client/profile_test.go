package client_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// photo is a JPEG of that many pixels a side, and another one for every seed.
func photo(t *testing.T, side int, seed uint64) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	m := image.NewGray(image.Rect(0, 0, side, side))
	for i := range m.Pix {
		m.Pix[i] = uint8(random.UintN(256))
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (p *person) setPicture(image []byte) {
	p.t.Helper()
	if err := p.SetPicture(p.t.Context(), image); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until a conversation shows a profile of that name, and of that picture if there is one.
func (p *person) sees(id api.ConversationID, name string, image []byte) {
	p.t.Helper()
	p.until("the profile of "+name, func() bool {
		shown := p.conversation(id)
		if shown.Profile.DisplayName != name || (shown.Profile.Picture == "") != (image == nil) {
			return false
		}
		got, err := p.Picture(p.t.Context(), shown.Peer)
		return bytes.Equal(got, image) && (image != nil || client.CodeOf(err) == api.CodeNotFound)
	})
}

// TestProfile: what ada shows of herself reaches bob with her first message and not before, every change follows, also to
// a device of his that comes later and to one of hers; who has not accepted tells nothing.
func TestProfile(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	first, second := photo(t, 64, 1), photo(t, 64, 2)
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.setPicture(first)
	ada.settledState()
	if n, _, err := ada.Errands(); n != 0 || err != nil {
		t.Errorf("%d errands before the first message, %v", n, err)
	}
	ada.sent(ada.send(id, "hello"))
	bob.reads(id, 1)
	bob.sees(id, "ada", nil) // a picture only after he has accepted

	if err := bob.SetProfile(client.Profile{DisplayName: "Bob B.", Status: "away"}); err != nil {
		t.Fatal(err)
	}
	if err := ada.SetProfile(client.Profile{DisplayName: "Ada L."}); err != nil {
		t.Fatal(err)
	}
	bob.sees(id, "Ada L.", nil)
	if shown := ada.conversation(id).Profile; shown != (client.Profile{}) {
		t.Errorf("bob, who has not accepted, shows %v", shown)
	}
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	bob.sees(id, "Ada L.", first)
	ada.sees(id, "Bob B.", nil)
	ada.setPicture(second)
	bob.sees(id, "Ada L.", second)

	bob.settledState()
	ada.settledState()
	for _, later := range []*person{w.device("later", "bob"), w.device("sister", "ada")} {
		later.talk("ada")
		later.connect()
		me, _ := later.Account()
		if me.Username == "bob" {
			later.sees(id, "Ada L.", second)
			continue
		}
		later.until("the own picture", func() bool {
			got, err := later.Picture(t.Context(), me.ID)
			return err == nil && bytes.Equal(got, second)
		})
		later.setPicture(nil)
	}
	bob.sees(id, "Ada L.", nil)
	for _, p := range []*person{ada, bob} {
		if n := p.counters(); n.Alerts != 0 {
			t.Errorf("%d alerts", n.Alerts)
		}
	}
}

// TestPictureOfStranger: nothing of a stranger's picture is read from the server, however often a program asks for it,
// before the request is accepted; after that it is, once; and not a blocked account's.
func TestPictureOfStranger(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	var reads atomic.Int64
	bob.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if r.Method == "GET" && strings.Contains(r.URL, "/api/chat/assets/") {
				reads.Add(1)
			}
			return nil
		}
	})
	first, second := photo(t, 64, 1), photo(t, 64, 2)
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.setPicture(first)
	ada.sent(ada.send(id, "hello"))
	bob.reads(id, 1)
	bob.until("the profile of ada", func() bool { return bob.conversation(id).Profile.DisplayName == "ada" })
	hidden := func(state string) {
		t.Helper()
		name := bob.conversation(id).Profile.Picture
		got, err := bob.Picture(t.Context(), ada.account())
		if name != "" || got != nil || client.CodeOf(err) != api.CodeNotFound {
			t.Errorf("%s: a picture %q of %d bytes is shown, %v", state, name, len(got), err)
		}
	}
	hidden("requested")
	if n := reads.Load(); n != 0 {
		t.Errorf("a stranger's picture was asked for %d times", n)
	}
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	bob.sees(id, "ada", first)
	bob.sees(id, "ada", first)
	if n := reads.Load(); n != 1 {
		t.Errorf("an accepted picture was read %d times", n)
	}
	if err := bob.Block(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	hidden("blocked")
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ada.setPicture(second)
	bob.sees(id, "ada", second)
	if n := reads.Load(); n != 2 {
		t.Errorf("two accepted pictures were read %d times", n)
	}
}

// TestProfileRefused: what does not fit the profile of a content is refused, and changes nothing.
func TestProfileRefused(t *testing.T) {
	ada := newWorld(t).person("ada")
	good := client.Profile{DisplayName: strings.Repeat("ä", e2ee.MaxDisplayName/2), Status: strings.Repeat("x", e2ee.MaxStatus)}
	if err := ada.SetProfile(good); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]client.Profile{
		"a long name":     {DisplayName: good.DisplayName + "x"},
		"a long status":   {Status: good.Status + "x"},
		"a broken name":   {DisplayName: "Ada\xff"},
		"a broken status": {Status: "\xff"},
	} {
		if err := ada.SetProfile(p); client.CodeOf(err) != client.CodeArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := ada.Profile(); err != nil || got != good {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPictureGoes: a picture that was replaced, here or by another device, is deleted at the server a day later, and not
// before; the one that is in use stays.
func TestPictureGoes(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	clock := &clock{}
	ada.reopenWith(client.Options{Now: clock.now})
	var names []string
	for seed := range uint64(3) {
		ada.setPicture(photo(t, 32, seed))
		p, err := ada.Profile()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, p.Picture)
	}
	for i, pass := range []time.Duration{0, 25 * time.Hour} {
		clock.pass(pass)
		if err := ada.TidyAssets(t.Context()); err != nil {
			t.Fatal(err)
		}
		stored, err := ada.Assets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := names
		if i == 1 {
			want = names[2:]
		}
		if len(stored) != len(want) || !stored[names[2]] {
			t.Errorf("after %v the server has %v, want %v", pass, stored, want)
		}
	}
}

// TestPictureRefused: what is no picture, or too much of one, is neither sent nor shown.
func TestPictureRefused(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	var wide bytes.Buffer
	if err := png.Encode(&wide, image.NewPaletted(image.Rect(0, 0, 60_000, 1), color.Palette{color.Black})); err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"SVG":       []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`),
		"a page":    []byte("<html>"),
		"GIF":       []byte("GIF89a\x01\x00\x01\x00"),
		"cut":       photo(t, 64, 1)[:20],
		"too wide":  wide.Bytes(),
		"too large": photo(t, 512, 1),
	}
	for name, b := range bad {
		if err := ada.SetPicture(t.Context(), b); client.CodeOf(err) != client.CodeArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "hello"))
	bob.reads(id, 1)
	version := uint64(0)
	show := func(a *e2ee.Attachment) {
		version++
		body := e2ee.ProfileBody(e2ee.Profile{Version: version, DisplayName: "v" + string(rune('0'+version)), Avatar: a})
		if err := ada.QueueSilent('s', id, body, bob.account()); err != nil {
			t.Fatal(err)
		}
		bob.until("the profile", func() bool { return bob.conversation(id).Profile.DisplayName == "v"+string(rune('0'+version)) })
	}
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for name, b := range bad {
		a := ada.upload(b)
		show(&a)
		if got, err := bob.Picture(t.Context(), ada.account()); client.CodeOf(err) != client.CodeAsset || got != nil {
			t.Errorf("%s: bob is shown %d bytes, %v", name, len(got), err)
		}
	}
	good := ada.upload(photo(t, 64, 1))
	good.Cipher = 2
	show(&good)
	if p := bob.conversation(id).Profile; p.Picture != "" {
		t.Errorf("a picture of another cipher is shown: %v", p)
	}
	version-- // an older one counts no more
	body := e2ee.ProfileBody(e2ee.Profile{Version: version, DisplayName: "old"})
	if err := ada.QueueSilent('s', id, body, bob.account()); err != nil {
		t.Fatal(err)
	}
	ada.sent(ada.send(id, "after it"))
	ada.idle()
	bob.reads(id, 2)
	bob.until("the silent one", func() bool { n, err := bob.PendingAcks(); return err == nil && n == 0 })
	if p := bob.conversation(id).Profile; p.DisplayName == "old" {
		t.Error("an older profile is shown")
	}
}
