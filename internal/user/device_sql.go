package user

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// States of a device. A removed one keeps its row, so that its device id is never used again.
const (
	stateActive    = "active"
	stateSignedOut = "signed_out"
	stateRemoved   = "removed"
)

const sqlInsertDevice = `
INSERT INTO device (id, account_id, wire_id, registration_id, identity_key, name, state,
	signed_prekey_id, signed_prekey, signed_prekey_sig, last_resort_id, last_resort, last_resort_sig,
	statement, statement_sig, statement_at, request_hash, list_version, added_at, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (id) DO NOTHING RETURNING wire_id`

// insertDevice stores the device with its prekeys. The device id may be taken by anybody's device.
func insertDevice(ctx context.Context, tx *sqldb.Tx, account api.AccountID, d checkedDevice, now int64) error {
	keys := d.PreKeys
	var wire int64
	err := tx.QueryRow(ctx, sqlInsertDevice, d.DeviceID[:], account[:],
		d.listed.ID, d.listed.RegistrationID, d.listed.IdentityKey[:], d.Name,
		keys.SignedPreKey.ID, keys.SignedPreKey.Key, keys.SignedPreKey.Signature,
		keys.LastResort.ID, keys.LastResort.Key, keys.LastResort.Signature,
		keys.Statement.Statement, keys.Statement.Signature, d.statement.Time,
		d.requestHash[:], int64(d.listVersion), now, hourOf(now)).Scan(&wire)
	if errors.Is(err, sqldb.ErrNoRows) {
		return errs.New(errs.Conflict, api.CodeExists, "This device id is taken. Choose a new random one.")
	}
	if err != nil {
		return err
	}
	return insertPreKeys(ctx, tx, d.DeviceID, keys)
}

// hourOf rounds a time down, so that the tables do not record when people use their devices.
func hourOf(millis int64) int64 {
	const hour = 3_600_000 // milliseconds
	return millis - millis%hour
}

const sqlReadDevices = `
SELECT id, wire_id, name, added_at, seen_at FROM device WHERE account_id = $1 AND removed_at IS NULL ORDER BY wire_id`

func readDevices(ctx context.Context, q sqldb.Querier, account api.AccountID) ([]api.Device, error) {
	return readAll(ctx, q, func(d *api.Device) []any {
		return []any{sqldb.Blob(d.DeviceID[:]), &d.WireDeviceID, &d.Name, &d.AddedAt, &d.SeenAt}
	}, sqlReadDevices, account[:])
}

const sqlRenameDevice = `
UPDATE device SET name = $3 WHERE id = $2 AND account_id = $1 AND removed_at IS NULL RETURNING wire_id`

// renameDevice is sqldb.ErrNoRows when the account has no such device.
func renameDevice(ctx context.Context, tx *sqldb.Tx, account api.AccountID, id api.DeviceID, name string) error {
	var wire int64
	return tx.QueryRow(ctx, sqlRenameDevice, account[:], id[:], name).Scan(&wire)
}

const sqlReadRequestHash = `
SELECT request_hash FROM device WHERE id = $1`

func readRequestHash(ctx context.Context, q sqldb.Querier, device api.DeviceID) (hash [32]byte, err error) {
	err = q.QueryRow(ctx, sqlReadRequestHash, device[:]).Scan(sqldb.Blob(hash[:]))
	return hash, err
}

const sqlSetDeviceState = `
UPDATE device SET state = $3 WHERE id = $1 AND state = $2 RETURNING account_id`

func setDeviceState(ctx context.Context, tx *sqldb.Tx, device api.DeviceID, from, to string) (changed bool, err error) {
	var account api.AccountID
	err = tx.QueryRow(ctx, sqlSetDeviceState, device[:], from, to).Scan(sqldb.Blob(account[:]))
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, countStatus(ctx, tx, account)
}

const sqlGiveDevice = `
UPDATE login SET device_id = $2 WHERE id = $1 AND device_id IS NULL AND ended_at IS NULL`

// giveDevice binds the login to the device that it has added in the same transaction.
func giveDevice(ctx context.Context, tx *sqldb.Tx, actor token.Actor) error {
	_, err := tx.Exec(ctx, sqlGiveDevice, actor.Login[:], actor.Device[:])
	return err
}
