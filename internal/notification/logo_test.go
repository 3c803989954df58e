package notification_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/notification"
)

func newLogo(width, height int) *notification.Logo {
	l := &notification.Logo{Type: "image/png", Content: make([]byte, 1000), Width: width, Height: height}
	_, _ = rand.Read(l.Content) // never fails
	return l
}

func imageAt(content []byte) string {
	return fmt.Sprintf("/api/notifications/images/%x", sha256.Sum256(content))
}

// get asks as anybody does, without a token.
func get(t *testing.T, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return answer
}

// TestImages: everybody reads what was published, by several replicas at once and by those of before, and nothing else.
func TestImages(t *testing.T) {
	w := newWorld(t, nil)
	h := handler(t, w)
	old, logo := newLogo(10, 10), newLogo(10, 10)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, l := range []*notification.Logo{old, logo} {
				if err := w.another(func(c *notification.Config) { c.Logo = l }).Publish(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, l := range []*notification.Logo{old, logo} {
		answer := get(t, h, http.MethodGet, imageAt(l.Content))
		if answer.Code != http.StatusOK || !bytes.Equal(answer.Body.Bytes(), l.Content) {
			t.Errorf("%d, %d bytes", answer.Code, answer.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type": "image/png", "Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; sandbox", "Cross-Origin-Resource-Policy": "cross-origin",
		} {
			if got := answer.Header().Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if answer := get(t, h, http.MethodHead, imageAt(l.Content)); answer.Code != http.StatusOK || answer.Body.Len() != 0 {
			t.Errorf("%d", answer.Code)
		}
	}

	sealed, open := newLogo(1, 1).Content, newLogo(1, 1).Content
	for _, content := range [][]byte{sealed, open} {
		sum := sha256.Sum256(content)
		a, err := w.Assets.Begin(t.Context(), api.AccountID{1}, api.BeginAsset{SHA256: sum[:], Size: int64(len(content))})
		if err == nil && bytes.Equal(content, sealed) {
			_, err = w.Assets.Append(t.Context(), api.AccountID{1}, a.UploadID, 0, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	known := imageAt(logo.Content)
	for name, path := range map[string]string{
		"sealed": imageAt(sealed), "begun": imageAt(open), "unknown": imageAt(nil), "upper case": known[:27] + strings.ToUpper(known[27:]),
		"short": known[:len(known)-1], "long": known + "0", "no hash": "/api/notifications/images/logo.png",
	} {
		answer := get(t, h, http.MethodGet, path)
		var p api.Problem
		if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil || answer.Code != http.StatusNotFound || p.Code != api.CodeNotFound {
			t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
		}
	}
}

// runs lets the service do everything by itself until stop.
func (w *world) runs() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

func (w *world) eventually(done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("that did not come")
		}
	}
}

// TestFirstMailsWait until the picture is published that was named for this start.
func TestFirstMailsWait(t *testing.T) {
	w, mails, _, a := connected(t)
	w.Service = w.another(func(c *notification.Config) { c.Logo = newLogo(10, 10) })
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn}))
	defer w.runs()()
	w.eventually(func() bool { return len(mails.Mails()) > 0 })
	if _, _, html := parts(t, mails.Mails()[0]); !strings.Contains(html, "<img") {
		t.Errorf("no picture:\n%s", html)
	}
}

// TestStoreIsAwayAtTheStart: mails leave without the picture, and show it once the store is back.
func TestStoreIsAwayAtTheStart(t *testing.T) {
	w, mails, _, a := connected(t)
	w.Service = w.another(func(c *notification.Config) { c.Logo = newLogo(10, 10) })
	w.store.away.Store(true)
	defer w.runs()()
	told := 0
	shown := func() bool {
		w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn}))
		told++
		w.eventually(func() bool { return len(mails.Mails()) == told })
		_, _, html := parts(t, mails.Mails()[told-1])
		return strings.Contains(html, "<img")
	}
	if shown() {
		t.Error("a picture is shown that there is not")
	}
	w.store.away.Store(false)
	w.eventually(func() bool {
		return get(t, handler(t, w), http.MethodGet, imageAt(w.Logo.Content)).Code == http.StatusOK
	})
	if !shown() {
		t.Error("the picture is not shown")
	}
}

// TestLogoFits: it is never shown larger than it is, nor larger than a mail has room for, and keeps its form.
func TestLogoFits(t *testing.T) {
	w, mails, _, a := connected(t)
	for i, c := range []struct{ width, height, shownWidth, shownHeight int }{
		{100, 50, 100, 50}, {280, 64, 280, 64}, {1000, 1000, 64, 64}, {1000, 100, 280, 28}, {1000, 1, 280, 1}, {1, 1000, 1, 64},
	} {
		w.Service = w.another(func(conf *notification.Config) { conf.Logo = newLogo(c.width, c.height) })
		if err := w.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn}))
		w.work()
		_, _, html := parts(t, mails.Mails()[i])
		if !strings.Contains(html, fmt.Sprintf(`width="%d" height="%d"`, c.shownWidth, c.shownHeight)) {
			t.Errorf("%+v:\n%s", c, html)
		}
	}
}
