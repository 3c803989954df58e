package chat

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

const (
	upkeepEvery  = time.Hour
	upkeepBatch  = 100   // devices or messages in one transaction, so that sends need not wait for long
	upkeepRounds = 1_000 // transactions of one kind in one step; what is left waits for the next
	idleAfter    = api.MailboxIdleDays * 24 * time.Hour
	silentKept   = 30 * 24 * time.Hour // a silent message that nobody acknowledges
)

// upkeep does what time alone causes, at the start and every hour, in small transactions. Several replicas may do it at
// once: every step reads again what it changes.
func (s *Service) upkeep(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "upkeep did not finish", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Service) tidy(ctx context.Context) error {
	if err := s.touchConnected(ctx); err != nil {
		return err
	}
	if err := s.sleepIdle(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *sqldb.Tx, time.Time) (int, error){
		forgetOwed, forgetSilent, eraseMessages, eraseRecords, forgetRevoked, outbox.CleanInbox,
	} {
		if err := s.repeat(ctx, func(tx *sqldb.Tx) (int, error) { return step(ctx, tx, s.Now()) }); err != nil {
			return err
		}
	}
	return s.eraseChosen(ctx)
}

// repeat runs a step in transactions of its own until it finds less than a whole batch to do.
func (s *Service) repeat(ctx context.Context, step func(*sqldb.Tx) (int, error)) error {
	for range upkeepRounds {
		n := 0
		if err := s.tx(ctx, "upkeep", func(tx *sqldb.Tx) (err error) {
			n, err = step(tx)
			return err
		}); err != nil {
			return err
		}
		if n < upkeepBatch {
			break
		}
	}
	return nil
}

