package chat

import (
	"context"
	"errors"
	"fmt"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// recordColumns belong to archive a and its message m, which may be missing.
const recordColumns = `a.id, a.message, a.conversation, a.message_id, a.key_epoch, a.revision, a.sealed, COALESCE(a.erase_after, 0),
	m.epoch, m.seq, m.server_time, m.sender, m.sender_device, m.commitment, m.tag`

// archiveRow scans recordColumns.
type archiveRow struct {
	api.ArchivedRecord
	place                      recordPlace
	message                    api.ArchivedMessage
	epoch, seq, at, sentDevice *int64
}

func (r *archiveRow) columns() []any {
	return []any{&r.place.id, &r.place.message, sqldb.Blob(r.Record.ConversationID[:]), sqldb.Blob(r.Record.MessageID[:]), &r.Record.KeyEpoch,
		&r.Revision, &r.Record.Sealed, &r.Record.EraseAfter, &r.epoch, &r.seq, &r.at, sqldb.Blob(r.message.SenderID[:]), &r.sentDevice,
		&r.message.Commitment, &r.message.Tag}
}

func (r *archiveRow) record() api.ArchivedRecord {
	if r.epoch == nil {
		return r.ArchivedRecord
	}
	r.message.Epoch, r.message.Seq, r.message.ServerTime = uint64(*r.epoch), uint64(*r.seq), *r.at
	if r.sentDevice != nil {
		r.message.SenderDevice = api.WireDeviceID(*r.sentDevice)
	}
	r.Message = &r.message
	return r.ArchivedRecord
}

const (
	sqlReadArchive = `
SELECT ` + recordColumns + ` FROM archive a LEFT JOIN message m ON m.id = a.message
WHERE a.account = $1 AND (a.message, a.id) < ($2, $3) ORDER BY a.message DESC, a.id DESC LIMIT $4`
	sqlReadArchiveOf = `
SELECT ` + recordColumns + ` FROM archive a LEFT JOIN message m ON m.id = a.message
WHERE a.account = $1 AND a.conversation = $5 AND (a.message, a.id) < ($2, $3)
ORDER BY a.message DESC, a.id DESC LIMIT $4`
)

func readArchive(ctx context.Context, q sqldb.Querier, id api.AccountID, before recordPlace, req api.ArchiveRequest) (api.ArchivePage, error) {
	page := api.ArchivePage{Records: []api.ArchivedRecord{}}
	statement, args := sqlReadArchive, []any{id[:], before.message, before.id, req.Limit + 1}
	if req.ConversationID != nil {
		statement, args = sqlReadArchiveOf, append(args, req.ConversationID[:])
	}
	rows, err := q.Query(ctx, statement, args...)
	if err != nil {
		return page, errs.Wrap("reading the archive", err)
	}
	defer rows.Close()
	size, last := 0, recordPlace{}
	for rows.Next() {
		var row archiveRow
		if err := rows.Scan(row.columns()...); err != nil {
			return page, errs.Wrap("reading the archive", err)
		}
		size += len(row.Record.Sealed) + recordOverhead
		if n := len(page.Records); n == req.Limit || n > 0 && size > api.MaxArchivePageSize {
			page.Next = last.cursor()
			return page, nil
		}
		last = row.place
		page.Records = append(page.Records, row.record())
	}
	return page, errs.Wrap("reading the archive", rows.Err())
}

const (
	sqlCountRecords   = `SELECT COUNT(*) FROM archive WHERE account = $1`
	sqlCountRecordsOf = `SELECT COUNT(*) FROM archive WHERE account = $1 AND conversation = $2`
)

func countRecords(ctx context.Context, q sqldb.Querier, id api.AccountID, conversation *api.ConversationID) (n int, err error) {
	statement, args := sqlCountRecords, []any{id[:]}
	if conversation != nil {
		statement, args = sqlCountRecordsOf, append(args, conversation[:])
	}
	err = q.QueryRow(ctx, statement, args...).Scan(&n)
	return n, errs.Wrap("counting the archive", err)
}

const sqlReadRecord = `
SELECT ` + recordColumns + ` FROM archive a LEFT JOIN message m ON m.id = a.message
WHERE a.message_id = $1 AND a.account = $2 AND a.conversation = $3`

// readRecord returns nil when there is none.
func readRecord(ctx context.Context, q sqldb.Querier, id api.AccountID, key messageKey) (*api.ArchivedRecord, error) {
	var row archiveRow
	err := q.QueryRow(ctx, sqlReadRecord, key.message[:], id[:], key.conversation[:]).Scan(row.columns()...)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	r := row.record()
	return &r, errs.Wrap("reading an archive record", err)
}

const sqlUpdateRecord = `
UPDATE archive SET revision = revision + 1, key_epoch = $4, sealed = $5, erase_after = $6
WHERE message_id = $1 AND account = $2 AND conversation = $3`

func updateRecord(ctx context.Context, tx *sqldb.Tx, id api.AccountID, r api.Record) error {
	_, err := tx.Exec(ctx, sqlUpdateRecord, r.MessageID[:], id[:], r.ConversationID[:], r.KeyEpoch, r.Sealed, positive(r.EraseAfter))
	return errs.Wrap("replacing an archive record", err)
}

const (
	sqlDeleteRecord = `DELETE FROM archive WHERE message_id = $1 AND account = $2 AND conversation = $3`
	sqlReadErasable = `
SELECT id FROM message WHERE message_id = $1 AND conversation = $2 AND sender = $3 AND class = 1 AND erased IS NULL`
)

func deleteRecord(ctx context.Context, tx *sqldb.Tx, id api.AccountID, key messageKey) error {
	_, err := tx.Exec(ctx, sqlDeleteRecord, key.message[:], id[:], key.conversation[:])
	return errs.Wrap("erasing an archive record", err)
}

const sqlRejoinRecords = `
UPDATE archive SET message = (SELECT m.id FROM message m
	WHERE m.message_id = archive.message_id AND m.conversation = archive.conversation)
WHERE message_id IN %s AND message = 0 AND EXISTS (SELECT 1 FROM message m
	WHERE m.message_id = archive.message_id AND m.conversation = archive.conversation)`

// rejoinRecords gives the records of messages that a restore forgot, and that are stored again now, their place. Before
// the first restore there are none.
func (w *sendWriter) rejoinRecords(ctx context.Context) error {
	if w.s.Epoch() == 1 || len(w.b.plans) == 0 {
		return nil
	}
	ids := make([]api.MessageID, len(w.b.plans)) // at most maxBatch
	for i, p := range w.b.plans {
		ids[i] = p.send.req.MessageID
	}
	_, err := w.tx.Exec(ctx, fmt.Sprintf(sqlRejoinRecords, sqldb.In(1, len(ids))), idArgs(ids)...)
	return errs.Wrap("placing archive records", err)
}

const (
	sqlInsertRecords = `
INSERT INTO archive (account, conversation, message_id, message, key_epoch, sealed, erase_after, stored_at)
VALUES %s ON CONFLICT (message_id, account, conversation) DO NOTHING RETURNING id`
	sqlInsertRecordsArrays = `
INSERT INTO archive (account, conversation, message_id, message, key_epoch, sealed, erase_after, stored_at)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[], $8::bigint[])
ON CONFLICT (message_id, account, conversation) DO NOTHING RETURNING id`
)

// recordRow is a row for sqlInsertRecords. message is 0 when the server does not know the message.
func recordRow(account api.AccountID, message int64, r api.Record, now int64) []any {
	return []any{account[:], r.ConversationID[:], r.MessageID[:], message, r.KeyEpoch, r.Sealed, positive(r.EraseAfter), now}
}

func insertRecords(ctx context.Context, tx *sqldb.Tx, rows []any) error {
	insert := insertion{sqlInsertRecords, sqlInsertRecordsArrays, "bbbiibii"}
	err := insert.run(ctx, tx, rows, func(func(...any) error) error { return nil })
	return errs.Wrap("writing archive records", err)
}
