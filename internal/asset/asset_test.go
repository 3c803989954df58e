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
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/disk"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
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

// change does to the rows what no operation does.
func (w *world) change(fn func(exec func(statement string, args ...any))) {
	w.t.Helper()
	err := w.DB.Tx(w.t.Context(), "change", func(tx *sqldb.Tx) error {
		fn(func(statement string, args ...any) {
			if _, err := tx.Exec(w.t.Context(), statement, args...); err != nil {
				w.t.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
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
