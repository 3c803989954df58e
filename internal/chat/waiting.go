package chat

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/fault"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

const (
	sweepEvery   = time.Second
	sweepBatch   = 500 // entries looked at in one transaction
	waitingAfter = 10 * time.Second
	releaseTime  = 2 * time.Second // to free the lease when the process stops
)

// sweep announces what waits unacknowledged, each second on the one replica that holds the lease: somebody offline and
// a dead socket look the same to it. It walks over each entry once, when it has become old enough; the position and the
// marks are in the transaction of the events, so that a kill at any point neither loses an announcement nor makes two.
//
// On PostgreSQL an entry may become visible behind the position if its transaction took longer than waitingAfter; it is
// announced with the next one of its account, and delivered all the same.
func (s *Service) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.sweepOnce(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, outbox.ErrLeaseLost) {
				s.Logger.ErrorContext(ctx, "waiting messages were not announced", slog.Any("err", err))
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err := s.sweeping.Release(free, s.DB); err != nil {
		s.Logger.InfoContext(ctx, "the sweep's lease was left to expire", slog.Any("err", err))
	}
}

// sweepOnce takes one batch and tells whether there may be more. It writes nothing when there is nothing to do.
func (s *Service) sweepOnce(ctx context.Context) (more bool, err error) {
	found, err := s.readUnswept(ctx, s.DB)
	if err != nil || len(found) == 0 {
		return false, err
	}
	held, err := s.sweeping.Take(ctx, s.DB, s.Now())
	if err != nil || !held {
		return false, err
	}
	announced := 0
	err = s.tx(ctx, "sweep", func(tx *sqldb.Tx) error {
		if err := s.sweeping.Keep(ctx, tx, s.Now()); err != nil {
			return err
		}
		if found, err = s.readUnswept(ctx, tx); err != nil || len(found) == 0 {
			return err
		}
		accounts := make(map[api.AccountID]bool) // at most sweepBatch
		for _, u := range found {
			accounts[u.account] = true
		}
		if err := lockAccounts(ctx, tx, keysOf(accounts)); err != nil {
			return err
		}
		announced, err = s.announce(ctx, tx, found)
		return err
	})
	if err == nil && announced > 0 {
		s.Announced.Add(int64(announced))
		s.WakeRelay()
	}
	return len(found) == sweepBatch, err
}

// unswept is a mailbox entry of a message that has waited for waitingAfter.
type unswept struct {
	entry, device int64
	account       api.AccountID
	class         int
	announced     int64 // oldest entry of the device when it was announced last
}

// announce writes one event for each account that has a device whose oldest unacknowledged message was not announced.
func (s *Service) announce(ctx context.Context, tx *sqldb.Tx, found []unswept) (int, error) {
	devices := make(map[int64]unswept)
	for _, u := range found {
		if u.class == classMessage {
			devices[u.device] = u
		}
	}
	accounts := make(map[api.AccountID]bool)
	for _, id := range slices.Sorted(maps.Keys(devices)) {
		u := devices[id]
		oldest, err := readOldestMessage(ctx, tx, id)
		if err != nil {
			return 0, err
		}
		if oldest <= u.announced {
			continue
		}
		if err := markAnnounced(ctx, tx, id, oldest); err != nil {
			return 0, err
		}
		accounts[u.account] = true
	}
	for _, account := range slices.SortedFunc(maps.Keys(accounts), compareIDs) {
		if err := s.addWaiting(ctx, tx, account); err != nil {
			return 0, err
		}
	}
	fault.Point("sweep after event before mark")
	return len(accounts), moveSweep(ctx, tx, found[len(found)-1].entry)
}

// addWaiting puts the event into the outbox. It says how much waits and in which conversations, and not from whom.
func (s *Service) addWaiting(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	waiting, err := countWaiting(ctx, tx, account)
	if err != nil {
		return err
	}
	var id api.EventID
	if _, err := io.ReadFull(s.Rand, id[:]); err != nil {
		return errs.Wrap("choosing an event id", err)
	}
	e, err := event.New(id, event.MessageWaiting, account, s.Now(), waiting)
	if err != nil {
		return err
	}
	return outbox.Add(ctx, tx, e)
}

const sqlReadUnswept = `
SELECT b.id, b.device, d.account, m.class, m.server_time, d.announced
FROM mailbox b JOIN message m ON m.id = b.message JOIN device d ON d.id = b.device
WHERE b.id > (SELECT position FROM sweep WHERE id = 1) ORDER BY b.id LIMIT $1`

// readUnswept returns the next entries up to the first that has not waited long enough.
func (s *Service) readUnswept(ctx context.Context, q sqldb.Querier) ([]unswept, error) {
	rows, err := q.Query(ctx, sqlReadUnswept, sweepBatch)
	if err != nil {
		return nil, errs.Wrap("reading waiting entries", err)
	}
	defer rows.Close()
	before := s.Now().Add(-waitingAfter).UnixMilli()
	var found []unswept
	for rows.Next() {
		var u unswept
		var stored int64
		if err := rows.Scan(&u.entry, &u.device, sqldb.Blob(u.account[:]), &u.class, &stored, &u.announced); err != nil {
			return nil, errs.Wrap("reading waiting entries", err)
		}
		if stored > before {
			break
		}
		found = append(found, u)
	}
	return found, errs.Wrap("reading waiting entries", rows.Err())
}

const sqlReadOldestMessage = `
SELECT b.id FROM mailbox b JOIN message m ON m.id = b.message WHERE b.device = $1 AND m.class = 1 ORDER BY b.id LIMIT 1`

// readOldestMessage returns 0 when the device has acknowledged everything meanwhile.
func readOldestMessage(ctx context.Context, q sqldb.Querier, device int64) (int64, error) {
	ids, err := readNumbers(ctx, q, sqlReadOldestMessage, device)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return ids[0], nil
}

const sqlMarkAnnounced = `UPDATE device SET announced = $2 WHERE id = $1`

func markAnnounced(ctx context.Context, tx *sqldb.Tx, device, entry int64) error {
	_, err := tx.Exec(ctx, sqlMarkAnnounced, device, entry)
	return errs.Wrap("marking what was announced", err)
}

const sqlCountWaiting = `
SELECT m.conversation, count(DISTINCT m.id)
FROM device d JOIN mailbox b ON b.device = d.id JOIN message m ON m.id = b.message
WHERE d.account = $1 AND d.state <> 'removed' AND m.class = 1 GROUP BY m.conversation ORDER BY min(m.id) LIMIT $2`

// countWaiting counts each message once, for however many devices it waits.
func countWaiting(ctx context.Context, q sqldb.Querier, account api.AccountID) (event.Waiting, error) {
	var w event.Waiting
	rows, err := q.Query(ctx, sqlCountWaiting, account[:], event.MaxWaiting)
	if err != nil {
		return w, errs.Wrap("counting waiting messages", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c event.ConversationWaiting
		if err := rows.Scan(sqldb.Blob(c.ConversationID[:]), &c.Count); err != nil {
			return w, errs.Wrap("counting waiting messages", err)
		}
		w.Conversations = append(w.Conversations, c)
	}
	return w, errs.Wrap("counting waiting messages", rows.Err())
}

const sqlMoveSweep = `UPDATE sweep SET position = $1 WHERE id = 1`

func moveSweep(ctx context.Context, tx *sqldb.Tx, position int64) error {
	_, err := tx.Exec(ctx, sqlMoveSweep, position)
	return errs.Wrap("moving the sweep", err)
}
