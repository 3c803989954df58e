package asset_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset/assettest"
	"sotto/internal/errs"
)

func TestOffsets(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(2*api.MaxAssetPart + 500)
	id := w.begin(ada, content).UploadID
	first, second := part(content, 0), part(content, api.MaxAssetPart)
	for range 3 { // the answer to the first may be lost
		a, err := w.Append(t.Context(), ada, id, 0, first)
		if err != nil || a.Received != api.MaxAssetPart {
			t.Fatal(a, err)
		}
	}
	for name, try := range map[string]struct {
		offset  int64
		content []byte
		code    string
	}{
		"others for the same place": {0, second, api.CodeConflict},
		"a gap":                     {api.MaxAssetPart + 1, first, api.CodeConflict},
		"within":                    {100, first, api.CodeConflict},
		"far beyond":                {1 << 40, first, api.CodeConflict},
		"negative":                  {-1, first, api.CodeConflict},
		"nothing":                   {api.MaxAssetPart, nil, api.CodeInvalid},
		"too small":                 {api.MaxAssetPart, second[:api.MinAssetPart-1], api.CodeInvalid},
		"too large":                 {api.MaxAssetPart, append(slices.Clone(second), 1), api.CodeInvalid},
	} {
		_, err := w.Append(t.Context(), ada, id, try.offset, try.content)
		if !errs.Is(err, try.code) {
			t.Errorf("%s: %v", name, err)
		}
		if e := errs.As(err); try.code == api.CodeConflict {
			if details, ok := e.Details.(api.Asset); !ok || details.Received != api.MaxAssetPart {
				t.Errorf("%s: the right offset is not told: %+v", name, e.Details)
			}
		}
	}
	if _, err := w.Append(t.Context(), ada, id, api.MaxAssetPart, second); err != nil {
		t.Fatal(err)
	}
	_, err := w.Append(t.Context(), ada, id, 2*api.MaxAssetPart, append(part(content, 2*api.MaxAssetPart), 1))
	w.wantCode(err, api.CodeInvalid)
	if err := w.read(content); !errs.Is(err, api.CodeNotFound) {
		t.Errorf("what is not whole was read: %v", err)
	}
	last := part(content, 2*api.MaxAssetPart)
	for range 2 {
		if a, err := w.Append(t.Context(), ada, id, 2*api.MaxAssetPart, last); err != nil || !a.Stored() {
			t.Fatal(a, err)
		}
	}
	if err := w.read(content); err != nil {
		t.Error(err)
	}
}

func TestOtherAccounts(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	a := w.begin(ada, content)
	_, err := w.Upload(t.Context(), bob, a.UploadID)
	w.wantCode(err, api.CodeNotFound)
	_, err = w.Append(t.Context(), bob, a.UploadID, 0, content)
	w.wantCode(err, api.CodeNotFound)
	w.upload(ada, content)
	if other := w.begin(bob, content); other.Stored() || other.UploadID == a.UploadID {
		t.Errorf("bob learns that somebody has it: %+v", other)
	}
	w.upload(bob, content)
	for _, account := range []api.AccountID{ada, bob} { // each has a copy
		if err := w.read(content); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := w.Store.Delete(t.Context(), account, sha256.Sum256(content)); err != nil {
				t.Error(err)
			}
		}
	}
	w.wantCode(w.read(content), api.CodeNotFound)
	w.wantNothing()
}

func TestWrongHash(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	other := slices.Clone(content)
	other[500] ^= 1
	_, err := w.Append(t.Context(), ada, id, 0, other)
	w.wantCode(err, api.CodeAssetHash)
	_, err = w.Upload(t.Context(), ada, id)
	w.wantCode(err, api.CodeNotFound)
	w.wantNothing()
	w.upload(ada, content) // begins anew
	if err := w.read(content); err != nil {
		t.Error(err)
	}
}

// TestFailedWrites makes every write fail before and after it was done. The client repeats, and nothing is left behind.
func TestFailedWrites(t *testing.T) {
	for name, cause := range map[string]error{"not written": errors.New("no space"), "written": errAfter} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			content := assettest.Content(api.MaxAssetPart + 10)
			a := w.begin(ada, content)
			for !a.Stored() {
				next := part(content, a.Received)
				w.failing(func(string, string) error { return cause })
				_, err := w.Append(t.Context(), ada, a.UploadID, a.Received, next)
				w.wantCode(err, api.CodeUnavailable)
				if now, err := w.Upload(t.Context(), ada, a.UploadID); err != nil || now.Received != a.Received {
					t.Fatalf("the upload moved: %+v %v", now, err)
				}
				w.failing(nil)
				if a, err = w.Append(t.Context(), ada, a.UploadID, a.Received, next); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.read(content); err != nil {
				t.Error(err)
			}
			if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(content)); err != nil {
				t.Error(err)
			}
			w.wantNothing()
		})
	}
}

// TestTooManyTries bounds what a client can make the server write for one place.
func TestTooManyTries(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	w.failing(func(string, string) error { return errAfter })
	_, err := w.Append(t.Context(), ada, id, 0, content)
	w.wantCode(err, api.CodeUnavailable)
	for range 20 {
		if _, err = w.Append(t.Context(), ada, id, 0, assettest.Content(1000)); errs.Is(err, api.CodeLimited) {
			break
		}
	}
	w.wantCode(err, api.CodeLimited)
	if n := len(w.objects()); n > 9 {
		t.Errorf("%d objects", n)
	}
	_, err = w.Append(t.Context(), ada, id, 0, content)
	w.wantCode(err, api.CodeUnavailable) // it is one of them, and no further one
	w.failing(nil)
	w.pass(10 * time.Minute)
	w.tidy()
	w.upload(ada, content)
}

// TestRace lets many requests bring the same upload at once.
func TestRace(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(5*api.MinAssetPart + 5)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			a, err := w.Begin(t.Context(), ada, request(content))
			for err == nil && !a.Stored() {
				end := min(a.Received+api.MinAssetPart, a.Size)
				if a, err = w.Append(t.Context(), ada, a.UploadID, a.Received, content[a.Received:end]); errs.Is(err, api.CodeConflict) {
					a, err = w.Upload(t.Context(), ada, a.UploadID)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := w.read(content); err != nil {
		t.Error(err)
	}
	if n := len(w.objects()); n != 6 {
		t.Errorf("%d objects", n)
	}
}

// TestEqualParts: two parts with the same content are two objects, so that neither goes with the other.
func TestEqualParts(t *testing.T) {
	w := newWorld(t)
	block := assettest.Content(api.MinAssetPart)
	content := slices.Concat(block, block)
	a := w.begin(ada, content)
	var err error
	for !a.Stored() {
		if a, err = w.Append(t.Context(), ada, a.UploadID, a.Received, block); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.objects()); n != 2 {
		t.Errorf("%d objects", n)
	}
	if err := w.read(content); err != nil {
		t.Error(err)
	}
}
