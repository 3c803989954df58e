package user

import (
	"context"

	"sotto/api"
	"sotto/internal/sqldb"
)

const sqlReplaceResetCode = `
INSERT INTO reset_code (hash, account_id, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, used_at = NULL`

func replaceResetCode(ctx context.Context, tx *sqldb.Tx, account api.AccountID, code string, expires int64) error {
	_, err := tx.Exec(ctx, sqlReplaceResetCode, hashCode(code), account[:], expires)
	return err
}

const sqlReadResetCode = `
SELECT account_id, coalesce(used_at, 0) FROM reset_code WHERE hash = $1 AND expires_at > $2`

// readResetCode finds a code until it expires, used or not: a retry is answered for as long.
func readResetCode(
	ctx context.Context, q sqldb.Querier, code string, now int64,
) (account api.AccountID, used bool, err error) {
	var at int64
	err = q.QueryRow(ctx, sqlReadResetCode, hashCode(code), now).Scan(sqldb.Blob(account[:]), &at)
	return account, at != 0, err
}

const sqlUseResetCode = `
UPDATE reset_code SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING expires_at`

// useResetCode is sqldb.ErrNoRows when another request came first.
func useResetCode(ctx context.Context, tx *sqldb.Tx, code string, now int64) error {
	var expires int64
	return tx.QueryRow(ctx, sqlUseResetCode, hashCode(code), now).Scan(&expires)
}

const sqlKeepOldBundle = `
INSERT INTO old_bundle (account_id, version, sealed, until) SELECT account_id, version, sealed, $2 FROM bundle
WHERE account_id = $1`

func keepOldBundle(ctx context.Context, tx *sqldb.Tx, account api.AccountID, until int64) error {
	_, err := tx.Exec(ctx, sqlKeepOldBundle, account[:], until)
	return err
}

const sqlDeleteOldBundles = `
DELETE FROM old_bundle WHERE account_id = $1 AND until < $2`

func deleteOldBundles(ctx context.Context, tx *sqldb.Tx, account api.AccountID, now int64) error {
	_, err := tx.Exec(ctx, sqlDeleteOldBundles, account[:], now)
	return err
}

const sqlReplaceAccount = `
UPDATE account SET account_key = $2, recovery_verifier = $3, request_hash = $4, password_request = NULL WHERE id = $1`

const sqlReplaceLoginName = `
UPDATE login_name SET method = $2, salt = $3, iterations = $4, verifier = $5, changed_at = $6
WHERE account_id = $1 AND kind = 'username'`

func replaceAccount(ctx context.Context, tx *sqldb.Tx, r reset, now int64) error {
	_, err := tx.Exec(ctx, sqlReplaceAccount, r.account[:], r.AccountKey, r.RecoveryVerifier, r.device.requestHash[:])
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlReplaceLoginName, r.account[:], r.Method, r.Salt, r.Iterations, r.verifier, now)
	return err
}
