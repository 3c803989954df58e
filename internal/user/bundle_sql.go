package user

import (
	"bytes"
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/sqldb"
)

const sqlInsertBundle = `
INSERT INTO bundle (account_id, version, sealed, changed_at) VALUES ($1, $2, $3, $4)`

func insertBundle(ctx context.Context, tx *sqldb.Tx, account api.AccountID, b api.Bundle, now int64) error {
	_, err := tx.Exec(ctx, sqlInsertBundle, account[:], int64(b.Version), b.Sealed, now)
	return err
}

const sqlReadBundle = `
SELECT version, sealed FROM bundle WHERE account_id = $1`

func readBundle(ctx context.Context, q sqldb.Querier, account api.AccountID) (b api.Bundle, err error) {
	err = q.QueryRow(ctx, sqlReadBundle, account[:]).Scan(&b.Version, &b.Sealed)
	return b, err
}

const sqlReplaceBundle = `
UPDATE bundle SET version = $2, sealed = $3, changed_at = $4
WHERE account_id = $1 AND version = $2 - 1 RETURNING version`

// swapBundle stores exactly the next version; anything else is errBundleVersion.
func swapBundle(ctx context.Context, tx *sqldb.Tx, account api.AccountID, b api.Bundle, now int64) error {
	var version int64
	err := tx.QueryRow(ctx, sqlReplaceBundle, account[:], int64(b.Version), b.Sealed, now).Scan(&version)
	if !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	current, err := readBundle(ctx, tx, account)
	if err != nil {
		return err
	}
	return errBundleVersion(current)
}

// replaceBundle is swapBundle that also accepts the stored version again with the same bytes.
func replaceBundle(ctx context.Context, tx *sqldb.Tx, account api.AccountID, b api.Bundle, now int64) error {
	current, err := readBundle(ctx, tx, account)
	if err != nil || (current.Version == b.Version && bytes.Equal(current.Sealed, b.Sealed)) {
		return err
	}
	return swapBundle(ctx, tx, account, b, now)
}
