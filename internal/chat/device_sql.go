package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const deviceColumns = `id, account, wire_id, registration_id, identity_key, token_device, state, generation, entries, bytes, seen_at`

func (d *device) columns() []any {
	return []any{&d.id, sqldb.Blob(d.account[:]), &d.wire, &d.registration, sqldb.Blob(d.identity[:]), sqldb.Blob(d.token[:]), &d.state,
		&d.generation, &d.entries, &d.bytes, &d.seen}
}

const sqlReadDevice = `SELECT ` + deviceColumns + ` FROM device WHERE account = $1 AND wire_id = $2 AND state <> 'removed'`

// readDevice returns nil when the account has no such device.
func readDevice(ctx context.Context, q sqldb.Querier, account api.AccountID, wire api.WireDeviceID) (*device, error) {
	d := &device{}
	err := q.QueryRow(ctx, sqlReadDevice, account[:], wire).Scan(d.columns()...)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	return d, errs.Wrap("reading a device", err)
}

const sqlReadDevicesOf = `SELECT ` + deviceColumns + ` FROM device WHERE account IN %s AND state <> 'removed' ORDER BY account, wire_id`

// readDevicesOf returns the devices of the accounts in their lists, whatever their state, in the order of envelopes.
func readDevicesOf(ctx context.Context, q sqldb.Querier, accounts []api.AccountID) ([]*device, error) {
	var all []*device
	for part := range slices.Chunk(accounts, sqldb.MaxIn) {
		rows, err := q.Query(ctx, fmt.Sprintf(sqlReadDevicesOf, sqldb.In(1, len(part))), idArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("reading devices", err)
		}
		found, err := scanDevices(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// scanDevices reads deviceColumns to the end and closes the rows.
func scanDevices(rows *sqldb.Rows) ([]*device, error) {
	defer rows.Close()
	var all []*device
	for rows.Next() {
		d := &device{}
		if err := rows.Scan(d.columns()...); err != nil {
			return nil, errs.Wrap("reading devices", err)
		}
		all = append(all, d)
	}
	return all, errs.Wrap("reading devices", rows.Err())
}

func numberArgs(numbers []int64) []any {
	args := make([]any, len(numbers))
	for i, n := range numbers {
		args[i] = n
	}
	return args
}

const sqlInsertDevice = `
INSERT INTO device (account, wire_id, registration_id, identity_key, state, seen_at) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id`

func insertDevice(ctx context.Context, tx *sqldb.Tx, account api.AccountID, listed e2ee.ListedDevice, signedOut bool, now int64) error {
	state := stateActive
	if signedOut {
		state = stateSignedOut
	}
	var id int64
	if err := tx.QueryRow(ctx, sqlInsertDevice, account[:], listed.ID, listed.RegistrationID, listed.IdentityKey[:], state, now).Scan(&id); err != nil {
		return errs.Wrap("writing a device", err)
	}
	return insertStarts(ctx, tx, id, account)
}

const sqlInsertStarts = `
INSERT INTO device_start (device, conversation, seq)
SELECT $1, c.id, c.last_seq + 1 FROM member m JOIN conversation c ON c.id = m.conversation
WHERE m.account = $2 AND c.last_seq > 0
ON CONFLICT (device, conversation) DO UPDATE SET seq = excluded.seq`

func insertStarts(ctx context.Context, tx *sqldb.Tx, device int64, account api.AccountID) error {
	_, err := tx.Exec(ctx, sqlInsertStarts, device, account[:])
	return errs.Wrap("writing start positions", err)
}

const sqlSetDeviceState = `UPDATE device SET state = $2, seen_at = $3 WHERE id = $1`

func setDeviceState(ctx context.Context, tx *sqldb.Tx, device int64, state string, now int64) error {
	_, err := tx.Exec(ctx, sqlSetDeviceState, device, state, now)
	return errs.Wrap("changing the state of a device", err)
}

const sqlUpdateConnected = `UPDATE device SET generation = $2, token_device = $3, seen_at = $4 WHERE id = $1`

func updateConnected(ctx context.Context, tx *sqldb.Tx, d *device, token api.DeviceID, now int64) error {
	_, err := tx.Exec(ctx, sqlUpdateConnected, d.id, d.generation, token[:], now)
	return errs.Wrap("writing a generation", err)
}

const (
	sqlDeleteMailbox  = `DELETE FROM mailbox WHERE device = $1`
	sqlMailboxEmptied = `UPDATE device SET entries = 0, bytes = 0 WHERE id = $1`
)

func deleteMailbox(ctx context.Context, tx *sqldb.Tx, device int64) error {
	if _, err := tx.Exec(ctx, sqlDeleteMailbox, device); err != nil {
		return errs.Wrap("emptying a mailbox", err)
	}
	_, err := tx.Exec(ctx, sqlMailboxEmptied, device)
	return errs.Wrap("emptying a mailbox", err)
}

const sqlInsertRemoved = `INSERT INTO device_removed (device, until) VALUES ($1, $2) ON CONFLICT (device) DO NOTHING`

func insertRemoved(ctx context.Context, tx *sqldb.Tx, device, until int64) error {
	_, err := tx.Exec(ctx, sqlInsertRemoved, device, until)
	return errs.Wrap("writing a removed device", err)
}

const sqlReadRemoved = `SELECT device FROM device_removed WHERE until > $1`

func readRemovedDevices(ctx context.Context, q sqldb.Querier, now int64) ([]int64, error) {
	return readNumbers(ctx, q, sqlReadRemoved, now)
}

const sqlForgetRemoved = `DELETE FROM device_removed WHERE until <= $1`

func forgetRemoved(ctx context.Context, tx *sqldb.Tx, now int64) error {
	_, err := tx.Exec(ctx, sqlForgetRemoved, now)
	return errs.Wrap("forgetting removed devices", err)
}
