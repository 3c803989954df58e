package notification

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const sqlClaimJobs = `
UPDATE job SET until = $1, tries = tries + 1 WHERE failed IS NULL AND until <= $2 AND id IN (
	SELECT id FROM job WHERE failed IS NULL AND due <= $2 AND until <= $2 ORDER BY due LIMIT $3)
RETURNING id, channel, account, device, topic, kind, conversation, waiting, at, tries`

// claim takes due jobs for claimFor. On PostgreSQL two workers may choose the same row; the second then waits for the
// first and finds that the row no longer fits, because the statement repeats the condition on until
// outside of the choice, which alone would not be looked at again.
func (s *Service) claim(ctx context.Context) (jobs []job, err error) {
	now := s.Now()
	until := now.Add(claimFor).UnixMilli()
	err = s.DB.Tx(ctx, "claim jobs", func(tx *sqldb.Tx) error {
		jobs = nil
		rows, err := tx.Query(ctx, sqlClaimJobs, until, now.UnixMilli(), workBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			j := job{until: until}
			var conversation []byte
			n := &j.notification
			if err := rows.Scan(&j.id, &j.channel, sqldb.Blob(j.account[:]), sqldb.Blob(j.device[:]), &j.topic, &n.Kind, &conversation,
				&n.Count, &n.At, &j.tries); err != nil {
				return err
			}
			if len(conversation) == len(api.ConversationID{}) {
				n.ConversationID = (*api.ConversationID)(conversation)
			}
			jobs = append(jobs, j)
		}
		return rows.Err()
	})
	return jobs, errs.Wrap("taking jobs", err)
}

const sqlReleaseJobs = `UPDATE job SET until = 0 WHERE until > 0 AND failed IS NULL`

func releaseJobs(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, sqlReleaseJobs)
	return err
}

const sqlDeleteJob = `DELETE FROM job WHERE id = $1 AND until = $2`

func deleteJob(ctx context.Context, tx *sqldb.Tx, j job) error {
	_, err := tx.Exec(ctx, sqlDeleteJob, j.id, j.until)
	return err
}

const sqlDelayJob = `UPDATE job SET due = $3, until = 0 WHERE id = $1 AND until = $2`

func delayJob(ctx context.Context, tx *sqldb.Tx, j job, due int64) error {
	_, err := tx.Exec(ctx, sqlDelayJob, j.id, j.until, due)
	return err
}

const sqlFailJob = `UPDATE job SET failed = $3 WHERE id = $1 AND until = $2`

func failJob(ctx context.Context, tx *sqldb.Tx, j job, why string) error {
	_, err := tx.Exec(ctx, sqlFailJob, j.id, j.until, why)
	return err
}

const sqlTrimFailed = `
DELETE FROM job WHERE failed IS NOT NULL AND id <= (
	SELECT id FROM job WHERE failed IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET $1)`

func trimFailed(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, sqlTrimFailed, maxFailed)
	return err
}

const sqlForgetEnded = `DELETE FROM ended_login WHERE until <= $1`

func forgetEnded(ctx context.Context, tx *sqldb.Tx, now int64) error {
	_, err := tx.Exec(ctx, sqlForgetEnded, now)
	return err
}

const (
	sqlCountJobs = `SELECT count(*) FROM job`
	sqlPurgeJobs = `DELETE FROM job WHERE id > 0`
)

const sqlAddMail = `
INSERT INTO job (channel, account, topic, kind, waiting, at, due) VALUES ('mail', $1, $2, $3, $4, $5, $6)
ON CONFLICT (account, topic) WHERE channel = 'mail' AND tries = 0 AND until = 0 AND failed IS NULL
DO UPDATE SET waiting = excluded.waiting, at = excluded.at WHERE job.at <= excluded.at`

func insertMailJob(ctx context.Context, tx *sqldb.Tx, account api.AccountID, topic string, n api.Notification, due int64) error {
	_, err := tx.Exec(ctx, sqlAddMail, account[:], topic, string(n.Kind), n.Count, n.At, due)
	return err
}

const sqlAddPush = `
INSERT INTO job (channel, account, device, topic, kind, conversation, waiting, at, due)
VALUES ('push', $1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (device, topic) WHERE channel = 'push' AND tries = 0 AND until = 0 AND failed IS NULL
DO UPDATE SET waiting = excluded.waiting, at = excluded.at WHERE job.at <= excluded.at`

// addPushes adds one job for each subscribed device.
func addPushes(ctx context.Context, tx *sqldb.Tx, account api.AccountID, n api.Notification, due int64) error {
	devices, err := readSubscribed(ctx, tx, account)
	if err != nil {
		return err
	}
	for _, d := range devices {
		_, err := tx.Exec(ctx, sqlAddPush, account[:], d[:], topicOf(n), string(n.Kind), orNull(n.ConversationID), n.Count, n.At, due)
		if err != nil {
			return err
		}
	}
	return nil
}

// topicOf names what replaces each other: the conversation, or the kind.
func topicOf(n api.Notification) string {
	if n.ConversationID != nil {
		return n.ConversationID.String()
	}
	return string(n.Kind)
}

const sqlReadMailed = `SELECT at FROM mailed WHERE account = $1`

// readMailed is when the last mail about messages left, 0 for never.
func readMailed(ctx context.Context, q sqldb.Querier, account api.AccountID) (at int64, err error) {
	err = q.QueryRow(ctx, sqlReadMailed, account[:]).Scan(&at)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, nil
	}
	return at, err
}

const sqlMarkMailed = `
INSERT INTO mailed (account, at) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET at = excluded.at`

func markMailed(ctx context.Context, tx *sqldb.Tx, account api.AccountID, now int64) error {
	_, err := tx.Exec(ctx, sqlMarkMailed, account[:], now)
	return err
}

const (
	sqlUnreadMessages = `SELECT id FROM item WHERE account = $1 AND seen = 0 AND conversation IS NOT NULL LIMIT 1`
	sqlDropMail       = `DELETE FROM job WHERE account = $1 AND channel = 'mail' AND kind = 'messages' AND until = 0`
)

// dropReadMail takes back the mail about messages once every notification of messages was read.
func dropReadMail(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	var unread int64
	err := tx.QueryRow(ctx, sqlUnreadMessages, account[:]).Scan(&unread)
	if err == nil || !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	_, err = tx.Exec(ctx, sqlDropMail, account[:])
	return err
}
