package user

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// deviceRow is a device that has not been removed.
type deviceRow struct {
	id       api.DeviceID
	wire     api.WireDeviceID
	identity [33]byte
	state    string
}

const sqlReadDeviceRows = `
SELECT id, wire_id, identity_key, state FROM device WHERE account_id = $1 AND removed_at IS NULL ORDER BY wire_id`

func readDeviceRows(ctx context.Context, q sqldb.Querier, account api.AccountID) ([]deviceRow, error) {
	return readAll(ctx, q, func(d *deviceRow) []any {
		return []any{sqldb.Blob(d.id[:]), &d.wire, sqldb.Blob(d.identity[:]), &d.state}
	}, sqlReadDeviceRows, account[:])
}

const sqlInsertForgotten = `
INSERT INTO forgotten_device (account_id, wire_id) VALUES ($1, $2)`

func insertForgotten(ctx context.Context, tx *sqldb.Tx, account api.AccountID, wire api.WireDeviceID) error {
	_, err := tx.Exec(ctx, sqlInsertForgotten, account[:], wire)
	return err
}

const sqlDeleteForgotten = `
DELETE FROM forgotten_device WHERE account_id = $1 AND wire_id = $2`

func deleteForgotten(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, wire api.WireDeviceID,
) (found bool, err error) {
	res, err := tx.Exec(ctx, sqlDeleteForgotten, account[:], wire)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

const sqlDeleteAllForgotten = `
DELETE FROM forgotten_device WHERE account_id = $1`

func deleteAllForgotten(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	_, err := tx.Exec(ctx, sqlDeleteAllForgotten, account[:])
	return err
}

const sqlReadPasswordSlot = `
SELECT method, salt, iterations, verifier FROM login_name WHERE account_id = $1 AND kind = 'username'`

func readPasswordSlot(ctx context.Context, q sqldb.Querier, account api.AccountID) (slot passwordSlot, err error) {
	var p e2ee.PasswordParameters
	err = q.QueryRow(ctx, sqlReadPasswordSlot, account[:]).Scan(&p.KDF, sqldb.Blob(p.Salt[:]), &p.Iterations, &slot.verifier)
	slot.parameters = p.Marshal()
	return slot, err
}

const sqlReadRestorable = `
SELECT version, sealed, changed_at >= (SELECT restored_at FROM server WHERE one = 1) FROM bundle WHERE account_id = $1`

// readRestorable returns the stored bundle and whether it was stored since the newest restore.
func readRestorable(
	ctx context.Context, q sqldb.Querier, account api.AccountID,
) (b api.Bundle, changedSince bool, err error) {
	err = q.QueryRow(ctx, sqlReadRestorable, account[:]).Scan(&b.Version, &b.Sealed, &changedSince)
	return b, changedSince, err
}

const sqlJumpBundle = `
UPDATE bundle SET version = $2, sealed = $3, changed_at = $4 WHERE account_id = $1`

func jumpBundle(ctx context.Context, tx *sqldb.Tx, account api.AccountID, b api.Bundle, now int64) error {
	_, err := tx.Exec(ctx, sqlJumpBundle, account[:], int64(b.Version), b.Sealed, now)
	return err
}

const sqlReplaceRecovery = `
UPDATE account SET recovery_verifier = $2 WHERE id = $1`

func replaceRecovery(ctx context.Context, tx *sqldb.Tx, account api.AccountID, verifier []byte) error {
	_, err := tx.Exec(ctx, sqlReplaceRecovery, account[:], verifier)
	return err
}

// replaceVerifier refuses when the password was changed while the new one was hashed.
func replaceVerifier(ctx context.Context, tx *sqldb.Tx, account api.AccountID, c bundleChange, now int64) error {
	var name string
	err := tx.QueryRow(ctx, sqlSwapVerifier, account[:], c.known.verifier,
		c.password.method, c.password.salt, c.password.iterations, c.verifier, now).Scan(&name)
	if errors.Is(err, sqldb.ErrNoRows) {
		return errs.Conflictf("The password was changed a moment ago. Start again.")
	}
	return err
}

const sqlReadRestoredDevice = `
SELECT account_id, identity_key, state FROM device WHERE id = $1`

// readRestoredDevice returns a device in any state, or sqldb.ErrNoRows.
func readRestoredDevice(
	ctx context.Context, q sqldb.Querier, id api.DeviceID,
) (account api.AccountID, d deviceRow, err error) {
	d.id = id
	err = q.QueryRow(ctx, sqlReadRestoredDevice, id[:]).Scan(sqldb.Blob(account[:]), sqldb.Blob(d.identity[:]), &d.state)
	return account, d, err
}
