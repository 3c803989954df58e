package user

import (
	"context"
	"math"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/sqldb"
)

const sqlReadNewestList = `
SELECT a.account_key, a.status_version, l.list, l.signature
FROM account a JOIN device_list l ON l.account_id = a.id AND l.version = a.list_version
WHERE a.id = $1`

// readNewestList returns the newest signed list and which of its devices are signed out, or sqldb.ErrNoRows.
func readNewestList(ctx context.Context, q sqldb.Querier, id api.AccountID) (api.AccountLists, error) {
	lists := api.AccountLists{AccountID: id, Lists: make([]api.SignedList, 1)}
	newest := &lists.Lists[0]
	err := q.QueryRow(ctx, sqlReadNewestList, id[:]).
		Scan(&lists.AccountKey, &lists.StatusVersion, &newest.List, &newest.Signature)
	if err != nil {
		return api.AccountLists{}, err
	}
	lists.Status, err = readStatus(ctx, q, id)
	return lists, err
}

const sqlCountStatus = `
UPDATE account SET status_version = status_version + 1 WHERE id = $1`

// countStatus follows every change of what readStatus returns, so that answers about one list version have an order. It
// is called before the rows are read for the event, in the transaction that changed them.
func countStatus(ctx context.Context, tx *sqldb.Tx, id api.AccountID) error {
	_, err := tx.Exec(ctx, sqlCountStatus, id[:])
	return err
}

const sqlReadList = `
SELECT list FROM device_list WHERE account_id = $1 AND version = $2`

// readList returns the bytes of one version, or sqldb.ErrNoRows.
func readList(ctx context.Context, q sqldb.Querier, id api.AccountID, version uint64) (list []byte, err error) {
	err = q.QueryRow(ctx, sqlReadList, id[:], int64(min(version, math.MaxInt64))).Scan(&list)
	return list, err
}

const sqlReadStatus = `
SELECT wire_id, state FROM device WHERE account_id = $1 AND removed_at IS NULL AND state = 'signed_out'
UNION ALL SELECT wire_id, 'signed_out' FROM forgotten_device WHERE account_id = $1 ORDER BY wire_id`

// readStatus relies on the states of the table being those of the interface.
func readStatus(ctx context.Context, q sqldb.Querier, id api.AccountID) ([]api.DeviceStatus, error) {
	return readAll(ctx, q, func(s *api.DeviceStatus) []any { return []any{&s.DeviceID, &s.State} }, sqlReadStatus, id[:])
}

const sqlInsertList = `
INSERT INTO device_list (account_id, version, hash, list, signature, stored_at) VALUES ($1, $2, $3, $4, $5, $6)`

func insertList(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, version uint64, l api.SignedList, now int64,
) error {
	hash := e2ee.SignedDeviceList(l).Hash()
	_, err := tx.Exec(ctx, sqlInsertList, account[:], int64(version), hash[:], l.List, l.Signature, now)
	return err
}

const sqlReadAccountAndName = `
SELECT a.account_key, a.status_version, n.name FROM account a JOIN login_name n ON n.account_id = a.id AND n.kind = 'username'
WHERE a.id = $1`

const sqlReadListsAfter = `
SELECT list, signature FROM device_list WHERE account_id = $1 AND version > $2 ORDER BY version LIMIT $3`

// readListsAfter returns the username and the chain after a version, which may be empty, or sqldb.ErrNoRows for an
// unknown account.
func readListsAfter(ctx context.Context, q sqldb.Querier, id api.AccountID, after uint64) (api.AccountLists, error) {
	lists := api.AccountLists{AccountID: id}
	err := q.QueryRow(ctx, sqlReadAccountAndName, id[:]).Scan(&lists.AccountKey, &lists.StatusVersion, &lists.Username)
	if err != nil {
		return lists, err
	}
	lists.Lists, err = readAll(ctx, q, func(l *api.SignedList) []any { return []any{&l.List, &l.Signature} },
		sqlReadListsAfter, id[:], int64(min(after, math.MaxInt64)), api.MaxListChain)
	if err != nil {
		return lists, err
	}
	lists.Status, err = readStatus(ctx, q, id)
	return lists, err
}

const sqlAdvanceList = `
UPDATE account SET list_version = $2 WHERE id = $1 AND list_version = $2 - 1 RETURNING list_version`

// advanceList is the compare-and-swap on the version: sqldb.ErrNoRows when another list came first.
func advanceList(ctx context.Context, tx *sqldb.Tx, account api.AccountID, version uint64) error {
	var stored int64
	return tx.QueryRow(ctx, sqlAdvanceList, account[:], int64(version)).Scan(&stored)
}
