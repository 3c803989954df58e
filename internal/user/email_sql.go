package user

import (
	"context"

	"sotto/api"
	"sotto/internal/sqldb"
)

// emailRequest is an address that waits for its code.
type emailRequest struct {
	address string
	expires int64
	tries   int
}

const sqlWriteEmailRequest = `
INSERT INTO email_request (account_id, address, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at, tries = 0`

func writeEmailRequest(ctx context.Context, tx *sqldb.Tx, account api.AccountID, r emailRequest) error {
	_, err := tx.Exec(ctx, sqlWriteEmailRequest, account[:], r.address, r.expires)
	return err
}

const sqlReadEmailRequest = `SELECT address, expires_at, tries FROM email_request WHERE account_id = $1`

func readEmailRequest(ctx context.Context, q sqldb.Querier, account api.AccountID) (r emailRequest, err error) {
	err = q.QueryRow(ctx, sqlReadEmailRequest, account[:]).Scan(&r.address, &r.expires, &r.tries)
	return r, err
}

const sqlCountEmailTry = `UPDATE email_request SET tries = tries + 1 WHERE account_id = $1 AND tries < $2`

func countEmailTry(ctx context.Context, tx *sqldb.Tx, account api.AccountID, most int) error {
	_, err := tx.Exec(ctx, sqlCountEmailTry, account[:], most)
	return err
}

const (
	sqlDeleteEmail        = `DELETE FROM login_name WHERE account_id = $1 AND kind = 'email'`
	sqlDeleteEmailRequest = `DELETE FROM email_request WHERE account_id = $1`
)

// deleteEmail removes the address and what waits to become one.
func deleteEmail(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	if _, err := tx.Exec(ctx, sqlDeleteEmail, account[:]); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlDeleteEmailRequest, account[:])
	return err
}

const sqlInsertEmail = `
INSERT INTO login_name (kind, name, account_id, method, salt, iterations, verifier, changed_at)
VALUES ('email', $1, $2, $3, $4, $5, $6, $7)`

func insertEmail(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, address string, p newPassword, verifier []byte, now int64,
) error {
	_, err := tx.Exec(ctx, sqlInsertEmail, address, account[:], p.method, p.salt, p.iterations, verifier, now)
	return err
}

const sqlChangeEmailVerifier = `
UPDATE login_name SET salt = $2, iterations = $3, verifier = $4, changed_at = $5
WHERE account_id = $1 AND kind = 'email' RETURNING name`

// changeEmailVerifier is sqldb.ErrNoRows when the address was removed meanwhile.
func changeEmailVerifier(ctx context.Context, tx *sqldb.Tx, account api.AccountID, e api.EmailPassword, verifier []byte, now int64) error {
	var name string
	return tx.QueryRow(ctx, sqlChangeEmailVerifier, account[:], e.Salt, e.Iterations, verifier, now).Scan(&name)
}

const sqlHasEmail = `SELECT count(*) FROM login_name WHERE account_id = $1 AND kind = 'email'`

func hasEmail(ctx context.Context, q sqldb.Querier, account api.AccountID) (bool, error) {
	var n int
	err := q.QueryRow(ctx, sqlHasEmail, account[:]).Scan(&n)
	return n > 0, err
}

const sqlReadEmailOwner = `SELECT account_id FROM login_name WHERE kind = 'email' AND name = $1`

func readEmailOwner(ctx context.Context, q sqldb.Querier, address string) (id api.AccountID, err error) {
	err = q.QueryRow(ctx, sqlReadEmailOwner, address).Scan(sqldb.Blob(id[:]))
	return id, err
}

const sqlReadRecipient = `
SELECT u.name, coalesce(e.name, '') FROM login_name u
LEFT JOIN login_name e ON e.account_id = u.account_id AND e.kind = 'email'
WHERE u.account_id = $1 AND u.kind = 'username'`

func readRecipient(ctx context.Context, q sqldb.Querier, account api.AccountID) (r api.Recipient, err error) {
	err = q.QueryRow(ctx, sqlReadRecipient, account[:]).Scan(&r.Username, &r.Address)
	return r, err
}
