package user

import (
	"context"

	"sotto/api"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const sqlIsPasswordRequest = `
SELECT count(*) FROM account WHERE id = $1 AND password_request = $2`

// isPasswordRequest tells whether the newest change of password was this very request.
func isPasswordRequest(
	ctx context.Context, q sqldb.Querier, account api.AccountID, hash [32]byte,
) (same bool, err error) {
	var n int
	err = q.QueryRow(ctx, sqlIsPasswordRequest, account[:], hash[:]).Scan(&n)
	return n == 1, err
}

const sqlSwapVerifier = `
UPDATE login_name SET method = $3, salt = $4, iterations = $5, verifier = $6, changed_at = $7
WHERE account_id = $1 AND kind = 'username' AND verifier = $2 RETURNING name`

// swapVerifier is sqldb.ErrNoRows when the verifier is not the one any more that the proof was held against.
func swapVerifier(ctx context.Context, tx *sqldb.Tx, account api.AccountID, c passwordChange, now int64) error {
	var name string
	return tx.QueryRow(ctx, sqlSwapVerifier,
		account[:], c.known.verifier, c.Method, c.Salt, c.Iterations, c.verifier, now).Scan(&name)
}

const sqlChangeAccount = `
UPDATE account SET recovery_verifier = coalesce($2, recovery_verifier), password_request = $3 WHERE id = $1`

const sqlAllowEverything = `
UPDATE login SET purpose = NULL WHERE id = $1`

// changeAccount stores the new code, if there is one, remembers the request, and opens a recovery login to everything.
func changeAccount(ctx context.Context, tx *sqldb.Tx, actor token.Actor, c passwordChange) error {
	var recovery any
	if len(c.RecoveryVerifier) > 0 {
		recovery = c.RecoveryVerifier
	}
	if _, err := tx.Exec(ctx, sqlChangeAccount, actor.Account[:], recovery, c.hash[:]); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlAllowEverything, actor.Login[:])
	return err
}

const sqlEndLogins = `
UPDATE login SET ended_at = $3, end_reason = 'password'
WHERE account_id = $1 AND id <> $2 AND ended_at IS NULL AND ($4 = 1 OR purpose = 'recovery')
RETURNING id`

// endLogins ends the account's logins but the actor's: all of them, or only those from the recovery code.
func endLogins(ctx context.Context, tx *sqldb.Tx, actor token.Actor, all bool, now int64) ([]api.LoginID, error) {
	every := 0
	if all {
		every = 1
	}
	return readAll(ctx, tx, scanLoginID, sqlEndLogins, actor.Account[:], actor.Login[:], now, every)
}

const sqlSignOutOthers = `
UPDATE device SET state = 'signed_out' WHERE account_id = $1 AND id <> $2 AND state = 'active' AND removed_at IS NULL`

// signOutOthers takes every device but the actor's out of the current set. The account goes on listing them.
func signOutOthers(ctx context.Context, tx *sqldb.Tx, actor token.Actor) (changed bool, err error) {
	res, err := tx.Exec(ctx, sqlSignOutOthers, actor.Account[:], actor.Device[:])
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	return true, countStatus(ctx, tx, actor.Account)
}
