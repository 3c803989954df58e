package asset

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/fault"
	"sotto/internal/sqldb"
)

const (
	upkeepEvery  = time.Hour
	upkeepBatch  = 100 // rows at once
	upkeepRounds = 100 // batches of one kind; what is left waits for the next time
)

// List returns a page of what the account has, stored and begun, in the order of the names.
func (s *Store) List(ctx context.Context, account api.AccountID, after string, limit int) (page api.Assets, err error) {
	if limit < 1 || limit > api.MaxAssetPage {
		return page, errs.Invalidf("A page has 1 to %d assets.", api.MaxAssetPage)
	}
	var from [32]byte // no hash of anything known
	if after != "" {
		if from, err = ParseName(after); err != nil {
			return page, errs.Invalidf("This cursor is not from here.")
		}
	}
	u, err := readUsage(ctx, s.DB, account)
	if err != nil {
		return page, err
	}
	page.Used, page.Quota = u.bytes, s.Quota
	page.Assets, err = readList(ctx, s.DB, account, from, limit)
	if err == nil && len(page.Assets) == limit {
		page.Next = hex.EncodeToString(page.Assets[limit-1].SHA256)
	}
	return page, err
}

const sqlReadList = assetColumns + `WHERE account = $1 AND sha256 > $2 AND state <> 'gone' ORDER BY sha256 LIMIT $3`

func readList(ctx context.Context, q sqldb.Querier, account api.AccountID, after [32]byte, limit int) ([]api.Asset, error) {
	rows, err := q.Query(ctx, sqlReadList, account[:], after[:], limit)
	if err != nil {
		return nil, errs.Wrap("listing assets", err)
	}
	defer rows.Close()
	all := []api.Asset{}
	for rows.Next() {
		a, err := scanAsset(rows.Scan)
		if err != nil {
			return nil, errs.Wrap("listing assets", err)
		}
		all = append(all, a.api())
	}
	return all, errs.Wrap("listing assets", rows.Err())
}

const sqlMarkOwn = `UPDATE asset SET state = 'gone', changed_at = $3 WHERE account = $1 AND sha256 = $2 AND state <> 'gone' RETURNING id`

// Delete removes an asset of the account, or drops its upload. One that is not there is no error, so that repeating it is
// safe. The same asset of another account stays.
func (s *Store) Delete(ctx context.Context, account api.AccountID, sum [32]byte) error {
	var id api.UploadID
	found := false
	err := s.tx(ctx, "delete asset", func(tx *sqldb.Tx) error {
		err := tx.QueryRow(ctx, sqlMarkOwn, account[:], sum[:], s.millis()).Scan(sqldb.Blob(id[:]))
		if found = err == nil; found || errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		return errs.Wrap("marking an asset", err)
	})
	if err != nil || !found {
		return errs.Wrap("deleting an asset", err)
	}
	fault.Point("asset marked")
	s.removeNow(ctx, id)
	return nil
}

// removeNow is for what is gone for the account already. What fails now, upkeep does.
func (s *Store) removeNow(ctx context.Context, id api.UploadID) {
	if err := s.remove(ctx, id); err != nil {
		s.Logger.WarnContext(ctx, "an asset is not removed yet", slog.Any("err", err))
	}
}

const sqlUnsettled = `SELECT COUNT(*) FROM asset_part WHERE asset = $1 AND state = 'planned' AND planned_at > $2`

// remove deletes the objects of a marked asset, then its rows. An object of a part that was planned lately may still be
// written, so that such an asset waits.
func (s *Store) remove(ctx context.Context, id api.UploadID) error {
	var unsettled int
	if err := s.DB.QueryRow(ctx, sqlUnsettled, id[:], s.Now().Add(-settleAfter).UnixMilli()).Scan(&unsettled); err != nil {
		return errs.Wrap("reading parts", err)
	}
	if unsettled > 0 {
		return nil
	}
	parts, err := readParts(ctx, s.DB, sqlReadParts, id)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.deleteObject(ctx, p); err != nil {
			return err
		}
	}
	fault.Point("asset objects deleted")
	return s.tx(ctx, "forget asset", func(tx *sqldb.Tx) error { return forgetAsset(ctx, tx, id) })
}

func (s *Store) deleteObject(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	return errs.Wrap("deleting an object", s.Backend.Delete(ctx, p.object()))
}

// Nothing is planned for what is marked, so that the parts are those whose objects were deleted.
const (
	sqlForgetParts = `DELETE FROM asset_part WHERE asset = $1`
	sqlForgetAsset = `DELETE FROM asset WHERE id = $1 AND state = 'gone'`
)

