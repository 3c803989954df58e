package security_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// evilServer stands before the real one and changes what it delivers. Forged lists, prekeys and single entries are the
// client's own tests; here it is the order and the number of what arrives.
type evilServer struct {
	*httptest.Server
	edit    atomic.Pointer[func([]api.Entry) []api.Entry] // of every page and push; nil for an honest server
	touched atomic.Int64                                  // pages and pushes that were edited
}

func newEvilServer(t *testing.T) *evilServer {
	t.Helper()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	honest := httputil.NewSingleHostReverseProxy(target)
	honest.ErrorLog = log.New(io.Discard, "", 0) // clients leave in the middle
	e := &evilServer{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != api.SocketPath {
			honest.ServeHTTP(w, r)
			return
		}
		down, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		up, early, _, err := ws.Dial(r.Context(), "ws://"+target.Host+r.URL.RequestURI())
		if err != nil {
			_ = down.Close()
			return
		}
		go func() {
			defer up.Close()
			pass(up, down, ws.StateServerSide, func(b []byte) []byte { return b })
		}()
		defer down.Close()
		from := wsReader{up, up}
		if early != nil {
			from.Reader = early
		}
		pass(down, from, ws.StateClientSide, e.change)
	}))
	t.Cleanup(e.Close)
	return e
}

// wsReader reads first what came with the handshake.
type wsReader struct {
	Reader io.Reader
	net.Conn
}

func (r wsReader) Read(b []byte) (int, error) { return r.Reader.Read(b) }

// pass hands messages on until either side ends.
func pass(to net.Conn, from net.Conn, as ws.State, change func([]byte) []byte) {
	for {
		text, op, err := wsutil.ReadData(from, as)
		if err != nil {
			return
		}
		if as == ws.StateServerSide {
			err = wsutil.WriteClientMessage(to, op, change(text))
		} else {
			err = wsutil.WriteServerMessage(to, op, change(text))
		}
		if err != nil {
			return
		}
	}
}

// change edits the entries of a packet that has some: pushed, or in a page of the mailbox.
func (e *evilServer) change(text []byte) []byte {
	edit := e.edit.Load()
	i := bytes.IndexByte(text, '[')
	if edit == nil || i < 0 {
		return text
	}
	var args []json.RawMessage
	if json.Unmarshal(text[i:], &args) != nil || len(args) == 0 {
		return text
	}
	last := &args[len(args)-1]
	var push api.Entries
	var page api.Reply[api.MailboxPage]
	strict := func(v any) bool {
		d := json.NewDecoder(bytes.NewReader(*last))
		d.DisallowUnknownFields()
		return d.Decode(v) == nil
	}
	var changed any
	switch {
	case strict(&push) && len(push.Entries) > 0:
		push.Entries = (*edit)(push.Entries)
		changed = push
	case strict(&page) && page.Ok != nil && len(page.Ok.Entries) > 0:
		page.Ok.Entries = (*edit)(page.Ok.Entries)
		changed = page
	default:
		return text
	}
	e.touched.Add(1)
	b, err := json.Marshal(changed)
	if err != nil {
		return text
	}
	*last = b
	b, err = json.Marshal(args)
	if err != nil {
		return text
	}
	return append(slices.Clone(text[:i]), b...)
}

