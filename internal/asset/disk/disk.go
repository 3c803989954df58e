// Package disk keeps the objects of assets as files, a folder for each asset.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sotto/internal/asset"
)

const (
	dirMode    = 0o700
	aside      = "aside"   // folder of files that are being written
	staleAfter = time.Hour // after which a file there is what a crash left
	makeTries  = 5         // of a folder that another request removes when it has become empty
)

// Disk is an asset.Backend. Several processes may share the folder.
type Disk struct{ root string }

// Open makes the folder and removes what a crash left half written.
func Open(root string) (*Disk, error) {
	if err := os.MkdirAll(filepath.Join(root, aside), dirMode); err != nil {
		return nil, fmt.Errorf("making the folder of assets: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(root, aside))
	if err != nil {
		return nil, fmt.Errorf("reading the folder of assets: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < staleAfter {
			continue // another process writes or has renamed it
		}
		if err := os.Remove(filepath.Join(root, aside, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("tidying the folder of assets: %w", err)
		}
	}
	return &Disk{root: root}, nil
}

// Existing is for reading a folder that is there or not; nothing is made.
func Existing(root string) *Disk { return &Disk{root: root} }

func (d *Disk) path(name string) (string, error) {
	if err := asset.CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

// Put writes aside, syncs the file, renames it and syncs the folders, so that after a power cut there is the whole object
// or none, and certainly the object once Put has returned.
func (d *Disk) Put(_ context.Context, name string, content []byte) (err error) {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(d.root, aside), "*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing an object: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it may be renamed already
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing an object: %w", err)
	}
	if err := d.rename(f.Name(), path); err != nil {
		return fmt.Errorf("naming an object: %w", err)
	}
	return errors.Join(syncDir(filepath.Dir(path)), syncDir(d.root))
}

// rename makes the folder, too. Delete may remove it in between, because it is still empty.
func (d *Disk) rename(from, to string) (err error) {
	for range makeTries {
		if err = os.Mkdir(filepath.Dir(to), dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err = os.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// Open reads a range of an object.
func (d *Disk) Open(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening an object: %w", err)
	}
	return section{io.NewSectionReader(f, offset, length), f}, nil
}

type section struct {
	io.Reader
	io.Closer
}

// Delete removes an object, and the folder with the last one.
func (d *Disk) Delete(_ context.Context, name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting an object: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails while other objects are in it
	return nil
}

// Check tells whether files can be made in the folder.
func (d *Disk) Check(context.Context) error {
	f, err := os.CreateTemp(filepath.Join(d.root, aside), "check-*")
	if err != nil {
		return fmt.Errorf("the folder of assets: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// syncDir makes the names in a folder outlast a power cut. A folder that is gone holds none.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return nil
}
