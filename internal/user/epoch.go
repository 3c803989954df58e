package user

import (
	"context"
	"time"

	"sotto/internal/sqldb"
)

const sqlReadEpoch = `
SELECT epoch FROM server WHERE one = 1`

// ReadEpoch returns the server's epoch. It changes only while no server runs.
func ReadEpoch(ctx context.Context, q sqldb.Querier) (epoch uint64, err error) {
	err = q.QueryRow(ctx, sqlReadEpoch).Scan(&epoch)
	return epoch, err
}

const sqlRaiseEpoch = `
UPDATE server SET epoch = CASE WHEN epoch >= $1 THEN epoch + 1 ELSE $1 END, restored_at = $2 WHERE one = 1 RETURNING epoch`

const sqlVoidPreKeys = `
UPDATE prekey SET claimed_at = $1, public_key = NULL, signature = NULL WHERE claimed_at IS NULL`

// Restored makes a database from a backup fit to serve again, in one transaction. The epoch becomes the time in
// seconds, or one more than it was if that is higher, so that two restores of one backup never share an epoch. One-time
// prekeys are void, because each may have been handed out after the backup was made.
func Restored(ctx context.Context, db *sqldb.DB, now time.Time) (epoch uint64, voided int64, err error) {
	err = db.Tx(ctx, "restored", func(tx *sqldb.Tx) error {
		if err := tx.QueryRow(ctx, sqlRaiseEpoch, now.Unix(), now.UnixMilli()).Scan(&epoch); err != nil {
			return err
		}
		res, err := tx.Exec(ctx, sqlVoidPreKeys, now.UnixMilli())
		if err != nil {
			return err
		}
		voided, err = res.RowsAffected()
		return err
	})
	return epoch, voided, err
}
