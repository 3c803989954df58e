package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// dataDir is the one folder of a small host. Only one process may use it at a time: the lock file is held with flock
// for the life of the process and goes with it, also on kill -9.
type dataDir struct {
	path string
	lock *os.File
}

const (
	lockFile    = "lock"
	secretsFile = "secrets.json"
	dirMode     = 0o700
	fileMode    = 0o600
)

// openDataDir creates the folder, tightens its mode and takes the lock.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("creating the data directory: %w; choose another with --data-dir", err)
	}
	if err := os.Chmod(path, dirMode); err != nil {
		return nil, fmt.Errorf("the data directory must belong to the user who runs sottod: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another sottod is using %s; stop it first, or choose another --data-dir", path)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &dataDir{path: path, lock: lock}, nil
}

func (d *dataDir) Close() error { return d.lock.Close() }

// secrets are what the server must keep from everyone and never lose: without the pepper no password opens anything,
// and without FakeSecret unknown names would answer differently than before. Backups contain them.
type secrets struct {
	JWT         []byte        `json:"jwt"`          // derives the token key
	Pepper      []byte        `json:"pepper"`       // under bcrypt
	FakeSecret  []byte        `json:"fake_secret"`  // answers for unknown names
	AttemptKey  []byte        `json:"attempt_key"`  // seals login attempts
	FrankingKey []frankingKey `json:"franking_key"` // newest last, kept 400 days

	// Notification is under the keys that push services and mails know this server by. It is made when it is missing:
	// earlier versions had none.
	Notification []byte `json:"notification"`
}

// frankingKey is one Kserver of docs/protocol.md, section 4.
type frankingKey struct {
	KID     uint32 `json:"kid"`
	Key     []byte `json:"key"`
	Created int64  `json:"created"` // ms
}

const secretSize = 32 // bytes

// loadSecrets reads the secrets, or makes them once. The file is complete or absent: it is written aside, synced and
// renamed, so a crash at any point leaves either no secrets (and then no database that needs them) or all of them.
func (d *dataDir) loadSecrets(random io.Reader, now int64, mayMake func() error) (*secrets, error) {
	path := filepath.Join(d.path, secretsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mayMake(); err != nil {
			return nil, err
		}
		return d.makeSecrets(random, now)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the secrets: %w", err)
	}
	s, err := parseSecrets(path, b)
	if err != nil {
		return nil, err
	}
	if len(s.Notification) != secretSize {
		if s.Notification, err = newSecret(random); err != nil {
			return nil, err
		}
		return s, d.writeSecrets(s)
	}
	return s, nil
}

// readSecrets reads those of a server that may be running.
func readSecrets(dataDir string) (*secrets, error) {
	path := filepath.Join(dataDir, secretsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the secrets: %w", err)
	}
	return parseSecrets(path, b)
}

func parseSecrets(path string, b []byte) (*secrets, error) {
	var s secrets
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; restore it from a backup", path, err)
	}
	for name, value := range map[string][]byte{"jwt": s.JWT, "pepper": s.Pepper, "fake_secret": s.FakeSecret, "attempt_key": s.AttemptKey} {
		if len(value) != secretSize {
			return nil, fmt.Errorf("%s: %q has %d bytes instead of %d; restore the file from a backup", path, name, len(value), secretSize)
		}
	}
	if len(s.FrankingKey) == 0 {
		return nil, fmt.Errorf("%s holds no franking key; restore it from a backup", path)
	}
	return &s, nil
}

func newSecret(random io.Reader) ([]byte, error) {
	b := make([]byte, secretSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("making secrets: %w", err)
	}
	return b, nil
}

func (d *dataDir) makeSecrets(random io.Reader, now int64) (*secrets, error) {
	// Secrets beside existing databases, or those of a restore that broke off, would lock everyone out for ever, so they
	// are only made for a new host.
	if old, err := filepath.Glob(filepath.Join(d.path, "*.db*")); err != nil || len(old) > 0 {
		return nil, fmt.Errorf("%s is missing but %v is there; restore it from a backup, new secrets would open nothing", secretsFile, old)
	}
	s := &secrets{FrankingKey: []frankingKey{{KID: 1, Created: now}}}
	for _, p := range []*[]byte{&s.JWT, &s.Pepper, &s.FakeSecret, &s.AttemptKey, &s.FrankingKey[0].Key, &s.Notification} {
		b, err := newSecret(random)
		if err != nil {
			return nil, err
		}
		*p = b
	}
	return s, d.writeSecrets(s)
}

func (d *dataDir) writeSecrets(s *secrets) error {
	b, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // this file is where the secrets are kept
	if err != nil {
		return fmt.Errorf("writing secrets: %w", err)
	}
	return writeDurable(filepath.Join(d.path, secretsFile), append(b, '\n'))
}

// writeDurable replaces a file so that after a power cut it has the old or the new content: write aside, sync the
// file, rename, sync the folder.
func writeDurable(path string, content []byte) (err error) {
	aside := path + ".new"
	f, err := os.OpenFile(aside, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder outlast a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	defer dir.Close() //nolint:errcheck // opened for reading only
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return nil
}

// hasSecrets tells whether loadSecrets would find secrets.
func (d *dataDir) hasSecrets() bool {
	_, err := os.Stat(filepath.Join(d.path, secretsFile))
	return err == nil
}
