// Package assettest says what a backend of package asset has to do, whatever it keeps the objects in.
package assettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset"
)

// Name is a new name of an object.
func Name() string {
	var b [52]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:16]) + "/" + hex.EncodeToString(b[16:])
}

// Content is random.
func Content(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

// Run holds a backend to the contract of asset.Backend.
func Run(t *testing.T, b asset.Backend) {
	t.Run("Check", func(t *testing.T) { must(t, b.Check(t.Context())) })
	t.Run("Sizes", func(t *testing.T) {
		for _, size := range []int{1, 2, 1000, api.MinAssetPart, api.MaxAssetPart} {
			name, content := Name(), Content(size)
			must(t, b.Put(t.Context(), name, content))
			wantRange(t, b, name, content, 0, int64(size))
		}
	})
	t.Run("Ranges", func(t *testing.T) {
		name, content := Name(), Content(10_000)
		must(t, b.Put(t.Context(), name, content))
		for _, r := range [][2]int64{{0, 1}, {9_999, 1}, {1, 9_999}, {5_000, 10}, {0, 10_000}} {
			wantRange(t, b, name, content, r[0], r[1])
		}
	})
	t.Run("Repeat", func(t *testing.T) {
		name, content := Name(), Content(5_000)
		for range 3 {
			must(t, b.Put(t.Context(), name, content))
		}
		wantRange(t, b, name, content, 0, 5_000)
		for range 3 {
			must(t, b.Delete(t.Context(), name))
			wantMissing(t, b, name)
		}
		must(t, b.Put(t.Context(), name, content))
		wantRange(t, b, name, content, 0, 5_000)
	})
	t.Run("Siblings", func(t *testing.T) {
		one, other := Name(), Name()
		other = one[:33] + other[33:] // of the same asset
		must(t, b.Put(t.Context(), one, Content(100)))
		content := Content(100)
		must(t, b.Put(t.Context(), other, content))
		must(t, b.Delete(t.Context(), one))
		wantMissing(t, b, one)
		wantRange(t, b, other, content, 0, 100)
	})
	t.Run("Names", func(t *testing.T) { names(t, b) })
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, b) })
	t.Run("Canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		name := Name()
		// A backend may finish what it does at once; then the object is whole.
		if err := b.Put(ctx, name, Content(1_000)); err != nil {
			wantMissing(t, b, name)
		}
	})
}

func names(t *testing.T, b asset.Backend) {
	good := Name()
	for _, name := range []string{
		"", "/", ".", "..", "../" + good, good + "/..", "/" + good, good[:32], good + "0", "A" + good[1:], good[:104] + "?",
		good[:104] + "%", "..%2f" + good[5:], good[:33] + "../" + good[36:], good + "\n",
	} {
		if b.Put(t.Context(), name, []byte("x")) == nil || b.Delete(t.Context(), name) == nil {
			t.Errorf("the name %q was taken", name)
		}
		if r, err := b.Open(t.Context(), name, 0, 1); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the name %q was looked for: %v", name, err)
			if r != nil {
				_ = r.Close()
			}
		}
	}
}

// concurrent writes the same object from many sides while its siblings come and go.
func concurrent(t *testing.T, b asset.Backend) {
	name, content := Name(), Content(20_000)
	var wg sync.WaitGroup
	failed := make(chan error, 100)
	for range 8 {
		wg.Go(func() {
			if err := b.Put(t.Context(), name, content); err != nil {
				failed <- err
			}
		})
		wg.Go(func() {
			sibling := name[:33] + Name()[33:]
			for range 5 {
				if err := errors.Join(b.Put(t.Context(), sibling, content[:10]), b.Delete(t.Context(), sibling)); err != nil {
					failed <- err
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	wantRange(t, b, name, content, 0, 20_000)
}

func wantRange(t *testing.T, b asset.Backend, name string, content []byte, offset, length int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := read(ctx, b, name, offset, length)
	if err != nil {
		t.Errorf("%d bytes from %d: %v", length, offset, err)
	} else if !bytes.Equal(got, content[offset:offset+length]) {
		t.Errorf("%d bytes from %d: other bytes came back, %d of them", length, offset, len(got))
	}
}

func wantMissing(t *testing.T, b asset.Backend, name string) {
	t.Helper()
	if got, err := read(t.Context(), b, name, 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there was read: %x, %v", got, err)
	}
}

func read(ctx context.Context, b asset.Backend, name string, offset, length int64) ([]byte, error) {
	r, err := b.Open(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	if err != nil {
		err = fmt.Errorf("reading: %w", err)
	}
	return got, errors.Join(err, r.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
