package notification

import (
	"context"
	"crypto/sha256"

	"sotto/api"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// sqlReadSubscription finds two rows only when a device subscribed in both ways at the same moment.
const sqlReadSubscription = `
SELECT endpoint, p256dh, auth, '' AS token, since FROM subscription WHERE device = $1 UNION ALL
SELECT '', NULL, NULL, token, since FROM fcm_subscription WHERE device = $1 ORDER BY since DESC LIMIT 1`

func readSubscription(ctx context.Context, q sqldb.Querier, device api.DeviceID) (sub api.PushSubscription, err error) {
	var since int64
	err = q.QueryRow(ctx, sqlReadSubscription, device[:]).Scan(&sub.Endpoint, &sub.P256dh, &sub.Auth, &sub.FCMToken, &since)
	return sub, err
}

const sqlReadSubscribed = `
SELECT device FROM subscription WHERE account = $1 UNION ALL
SELECT device FROM fcm_subscription WHERE account = $1 ORDER BY device LIMIT 20`

func readSubscribed(ctx context.Context, q sqldb.Querier, account api.AccountID) (devices []api.DeviceID, err error) {
	rows, err := q.Query(ctx, sqlReadSubscribed, account[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d api.DeviceID
		if err := rows.Scan(sqldb.Blob(d[:])); err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, rows.Err()
}

const (
	sqlDropEndpoint      = `DELETE FROM subscription WHERE endpoint = $1 AND device <> $2`
	sqlWriteSubscription = `
INSERT INTO subscription (device, login, account, endpoint, p256dh, auth, since) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (device) DO UPDATE SET login = excluded.login, account = excluded.account, endpoint = excluded.endpoint,
	p256dh = excluded.p256dh, auth = excluded.auth, since = excluded.since`
	sqlDropToken = `DELETE FROM fcm_subscription WHERE digest = $1 AND device <> $2`
	sqlWriteFCM  = `
INSERT INTO fcm_subscription (device, login, account, token, digest, since) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (device) DO UPDATE SET login = excluded.login, account = excluded.account, token = excluded.token,
	digest = excluded.digest, since = excluded.since`
)

// writeSubscription replaces whatever the device had, of either form.
func writeSubscription(ctx context.Context, tx *sqldb.Tx, actor token.Actor, sub api.PushSubscription, now int64) error {
	device := actor.Device[:]
	if sub.FCMToken != "" {
		digest := sha256.Sum256([]byte(sub.FCMToken))
		return execAll(ctx, tx,
			statement{sqlDeleteSubscription, []any{device}},
			statement{sqlDropToken, []any{digest[:], device}},
			statement{sqlWriteFCM, []any{device, actor.Login[:], actor.Account[:], sub.FCMToken, digest[:], now}})
	}
	return execAll(ctx, tx,
		statement{sqlDeleteFCM, []any{device}},
		statement{sqlDropEndpoint, []any{sub.Endpoint, device}},
		statement{sqlWriteSubscription, []any{device, actor.Login[:], actor.Account[:], sub.Endpoint, sub.P256dh, sub.Auth, now}})
}

const (
	sqlDeleteSubscription = `DELETE FROM subscription WHERE device = $1`
	sqlDeleteFCM          = `DELETE FROM fcm_subscription WHERE device = $1`
)

func deleteSubscription(ctx context.Context, tx *sqldb.Tx, device api.DeviceID) error {
	return execAll(ctx, tx, statement{sqlDeleteSubscription, []any{device[:]}}, statement{sqlDeleteFCM, []any{device[:]}})
}

const (
	sqlDeleteGone    = `DELETE FROM subscription WHERE device = $1 AND endpoint = $2`
	sqlDeleteGoneFCM = `DELETE FROM fcm_subscription WHERE device = $1 AND digest = $2`
)

// deleteGone drops what a push service does not know any more, unless the device has brought another meanwhile.
func deleteGone(ctx context.Context, tx *sqldb.Tx, device api.DeviceID, sub api.PushSubscription) error {
	if sub.FCMToken != "" {
		digest := sha256.Sum256([]byte(sub.FCMToken))
		return execAll(ctx, tx, statement{sqlDeleteGoneFCM, []any{device[:], digest[:]}})
	}
	return execAll(ctx, tx, statement{sqlDeleteGone, []any{device[:], sub.Endpoint}})
}

const (
	sqlDeleteSubscriptionsOf = `DELETE FROM subscription WHERE login = $1`
	sqlDeleteFCMOf           = `DELETE FROM fcm_subscription WHERE login = $1`
)

func deleteSubscriptionsOf(ctx context.Context, tx *sqldb.Tx, login api.LoginID) error {
	return execAll(ctx, tx, statement{sqlDeleteSubscriptionsOf, []any{login[:]}}, statement{sqlDeleteFCMOf, []any{login[:]}})
}

// statement is one of several that follow each other.
type statement struct {
	text string
	args []any
}

func execAll(ctx context.Context, tx *sqldb.Tx, statements ...statement) error {
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s.text, s.args...); err != nil {
			return err
		}
	}
	return nil
}
