package main_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/api"
	"sotto/test/contract/rest"
)

const assetsPath = "/api/chat/assets"

// file is what somebody uploads.
type file struct {
	content []byte
	path    string
	begin   api.BeginAsset
}

func newFile(size int) file {
	f := file{content: make([]byte, size)}
	_, _ = rand.Read(f.content) // never fails
	sum := sha256.Sum256(f.content)
	f.path = assetsPath + "/" + hex.EncodeToString(sum[:])
	f.begin = api.BeginAsset{SHA256: sum[:], Size: int64(size)}
	return f
}

// upload goes on with f until upTo bytes are there, and returns where it began.
func (f file) upload(t *testing.T, s *rest.Server, d *rest.Device, upTo int) (from int) {
	t.Helper()
	var a api.Asset
	s.Call(t, http.MethodPost, assetsPath, d.Login.Token, f.begin, &a)
	from = int(a.Received)
	for at := from; at < upTo; at += api.MaxAssetPart {
		answer := s.Do(t, rest.Request{
			Method: http.MethodPatch, Path: fmt.Sprintf("%s/uploads/%s?offset=%d", assetsPath, a.UploadID, at), Token: d.Login.Token,
			Body: f.content[at:min(at+api.MaxAssetPart, upTo)], Header: http.Header{"Content-Type": {"application/octet-stream"}},
		})
		if answer.Status != http.StatusOK {
			t.Fatalf("a part: %d %s", answer.Status, answer.Body)
		}
	}
	return from
}

func (f file) read(t *testing.T, s *rest.Server, d *rest.Device) (status int, same bool) {
	t.Helper()
	a := s.Do(t, rest.Request{Method: http.MethodGet, Path: f.path, Token: d.Login.Token})
	return a.Status, bytes.Equal(a.Body, f.content)
}

func renew(t *testing.T, s *rest.Server, d *rest.Device) {
	t.Helper()
	s.Call(t, http.MethodPost, "/api/user/login/renew", "", api.RenewRequest{LoginID: d.Login.LoginID, Renewal: d.Renewal[:]}, &d.Login)
}

