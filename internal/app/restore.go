package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sotto/internal/config"
	"sotto/internal/sqldb"
	"sotto/internal/user"
)

// Restore puts a backup into an empty data directory and makes it fit to serve: a higher epoch and no one-time prekeys,
// by which clients know that the server forgot things and give back what they have.
//
// The secrets come last. A crash before that leaves databases without secrets, which `sottod serve` refuses.
func Restore(ctx context.Context, c config.Config, from string, out io.Writer) (err error) {
	if err := onlySQLite(c, "restore into it with pg_restore; into SQLite without --database-url"); err != nil {
		return err
	}
	m, err := readManifest(from)
	if err != nil {
		return err
	}
	dir, err := openDataDir(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := dir.mustBeEmpty(); err != nil {
		return err
	}
	for _, service := range databases {
		fmt.Fprintf(out, "the %s database\n", service)
		if err := copyFile(filepath.Join(from, service+".db"), dir.restoring(service)); err != nil {
			return err
		}
		if err := prepare(ctx, dir.restoring(service), service, out); err != nil {
			return fmt.Errorf("the %s database: %w", service, err)
		}
	}
	if err := restoreAssets(ctx, c, dir, from, m, out); err != nil {
		return err
	}
	for _, service := range databases {
		if err := os.Rename(dir.restoring(service), filepath.Join(dir.path, service+".db")); err != nil {
			return fmt.Errorf("restoring: %w", err)
		}
	}
	if err := syncDir(dir.path); err != nil {
		return err
	}
	secrets, err := os.ReadFile(filepath.Join(from, secretsFile))
	if err != nil {
		return fmt.Errorf("reading the secrets: %w", err)
	}
	if err := writeDurable(filepath.Join(dir.path, secretsFile), secrets); err != nil {
		return err
	}
	fmt.Fprintf(out, "Restored the backup of %s into %s. Start the server with `sottod serve`.\n",
		time.UnixMilli(m.CreatedAt).UTC().Format(time.RFC3339), dir.path)
	return nil
}

// prepare brings a copied database up to this program and checks it. That of the user service also takes the new epoch.
func prepare(ctx context.Context, path, service string, out io.Writer) (err error) {
	db, err := openMigrated(ctx, "sqlite://"+path, service, sqldb.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if faults, err := db.Check(ctx); err != nil || len(faults) > 0 {
		return errors.Join(err, faultsError(faults))
	}
	if service != "user" {
		return nil
	}
	return raiseEpoch(ctx, db, out)
}

func raiseEpoch(ctx context.Context, db *sqldb.DB, out io.Writer) error {
	before, err := user.ReadEpoch(ctx, db)
	if err != nil {
		return err
	}
	epoch, voided, err := user.Restored(ctx, db, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The epoch is %d, it was %d.\n", epoch, before)
	fmt.Fprintf(out, "%d one-time prekeys are void; devices make new ones when they connect.\n", voided)
	return nil
}

func (d *dataDir) restoring(service string) string {
	return filepath.Join(d.path, service+".db"+partialRestore)
}

// mustBeEmpty allows only the lock, so that nothing is ever overwritten.
func (d *dataDir) mustBeEmpty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("reading the data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return fmt.Errorf("%s is not empty (%s); restore into a new folder with --data-dir", d.path, e.Name())
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	defer in.Close() //nolint:errcheck // opened for reading only
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}
