package app

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"sotto/internal/asset"
	"sotto/internal/asset/disk"
	"sotto/internal/config"
	"sotto/internal/sqldb"
)

// assetsDir is the folder of the data directory with a folder for each service that has assets.
const assetsDir = "assets"

// newAssets is the store of one service's assets, apart from those of others also where all share a bucket.
func newAssets(c config.Config, service string, db *sqldb.DB, logger *slog.Logger) (*asset.Store, error) {
	backend, err := openAssets(c, service)
	if err != nil {
		return nil, err
	}
	return &asset.Store{
		DB: db, Backend: backend, Now: time.Now, Rand: rand.Reader, Logger: logger.With("service", service), Quota: c.AssetQuota,
	}, nil
}

func openAssets(c config.Config, service string) (asset.Backend, error) {
	u, err := url.Parse(c.AssetStore)
	if err != nil {
		return nil, fmt.Errorf("the store of assets: %w", err)
	}
	switch u.Scheme {
	case "":
		return disk.Open(filepath.Join(c.DataDir, assetsDir, service))
	}
	return nil, fmt.Errorf("there is no store of assets %q", u.Scheme)
}