// objectsIn are the files of a folder of assets, the largest name last.
func objectsIn(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "assets"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestBackupHoldsAssets: what was uploaded is in the backup and comes back, an upload that was under way goes on, what was
// removed is not copied, and verify reads every file.
func TestBackupHoldsAssets(t *testing.T) {
	dir := t.TempDir()
	data, backup, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	s := serve(t, data)
	alice := s.Register(t, "alice").Devices[0]
	whole, begun, removed := newFile(2*api.MaxAssetPart+5), newFile(2*api.MaxAssetPart), newFile(10)
	whole.upload(t, s, alice, len(whole.content))
	begun.upload(t, s, alice, api.MaxAssetPart)
	removed.upload(t, s, alice, len(removed.content))
	s.Call(t, http.MethodDelete, removed.path, alice.Login.Token, nil, nil)
	out := succeed(t, "backup", "--data-dir", data, backup)
	if want := "assets: 4 files, 3072 KiB\n"; !strings.Contains(out, want) {
		t.Errorf("want %q in %s", want, out)
	}
	if n := len(objectsIn(t, backup)); n != 4 {
		t.Errorf("%d files in the backup", n)
	}
	out = succeed(t, "restore", "--data-dir", restored, backup)
	if !strings.Contains(out, "assets: 4 files") || strings.Contains(out, "not whole") || strings.Contains(out, "not in this backup") {
		t.Error(out)
	}
	if out := succeed(t, "verify", "--data-dir", restored); !strings.Contains(out, "assets: 4 files") {
		t.Error(out)
	}
	again := serve(t, restored)
	renew(t, again, alice)
	if status, same := whole.read(t, again, alice); status != http.StatusOK || !same {
		t.Errorf("read back: %d, the same: %t", status, same)
	}
	if from := begun.upload(t, again, alice, len(begun.content)); from != api.MaxAssetPart {
		t.Errorf("the upload goes on at %d", from)
	}
	if status, same := begun.read(t, again, alice); status != http.StatusOK || !same {
		t.Errorf("what was begun before: %d, the same: %t", status, same)
	}
	if status, _ := removed.read(t, again, alice); status != http.StatusNotFound {
		t.Errorf("what was removed: %d", status)
	}
}

// TestAssetsThatAreNotWhole: a file that is missing or damaged is named by verify and backup, which copies all else; what a
// backup does not hold is gone on the restored server, where it can be uploaded once more.
func TestAssetsThatAreNotWhole(t *testing.T) {
	dir := t.TempDir()
	data, backup, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	s := serve(t, data)
	alice := s.Register(t, "alice").Devices[0]
	lost, damaged, kept := newFile(10), newFile(2*api.MaxAssetPart), newFile(30)
	lost.upload(t, s, alice, len(lost.content))
	gone := objectsIn(t, data)[0]
	damaged.upload(t, s, alice, len(damaged.content))
	kept.upload(t, s, alice, len(kept.content))
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	fail(t, "the file "+name(t, data, gone)+" is missing", "verify", "--data-dir", data)
	fail(t, "1 files of assets are damaged or missing on the server", "backup", "--data-dir", data, backup)

	for _, path := range objectsIn(t, backup) { // both parts of one asset
		if info, err := os.Stat(path); err != nil || info.Size() != api.MaxAssetPart {
			continue
		}
		write(t, path, make([]byte, api.MaxAssetPart))
	}
	out := succeed(t, "restore", "--data-dir", restored, backup)
	if !strings.Contains(out, "2 assets are not whole in the backup and are gone.") || !strings.Contains(out, "assets: 1 files") {
		t.Error(out)
	}
	succeed(t, "verify", "--data-dir", restored)
	again := serve(t, restored)
	renew(t, again, alice)
	for _, f := range []file{lost, damaged} {
		if status, _ := f.read(t, again, alice); status != http.StatusNotFound {
			t.Errorf("what is not whole is answered with %d", status)
		}
		if from := f.upload(t, again, alice, len(f.content)); from != 0 {
			t.Errorf("its upload goes on at %d", from)
		}
		if status, same := f.read(t, again, alice); status != http.StatusOK || !same {
			t.Errorf("uploaded once more: %d, the same: %t", status, same)
		}
	}
	if status, same := kept.read(t, again, alice); status != http.StatusOK || !same {
		t.Errorf("the whole one: %d, the same: %t", status, same)
	}
	if err := os.RemoveAll(filepath.Join(data, "assets", "chat")); err != nil {
		t.Fatal(err)
	}
	fail(t, "4 files of assets are missing with their folder", "verify", "--data-dir", data)
}

func name(t *testing.T, dir, path string) string {
	t.Helper()
	rel, err := filepath.Rel(filepath.Join(dir, "assets", "chat"), path)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(rel)
}

// TestBackupWithoutAssets: where they are kept elsewhere, backup and restore say from where they have to come; a backup of
// an earlier version restores, and is said to hold none.
func TestBackupWithoutAssets(t *testing.T) {
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	s := serve(t, data)
	alice := s.Register(t, "alice").Devices[0]
	f := newFile(10)
	f.upload(t, s, alice, len(f.content))
	store := "s3://bucket?region=eu&endpoint=http://127.0.0.1:1"
	elsewhere := []string{"--asset-store", store, "--asset-key", "the-key", "--asset-secret", "the-secret"}
	out := succeed(t, append([]string{"backup", "--data-dir", data, backup}, elsewhere...)...)
	if !strings.Contains(out, "Assets are not in it: they are in "+store) || strings.Contains(out, "the-secret") {
		t.Error(out)
	}
	if out := succeed(t, append([]string{"verify", "--data-dir", data}, elsewhere...)...); !strings.Contains(out, "not looked at") {
		t.Error(out)
	}
	out = succeed(t, append([]string{"restore", "--data-dir", filepath.Join(dir, "there"), backup}, elsewhere...)...)
	if !strings.Contains(out, "they have to be in "+store) {
		t.Error(out)
	}
	restored := filepath.Join(dir, "here")
	out = succeed(t, "restore", "--data-dir", restored, backup)
	if !strings.Contains(out, "copy the folder assets of the old data directory to "+filepath.Join(restored, "assets")) {
		t.Error(out)
	}
	if err := os.CopyFS(filepath.Join(restored, "assets"), os.DirFS(filepath.Join(data, "assets"))); err != nil {
		t.Fatal(err)
	}
	again := serve(t, restored)
	renew(t, again, alice)
	if status, same := f.read(t, again, alice); status != http.StatusOK || !same {
		t.Errorf("after it was copied: %d, the same: %t", status, same)
	}
}
