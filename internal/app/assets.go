package app

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"sotto/internal/asset"
	"sotto/internal/asset/cloudinary"
	"sotto/internal/asset/disk"
	"sotto/internal/asset/s3"
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
	if assetsOnDisk(c) {
		return disk.Open(filepath.Join(c.DataDir, assetsDir, service))
	}
	authorities, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	prefix, key, secret := "sotto/"+service+"/", string(c.AssetKey), string(c.AssetSecret)
	if u.Scheme == "s3" {
		return s3.Open(s3.Config{
			Bucket: u.Host, Prefix: prefix, Endpoint: u.Query().Get("endpoint"), Region: u.Query().Get("region"),
			Key: key, Secret: secret, TLS: authorities,
		})
	}
	return cloudinary.Open(cloudinary.Config{Cloud: u.Host, Prefix: prefix, Key: key, Secret: secret, Now: time.Now, TLS: authorities})
}
