package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sotto/internal/asset"
	brokerlocal "sotto/internal/broker/local"
	"sotto/internal/chat"
	"sotto/internal/config"
	"sotto/internal/notification"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/user"
)

// databases are the services with a database, in the order in which a backup copies them: a device list may then be newer
// at user than at chat, which asks for it, and never the other way round.
var databases = []string{"chat", "notification", "user"}

// series are the tables of a service's database.
func series(service string) map[string]fs.FS {
	switch service {
	case "user":
		return map[string]fs.FS{user.Series: user.Migrations, outbox.Series: outbox.Migrations}
	case "notification":
		return map[string]fs.FS{
			notification.Series: notification.Migrations, outbox.Series: outbox.Migrations, asset.Series: asset.Migrations(),
		}
	}
	return map[string]fs.FS{
		chat.Series: chat.Migrations(), outbox.Series: outbox.Migrations, brokerlocal.Series: brokerlocal.Migrations,
		asset.Series: asset.Migrations(),
	}
}

// databaseURL is where a service keeps its rows: a file of its own, or a schema of its own in the one PostgreSQL.
func databaseURL(c config.Config, service string) string {
	if c.Postgres() {
		return string(c.DatabaseURL)
	}
	return "sqlite://" + filepath.Join(c.DataDir, service+".db")
}

func databaseOptions(c config.Config, service string, logger *slog.Logger) sqldb.Options {
	o := sqldb.Options{Schema: "sotto_" + service, Logger: logger, AllowUnsafe: c.UnsafeDatabase}
	if c.Postgres() {
		o.MaxWriters = c.DatabaseConns / 2
		o.MaxReaders = c.DatabaseConns - o.MaxWriters
	}
	return o
}

// openDatabase opens a service's database and brings it up to this program.
func openDatabase(ctx context.Context, c config.Config, service string, logger *slog.Logger) (*sqldb.DB, error) {
	return openMigrated(ctx, databaseURL(c, service), service, databaseOptions(c, service, logger))
}

func openMigrated(ctx context.Context, url, service string, o sqldb.Options) (*sqldb.DB, error) {
	db, err := sqldb.Open(ctx, url, o)
	if err != nil {
		return nil, fmt.Errorf("the %s database: %w", service, err)
	}
	err = migrateSeries(ctx, db, service)
	if err == nil {
		err = db.CheckMove(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the %s database: %w", service, err), db.Close())
	}
	return db, nil
}

func migrateSeries(ctx context.Context, db *sqldb.DB, service string) error {
	all := series(service)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := db.Migrate(ctx, name, all[name]); err != nil {
			return err
		}
	}
	return nil
}

// openExisting opens the database of a server that may be running, without changing it.
func openExisting(ctx context.Context, c config.Config, service string) (*sqldb.DB, error) {
	if !c.Postgres() {
		path := filepath.Join(c.DataDir, service+".db")
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("there is no server's data in %s: %w; name its folder with --data-dir", c.DataDir, err)
		}
	}
	db, err := sqldb.Open(ctx, databaseURL(c, service), databaseOptions(c, service, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("the %s database: %w", service, err)
	}
	all := series(service)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := db.CheckMigrated(ctx, name, all[name]); err != nil {
			return nil, errors.Join(fmt.Errorf("the %s database: %w", service, err), db.Close())
		}
	}
	return db, nil
}

// onlySQLite refuses what works on files.
func onlySQLite(c config.Config, instead string) error {
	if !c.Postgres() {
		return nil
	}
	return fmt.Errorf("that is for SQLite, and the data is in PostgreSQL; %s", instead)
}

// refuseNewSecrets keeps a server on an empty data directory from locking out the accounts of a database that is not.
func refuseNewSecrets(ctx context.Context, db *sqldb.DB) error {
	some, err := user.HasAccounts(ctx, db)
	if err == nil && some {
		err = fmt.Errorf("%s is missing in the data directory, but the database holds accounts; "+
			"copy it from where the server ran before, new secrets would open nothing", secretsFile)
	}
	return err
}