// runUntil runs a client until done, and stops it.
func runUntil(t *testing.T, c *client.Client, what string, done func() bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	deadline := time.After(30 * time.Second)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting && !done(); {
		select {
		case <-again.C:
		case <-deadline:
			t.Errorf("waited in vain: %s", what)
			waiting = false
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestEvilDelivery: the server reorders, repeats, mixes up and drops. Bob shows every message once and in order, counts
// what did not fit, and acknowledges nothing that he has not read: when the server is honest, all is there.
func TestEvilDelivery(t *testing.T) {
	t.Parallel()
	evil, dir := newEvilServer(t), t.TempDir()
	alice, bob := open(t, server.URL, filepath.Join(dir, "alice.db")), open(t, evil.URL, filepath.Join(dir, "bob.db"))
	defer alice.Close()
	defer bob.Close()
	for name, c := range map[string]*client.Client{"evil-alice": alice, "evil-bob": bob} {
		if _, err := c.Register(t.Context(), client.RegisterOptions{Username: name, Password: password, DeviceName: "laptop"}); err != nil {
			t.Fatal(err)
		}
	}
	v, err := alice.Conversation(t.Context(), "evil-bob")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	texts := func(c *client.Client) (all []string) {
		page, err := c.Messages(v.ID, client.Position{}, 100)
		if err != nil {
			return nil // the conversation is not known yet
		}
		for _, m := range page {
			all = append(all, m.Text())
		}
		return all
	}
	counters := func() client.Counters {
		n, err := bob.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, attack := range []struct {
		name   string
		edit   func(e []api.Entry) []api.Entry
		noise  bool // bob has something to count
		unread int  // messages that bob cannot have while it lasts
	}{
		{"reversed", func(e []api.Entry) []api.Entry { slices.Reverse(e); return e }, false, 0},
		{"repeated", func(e []api.Entry) []api.Entry { return append(e, e...) }, false, 0},
		{"under other entry ids", func(e []api.Entry) []api.Entry {
			again := slices.Clone(e)
			for i := range again {
				again[i].EntryID += 1_000_000
			}
			return append(e, again...)
		}, false, 0},
		{"ciphertexts mixed up", func(e []api.Entry) []api.Entry {
			if n := len(e); n > 1 {
				e[n-1].Bytes, e[n-2].Bytes = e[n-2].Bytes, e[n-1].Bytes
			}
			return e
		}, true, 2},
		{"positions mixed up", func(e []api.Entry) []api.Entry {
			if n := len(e); n > 1 {
				e[n-1].MessageID, e[n-2].MessageID = e[n-2].MessageID, e[n-1].MessageID
			}
			return e
		}, true, 2},
		{"the first ones dropped", func(e []api.Entry) []api.Entry { return e[len(e)-1:] }, false, 3},
	} {
		var fresh []string
		for _, n := range []string{"one", "two", "three", "four"} {
			fresh = append(fresh, attack.name+" "+n)
			if _, err := alice.Send(t.Context(), v.ID, e2ee.TextBody(fresh[len(fresh)-1])); err != nil {
				t.Fatal(err)
			}
		}
		runUntil(t, alice, "alice sends", func() bool {
			page, err := alice.Messages(v.ID, client.Position{}, 1)
			return err == nil && len(page) == 1 && page[0].Text() == fresh[3] && page[0].Position.Seq > 0
		})
		before, touched := counters(), evil.touched.Load()
		evil.edit.Store(&attack.edit)
		runUntil(t, bob, attack.name, func() bool {
			n := counters()
			noisy := n.Misdelivery+n.Unreadable > before.Misdelivery+before.Unreadable
			return evil.touched.Load() > touched && noisy == attack.noise && len(texts(bob)) >= len(want)+4-attack.unread
		})
		shown := texts(bob)
		for i, text := range shown { // a subset, each once and in order
			if j := slices.Index(append(slices.Clone(want), fresh...), text); j < i || slices.Index(shown, text) != i {
				t.Errorf("%s: bob sees %q", attack.name, shown)
			}
		}
		evil.edit.Store(nil)
		want = append(want, fresh...)
		runUntil(t, bob, attack.name+", then honest", func() bool { return len(texts(bob)) >= len(want) })
		if d := cmp.Diff(want, texts(bob)); d != "" {
			t.Errorf("%s: bob sees (-want +got):\n%s", attack.name, d)
		}
		if n := counters(); !attack.noise && n.Misdelivery+n.Unreadable != before.Misdelivery+before.Unreadable {
			t.Errorf("%s: %+v is counted", attack.name, n)
		}
	}
	if strings.Join(texts(bob), "\n") != strings.Join(texts(alice), "\n") {
		t.Error("they see different histories")
	}
}