// touchConnected counts a socket as contact, however quiet it is.
func (s *Service) touchConnected(ctx context.Context) error {
	for part := range slices.Chunk(s.hub.connected(), sqldb.MaxIn) {
		if err := s.touch(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

const sqlLockOwners = `
SELECT id FROM account WHERE id IN (SELECT account FROM device WHERE id IN %s) ORDER BY id FOR NO KEY UPDATE`

const sqlTouchDevices = `UPDATE device SET seen_at = $1 WHERE id IN %s`

func (s *Service) touch(ctx context.Context, devices []int64) error {
	return s.tx(ctx, "contact", func(tx *sqldb.Tx) error {
		lock := fmt.Sprintf(sqlLockOwners, sqldb.In(1, len(devices)))
		if err := tx.Lock(ctx, lock, numberArgs(devices)...); err != nil {
			return errs.Wrap("locking accounts", err)
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(sqlTouchDevices, sqldb.In(2, len(devices))), append([]any{s.nowMillis()}, numberArgs(devices)...)...)
		return errs.Wrap("noting contact", err)
	})
}

const sqlReadIdle = `SELECT ` + deviceColumns + ` FROM device
WHERE state IN ('active', 'signed_out') AND seen_at < $1 ORDER BY seen_at LIMIT $2`

// sleepIdle makes devices without contact dormant.
func (s *Service) sleepIdle(ctx context.Context) error {
	var owed []owing
	err := s.repeat(ctx, func(tx *sqldb.Tx) (int, error) {
		idle, err := s.lockIdle(ctx, tx)
		if err != nil {
			return 0, err
		}
		for _, d := range idle {
			of, err := makeDormant(ctx, tx, d, s.nowMillis())
			if err != nil {
				return 0, err
			}
			owed = append(owed, of...)
		}
		return len(idle), nil
	})
	s.tellOwed(ctx, owed) // of a transaction that was tried again, twice
	return err
}

// lockIdle returns devices without contact. It reads them once to know what to lock, and again under the lock.
func (s *Service) lockIdle(ctx context.Context, tx *sqldb.Tx) ([]*device, error) {
	var locked map[api.AccountID][]*device
	for {
		rows, err := tx.Query(ctx, sqlReadIdle, s.Now().Add(-idleAfter).UnixMilli(), upkeepBatch)
		if err != nil {
			return nil, errs.Wrap("reading idle devices", err)
		}
		idle, err := scanDevices(rows)
		if err != nil {
			return nil, err
		}
		if locked != nil {
			return slices.DeleteFunc(idle, func(d *device) bool { return locked[d.account] == nil }), nil
		}
		locked = byAccount(idle)
		if err := lockAccounts(ctx, tx, slices.SortedFunc(maps.Keys(locked), compareIDs)); err != nil {
			return nil, err
		}
	}
}

const (
	sqlReadOldSilent       = `SELECT id FROM message WHERE class = 2 AND server_time < $1 ORDER BY server_time LIMIT $2`
	sqlForgetSilentBlocked = `DELETE FROM withheld WHERE message IN %s`
	sqlForgetSilent        = `DELETE FROM message WHERE id IN %s`
)

// forgetSilent removes silent messages after 30 days, whether they were acknowledged or not.
func forgetSilent(ctx context.Context, tx *sqldb.Tx, now time.Time) (int, error) {
	ids, err := readNumbers(ctx, tx, sqlReadOldSilent, now.Add(-silentKept).UnixMilli(), upkeepBatch)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	if err := dropEntries(ctx, tx, ids); err != nil {
		return 0, err
	}
	for _, statement := range []string{sqlForgetSilentBlocked, sqlForgetSilent} {
		if _, err := tx.Exec(ctx, fmt.Sprintf(statement, sqldb.In(1, len(ids))), numberArgs(ids)...); err != nil {
			return 0, errs.Wrap("forgetting silent messages", err)
		}
	}
	return len(ids), nil
}

const (
	sqlReadExpired = `
SELECT id FROM message WHERE erase_after IS NOT NULL AND erased IS NULL AND erase_after <= $1 ORDER BY erase_after LIMIT $2`
	sqlEraseMessages = `UPDATE message SET erased = $1, shared = NULL WHERE id IN %s`
	sqlEraseOwed     = `DELETE FROM owed WHERE message IN %s`
)

// eraseMessages takes the ciphertexts of expired messages. Their rows stay, so that their seqs have a reason.
func eraseMessages(ctx context.Context, tx *sqldb.Tx, now time.Time) (int, error) {
	ids, err := readNumbers(ctx, tx, sqlReadExpired, now.UnixMilli(), upkeepBatch)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return len(ids), eraseAll(ctx, tx, ids, api.ReasonExpired)
}

// eraseAll takes the ciphertexts of messages out of every mailbox, and leaves the reason why.
func eraseAll(ctx context.Context, tx *sqldb.Tx, ids []int64, reason api.Reason) error {
	if err := dropEntries(ctx, tx, ids); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf(sqlEraseOwed, sqldb.In(1, len(ids))), numberArgs(ids)...); err != nil {
		return errs.Wrap("erasing messages", err)
	}
	_, err := tx.Exec(ctx, fmt.Sprintf(sqlEraseMessages, sqldb.In(2, len(ids))), append([]any{string(reason)}, numberArgs(ids)...)...)
	return errs.Wrap("erasing messages", err)
}

const sqlLockReceivers = `
SELECT id FROM account WHERE id IN (
	SELECT account FROM member WHERE conversation IN (SELECT conversation FROM message WHERE id IN %s))
ORDER BY id FOR NO KEY UPDATE`

const sqlDropEntries = `DELETE FROM mailbox WHERE message IN %s RETURNING device, size`

// dropEntries removes the messages from every mailbox.
func dropEntries(ctx context.Context, tx *sqldb.Tx, messages []int64) error {
	lock := fmt.Sprintf(sqlLockReceivers, sqldb.In(1, len(messages)))
	if err := tx.Lock(ctx, lock, numberArgs(messages)...); err != nil {
		return errs.Wrap("locking accounts", err)
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(sqlDropEntries, sqldb.In(1, len(messages))), numberArgs(messages)...)
	if err != nil {
		return errs.Wrap("dropping entries", err)
	}
	defer rows.Close()
	left := make(map[int64]removed)
	for rows.Next() {
		var device int64
		var size int
		if err := rows.Scan(&device, &size); err != nil {
			return errs.Wrap("dropping entries", err)
		}
		left[device] = removed{left[device].entries + 1, left[device].bytes + size}
	}
	if err := rows.Err(); err != nil {
		return errs.Wrap("dropping entries", err)
	}
	return uncount(ctx, tx, left)
}

const sqlEraseRecords = `
DELETE FROM archive WHERE id IN
	(SELECT id FROM archive WHERE erase_after IS NOT NULL AND erase_after <= $1 ORDER BY erase_after LIMIT $2)`

func eraseRecords(ctx context.Context, tx *sqldb.Tx, now time.Time) (int, error) {
	res, err := tx.Exec(ctx, sqlEraseRecords, now.UnixMilli(), upkeepBatch)
	if err != nil {
		return 0, errs.Wrap("erasing archive records", err)
	}
	n, err := res.RowsAffected()
	return int(n), errs.Wrap("erasing archive records", err)
}

// forgetRevoked forgets logins and devices that no token and no socket can belong to any more.
func forgetRevoked(ctx context.Context, tx *sqldb.Tx, now time.Time) (int, error) {
	if err := forgetEnded(ctx, tx, now.UnixMilli()); err != nil {
		return 0, err
	}
	return 0, forgetRemoved(ctx, tx, now.UnixMilli())
}

// readNumbers runs a statement that selects one number a row.
func readNumbers(ctx context.Context, q sqldb.Querier, statement string, args ...any) ([]int64, error) {
	rows, err := q.Query(ctx, statement, args...)
	if err != nil {
		return nil, errs.Wrap("reading numbers", err)
	}
	defer rows.Close()
	var numbers []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, errs.Wrap("reading numbers", err)
		}
		numbers = append(numbers, n)
	}
	return numbers, errs.Wrap("reading numbers", rows.Err())
}
