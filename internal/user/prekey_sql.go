package user

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const (
	sortEC    = "ec"
	sortKyber = "kyber"
)

// claimable is a device with the bundle that it gets handed out under.
type claimable struct {
	id     api.DeviceID
	bundle api.PreKeyBundle
}

const sqlReadPreKeyBundles = `
SELECT id, wire_id, registration_id, identity_key, signed_prekey_id, signed_prekey, signed_prekey_sig,
	last_resort_id, last_resort, last_resort_sig, statement, statement_sig
FROM device WHERE account_id = $1 AND removed_at IS NULL AND state = 'active' ORDER BY wire_id`

// readPreKeyBundles returns the account's active devices with the last-resort prekey in place of a one-time one.
func readPreKeyBundles(ctx context.Context, tx *sqldb.Tx, account api.AccountID) ([]claimable, error) {
	out, err := readAll(ctx, tx, func(d *claimable) []any {
		b := &d.bundle
		return []any{
			sqldb.Blob(d.id[:]), &b.DeviceID, &b.RegistrationID, &b.IdentityKey,
			&b.SignedPreKey.ID, &b.SignedPreKey.Key, &b.SignedPreKey.Signature,
			&b.LastResort.ID, &b.LastResort.Key, &b.LastResort.Signature, &b.Statement.Statement, &b.Statement.Signature,
		}
	}, sqlReadPreKeyBundles, account[:])
	for i := range out {
		out[i].bundle.KyberPreKey = out[i].bundle.LastResort
	}
	return out, err
}

// The outer condition repeats claimed_at IS NULL: where two claims run at once, the one that waited for the row finds
// it taken and goes without, rather than take it again.
const sqlClaimOneTime = `
UPDATE prekey SET claimed_at = $2
WHERE device_id = $1 AND claimed_at IS NULL AND (
	(sort = 'ec' AND id =
		(SELECT min(id) FROM prekey WHERE device_id = $1 AND sort = 'ec' AND claimed_at IS NULL))
	OR (sort = 'kyber' AND id =
		(SELECT min(id) FROM prekey WHERE device_id = $1 AND sort = 'kyber' AND claimed_at IS NULL)))
RETURNING sort, id, public_key, signature`

// claimOneTime takes one prekey of each sort for ever and puts it into the bundle.
func claimOneTime(ctx context.Context, tx *sqldb.Tx, d *claimable, now int64) error {
	type taken struct {
		sort string
		key  api.SignedKey
	}
	keys, err := readAll(ctx, tx, func(t *taken) []any {
		return []any{&t.sort, &t.key.ID, &t.key.Key, &t.key.Signature}
	}, sqlClaimOneTime, d.id[:], now)
	for _, t := range keys {
		if t.sort == sortEC {
			d.bundle.OneTimePreKey = &api.OneTimeKey{ID: t.key.ID, Key: t.key.Key}
		} else {
			d.bundle.KyberPreKey = t.key
		}
	}
	return err
}

const sqlInsertPreKey = `
INSERT INTO prekey (device_id, sort, id, public_key, signature) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (device_id, sort, id) DO NOTHING`

// insertPreKeys adds one-time prekeys. Ids that the device ever used are ignored: what was or may be handed out stays.
func insertPreKeys(ctx context.Context, tx *sqldb.Tx, device api.DeviceID, up api.PreKeyUpload) error {
	for _, k := range up.OneTimePreKeys {
		if _, err := tx.Exec(ctx, sqlInsertPreKey, device[:], sortEC, k.ID, k.Key, nil); err != nil {
			return err
		}
	}
	for _, k := range up.KyberPreKeys {
		if _, err := tx.Exec(ctx, sqlInsertPreKey, device[:], sortKyber, k.ID, k.Key, k.Signature); err != nil {
			return err
		}
	}
	return nil
}

const sqlReadListed = `
SELECT wire_id, registration_id, identity_key FROM device WHERE id = $1 AND removed_at IS NULL`

// readListed returns what prekeys are held against.
func readListed(ctx context.Context, q sqldb.Querier, device api.DeviceID) (d e2ee.ListedDevice, err error) {
	err = q.QueryRow(ctx, sqlReadListed, device[:]).Scan(&d.ID, &d.RegistrationID, sqldb.Blob(d.IdentityKey[:]))
	return d, err
}

const sqlCountPreKeys = `
SELECT coalesce(sum(CASE WHEN sort = 'ec' THEN 1 ELSE 0 END), 0),
	coalesce(sum(CASE WHEN sort = 'kyber' THEN 1 ELSE 0 END), 0)
FROM prekey WHERE device_id = $1 AND claimed_at IS NULL`

func countPreKeys(ctx context.Context, q sqldb.Querier, device api.DeviceID) (c api.PreKeyCount, err error) {
	err = q.QueryRow(ctx, sqlCountPreKeys, device[:]).Scan(&c.OneTimePreKeys, &c.KyberPreKeys)
	return c, err
}

// The empty account id makes it a search of an index.
const sqlCountPreKeysLow = `
SELECT count(*) FROM device d WHERE d.account_id > $1 AND d.removed_at IS NULL AND d.state = 'active'
	AND (NOT EXISTS (SELECT 1 FROM prekey p WHERE p.device_id = d.id AND p.sort = 'ec' AND p.claimed_at IS NULL)
		OR NOT EXISTS (SELECT 1 FROM prekey p WHERE p.device_id = d.id AND p.sort = 'kyber' AND p.claimed_at IS NULL))`

func countPreKeysLow(ctx context.Context, q sqldb.Querier) (n int, err error) {
	err = q.QueryRow(ctx, sqlCountPreKeysLow, []byte{}).Scan(&n)
	return n, err
}

// The same statement again is a retry, also when another came with the same time.
const sqlReplaceSignedPreKeys = `
UPDATE device SET signed_prekey_id = $2, signed_prekey = $3, signed_prekey_sig = $4,
	last_resort_id = $5, last_resort = $6, last_resort_sig = $7, statement = $8, statement_sig = $9, statement_at = $10
WHERE id = $1 AND removed_at IS NULL AND (statement_at < $10 OR statement = $8)
	AND NOT EXISTS (SELECT 1 FROM prekey WHERE device_id = $1 AND sort = 'kyber' AND id = $5)
RETURNING wire_id`

const sqlDropHandedOut = `
UPDATE prekey SET public_key = NULL, signature = NULL
WHERE device_id = $1 AND claimed_at IS NOT NULL AND public_key IS NOT NULL`

// replacePreKeys stores an upload whose signatures were checked. It refuses a statement that does not follow the stored
// one, and a last-resort prekey under the id of a one-time one: whoever claims the latter would miss it in the
// statement.
func replacePreKeys(
	ctx context.Context, tx *sqldb.Tx, device api.DeviceID, up api.PreKeyUpload, statementTime int64,
) error {
	var wire int64
	err := tx.QueryRow(ctx, sqlReplaceSignedPreKeys, device[:],
		up.SignedPreKey.ID, up.SignedPreKey.Key, up.SignedPreKey.Signature,
		up.LastResort.ID, up.LastResort.Key, up.LastResort.Signature,
		up.Statement.Statement, up.Statement.Signature, statementTime).Scan(&wire)
	if errors.Is(err, sqldb.ErrNoRows) {
		return errs.Conflictf("A newer prekey statement is stored, or the last-resort prekey has the id of a one-time one.")
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlDropHandedOut, device[:]); err != nil {
		return err
	}
	return insertPreKeys(ctx, tx, device, up)
}
