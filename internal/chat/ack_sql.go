package chat

import (
	"context"
	"fmt"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// loadAckBatch reads everything that the acknowledgements are checked against, before anything is written.
func loadAckBatch(ctx context.Context, tx *sqldb.Tx, acks []ack) (*ackBatch, error) {
	b := &ackBatch{members: make(map[api.ConversationID][]member), changes: make(map[int64]removed)}
	var entries []int64
	accounts := make(map[api.AccountID]bool)
	conversations := make(map[api.ConversationID]bool)
	messages := make(map[api.MessageID]bool)
	for _, a := range acks {
		accounts[a.actor.Account] = true
		entries = append(entries, a.req.Entries...)
		for _, r := range a.req.Records {
			conversations[r.ConversationID], messages[r.MessageID] = true, true
		}
	}
	if err := lockAccounts(ctx, tx, keysOf(accounts)); err != nil {
		return nil, err
	}
	var err error
	if b.messages, err = readMessages(ctx, tx, keysOf(messages)); err != nil {
		return nil, err
	}
	if b.owed, err = readOwedOf(ctx, tx, b.messages); err != nil {
		return nil, err
	}
	if b.entries, err = readWaiting(ctx, tx, entries); err != nil {
		return nil, err
	}
	for _, e := range b.entries {
		conversations[e.key.conversation], messages[e.key.message] = true, true
	}
	if b.covered, err = readCovered(ctx, tx, keysOf(messages)); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(keysOf(conversations), sqldb.MaxIn) {
		if err := readMembers(ctx, tx, part, func(id api.ConversationID, m member) {
			b.members[id] = append(b.members[id], m)
		}); err != nil {
			return nil, err
		}
	}
	if b.accounts, err = readAccounts(ctx, tx, keysOf(accounts)); err != nil {
		return nil, err
	}
	devices, err := readDevicesOf(ctx, tx, keysOf(accounts))
	b.devices = byAccount(devices)
	return b, err
}

func byAccount(devices []*device) map[api.AccountID][]*device {
	of := make(map[api.AccountID][]*device)
	for _, d := range devices {
		of[d.account] = append(of[d.account], d)
	}
	return of
}

const sqlReadWaiting = `
SELECT b.id, b.device, b.message, b.size, m.conversation, m.message_id, m.class, m.sender
FROM mailbox b JOIN message m ON m.id = b.message WHERE b.id IN %s`

func readWaiting(ctx context.Context, tx *sqldb.Tx, ids []int64) (map[int64]*waitingEntry, error) {
	found := make(map[int64]*waitingEntry, len(ids))
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		rows, err := tx.Query(ctx, fmt.Sprintf(sqlReadWaiting, sqldb.In(1, len(part))), numberArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("reading entries", err)
		}
		defer rows.Close()
		for rows.Next() {
			e := &waitingEntry{}
			if err := rows.Scan(&e.id, &e.device, &e.message, &e.size, sqldb.Blob(e.key.conversation[:]), sqldb.Blob(e.key.message[:]),
				&e.class, sqldb.Blob(e.sender[:])); err != nil {
				return nil, errs.Wrap("reading entries", err)
			}
			found[e.id] = e
		}
		if err := rows.Err(); err != nil {
			return nil, errs.Wrap("reading entries", err)
		}
	}
	return found, nil
}

const sqlReadCovered = `SELECT account, conversation, message_id FROM archive WHERE message_id IN %s`

func readCovered(ctx context.Context, tx *sqldb.Tx, ids []api.MessageID) (map[covered]bool, error) {
	found := make(map[covered]bool)
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		rows, err := tx.Query(ctx, fmt.Sprintf(sqlReadCovered, sqldb.In(1, len(part))), idArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("reading archive records", err)
		}
		defer rows.Close()
		for rows.Next() {
			var c covered
			if err := rows.Scan(sqldb.Blob(c.account[:]), sqldb.Blob(c.key.conversation[:]), sqldb.Blob(c.key.message[:])); err != nil {
				return nil, errs.Wrap("reading archive records", err)
			}
			found[c] = true
		}
		if err := rows.Err(); err != nil {
			return nil, errs.Wrap("reading archive records", err)
		}
	}
	return found, nil
}

const sqlDeleteEntries = `DELETE FROM mailbox WHERE id IN %s`

func deleteEntries(ctx context.Context, tx *sqldb.Tx, ids []int64) error {
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		if _, err := tx.Exec(ctx, fmt.Sprintf(sqlDeleteEntries, sqldb.In(1, len(part))), numberArgs(part)...); err != nil {
			return errs.Wrap("removing entries", err)
		}
	}
	return nil
}

const (
	sqlInsertDelivered = `
INSERT INTO delivered (message, account, at)
VALUES %s ON CONFLICT (message, account) DO NOTHING RETURNING message, account`
	sqlInsertDeliveredArrays = `
INSERT INTO delivered (message, account, at)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[])
ON CONFLICT (message, account) DO NOTHING RETURNING message, account`
)

// insertDelivered returns those that were delivered to the account for the first time.
func insertDelivered(ctx context.Context, tx *sqldb.Tx, all []delivery, now int64) (first []delivery, err error) {
	type place struct {
		message int64
		account api.AccountID
	}
	at := make(map[place]delivery, len(all))
	var rows []any
	for _, d := range all {
		if _, twice := at[place{d.message, d.account}]; !twice {
			at[place{d.message, d.account}] = d
			rows = append(rows, d.message, d.account[:], now)
		}
	}
	insert := insertion{sqlInsertDelivered, sqlInsertDeliveredArrays, "ibi"}
	err = insert.run(ctx, tx, rows, func(scan func(...any) error) error {
		var p place
		if err := scan(&p.message, sqldb.Blob(p.account[:])); err != nil {
			return err
		}
		first = append(first, at[p])
		return nil
	})
	return first, errs.Wrap("writing deliveries", err)
}
