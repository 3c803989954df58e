package chat

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// pollEvery is how often the mailboxes of connected devices are looked at. What another replica stored and whose hint was
// lost reaches its device after at most two polls.
const pollEvery = 10 * time.Second

// poll keeps delivery going without hints.
func (s *Service) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.pollMailboxes(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "mailboxes were not looked at", slog.Any("err", err))
		}
	}
}

const sqlReadOldestEntries = `SELECT device, min(id) FROM mailbox WHERE device IN %s GROUP BY device`

func (s *Service) pollMailboxes(ctx context.Context) error {
	for part := range slices.Chunk(s.hub.connected(), sqldb.MaxIn) {
		if err := s.pollSome(ctx, part); err != nil {
			return errs.Wrap("looking at mailboxes", err)
		}
	}
	return nil
}

func (s *Service) pollSome(ctx context.Context, devices []int64) error {
	rows, err := s.DB.Query(ctx, fmt.Sprintf(sqlReadOldestEntries, sqldb.In(1, len(devices))), numberArgs(devices)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var device, oldest int64
		if err := rows.Scan(&device, &oldest); err != nil {
			return err
		}
		if c := s.hub.conn(device); c != nil {
			c.polled(oldest)
		}
	}
	return rows.Err()
}