func forgetAsset(ctx context.Context, tx *sqldb.Tx, id api.UploadID) error {
	for _, statement := range []string{sqlForgetParts, sqlForgetAsset} {
		if _, err := tx.Exec(ctx, statement, id[:]); err != nil {
			return errs.Wrap("forgetting an asset", err)
		}
	}
	return nil
}

// Run removes what nobody needs until ctx ends, at the start and every hour. Several processes may do it at once.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "upkeep of assets did not finish", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Tidy drops uploads without progress, and removes what is marked and parts that were planned and forgotten.
func (s *Store) Tidy(ctx context.Context) error {
	if err := s.mark(ctx, sqlMarkIdle, s.Now().Add(-idleUpload)); err != nil {
		return err
	}
	if err := s.mark(ctx, sqlMarkForgotten, s.Now().Add(-settleAfter)); err != nil {
		return err
	}
	return errors.Join(s.removeMarked(ctx), s.removeForgotten(ctx))
}

// A part is forgotten when it was not placed for a while. Placing it looks at the state again.
const (
	sqlMarkIdle = `
UPDATE asset SET state = 'gone', changed_at = $1 WHERE id IN
	(SELECT id FROM asset WHERE state = 'open' AND changed_at < $2 ORDER BY changed_at LIMIT $3) AND state = 'open' AND changed_at < $2`
	sqlMarkForgotten = `
UPDATE asset_part SET state = 'gone', planned_at = $1 WHERE (asset, start, sha256) IN
	(SELECT asset, start, sha256 FROM asset_part WHERE state = 'planned' AND planned_at < $2 ORDER BY planned_at LIMIT $3)
	AND state = 'planned' AND planned_at < $2`
)

func (s *Store) mark(ctx context.Context, statement string, before time.Time) error {
	for range upkeepRounds {
		var n int64
		if err := s.tx(ctx, "mark assets", func(tx *sqldb.Tx) error {
			res, err := tx.Exec(ctx, statement, s.millis(), before.UnixMilli(), upkeepBatch)
			if err == nil {
				n, err = res.RowsAffected()
			}
			return errs.Wrap("marking what is not needed", err)
		}); err != nil || n < upkeepBatch {
			return err
		}
	}
	return nil
}

const sqlReadMarked = `SELECT id FROM asset WHERE state = 'gone' AND id > $1 ORDER BY id LIMIT $2`

// removeMarked goes through all of them, so that one that cannot be removed keeps no other.
func (s *Store) removeMarked(ctx context.Context) error {
	var failed error
	for after := (api.UploadID{}); ; {
		ids, err := readMarked(ctx, s.DB, after)
		if err != nil {
			return err
		}
		for _, id := range ids {
			after = id
			if err := s.remove(ctx, id); err != nil {
				failed = err // the last one stands for all
			}
		}
		if len(ids) < upkeepBatch || ctx.Err() != nil {
			return failed
		}
	}
}

func readMarked(ctx context.Context, q sqldb.Querier, after api.UploadID) (ids []api.UploadID, err error) {
	rows, err := q.Query(ctx, sqlReadMarked, after[:], upkeepBatch)
	if err != nil {
		return nil, errs.Wrap("reading what is marked", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id api.UploadID
		if err := rows.Scan(sqldb.Blob(id[:])); err != nil {
			return nil, errs.Wrap("reading what is marked", err)
		}
		ids = append(ids, id)
	}
	return ids, errs.Wrap("reading what is marked", rows.Err())
}

const (
	sqlReadForgotten = `
SELECT asset, start, sha256, size FROM asset_part WHERE state = 'gone' AND (asset, start, sha256) > ($1, $2, $3)
ORDER BY asset, start, sha256 LIMIT $4`
	sqlForgetPart = `DELETE FROM asset_part WHERE asset = $1 AND start = $2 AND sha256 = $3 AND state = 'gone'`
)

func (s *Store) removeForgotten(ctx context.Context) error {
	var failed error
	for after := (part{}); ; {
		parts, err := readParts(ctx, s.DB, sqlReadForgotten, after.asset, after.start, after.sum[:], upkeepBatch)
		if err != nil {
			return err
		}
		for _, p := range parts {
			after = p
			err := s.deleteObject(ctx, p)
			if err == nil {
				err = s.tx(ctx, "forget part", func(tx *sqldb.Tx) error {
					_, err := tx.Exec(ctx, sqlForgetPart, p.asset[:], p.start, p.sum[:])
					return errs.Wrap("forgetting a part", err)
				})
			}
			if err != nil {
				failed = err
			}
		}
		if len(parts) < upkeepBatch || ctx.Err() != nil {
			return failed
		}
	}
}
