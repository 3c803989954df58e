package asset_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset/assettest"
)

func TestIdleUploadsGo(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(2 * api.MaxAssetPart)
	id := w.begin(ada, content).UploadID
	w.pass(23 * time.Hour)
	if _, err := w.Append(t.Context(), ada, id, 0, part(content, 0)); err != nil {
		t.Fatal(err)
	}
	w.pass(23 * time.Hour)
	w.tidy()
	if a, err := w.Upload(t.Context(), ada, id); err != nil || a.Received != api.MaxAssetPart {
		t.Fatalf("an upload with progress was dropped: %+v %v", a, err)
	}
	w.pass(2 * time.Hour)
	w.tidy()
	_, err := w.Upload(t.Context(), ada, id)
	w.wantCode(err, api.CodeNotFound)
	w.wantNothing()
	stored := assettest.Content(100)
	w.upload(ada, stored)
	w.pass(1000 * time.Hour)
	w.tidy()
	if err := w.read(stored); err != nil {
		t.Errorf("a stored asset went: %v", err)
	}
}

// TestAbandonedPart: a part that was written and never placed, because the process died, is removed, and not before a
// write could still be under way.
func TestAbandonedPart(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(api.MaxAssetPart + 10)
	id := w.begin(ada, content).UploadID
	w.failing(func(string, string) error { return errAfter })
	_, err := w.Append(t.Context(), ada, id, 0, part(content, 0))
	w.wantCode(err, api.CodeUnavailable)
	w.failing(nil)
	smaller := content[:api.MinAssetPart] // after a restart the client cuts otherwise
	if _, err := w.Append(t.Context(), ada, id, 0, smaller); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	w.tidy()
	if n := len(w.objects()); n != 2 {
		t.Errorf("%d objects within the time of a write", n)
	}
	w.pass(10 * time.Minute)
	w.tidy()
	if n := len(w.objects()); n != 1 {
		t.Errorf("%d objects, want the placed one", n)
	}
	if _, err := w.Append(t.Context(), ada, id, api.MinAssetPart, content[api.MinAssetPart:]); err != nil {
		t.Fatal(err)
	}
	if err := w.read(content); err != nil {
		t.Error(err)
	}
}

// TestDeleteWhileWriting: an asset whose part is being written is not removed under the writer.
func TestDeleteWhileWriting(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	w.failing(func(operation, _ string) error {
		if operation == "put" { // before the object is there
			w.failing(nil)
			return w.Store.Delete(t.Context(), ada, sha256.Sum256(content))
		}
		return nil
	})
	_, err := w.Append(t.Context(), ada, id, 0, content)
	w.wantCode(err, api.CodeNotFound)
	w.tidy()
	if n := len(w.objects()); n != 1 {
		t.Errorf("%d objects; the one that was just written waits", n)
	}
	w.pass(10 * time.Minute)
	w.tidy()
	w.wantNothing()
}

// TestPlannedAgain: a part that is sent again is being written again, so that it is not yet forgotten.
func TestPlannedAgain(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	for range 3 {
		w.pass(4 * time.Minute)
		w.failing(func(string, string) error { return errAfter })
		_, err := w.Append(t.Context(), ada, id, 0, content)
		w.wantCode(err, api.CodeUnavailable)
		w.failing(nil)
	}
	w.tidy()
	if n := len(w.objects()); n != 1 {
		t.Errorf("%d objects within the time of a write", n)
	}
	w.pass(6 * time.Minute)
	w.tidy()
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects after it", n)
	}
}

// TestNeverPlaced: of an upload whose parts were written and never placed nothing is left, whether it is deleted or
// forgotten, and its deletion waits for no upkeep.
func TestNeverPlaced(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	for _, end := range []func(){
		func() {
			if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(content)); err != nil {
				t.Error(err)
			}
		},
		func() { w.pass(24 * time.Hour); w.tidy() },
	} {
		id := w.begin(ada, content).UploadID
		w.failing(func(string, string) error { return errAfter })
		for range 3 {
			_, err := w.Append(t.Context(), ada, id, 0, assettest.Content(1000))
			w.wantCode(err, api.CodeUnavailable)
		}
		w.failing(nil)
		if n := len(w.objects()); n != 3 {
			t.Errorf("%d objects", n)
		}
		w.pass(6 * time.Minute)
		end()
		w.wantNothing()
	}
}
