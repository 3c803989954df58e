package notification

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"sotto/api"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

const (
	workEvery  = time.Second      // jobs that become due while nobody wakes the worker
	workBatch  = 16               // jobs taken, and sent side by side, at once
	claimFor   = 60 * time.Second // until another worker may take the job of one that died
	sendWithin = 45 * time.Second // one delivery; less than claimFor
	maxTries   = 15               // the last one most of a day after the first

	retryFirst = 10 * time.Second
	retryMost  = 4 * time.Hour

	maxFailed   = 10_000 // jobs kept that were given up; the oldest goes
	maxReason   = 1_000  // bytes
	upkeepEvery = time.Minute
)

// job is one delivery.
type job struct {
	id           int64
	channel      string // "mail" or "push"
	account      api.AccountID
	device       api.DeviceID // of channel push
	topic        string
	notification api.Notification
	tries        int
	until        int64 // names this claim
}

func (s *Service) wakeWorker() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// work sends what is due until ctx ends. Several replicas may work at once: a claim is a transaction.
func (s *Service) work(ctx context.Context) {
	if s.Alone {
		if err := s.DB.Tx(ctx, "release jobs", func(tx *sqldb.Tx) error { return releaseJobs(ctx, tx) }); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "jobs of before wait until their time is over", slog.Any("err", err))
		}
	}
	tick := time.NewTicker(workEvery)
	defer tick.Stop()
	for {
		n, err := s.workOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "notifications were not sent", slog.Any("err", err))
		}
		if n == workBatch && err == nil {
			continue // there may be more
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// workOnce takes the jobs that are due and sends them.
func (s *Service) workOnce(ctx context.Context) (taken int, err error) {
	jobs, err := s.claim(ctx)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	for _, j := range jobs {
		wg.Go(func() { s.settle(ctx, j, s.send(ctx, j)) })
	}
	wg.Wait()
	return len(jobs), nil
}

func (s *Service) send(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	if j.channel == "mail" {
		return s.sendMail(ctx, j)
	}
	return s.sendPush(ctx, j)
}

// settle records what became of a job. When it cannot, the claim runs out and the job is sent again.
func (s *Service) settle(ctx context.Context, j job, sent error) {
	ctx = context.WithoutCancel(ctx) // a delivery that was made is recorded although the service stops
	var err error
	switch {
	case sent == nil:
		err = s.DB.Tx(ctx, "sent", func(tx *sqldb.Tx) error {
			if j.channel == "mail" && j.notification.Kind == api.NotifyMessages {
				if err := markMailed(ctx, tx, j.account, s.nowMillis()); err != nil {
					return err
				}
			}
			return deleteJob(ctx, tx, j)
		})
	case errors.Is(sent, context.Canceled):
		return // the service stops; the claim runs out
	case errors.Is(sent, ErrGiveUp) || j.tries >= maxTries:
		s.GaveUp.Add(1)
		s.Logger.WarnContext(ctx, "a notification was given up",
			slog.String("channel", j.channel), slog.Int("tries", j.tries), slog.String("reason", reason(sent)))
		err = s.DB.Tx(ctx, "give up", func(tx *sqldb.Tx) error { return failJob(ctx, tx, j, reason(sent)) })
	default:
		s.Retried.Add(1)
		err = s.DB.Tx(ctx, "try again", func(tx *sqldb.Tx) error {
			wait := max(backoff(j.tries), askedToWait(sent, s.Now()))
			return delayJob(ctx, tx, j, s.Now().Add(wait).UnixMilli())
		})
	}
	if err != nil {
		s.Logger.ErrorContext(ctx, "the outcome of a notification was not stored", slog.Any("err", err))
	}
}

// reason is an error without addresses, as it may be logged and stored.
func reason(err error) string {
	text := strings.Join(strings.Fields(redact(err.Error())), " ")
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
}

// backoff doubles with each try, half of it at random.
func backoff(tries int) time.Duration {
	most := min(retryFirst<<min(tries-1, 16), retryMost)
	return most/2 + rand.N(most/2) //nolint:gosec // jitter
}

// upkeep forgets what is over: ended logins whose tokens have run out, old event ids, the oldest failed jobs.
func (s *Service) upkeep(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		err := s.DB.Tx(ctx, "upkeep", func(tx *sqldb.Tx) error {
			if err := forgetEnded(ctx, tx, s.nowMillis()); err != nil {
				return err
			}
			if err := trimFailed(ctx, tx); err != nil {
				return err
			}
			_, err := outbox.CleanInbox(ctx, tx, s.Now())
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "upkeep did not finish", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Waiting counts the jobs that wait to leave, with those that were given up.
func Waiting(ctx context.Context, db *sqldb.DB) (n int, err error) {
	err = db.QueryRow(ctx, sqlCountJobs).Scan(&n)
	return n, err
}

// Purge empties the queue and tells how many jobs were dropped. A job that is being sent at this moment still arrives.
func Purge(ctx context.Context, db *sqldb.DB) (dropped int64, err error) {
	err = db.Tx(ctx, "purge", func(tx *sqldb.Tx) error {
		res, err := tx.Exec(ctx, sqlPurgeJobs)
		if err != nil {
			return err
		}
		dropped, err = res.RowsAffected()
		return err
	})
	return dropped, err
}
