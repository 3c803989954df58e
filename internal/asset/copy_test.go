package asset_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"testing"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/sqldb"
)

func (w *world) named() (all []asset.Object) {
	w.t.Helper()
	err := asset.EachObject(w.t.Context(), w.DB, func(o asset.Object) error {
		all = append(all, o)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestEachObject: all objects that have to be there, those of begun uploads with them, and none of what is removed.
func TestEachObject(t *testing.T) {
	w := newWorld(t)
	whole, begun, removed := bytes.Repeat([]byte{1}, api.MaxAssetPart+1), make([]byte, 2*api.MaxAssetPart), []byte("removed")
	w.upload(ada, whole)
	a := w.begin(bob, begun)
	if _, err := w.Append(t.Context(), bob, a.UploadID, 0, part(begun, 0)); err != nil {
		t.Fatal(err)
	}
	w.upload(bob, removed)
	before := w.named()
	if len(before) != 4 {
		t.Fatalf("%d objects", len(before))
	}
	w.failing(func(operation, _ string) error { // so that the rows stay
		if operation == "delete" {
			return errors.New("away")
		}
		return nil
	})
	if err := w.Store.Delete(t.Context(), bob, sha256.Sum256(removed)); err != nil {
		t.Fatal(err)
	}
	if now := w.named(); len(now) != 3 {
		t.Errorf("%d objects after a removal", len(now))
	}
	bytesRead := 0
	for _, o := range before {
		content, err := o.Read(t.Context(), w.Backend)
		if err != nil {
			t.Error(err)
		}
		bytesRead += len(content)
		if named, err := o.Named(t.Context(), w.DB); err != nil || named != (string(content) != string(removed)) {
			t.Errorf("%d bytes are named: %t, %v", len(content), named, err)
		}
	}
	if want := len(whole) + api.MaxAssetPart + len(removed); bytesRead != want {
		t.Errorf("%d bytes, want %d", bytesRead, want)
	}
}

// TestObjectThatIsNotWhole: what is read is held against the name, and a lost asset makes room for another upload of it.
func TestObjectThatIsNotWhole(t *testing.T) {
	w := newWorld(t)
	content := []byte("content")
	w.upload(ada, content)
	o, path := w.named()[0], w.objects()[0]
	for _, damaged := range []string{"Content", "conten", ""} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := o.Read(t.Context(), w.Backend); err == nil {
			t.Errorf("%q was taken for %q", got, content)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Read(t.Context(), w.Backend); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := asset.Lose(t.Context(), w.DB, o.Asset(), w.clock()); err != nil {
		t.Fatal(err)
	}
	w.wantCode(w.read(content), api.CodeNotFound)
	w.upload(ada, content)
	if err := w.read(content); err != nil {
		t.Error(err)
	}
	w.tidy()
	if err := w.read(content); err != nil {
		t.Errorf("after upkeep: %v", err)
	}
}

// TestManyObjects are read page by page, each once.
func TestManyObjects(t *testing.T) {
	w := newWorld(t)
	content := []byte("content")
	w.upload(ada, content)
	const more = 2_500
	err := w.DB.Tx(t.Context(), "many", func(tx *sqldb.Tx) error {
		for i := range more {
			id := api.UploadID{0xff, byte(i >> 8), byte(i)}
			sum := sha256.Sum256(id[:])
			if _, err := tx.Exec(t.Context(), `INSERT INTO asset (id, account, sha256, size, type, state, received, hash, changed_at)
				VALUES ($1, $2, $3, 1, '', 'stored', 1, $3, 1)`, id[:], ada[:], sum[:]); err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), `INSERT INTO asset_part (asset, start, sha256, size, state, planned_at)
				VALUES ($1, 0, $2, 1, 'placed', 1)`, id[:], sum[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, o := range w.named() {
		seen[o.Name()] = true
	}
	if len(seen) != more+1 || len(w.named()) != more+1 {
		t.Errorf("%d objects, %d of them different", len(w.named()), len(seen))
	}
}
