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
	"slices"
	"strings"

	"sotto/internal/config"
	"sotto/internal/sqldb"
)

// movedFile in a data directory says that its SQLite files are not in use any more.
const movedFile = "moved"

// Migrate brings the databases of all services, or of one, up to this program. On PostgreSQL that is for the owner; the
// services need fewer rights. Repeating it changes nothing.
func Migrate(ctx context.Context, c config.Config, service string, out io.Writer) (err error) {
	which := databases
	if service != "" {
		if !slices.Contains(databases, service) {
			return fmt.Errorf("there is no service %s with a database; name one of %s", service, strings.Join(databases, ", "))
		}
		which = []string{service}
	}
	if !c.Postgres() {
		dir, err := openDataDir(c.DataDir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
	}
	for _, service := range which {
		db, err := openDatabase(ctx, c, service, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: up to date\n", service)
	}
	return nil
}

// MigrateStore moves a stopped server from the SQLite files of a data directory to PostgreSQL. It can be broken off and
// called again. At its end a marker keeps the old files from being served by mistake; the secrets stay where they are.
func MigrateStore(ctx context.Context, c config.Config, from, to string, out io.Writer) (err error) {
	path, ok := strings.CutPrefix(from, "sqlite:")
	if !ok || path == "" {
		return errors.New("--from is the data directory of the server, written sqlite:/var/lib/sottod")
	}
	if path, err = filepath.Abs(strings.TrimPrefix(path, "//")); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	source, target := c, c
	source.DataDir, source.DatabaseURL = path, ""
	target.DataDir, target.DatabaseURL = path, config.Secret(to)
	if err := target.Validate(); err != nil || !target.Postgres() {
		return errors.Join(errors.New("--to is a PostgreSQL database, written postgres://login:password@host:5432/database"), err)
	}
	if _, err := os.Stat(filepath.Join(path, secretsFile)); err != nil {
		return fmt.Errorf("there is no server's data in %s: %w", path, err)
	}
	dir, err := openDataDir(path) // so that the server is stopped and stays so
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	for _, service := range databases {
		if err := moveService(ctx, source, target, service, out); err != nil {
			return fmt.Errorf("the %s database: %w", service, err)
		}
	}
	if err := writeDurable(filepath.Join(path, movedFile), []byte("The rows of this server are in PostgreSQL.\n")); err != nil {
		return err
	}
	fmt.Fprintf(out, `
Every row is in PostgreSQL, compared by number and checksum. From now on start the server with

  sottod serve --data-dir %s --database-url …

Keep secrets.json. The *.db files are a copy of today that is not used any more.
`, path)
	return nil
}

func moveService(ctx context.Context, source, target config.Config, service string, out io.Writer) (err error) {
	logger := slog.New(slog.DiscardHandler)
	from, err := openDatabase(ctx, source, service, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := sqldb.Open(ctx, databaseURL(target, service), databaseOptions(target, service, logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := migrateSeries(ctx, to, service); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sottod-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fresh, err := openMigrated(ctx, "sqlite://"+filepath.Join(dir, "fresh.db"), service, sqldb.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()
	var last sqldb.TableCount
	return sqldb.Move(ctx, from, to, fresh, func(t sqldb.TableCount) {
		if t != last {
			fmt.Fprintf(out, "%s: %s: %d rows\n", service, t.Table, t.Rows)
			last = t
		}
	})
}

// refuseMoved keeps rows from being written in two places.
func refuseMoved(c config.Config) error {
	_, err := os.Stat(filepath.Join(c.DataDir, movedFile))
	if c.Postgres() || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the data directory: %w", err)
	}
	return fmt.Errorf("the rows of %s were moved to PostgreSQL: start with --database-url. "+
		"To go back to the state before the move, remove the file %s in it", c.DataDir, movedFile)
}
