package asset_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
	"sotto/internal/errs"
)

func TestUploadAndRead(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int{1, 100, api.MinAssetPart, api.MaxAssetPart, api.MaxAssetPart + 1, 2*api.MaxAssetPart + 12345} {
		content := assettest.Content(size)
		a := w.upload(ada, content)
		if !a.Stored() || a.Size != int64(size) {
			t.Errorf("%+v", a)
		}
		if err := w.read(content); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if again := w.begin(ada, content); again.UploadID != a.UploadID || !again.Stored() {
			t.Errorf("beginning what is stored: %+v", again)
		}
		if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(content)); err != nil {
			t.Error(err)
		}
	}
	w.wantNothing()
}

func TestSeek(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(3*api.MinAssetPart + 77)
	a := w.begin(ada, content)
	var err error
	for !a.Stored() {
		end := min(a.Received+api.MinAssetPart, a.Size)
		if a, err = w.Append(t.Context(), ada, a.UploadID, a.Received, content[a.Received:end]); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.Sealed(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1, api.MinAssetPart - 1, api.MinAssetPart, api.MinAssetPart + 1, 3 * api.MinAssetPart, b.Size - 1, b.Size} {
		if _, err := b.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, min(b.Size-at, 2*api.MinAssetPart))
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, content[at:at+int64(len(got))]) {
			t.Errorf("from %d: %v", at, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the start")
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.upload(ada, assettest.Content(10))
	}
	w.begin(ada, assettest.Content(20))
	w.upload(bob, assettest.Content(10))
	gone := assettest.Content(5)
	w.upload(ada, gone)
	w.failing(func(string, string) error { return errors.New("the disk is away") })
	if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(gone)); err != nil {
		t.Fatal(err)
	}
	var all []string
	for after := ""; ; {
		page, err := w.List(t.Context(), ada, after, 3)
		if err != nil || page.Used != 95 { // what is not removed yet counts and is not shown
			t.Fatal(page, err)
		}
		for _, a := range page.Assets {
			all = append(all, string(a.SHA256))
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(all) != 8 || !slices.IsSorted(all) {
		t.Errorf("%d assets", len(all))
	}
	_, err := w.List(t.Context(), ada, "zz", 3)
	w.wantCode(err, api.CodeInvalid)
	_, err = w.List(t.Context(), ada, "", api.MaxAssetPage+1)
	w.wantCode(err, api.CodeInvalid)
}

// TestDamage: an object that is gone or short is an error and never a short asset.
func TestDamage(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	w.upload(ada, content)
	path := w.objects()[0]
	if err := os.Truncate(path, 500); err != nil {
		t.Fatal(err)
	}
	if err := w.read(content); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short object: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.wantCode(w.read(content), api.CodeUnavailable)
	if strings.Contains(errs.As(w.read(content)).Public, w.root) {
		t.Error("the path is shown")
	}
}

// TestLostParts: rows that do not make a whole are never read as one.
func TestLostParts(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		lost int64 // the part that starts there
		want func(error) bool
	}{
		"first":  {0, isGap},
		"middle": {api.MaxAssetPart, isGap},
		"last":   {2 * api.MaxAssetPart, func(err error) bool { return errs.Is(err, api.CodeNotFound) }},
	} {
		content := assettest.Content(2*api.MaxAssetPart + 10)
		id := w.upload(ada, content).UploadID
		w.change(func(exec func(string, ...any)) {
			exec(`DELETE FROM asset_part WHERE asset = $1 AND start = $2`, id[:], c.lost)
		})
		if b, err := w.Sealed(t.Context(), sha256.Sum256(content)); b != nil || !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(content)); err != nil { // makes room
			t.Fatal(err)
		}
	}
}

func isGap(err error) bool { return err != nil && strings.Contains(err.Error(), "have a gap at") }

// TestParseName: a name has one form.
func TestParseName(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	name := hex.EncodeToString(sum[:])
	if got, err := asset.ParseName(name); err != nil || got != sum {
		t.Errorf("%x %v", got, err)
	}
	for _, bad := range []string{"", strings.ToUpper(name), name[:62], name + "00", " " + name, name[:63] + "g"} {
		if _, err := asset.ParseName(bad); !errs.Is(err, api.CodeNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
