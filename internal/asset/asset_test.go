package asset_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
	"sotto/internal/asset/disk"
	"sotto/internal/errs"
	"sotto/internal/sqldb/sqldbtest"
)

var series = sqldbtest.Series{Name: asset.Series, Files: asset.Migrations()}

// world is a store on disk with a clock that the test moves and writes that it makes fail.
type world struct {
	t testing.TB
	*asset.Store
	asset.Backend
	root string
	logs bytes.Buffer

	mu   sync.Mutex
	now  time.Time
	fail func(operation, name string) error // before the operation; errAfter: after it
}

// errAfter makes an operation fail although it was done.
var errAfter = errors.New("the answer was lost")

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
	d, err := disk.Open(w.root)
	if err != nil {
		t.Fatal(err)
	}
	w.Backend = d
	w.Store = &asset.Store{
		DB: sqldbtest.Open(t, series), Backend: w, Now: w.clock, Rand: rand.Reader,
		Logger: slog.New(slog.NewTextHandler(&w.logs, nil)), Quota: 4 << 20,
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) failing(fail func(operation, name string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = fail
}

func (w *world) do(operation, name string, fn func() error) error {
	w.mu.Lock()
	fail := w.fail
	w.mu.Unlock()
	if fail == nil {
		return fn()
	}
	err := fail(operation, name)
	if err == nil || errors.Is(err, errAfter) {
		err = errors.Join(fn(), err)
	}
	return err
}

func (w *world) Put(ctx context.Context, name string, content []byte) error {
	return w.do("put", name, func() error { return w.Backend.Put(ctx, name, content) })
}

func (w *world) Delete(ctx context.Context, name string) error {
	return w.do("delete", name, func() error { return w.Backend.Delete(ctx, name) })
}

// objects lists the files of the backend.
func (w *world) objects() []string {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.root, "????????*", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func request(content []byte) api.BeginAsset {
	sum := sha256.Sum256(content)
	return api.BeginAsset{SHA256: sum[:], Size: int64(len(content))}
}

var ada, bob = api.AccountID{1}, api.AccountID{2}

// part is as much as fits one request.
func part(content []byte, at int64) []byte {
	return content[at:min(at+api.MaxAssetPart, int64(len(content)))]
}

func (w *world) begin(account api.AccountID, content []byte) api.Asset {
	w.t.Helper()
	a, err := w.Begin(w.t.Context(), account, request(content))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) upload(account api.AccountID, content []byte) api.Asset {
	w.t.Helper()
	a := w.begin(account, content)
	var err error
	for !a.Stored() {
		if a, err = w.Append(w.t.Context(), account, a.UploadID, a.Received, part(content, a.Received)); err != nil {
			w.t.Fatal(err)
		}
	}
	return a
}

func (w *world) wantCode(err error, code string) {
	w.t.Helper()
	if !errs.Is(err, code) {
		w.t.Errorf("%v, want %s", err, code)
	}
}

func (w *world) read(content []byte) error {
	b, err := w.Sealed(w.t.Context(), sha256.Sum256(content))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(b)
	if err == nil && !bytes.Equal(got, content) {
		err = fmt.Errorf("%d other bytes", len(got))
	}
	return errors.Join(err, b.Close())
}

func (w *world) list(account api.AccountID) api.Assets {
	w.t.Helper()
	page, err := w.List(w.t.Context(), account, "", api.MaxAssetPage)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func (w *world) tidy() {
	w.t.Helper()
	if err := w.Tidy(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// wantNothing is after everything was deleted and upkeep has run.
func (w *world) wantNothing() {
	w.t.Helper()
	if left := w.objects(); len(left) > 0 {
		w.t.Errorf("objects are left: %v", left)
	}
	for _, account := range []api.AccountID{ada, bob} {
		if page := w.list(account); page.Used != 0 || len(page.Assets) != 0 {
			w.t.Errorf("rows are left: %+v", page)
		}
	}
}

func TestStatements(t *testing.T) {
	sqldbtest.CheckStatements(t, ".", sqldbtest.Open(t, series), nil)
}

func TestTransactions(t *testing.T) {
	sqldbtest.CheckTransactions(t, ".", map[string]string{
		"name": "assetTx: the asset", "begin asset": "the account", "delete asset": "one statement that looks at the state", "mark assets": "one statement that looks at the state",
		"forget asset": "nothing is added to what is marked", "forget part": "one statement that looks at the state",
	})
}

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

// TestTooManyTries bounds what a client can make the server write for one place.
func TestTooManyTries(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	w.failing(func(string, string) error { return errAfter })
	var err error
	for range 20 {
		if _, err = w.Append(t.Context(), ada, id, 0, assettest.Content(1000)); errs.Is(err, api.CodeLimited) {
			break
		}
	}
	w.wantCode(err, api.CodeLimited)
	if n := len(w.objects()); n > 9 {
		t.Errorf("%d objects", n)
	}
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

func TestList(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.upload(ada, assettest.Content(10))
	}
	w.begin(ada, assettest.Content(20))
	var all []string
	for after := ""; ; {
		page, err := w.List(t.Context(), ada, after, 3)
		if err != nil || page.Used != 90 {
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
