package disk_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sotto/internal/asset/assettest"
	"sotto/internal/asset/disk"
)

func TestBackend(t *testing.T) {
	d, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	assettest.Run(t, d)
}

func TestFilesArePrivateAndNothingIsLeft(t *testing.T) {
	root := filepath.Join(t.TempDir(), "assets")
	d, err := disk.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	name := assettest.Name()
	if err := d.Put(t.Context(), name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	count := func() (files int) {
		if err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			if path != root && e.Name() != "aside" {
				files++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return files
	}
	if n := count(); n != 2 { // the object and its folder
		t.Errorf("%d files", n)
	}
	if err := d.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestCrashLeavesNothing: half-written files of a process that died go at a later start, those of one that runs stay.
func TestCrashLeavesNothing(t *testing.T) {
	root := t.TempDir()
	if _, err := disk.Open(root); err != nil {
		t.Fatal(err)
	}
	old, fresh := filepath.Join(root, "aside", "old"), filepath.Join(root, "aside", "fresh")
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the old one is left")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error(err)
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(path); err == nil {
		t.Error("a file was taken for a folder")
	}
	root := t.TempDir()
	d, err := disk.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "aside")); err != nil {
		t.Fatal(err)
	}
	if d.Check(t.Context()) == nil || d.Put(t.Context(), assettest.Name(), []byte("x")) == nil {
		t.Error("without its folder it works")
	}
}
