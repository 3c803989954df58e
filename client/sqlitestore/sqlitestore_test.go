package sqlitestore_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/client/storetest"
)

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	storetest.Run(t, func(t *testing.T, name string) client.Store {
		s, err := sqlitestore.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestOneProgramAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store with a ? and a %20")
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitestore.Open(path); !errors.Is(err, sqlitestore.ErrInUse) {
		t.Errorf("a second store on the file: %v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The lock does not depend on who made the file or wrote to it.
	if s, err = sqlitestore.Open(path); err != nil {
		t.Fatalf("after closing: %v", err)
	}
	if _, err := sqlitestore.Open(path); !errors.Is(err, sqlitestore.ErrInUse) {
		t.Errorf("a second store on an existing file: %v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLaterFormat: a file of a later program is refused and left alone.
func TestLaterFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 2"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlitestore.Open(path); err == nil {
		s.Close()
		t.Error("a store of format 2 was opened")
	}
}

// TestPrivate: every file that SQLite makes is readable by its owner only, also one that was wider before.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Apply(client.Batch{Put: []client.Item{{Key: []byte("k"), Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f.Name(), info.Mode().Perm())
		}
	}
}

// TestErased: what is deleted does not stay readable in the closed file.
func TestErased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Repeat("canary", 10)
	if err := s.Apply(client.Batch{Put: []client.Item{{Key: []byte("k"), Value: []byte(secret)}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(client.Batch{Delete: [][]byte{[]byte("k")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), secret) {
		t.Error("a deleted value is still in the file")
	}
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is a letter, not a store\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlitestore.Open(path); err == nil {
		s.Close()
		t.Error("a file that is no database was opened")
	}
}
