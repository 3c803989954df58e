package user

import (
	"context"

	"sotto/api"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const sqlReadRegistration = `
SELECT a.request_hash, d.id, coalesce(d.wire_id, 0), l.id FROM account a
LEFT JOIN device d ON d.account_id = a.id AND d.removed_at IS NULL AND d.request_hash = a.request_hash
LEFT JOIN login l ON l.device_id = d.id AND l.ended_at IS NULL AND l.renewal_hash = $2
WHERE a.id = $1`

// readRegistration returns the keyed hash of the request that made the account and the login that it made, zero when
// that has ended, or sqldb.ErrNoRows.
func readRegistration(
	ctx context.Context, q sqldb.Querier, account api.AccountID, renewalHash []byte,
) (actor token.Actor, hash [32]byte, err error) {
	actor.Account = account
	err = q.QueryRow(ctx, sqlReadRegistration, account[:], renewalHash).
		Scan(sqldb.Blob(hash[:]), sqldb.Blob(actor.Device[:]), &actor.WireDevice, sqldb.Blob(actor.Login[:]))
	return actor, hash, err
}

const sqlInsertAccount = `
INSERT INTO account (id, account_key, role, recovery_verifier, list_version, request_hash, created_at)
VALUES ($1, $2, 'member', $3, $4, $5, $6)`

const sqlInsertLoginName = `
INSERT INTO login_name (kind, name, account_id, method, salt, iterations, verifier, changed_at)
VALUES ('username', $1, $2, $3, $4, $5, $6, $7)`

func insertAccount(ctx context.Context, tx *sqldb.Tx, r registration, now int64) error {
	_, err := tx.Exec(ctx, sqlInsertAccount,
		r.AccountID[:], r.AccountKey, r.RecoveryVerifier, int64(r.device.listVersion), r.device.requestHash[:], now)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlInsertLoginName, r.Username, r.AccountID[:], r.Method, r.Salt, r.Iterations, r.verifier, now)
	return err
}
