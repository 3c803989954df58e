package chat

import (
	"context"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Settings returns what the account chose.
func (s *Service) Settings(ctx context.Context, actor token.Actor) (api.ChatSettings, error) {
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.ChatSettings{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.ChatSettings{}, err
	}
	return readSettings(ctx, s.DB, actor.Account)
}

// SetSettings decides how much history the account keeps. Upkeep erases the rest within the hour.
func (s *Service) SetSettings(ctx context.Context, actor token.Actor, set api.ChatSettings) (api.ChatSettings, error) {
	days := set.Archive == api.ArchiveDays && set.Days >= 1 && set.Days <= api.MaxArchiveDays
	rest := (set.Archive == api.ArchiveEverything || set.Archive == api.ArchiveNothing) && set.Days == 0
	if !days && !rest {
		return api.ChatSettings{}, errs.Invalidf("An archive keeps everything, the last 1 to %d days, or nothing.", api.MaxArchiveDays)
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.ChatSettings{}, err
	}
	err := s.tx(ctx, "settings", func(tx *sqldb.Tx) error { return updateSettings(ctx, tx, actor.Account, set) })
	return set, errs.Wrap("changing settings", err)
}

const sqlReadSettings = `SELECT keeps_archive, archive_days FROM account WHERE id = $1`

func readSettings(ctx context.Context, q sqldb.Querier, id api.AccountID) (set api.ChatSettings, err error) {
	var keeps bool
	err = q.QueryRow(ctx, sqlReadSettings, id[:]).Scan(&keeps, &set.Days)
	switch {
	case !keeps:
		set.Archive = api.ArchiveNothing
	case set.Days > 0:
		set.Archive = api.ArchiveDays
	default:
		set.Archive = api.ArchiveEverything
	}
	return set, errs.Wrap("reading settings", err)
}

const sqlUpdateSettings = `UPDATE account SET keeps_archive = $2, archive_days = $3 WHERE id = $1`

func updateSettings(ctx context.Context, tx *sqldb.Tx, id api.AccountID, set api.ChatSettings) error {
	keeps := 1
	if set.Archive == api.ArchiveNothing {
		keeps = 0
	}
	_, err := tx.Exec(ctx, sqlUpdateSettings, id[:], keeps, set.Days)
	return errs.Wrap("writing settings", err)
}

const sqlReadErasing = `
SELECT id, keeps_archive, archive_days FROM account
WHERE (keeps_archive = 0 OR archive_days > 0) AND id > $1 ORDER BY id LIMIT $2`

// eraseChosen erases the records that accounts chose not to keep, account by account.
func (s *Service) eraseChosen(ctx context.Context) error {
	for after := (api.AccountID{}); ; {
		accounts, err := readErasing(ctx, s.DB, after)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			before := s.Now()
			if a.keeps {
				before = before.AddDate(0, 0, -a.days)
			}
			if err := s.eraseBefore(ctx, a.id, before); err != nil {
				return err
			}
			after = a.id
		}
		if len(accounts) < upkeepBatch {
			return nil
		}
	}
}

// erasing is an account that does not keep everything.
type erasing struct {
	id    api.AccountID
	keeps bool
	days  int
}

func readErasing(ctx context.Context, q sqldb.Querier, after api.AccountID) ([]erasing, error) {
	rows, err := q.Query(ctx, sqlReadErasing, after[:], upkeepBatch)
	if err != nil {
		return nil, errs.Wrap("reading settings", err)
	}
	defer rows.Close()
	var all []erasing
	for rows.Next() {
		var a erasing
		if err := rows.Scan(sqldb.Blob(a.id[:]), &a.keeps, &a.days); err != nil {
			return nil, errs.Wrap("reading settings", err)
		}
		all = append(all, a)
	}
	return all, errs.Wrap("reading settings", rows.Err())
}

// The age of a record is that of its message; of a message that the server does not know, that of the record.
const (
	sqlEraseOld = `
DELETE FROM archive WHERE id IN (SELECT a.id FROM archive a JOIN message m ON m.id = a.message
	WHERE a.account = $1 AND a.message > 0 AND m.server_time < $2 ORDER BY a.message LIMIT $3)`
	sqlEraseOldUnknown = `
DELETE FROM archive WHERE id IN (SELECT id FROM archive WHERE account = $1 AND message = 0 AND stored_at < $2 LIMIT $3)`
)

func (s *Service) eraseBefore(ctx context.Context, id api.AccountID, before time.Time) error {
	for _, statement := range []string{sqlEraseOld, sqlEraseOldUnknown} {
		if err := s.repeat(ctx, func(tx *sqldb.Tx) (int, error) {
			res, err := tx.Exec(ctx, statement, id[:], before.UnixMilli(), upkeepBatch)
			if err != nil {
				return 0, errs.Wrap("erasing archive records", err)
			}
			n, err := res.RowsAffected()
			return int(n), errs.Wrap("erasing archive records", err)
		}); err != nil {
			return err
		}
	}
	return nil
}
