package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk is a file system of a fixed size, of a test's own.
type Disk struct{ Dir string }

// NewDisk mounts one of so many bytes; the test's end unmounts it. It needs the rights to do so.
func NewDisk(t testing.TB, size int) Disk {
	t.Helper()
	dir, err := os.MkdirTemp("", "sotto-disk-")
	if err != nil {
		t.Fatal(err)
	}
	mount := asRoot("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=777", size), "tmpfs", dir)
	if out, err := mount.CombinedOutput(); err != nil {
		t.Fatalf("a disk that can be full needs the right to mount one, as root or with sudo: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := asRoot("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v\n%s", err, out)
		}
		_ = os.Remove(dir)
	})
	return Disk{dir}
}

func asRoot(args ...string) *exec.Cmd {
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

// Fill leaves no byte.
func (d Disk) Fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it holds nothing that counts
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the disk: %w", err)
	}
	return nil
}

// Empty takes away what Fill wrote.
func (d Disk) Empty() error { return os.Remove(d.filler()) }

func (d Disk) filler() string { return filepath.Join(d.Dir, "filler") }
