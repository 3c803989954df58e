package asset

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// part is a row of an asset's parts.
type part struct {
	asset api.UploadID
	start int64
	sum   [32]byte
	size  int64
}

func (p part) object() string { return objectOf(p.asset, p.start, p.sum) }

const partPlaced, partGone = "placed", "gone"

const (
	sqlAddAccount  = `INSERT INTO asset_account (account) VALUES ($1) ON CONFLICT (account) DO NOTHING`
	sqlLockAccount = `SELECT account FROM asset_account WHERE account = $1 FOR NO KEY UPDATE`
)

func lockAccount(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	if _, err := tx.Exec(ctx, sqlAddAccount, account[:]); err != nil {
		return errs.Wrap("adding an account", err)
	}
	return errs.Wrap("locking an account", tx.Lock(ctx, sqlLockAccount, account[:]))
}

const sqlLockAsset = `SELECT id FROM asset WHERE id = $1 FOR NO KEY UPDATE`

func lockAsset(ctx context.Context, tx *sqldb.Tx, id api.UploadID) error {
	return errs.Wrap("locking an asset", tx.Lock(ctx, sqlLockAsset, id[:]))
}

const assetColumns = `SELECT id, account, sha256, size, type, state, received, hash, changed_at FROM asset `

func scanAsset(scan func(...any) error) (a asset, err error) {
	err = scan(sqldb.Blob(a.id[:]), sqldb.Blob(a.account[:]), sqldb.Blob(a.sum[:]), &a.size, &a.typ, &a.state, &a.received,
		&a.hash, &a.changedAt)
	return a, err
}

const sqlReadAsset = assetColumns + `WHERE id = $1`

func readAsset(ctx context.Context, q sqldb.Querier, id api.UploadID) (asset, error) {
	a, err := scanAsset(q.QueryRow(ctx, sqlReadAsset, id[:]).Scan)
	if errors.Is(err, sqldb.ErrNoRows) {
		return a, errNoAsset
	}
	return a, errs.Wrap("reading an asset", err)
}

const sqlReadOwn = assetColumns + `WHERE account = $1 AND sha256 = $2 AND state <> 'gone'`

// readOwn returns the zero value when the account has none of that name.
func readOwn(ctx context.Context, q sqldb.Querier, account api.AccountID, sum [32]byte) (asset, error) {
	a, err := scanAsset(q.QueryRow(ctx, sqlReadOwn, account[:], sum[:]).Scan)
	if errors.Is(err, sqldb.ErrNoRows) {
		return asset{}, nil
	}
	return a, errs.Wrap("reading an asset", err)
}

// usage is what an account has, what is not removed yet included.
type usage struct {
	bytes       int64
	count, open int
}

const sqlReadUsage = `
SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT), COUNT(*), COUNT(CASE WHEN state = 'open' THEN 1 END) FROM asset WHERE account = $1`

func readUsage(ctx context.Context, q sqldb.Querier, account api.AccountID) (u usage, err error) {
	err = q.QueryRow(ctx, sqlReadUsage, account[:]).Scan(&u.bytes, &u.count, &u.open)
	return u, errs.Wrap("reading what an account uses", err)
}

const sqlInsertAsset = `
INSERT INTO asset (id, account, sha256, size, type, state, received, hash, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

func insertAsset(ctx context.Context, tx *sqldb.Tx, a asset) error {
	_, err := tx.Exec(ctx, sqlInsertAsset, a.id[:], a.account[:], a.sum[:], a.size, a.typ, a.state, a.received, a.hash, a.changedAt)
	return errs.Wrap("storing an asset", err)
}

const sqlUpdateAsset = `UPDATE asset SET state = $2, received = $3, hash = $4, changed_at = $5 WHERE id = $1`

func updateAsset(ctx context.Context, tx *sqldb.Tx, a asset) error {
	_, err := tx.Exec(ctx, sqlUpdateAsset, a.id[:], a.state, a.received, a.hash, a.changedAt)
	return errs.Wrap("changing an asset", err)
}

const sqlReadPartState = `SELECT state FROM asset_part WHERE asset = $1 AND start = $2 AND sha256 = $3`

// readPartState returns "" for a part that there is not.
func readPartState(ctx context.Context, q sqldb.Querier, p part) (state string, err error) {
	err = q.QueryRow(ctx, sqlReadPartState, p.asset[:], p.start, p.sum[:]).Scan(&state)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return state, errs.Wrap("reading a part", err)
}

const sqlCountUnplaced = `SELECT COUNT(*) FROM asset_part WHERE asset = $1 AND state <> 'placed' AND NOT (start = $2 AND sha256 = $3)`

// countUnplaced counts those besides p.
func countUnplaced(ctx context.Context, q sqldb.Querier, p part) (n int, err error) {
	err = q.QueryRow(ctx, sqlCountUnplaced, p.asset[:], p.start, p.sum[:]).Scan(&n)
	return n, errs.Wrap("counting parts", err)
}

const sqlPlanPart = `
INSERT INTO asset_part (asset, start, sha256, size, state, planned_at) VALUES ($1, $2, $3, $4, 'planned', $5)
ON CONFLICT (asset, start, sha256) DO UPDATE SET planned_at = excluded.planned_at`

func planPart(ctx context.Context, tx *sqldb.Tx, p part, now int64) error {
	_, err := tx.Exec(ctx, sqlPlanPart, p.asset[:], p.start, p.sum[:], p.size, now)
	return errs.Wrap("planning a part", err)
}

const sqlPlacePart = `UPDATE asset_part SET state = 'placed' WHERE asset = $1 AND start = $2 AND sha256 = $3 AND state = 'planned'`

// placePart returns false when upkeep took the part for forgotten.
func placePart(ctx context.Context, tx *sqldb.Tx, p part) (bool, error) {
	res, err := tx.Exec(ctx, sqlPlacePart, p.asset[:], p.start, p.sum[:])
	if err != nil {
		return false, errs.Wrap("placing a part", err)
	}
	n, err := res.RowsAffected()
	return n == 1, errs.Wrap("placing a part", err)
}
