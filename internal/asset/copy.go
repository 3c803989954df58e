package asset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// Object is what a backend has to hold, by the rows of a database.
type Object struct{ part }

// Asset is the one that the object is a part of.
func (o Object) Asset() api.UploadID { return o.asset }

// Name is that of the object in its backend.
func (o Object) Name() string { return o.object() }

// Read reads the object and holds it against its hash. One that is not there is fs.ErrNotExist.
func (o Object) Read(ctx context.Context, from Backend) ([]byte, error) {
	r, err := from.Open(ctx, o.Name(), 0, o.size)
	if err != nil {
		return nil, errs.Wrap("reading an object", err)
	}
	content, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, errs.Wrap("reading an object", err)
	}
	if sha256.Sum256(content) != o.sum {
		return nil, fmt.Errorf("object %s is damaged: its hash is not the one in its name", o.Name())
	}
	return content, nil
}

const objectPage = 1_000 // objects read at once

const (
	sqlReadObjects = `
SELECT p.asset, p.start, p.sha256, p.size FROM asset_part p JOIN asset a ON a.id = p.asset
WHERE p.state = 'placed' AND a.state <> 'gone' AND (p.asset, p.start, p.sha256) > ($1, $2, $3)
ORDER BY p.asset, p.start, p.sha256 LIMIT $4`
	sqlCountObject = `
SELECT COUNT(*) FROM asset_part p JOIN asset a ON a.id = p.asset
WHERE p.asset = $1 AND p.start = $2 AND p.sha256 = $3 AND p.state = 'placed' AND a.state <> 'gone'`
)

// EachObject calls fn with every object that db names, page by page, so that others write meanwhile.
func EachObject(ctx context.Context, db *sqldb.DB, fn func(Object) error) error {
	for after := (part{}); ; {
		parts, err := readParts(ctx, db, sqlReadObjects, after.asset, after.start, after.sum[:], objectPage)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := fn(Object{p}); err != nil {
				return err
			}
			after = p
		}
		if len(parts) < objectPage {
			return nil
		}
	}
}

// Named tells whether db still names the object: one that is missing may have been removed since it was read.
func (o Object) Named(ctx context.Context, db *sqldb.DB) (bool, error) {
	var n int
	err := db.QueryRow(ctx, sqlCountObject, o.asset[:], o.start, o.sum[:]).Scan(&n)
	return n > 0, errs.Wrap("looking for an object", err)
}

const sqlMarkLost = `UPDATE asset SET state = 'gone', changed_at = $2 WHERE id = $1 AND state <> 'gone'`

// Lose marks an asset as gone whose objects are not there. The upkeep of the server removes what is left of it.
func Lose(ctx context.Context, db *sqldb.DB, id api.UploadID, now time.Time) error {
	return db.Tx(ctx, "lose asset", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, sqlMarkLost, id[:], now.UnixMilli())
		return errs.Wrap("marking an asset", err)
	})
}
