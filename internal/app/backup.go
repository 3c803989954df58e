package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sotto/internal/config"
	"sotto/internal/user"
)

const (
	manifestFile   = "backup.json"
	backupFormat   = 1
	progressEvery  = time.Second
	partialBackup  = ".partial"   // end of the name of a backup that is being written
	partialRestore = ".restoring" // end of the name of a database that is being restored
)

// manifest describes a backup. It is written last: what has no manifest is no backup.
type manifest struct {
	Format    int               `json:"format"`
	Server    string            `json:"server"` // name and version of the program that wrote it
	CreatedAt int64             `json:"created_at"`
	Epoch     uint64            `json:"epoch"`
	SHA256    map[string]string `json:"sha256"` // by file name, hexadecimal

	// Assets tells whether the folder of assets is in the backup. Names in it hold the hashes of what they name.
	Assets bool `json:"assets"`
}

// Backup copies the databases, the assets on disk and the secrets into a new folder while the server runs or is stopped. It
// writes aside and renames at the end, so that the folder is a whole backup or not there.
func Backup(ctx context.Context, c config.Config, to string, out io.Writer) (err error) {
	if err := onlySQLite(c, "copy it with pg_dump, and keep secrets.json of the data directory with the copy"); err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already; name a new folder, a backup never overwrites anything", to)
	}
	aside := to + partialBackup
	if err := os.Mkdir(aside, dirMode); err != nil {
		return fmt.Errorf("making the folder of the backup: %w; remove what an interrupted backup left", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(aside))
		}
	}()
	m := manifest{
		Format: backupFormat, Server: Version(), CreatedAt: time.Now().UnixMilli(), SHA256: map[string]string{},
		Assets: assetsOnDisk(c),
	}
	for _, service := range databases {
		if err := copyDatabase(ctx, c, service, aside, &m, out); err != nil {
			return err
		}
	}
	faults := 0
	if m.Assets {
		if faults, err = backupAssets(ctx, c, aside, out); err != nil {
			return err
		}
	}
	secrets, err := os.ReadFile(filepath.Join(c.DataDir, secretsFile))
	if err != nil {
		return fmt.Errorf("reading the secrets: %w", err)
	}
	if err := m.write(aside, secrets); err != nil {
		return err
	}
	if err := os.Rename(aside, to); err != nil {
		return fmt.Errorf("naming the backup: %w", err)
	}
	fmt.Fprintf(out, "The backup is in %s. It holds the server's secrets: keep it as safe as the server.\n", to)
	if !m.Assets {
		fmt.Fprintf(out, "Assets are not in it: they are in %s. Copy them there.\n", c.AssetStore)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return assetsError(faults, to)
}

// assetsError is for a backup that is as whole as it can be.
func assetsError(faults int, to string) error {
	if faults == 0 {
		return nil
	}
	return fmt.Errorf("%d files of assets are damaged or missing on the server, so that %s does not hold them; all else is in it", faults, to)
}

func copyDatabase(ctx context.Context, c config.Config, service, to string, m *manifest, out io.Writer) (err error) {
	db, err := openExisting(ctx, c, service)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	name := service + ".db"
	path := filepath.Join(to, name)
	stop := reportSize(out, "the "+service+" database", path)
	err = db.CopyTo(ctx, path)
	stop()
	if err != nil {
		return fmt.Errorf("the %s database: %w", service, err)
	}
	if service == "user" {
		if m.Epoch, err = user.ReadEpoch(ctx, db); err != nil {
			return fmt.Errorf("reading the server's epoch: %w", err)
		}
	}
	m.SHA256[name], err = hashFile(path)
	return err
}

// reportSize prints how large a file has become, each second and at the end.
func reportSize(out io.Writer, what, path string) (stop func()) {
	report := func() {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(out, "%s: %d KiB\n", what, info.Size()>>10)
		}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				report()
			case <-ended:
				report()
				return
			}
		}
	}()
	return func() { close(ended); <-done }
}

// write adds the secrets and the manifest, and syncs the folder.
func (m *manifest) write(dir string, secrets []byte) error {
	if err := writeDurable(filepath.Join(dir, secretsFile), secrets); err != nil {
		return err
	}
	sum := sha256.Sum256(secrets)
	m.SHA256[secretsFile] = hex.EncodeToString(sum[:])
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("describing the backup: %w", err)
	}
	return writeDurable(filepath.Join(dir, manifestFile), append(b, '\n'))
}

// readManifest holds every file of a backup against its hash.
func readManifest(dir string) (m manifest, err error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return m, fmt.Errorf("%s is no whole backup: %w", dir, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s in %s is damaged: %w", manifestFile, dir, err)
	}
	if m.Format != backupFormat {
		return m, fmt.Errorf("the backup has format %d, this program reads %d; use the program that wrote it (%s)",
			m.Format, backupFormat, m.Server)
	}
	names := []string{secretsFile}
	for _, service := range databases {
		names = append(names, service+".db")
	}
	for _, name := range names {
		sum, err := hashFile(filepath.Join(dir, name))
		if err != nil {
			return m, err
		}
		if sum != m.SHA256[name] {
			return m, fmt.Errorf("%s in the backup is damaged: its hash is not the one of %s", name, manifestFile)
		}
	}
	return m, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the backup: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading only
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading the backup: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
