package chat

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const sqlReadAccounts = `
SELECT id, account_key, list_version, list_hash, list, list_signature, keeps_archive, archive_epoch
FROM account WHERE id IN %s`

func readAccounts(ctx context.Context, q sqldb.Querier, ids []api.AccountID) (map[api.AccountID]*account, error) {
	found := make(map[api.AccountID]*account, len(ids))
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		rows, err := q.Query(ctx, fmt.Sprintf(sqlReadAccounts, sqldb.In(1, len(part))), idArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("reading accounts", err)
		}
		defer rows.Close()
		for rows.Next() {
			a := &account{}
			if err := rows.Scan(sqldb.Blob(a.id[:]), sqldb.Blob(a.key[:]), &a.version, sqldb.Blob(a.hash[:]), &a.list.List, &a.list.Signature,
				&a.keepsArchive, &a.archiveEpoch); err != nil {
				return nil, errs.Wrap("reading accounts", err)
			}
			found[a.id] = a
		}
		if err := rows.Err(); err != nil {
			return nil, errs.Wrap("reading accounts", err)
		}
	}
	return found, nil
}

// idArgs makes arguments of ids.
func idArgs[ID ~[16]byte](ids []ID) []any {
	args := make([]any, len(ids))
	for i := range ids {
		b := [16]byte(ids[i])
		args[i] = b[:]
	}
	return args
}

const sqlInsertAccount = `
INSERT INTO account (id, account_key, list_version, list_hash, list, list_signature) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO NOTHING`

// insertAccount is for an account that was not there to be locked.
func insertAccount(ctx context.Context, tx *sqldb.Tx, c *listChange) error {
	res, err := tx.Exec(ctx, sqlInsertAccount, c.list.Account[:], c.list.AccountKey[:], c.list.Version, c.hash[:],
		c.signed.List, c.signed.Signature)
	if err != nil {
		return errs.Wrap("writing an account", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errs.Wrap("writing an account", cmp.Or(err, sqldb.ErrOvertaken))
	}
	return nil
}

const sqlUpdateAccount = `
UPDATE account SET account_key = $2, list_version = $3, list_hash = $4, list = $5, list_signature = $6 WHERE id = $1`

func updateAccount(ctx context.Context, tx *sqldb.Tx, c *listChange) error {
	_, err := tx.Exec(ctx, sqlUpdateAccount, c.list.Account[:], c.list.AccountKey[:], c.list.Version, c.hash[:],
		c.signed.List, c.signed.Signature)
	return errs.Wrap("writing an account", err)
}

const sqlRaiseArchiveEpoch = `UPDATE account SET archive_epoch = $2 WHERE id = $1 AND archive_epoch < $2`

func raiseArchiveEpoch(ctx context.Context, tx *sqldb.Tx, id api.AccountID, epoch uint64) error {
	_, err := tx.Exec(ctx, sqlRaiseArchiveEpoch, id[:], epoch)
	return errs.Wrap("raising an archive epoch", err)
}

const sqlEndArchiveEpoch = `
UPDATE account SET
	archive_epoch = CASE WHEN archive_epoch > removal_epoch THEN archive_epoch ELSE removal_epoch + 1 END,
	removal_epoch = CASE WHEN archive_epoch > removal_epoch THEN archive_epoch ELSE removal_epoch + 1 END
WHERE id = $1`

// endArchiveEpoch follows the removal of devices, for which the client has begun a new epoch. Usually its first record
// comes later; when it came before the list, the new epoch is known already. Raising it once more would lock the client
// out: no key of that epoch exists.
func endArchiveEpoch(ctx context.Context, tx *sqldb.Tx, id api.AccountID) error {
	_, err := tx.Exec(ctx, sqlEndArchiveEpoch, id[:])
	return errs.Wrap("ending an archive epoch", err)
}

// maxPeers bounds how many accounts are told of a new device list; others learn of it by their next refused send.
const maxPeers = 1000

const sqlReadPeers = `
SELECT DISTINCT other.account FROM member own JOIN member other ON other.conversation = own.conversation
WHERE own.account = $1 AND own.state = 'accepted' AND other.account <> $1 AND other.state <> 'blocked' LIMIT $2`

func readPeers(ctx context.Context, q sqldb.Querier, id api.AccountID) ([]api.AccountID, error) {
	rows, err := q.Query(ctx, sqlReadPeers, id[:], maxPeers)
	if err != nil {
		return nil, errs.Wrap("reading peers", err)
	}
	defer rows.Close()
	var peers []api.AccountID
	for rows.Next() {
		var peer api.AccountID
		if err := rows.Scan(sqldb.Blob(peer[:])); err != nil {
			return nil, errs.Wrap("reading peers", err)
		}
		peers = append(peers, peer)
	}
	return peers, errs.Wrap("reading peers", rows.Err())
}
