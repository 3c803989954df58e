package asset_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"sync"
	"testing"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
)

func TestPublish(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(api.MaxAssetPart + 100)
	var wg sync.WaitGroup
	for range 4 { // replicas that start at once
		wg.Go(func() {
			if sum, err := w.Publish(t.Context(), "image/png", content); err != nil || sum != sha256.Sum256(content) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.wantCode(w.read(content), api.CodeNotFound) // it is none of the sealed
	b, err := w.Public(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, content) || b.Type != "image/png" {
		t.Errorf("%s %v", b.Type, err)
	}
	sealed := assettest.Content(10)
	w.upload(ada, sealed)
	_, err = w.Public(t.Context(), sha256.Sum256(sealed))
	w.wantCode(err, api.CodeNotFound)
	for _, typ := range []string{"", "text/html", "image/svg+xml"} {
		if _, err := w.Publish(t.Context(), typ, content); err == nil {
			t.Errorf("%q was published", typ)
		}
	}
}

// TestPublishedSizes: what is too small or too large for a public asset is refused before anything is stored.
func TestPublishedSizes(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int{0, api.MaxAssetSize + 1} {
		_, err := w.Publish(t.Context(), "image/png", make([]byte, size))
		if err == nil || !strings.Contains(err.Error(), "has 1 to 16777216 bytes") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if page := w.list(api.AccountID{}); len(page.Assets) > 0 {
		t.Errorf("%+v", page)
	}
	if _, err := w.Publish(t.Context(), "image/png", []byte{1}); err != nil {
		t.Error(err)
	}
	w.Store.Backend = nowhere{w.Backend}
	if _, err := w.Publish(t.Context(), "image/png", make([]byte, api.MaxAssetSize)); err != nil {
		t.Error(err)
	}
}

// nowhere is a backend that forgets what it is given.
type nowhere struct{ asset.Backend }

func (nowhere) Put(context.Context, string, []byte) error { return nil }

// TestPublishAfterAnotherCut: a process of another release cuts otherwise, and is faster. This one goes on where that is.
func TestPublishAfterAnotherCut(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(api.MaxAssetPart + 100)
	w.failing(func(string, string) error { // the first object is being written
		w.failing(nil)
		_, err := w.Append(t.Context(), api.AccountID{}, w.list(api.AccountID{}).Assets[0].UploadID, 0, content[:api.MinAssetPart])
		return err
	})
	sum, err := w.Publish(t.Context(), "image/png", content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Public(t.Context(), sum)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
