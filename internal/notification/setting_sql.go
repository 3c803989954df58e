package notification

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/sqldb"
)

const sqlReadSettings = `
SELECT app, mail, push, muted_until, time_zone, quiet_from, quiet_to, language, mail_minutes FROM setting WHERE account = $1`

func readSettings(ctx context.Context, q sqldb.Querier, account api.AccountID) (api.NotificationSettings, error) {
	var set api.NotificationSettings
	err := q.QueryRow(ctx, sqlReadSettings, account[:]).Scan(&set.Channels.App, &set.Channels.Mail, &set.Channels.Push,
		&set.MutedUntil, &set.TimeZone, &set.QuietFrom, &set.QuietTo, &set.Language, &set.MailMinutes)
	if errors.Is(err, sqldb.ErrNoRows) {
		return defaults(), nil
	}
	return set, err
}

const sqlWriteSettings = `
INSERT INTO setting (account, app, mail, push, muted_until, time_zone, quiet_from, quiet_to, language, mail_minutes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (account) DO UPDATE SET app = excluded.app, mail = excluded.mail, push = excluded.push,
	muted_until = excluded.muted_until, time_zone = excluded.time_zone, quiet_from = excluded.quiet_from,
	quiet_to = excluded.quiet_to, language = excluded.language, mail_minutes = excluded.mail_minutes`

func writeSettings(ctx context.Context, tx *sqldb.Tx, account api.AccountID, set api.NotificationSettings) error {
	_, err := tx.Exec(ctx, sqlWriteSettings, account[:], number(set.Channels.App), number(set.Channels.Mail),
		number(set.Channels.Push), set.MutedUntil, set.TimeZone, set.QuietFrom, set.QuietTo, set.Language, set.MailMinutes)
	return err
}

const sqlReadConversationSettings = `
SELECT follows, app, mail, push, muted_until, mentions_only FROM conversation_setting WHERE account = $1 AND conversation = $2`

// readConversationSettings returns nil for a conversation that follows the account.
func readConversationSettings(
	ctx context.Context, q sqldb.Querier, account api.AccountID, id api.ConversationID,
) (*api.ConversationNotifications, error) {
	var own api.ConversationNotifications
	var follows bool
	var channels api.Channels
	err := q.QueryRow(ctx, sqlReadConversationSettings, account[:], id[:]).Scan(&follows, &channels.App, &channels.Mail,
		&channels.Push, &own.MutedUntil, &own.MentionsOnly)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if !follows {
		own.Channels = &channels
	}
	return &own, err
}

const sqlCountConversationSettings = `SELECT count(*) FROM conversation_setting WHERE account = $1`

func countConversationSettings(ctx context.Context, q sqldb.Querier, account api.AccountID) (n int, err error) {
	err = q.QueryRow(ctx, sqlCountConversationSettings, account[:]).Scan(&n)
	return n, err
}

const sqlWriteConversationSettings = `
INSERT INTO conversation_setting (account, conversation, follows, app, mail, push, muted_until, mentions_only)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (account, conversation) DO UPDATE SET follows = excluded.follows, app = excluded.app, mail = excluded.mail, push = excluded.push,
	muted_until = excluded.muted_until, mentions_only = excluded.mentions_only`

func writeConversationSettings(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, id api.ConversationID, own api.ConversationNotifications,
) error {
	channels := defaults().Channels
	if own.Channels != nil {
		channels = *own.Channels
	}
	_, err := tx.Exec(ctx, sqlWriteConversationSettings, account[:], id[:], number(own.Channels == nil), number(channels.App),
		number(channels.Mail), number(channels.Push), own.MutedUntil, number(own.MentionsOnly))
	return err
}

const sqlDeleteConversationSettings = `DELETE FROM conversation_setting WHERE account = $1 AND conversation = $2`

func deleteConversationSettings(ctx context.Context, tx *sqldb.Tx, account api.AccountID, id api.ConversationID) error {
	_, err := tx.Exec(ctx, sqlDeleteConversationSettings, account[:], id[:])
	return err
}
