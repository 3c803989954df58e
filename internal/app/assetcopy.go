package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/disk"
	"sotto/internal/config"
	"sotto/internal/sqldb"
)

// assetsOnDisk tells whether assets are files in the data directory. Elsewhere they are not this program's to copy.
func assetsOnDisk(c config.Config) bool { return c.AssetStore == "" || c.AssetStore == "disk" }

// hasAssets tells whether the database of a service names assets.
func hasAssets(service string) bool {
	_, ok := series(service)[asset.Series]
	return ok
}

// tally prints how much was copied, each second and at the end.
type tally struct {
	out   io.Writer
	files int
	bytes int64
	said  time.Time
}

func (t *tally) add(n int) {
	t.files++
	t.bytes += int64(n)
	if now := time.Now(); now.Sub(t.said) >= progressEvery {
		t.said = now
		t.print()
	}
}

func (t *tally) print() { fmt.Fprintf(t.out, "assets: %d files, %d KiB\n", t.files, t.bytes>>10) }

// readAssets gives every object that db names to take, and those that are missing or damaged, with the reason, to lost.
func readAssets(
	ctx context.Context, db *sqldb.DB, root string, all *tally,
	take func(asset.Object, []byte) error, lost func(asset.Object, error) error,
) error {
	source := disk.Existing(root)
	return asset.EachObject(ctx, db, func(o asset.Object) error {
		content, err := o.Read(ctx, source)
		if err == nil {
			err = take(o, content)
			all.add(len(content))
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return lost(o, err)
	})
}

// backupAssets copies the objects that the databases name now, after those were copied: all that the copies name and that is
// not removed since, and perhaps more. Objects never change. It returns how many should be there and are not.
func backupAssets(ctx context.Context, c config.Config, to string, out io.Writer) (faults int, err error) {
	all := &tally{out: out, said: time.Now()}
	for _, service := range databases {
		if !hasAssets(service) {
			continue
		}
		n, err := backupAssetsOf(ctx, c, service, to, all)
		if err != nil {
			return 0, fmt.Errorf("the assets of %s: %w", service, err)
		}
		faults += n
	}
	all.print()
	return faults, nil
}

func backupAssetsOf(ctx context.Context, c config.Config, service, to string, all *tally) (faults int, err error) {
	db, err := openExisting(ctx, c, service)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	target, err := disk.Open(filepath.Join(to, assetsDir, service))
	if err != nil {
		return 0, err
	}
	err = readAssets(ctx, db, filepath.Join(c.DataDir, assetsDir, service), all,
		func(o asset.Object, content []byte) error { return target.Put(ctx, o.Name(), content) },
		func(o asset.Object, cause error) error {
			fault, err := assetFault(ctx, db, o, cause)
			if fault != "" {
				faults++
				fmt.Fprintln(all.out, fault)
			}
			return err
		})
	return faults, err
}

// assetFault is a line about an object that could not be read, or nothing when it was removed meanwhile.
func assetFault(ctx context.Context, db *sqldb.DB, o asset.Object, cause error) (string, error) {
	named, err := o.Named(ctx, db)
	if err != nil || !named {
		return "", err
	}
	if errors.Is(cause, fs.ErrNotExist) {
		return fmt.Sprintf("asset %s: the file %s is missing", o.Asset(), o.Name()), nil
	}
	return fmt.Sprintf("asset %s: %v", o.Asset(), cause), nil
}

// restoreAssetsOf gives the objects that a restored database names to the store, or only counts them. An asset that the
// backup does not hold whole is marked as gone, so that people see that it is not there and may put it there again.
func restoreAssetsOf(ctx context.Context, c config.Config, service, path, from string, held bool, all *tally) (lost int, err error) {
	db, err := sqldb.Open(ctx, "sqlite://"+path, sqldb.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if !held {
		return 0, asset.EachObject(ctx, db, func(asset.Object) error { all.files++; return nil })
	}
	target, err := openAssets(c, service)
	if err != nil {
		return 0, err
	}
	var last api.UploadID
	err = readAssets(ctx, db, filepath.Join(from, assetsDir, service), all,
		func(o asset.Object, content []byte) error { return target.Put(ctx, o.Name(), content) },
		func(o asset.Object, cause error) error {
			if o.Asset() != last { // its parts come one after the other
				last, lost = o.Asset(), lost+1
				fmt.Fprintf(all.out, "asset %s is not whole in the backup: %v\n", o.Asset(), cause)
			}
			return asset.Lose(ctx, db, o.Asset(), time.Now())
		})
	return lost, err
}

// restoreAssets is before the databases get their names: what they name is there before it is served. Without assets in the
// backup it says where they have to come from.
func restoreAssets(ctx context.Context, c config.Config, dir *dataDir, from string, m manifest, out io.Writer) error {
	all, lost := &tally{out: out, said: time.Now()}, 0
	for _, service := range databases {
		if !hasAssets(service) {
			continue
		}
		n, err := restoreAssetsOf(ctx, c, service, dir.restoring(service), from, m.Assets, all)
		if err != nil {
			return fmt.Errorf("the assets of %s: %w", service, err)
		}
		lost += n
	}
	switch {
	case m.Assets:
		all.print()
		if lost > 0 {
			fmt.Fprintf(out, "%d assets are not whole in the backup and are gone.\n", lost)
		}
	case all.files == 0:
	case assetsOnDisk(c):
		fmt.Fprintf(out, "Assets are not in this backup. Before the server starts, copy the folder %s of the old data directory "+
			"to %s, or name the store that holds them with --asset-store.\n", assetsDir, filepath.Join(dir.path, assetsDir))
	default:
		fmt.Fprintf(out, "Assets are not in this backup: they have to be in %s.\n", c.AssetStore)
	}
	return nil
}

// checkAssets reads every object that a database names.
func checkAssets(ctx context.Context, c config.Config, service string, db *sqldb.DB, out io.Writer) (faults []string, err error) {
	all := &tally{out: out, said: time.Now()}
	root := filepath.Join(c.DataDir, assetsDir, service)
	err = readAssets(ctx, db, root, all,
		func(asset.Object, []byte) error { return nil },
		func(o asset.Object, cause error) error {
			fault, err := assetFault(ctx, db, o, cause)
			if fault != "" {
				faults = append(faults, fault)
			}
			return err
		})
	all.print()
	if _, missing := os.Stat(root); missing != nil && len(faults) > 0 {
		faults = []string{fmt.Sprintf("%d files of assets are missing with their folder %s", len(faults), root)}
	}
	return faults, err
}
