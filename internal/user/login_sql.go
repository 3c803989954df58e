package user

import (
	"context"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Kinds of names to sign in with.
const (
	kindUsername = "username"
	kindEmail    = "email"
)

const sqlReadLoginParameters = `
SELECT account_id, salt, iterations FROM login_name
WHERE kind = $1 AND name = $2 AND method = 'split-pbkdf2-v1'`

func readLoginParameters(
	ctx context.Context, q sqldb.Querier, kind, name string,
) (account api.AccountID, p api.LoginParameters, err error) {
	err = q.QueryRow(ctx, sqlReadLoginParameters, kind, name).Scan(sqldb.Blob(account[:]), &p.Salt, &p.Iterations)
	return account, p, err
}

// knownLogin is what a proof is held against.
type knownLogin struct {
	username string
	salt     []byte
	verifier []byte
}

const sqlReadVerifier = `
SELECT u.name, n.salt, n.verifier FROM login_name n JOIN login_name u ON u.account_id = n.account_id AND u.kind = 'username'
WHERE n.account_id = $1 AND n.kind = $2 AND n.method = 'split-pbkdf2-v1'`

// readVerifierOf reads the verifier of one kind of name.
func readVerifierOf(ctx context.Context, q sqldb.Querier, account api.AccountID, kind string) (k knownLogin, err error) {
	err = q.QueryRow(ctx, sqlReadVerifier, account[:], kind).Scan(&k.username, &k.salt, &k.verifier)
	return k, err
}

// readVerifier reads that of the username, which every account has.
func readVerifier(ctx context.Context, q sqldb.Querier, account api.AccountID) (k knownLogin, err error) {
	return readVerifierOf(ctx, q, account, kindUsername)
}

const sqlReadDeviceIdentity = `
SELECT wire_id, identity_key FROM device WHERE id = $2 AND account_id = $1 AND removed_at IS NULL`

func readDeviceIdentity(
	ctx context.Context, q sqldb.Querier, account api.AccountID, device api.DeviceID,
) (wire api.WireDeviceID, key e2ee.PublicKey, err error) {
	err = q.QueryRow(ctx, sqlReadDeviceIdentity, account[:], device[:]).Scan(&wire, sqldb.Blob(key[:]))
	return wire, key, err
}

const sqlInsertLogin = `
INSERT INTO login (id, account_id, device_id, renewal_hash, purpose, created_at, renewed_at)
VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7)`

// Purposes of a login. The empty one is NULL in the table.
const (
	forEverything = ""
	forPassword   = "recovery" // made with the recovery code; may only set a new password
)

func insertLogin(
	ctx context.Context, tx *sqldb.Tx, actor token.Actor, renewalHash []byte, purpose string, now int64,
) error {
	var device []byte
	if actor.HasDevice() {
		device = actor.Device[:]
	}
	_, err := tx.Exec(ctx, sqlInsertLogin,
		actor.Login[:], actor.Account[:], device, renewalHash, purpose, now, hourOf(now))
	return err
}

// storedLogin is a row of login with what a token needs.
type storedLogin struct {
	actor       token.Actor
	username    string
	renewalHash [32]byte
	purpose     string
	renewedAt   int64
	ended       bool
	removed     bool // the account does not list the device any more
}

const sqlReadLogin = `
SELECT l.account_id, l.device_id, coalesce(d.wire_id, 0), n.name, l.renewal_hash, coalesce(l.purpose, ''),
	l.renewed_at, coalesce(l.ended_at, 0), coalesce(d.removed_at, 0)
FROM login l JOIN login_name n ON n.account_id = l.account_id AND n.kind = 'username'
LEFT JOIN device d ON d.id = l.device_id
WHERE l.id = $1`

func readLogin(ctx context.Context, q sqldb.Querier, id api.LoginID) (l storedLogin, err error) {
	l.actor.Login = id
	var endedAt, removedAt int64
	err = q.QueryRow(ctx, sqlReadLogin, id[:]).Scan(sqldb.Blob(l.actor.Account[:]), sqldb.Blob(l.actor.Device[:]), &l.actor.WireDevice,
		&l.username, sqldb.Blob(l.renewalHash[:]), &l.purpose, &l.renewedAt, &endedAt, &removedAt)
	l.ended, l.removed = endedAt != 0, removedAt != 0
	return l, err
}

const sqlMarkLoginRenewed = `
UPDATE login SET renewed_at = $2 WHERE id = $1 AND ended_at IS NULL`

const sqlMarkDeviceSeen = `
UPDATE device SET seen_at = $2 WHERE id = $1`

func markRenewed(ctx context.Context, tx *sqldb.Tx, actor token.Actor, hour int64) error {
	if _, err := tx.Exec(ctx, sqlMarkLoginRenewed, actor.Login[:], hour); err != nil || !actor.HasDevice() {
		return err
	}
	_, err := tx.Exec(ctx, sqlMarkDeviceSeen, actor.Device[:], hour)
	return err
}

const sqlEndLogin = `
UPDATE login SET ended_at = $2, end_reason = 'logout' WHERE id = $1 AND ended_at IS NULL RETURNING device_id`

// endLogin returns the device of the login, zero when it had none, or sqldb.ErrNoRows when it has ended before.
func endLogin(ctx context.Context, tx *sqldb.Tx, login api.LoginID, now int64) (device api.DeviceID, err error) {
	err = tx.QueryRow(ctx, sqlEndLogin, login[:], now).Scan(sqldb.Blob(device[:]))
	return device, err
}

const sqlEndDeviceLogin = `
UPDATE login SET ended_at = $2, end_reason = 'replaced' WHERE device_id = $1 AND ended_at IS NULL RETURNING id`

func endDeviceLogin(ctx context.Context, tx *sqldb.Tx, device api.DeviceID, now int64) ([]api.LoginID, error) {
	return readAll(ctx, tx, scanLoginID, sqlEndDeviceLogin, device[:], now)
}

const sqlEndSurplusLogins = `
UPDATE login SET ended_at = $2, end_reason = 'replaced' WHERE id IN (
	SELECT id FROM login WHERE account_id = $1 AND ended_at IS NULL AND device_id IS NULL
	ORDER BY created_at DESC LIMIT $4 OFFSET $3)
RETURNING id`

// endSurplusLogins leaves room for one more login without a device.
func endSurplusLogins(ctx context.Context, tx *sqldb.Tx, account api.AccountID, now int64) ([]api.LoginID, error) {
	return readAll(ctx, tx, scanLoginID, sqlEndSurplusLogins, account[:], now, maxPlainLogins-1, maxPlainLogins)
}

func scanLoginID(id *api.LoginID) []any { return []any{sqldb.Blob(id[:])} }

// endedLoginKept is longer than any token lives.
const endedLoginKept = 30 * 24 * time.Hour

const sqlDeleteEndedLogins = `
DELETE FROM login WHERE account_id = $1 AND ended_at < $2`

func deleteEndedLogins(ctx context.Context, tx *sqldb.Tx, account api.AccountID, now int64) error {
	_, err := tx.Exec(ctx, sqlDeleteEndedLogins, account[:], now-endedLoginKept.Milliseconds())
	return err
}
