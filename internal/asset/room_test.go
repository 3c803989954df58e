package asset_test

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"

	"sotto/api"
	"sotto/internal/asset/assettest"
	"sotto/internal/errs"
)

func TestRefusedBeginnings(t *testing.T) {
	w := newWorld(t)
	sum := sha256.Sum256(nil)
	for name, c := range map[string]struct {
		req  api.BeginAsset
		code string
	}{
		"no hash":    {api.BeginAsset{Size: 1}, api.CodeInvalid},
		"short hash": {api.BeginAsset{SHA256: sum[:31], Size: 1}, api.CodeInvalid},
		"empty":      {api.BeginAsset{SHA256: sum[:]}, api.CodeInvalid},
		"negative":   {api.BeginAsset{SHA256: sum[:], Size: -5}, api.CodeInvalid},
		"too large":  {api.BeginAsset{SHA256: sum[:], Size: api.MaxAssetSize + 1}, api.CodeTooLarge},
		"over quota": {api.BeginAsset{SHA256: sum[:], Size: 4<<20 + 1}, api.CodeQuota},
	} {
		if _, err := w.Begin(t.Context(), ada, c.req); !errs.Is(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	content := assettest.Content(10)
	w.begin(ada, content)
	req := request(content)
	req.Size++
	_, err := w.Begin(t.Context(), ada, req)
	w.wantCode(err, api.CodeInvalid)
}

// TestQuota: what is begun is reserved, so that uploads at once cannot exceed it, and what is deleted is free again.
func TestQuota(t *testing.T) {
	w := newWorld(t)
	const size = 1_400_000 // two fit
	contents := make([][]byte, 8)
	for i := range contents {
		contents[i] = assettest.Content(size)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	begun := [][]byte{}
	for _, content := range contents {
		wg.Go(func() {
			_, err := w.Begin(t.Context(), ada, request(content))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				begun = append(begun, content)
			case !errs.Is(err, api.CodeQuota):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(begun) != 2 {
		t.Fatalf("%d uploads were begun", len(begun))
	}
	if page := w.list(ada); page.Used != 2*size || page.Quota != 4<<20 || len(page.Assets) != 2 {
		t.Errorf("%+v", page)
	}
	w.begin(bob, contents[0])
	w.upload(ada, begun[0])
	if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(begun[0])); err != nil {
		t.Fatal(err)
	}
	w.upload(ada, begun[0])
	w.failing(func(operation, _ string) error {
		if operation == "delete" {
			return errors.New("the disk is away")
		}
		return nil
	})
	if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(begun[0])); err != nil {
		t.Fatal(err)
	}
	w.wantCode(w.read(begun[0]), api.CodeNotFound)
	_, err := w.Begin(t.Context(), ada, request(assettest.Content(size)))
	w.wantCode(err, api.CodeQuota) // the bytes are there still
	if w.Tidy(t.Context()) == nil {
		t.Error("upkeep says nothing of what it could not remove")
	}
	w.failing(nil)
	w.tidy()
	w.begin(ada, begun[0])
}

func TestUploadsAtOnce(t *testing.T) {
	w := newWorld(t)
	for range api.MaxUploads {
		w.begin(ada, assettest.Content(10))
	}
	content := assettest.Content(10)
	_, err := w.Begin(t.Context(), ada, request(content))
	w.wantCode(err, api.CodeLimited)
	sum := [32]byte(w.list(ada).Assets[0].SHA256)
	if err := w.Store.Delete(t.Context(), ada, sum); err != nil {
		t.Fatal(err)
	}
	w.begin(ada, content)
}

// TestNumberOfAssets: an account has at most api.MaxAssets, however little they take.
func TestNumberOfAssets(t *testing.T) {
	w := newWorld(t)
	w.upload(ada, assettest.Content(10))
	w.change(func(exec func(string, ...any)) {
		for i := range api.MaxAssets - 2 {
			id := api.UploadID{1, byte(i >> 8), byte(i)}
			sum := sha256.Sum256(id[:])
			exec(`INSERT INTO asset (id, account, sha256, size, type, state, received, hash, changed_at)
				VALUES ($1, $2, $3, 1, '', 'stored', 1, $4, 1)`, id[:], ada[:], sum[:], sum[:])
		}
	})
	last := assettest.Content(10)
	w.upload(ada, last)
	another := request(assettest.Content(10))
	_, err := w.Begin(t.Context(), ada, another)
	w.wantCode(err, api.CodeQuota)
	if details, ok := errs.As(err).Details.(api.QuotaDetails); !ok || details.Assets != api.MaxAssets || details.MaxAssets != api.MaxAssets {
		t.Errorf("%+v", errs.As(err).Details)
	}
	w.begin(bob, last)
	if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(last)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Begin(t.Context(), ada, another); err != nil {
		t.Error(err)
	}
}
