package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openTemp(t *testing.T, path string) *dataDir {
	t.Helper()
	d, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func random() *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), 64)) }

func TestDataDirIsPrivateAndHeldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := openTemp(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info.Mode(), err)
	}
	if _, err := openDataDir(path); err == nil || !strings.Contains(err.Error(), "another sottod") {
		t.Fatalf("a second process got in: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	openTemp(t, path)
}

func TestSecretsAreMadeOnceAndKept(t *testing.T) {
	d := openTemp(t, t.TempDir())
	first, err := d.loadSecrets(random(), 5, always)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.loadSecrets(strings.NewReader(""), 6, always)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" || len(first.Pepper) != 32 {
		t.Error(diff)
	}
	if info, err := os.Stat(filepath.Join(d.path, "secrets.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestSecretsAreNeverReplaced covers what would lock everybody out: lost or damaged secrets beside existing databases.
func TestSecretsAreNeverReplaced(t *testing.T) {
	for name, content := range map[string]string{"lost": "", "damaged": "{", "short": `{"jwt":"AA=="}`, "empty": `{}`} {
		d := openTemp(t, t.TempDir())
		if err := os.WriteFile(filepath.Join(d.path, "user.db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(d.path, "secrets.json")
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.loadSecrets(random(), 5, always); err == nil || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(file); string(b) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// TestSecretsAreNotMadeForABrokenRestore: the server refuses what a restore left that broke off early.
func TestSecretsAreNotMadeForABrokenRestore(t *testing.T) {
	d := openTemp(t, t.TempDir())
	if err := os.WriteFile(d.restoring("chat"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.loadSecrets(random(), 5, always); err == nil || !strings.Contains(err.Error(), "chat.db.restoring") {
		t.Error(err)
	}
}

func TestSecretsNeedRandomness(t *testing.T) {
	d := openTemp(t, t.TempDir())
	if _, err := d.loadSecrets(strings.NewReader("short"), 5, always); err == nil {
		t.Error("secrets from nothing")
	}
	if _, err := os.Stat(filepath.Join(d.path, "secrets.json")); err == nil {
		t.Error("half-made secrets were kept")
	}
}

func always() error { return nil }
