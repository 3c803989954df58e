package chat

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// loadSendBatch reads everything that the sends are checked against, before anything is written.
func loadSendBatch(ctx context.Context, tx *sqldb.Tx, sends []send) (*sendBatch, error) {
	b := &sendBatch{members: make(map[api.ConversationID][]member)}
	messages := make(map[api.MessageID]bool)
	conversations := make(map[api.ConversationID]bool)
	for _, sd := range sends {
		messages[sd.req.MessageID] = true
		conversations[sd.req.ConversationID] = true
		if sd.req.After != nil {
			messages[*sd.req.After] = true
		}
	}
	if err := lockMembers(ctx, tx, keysOf(conversations)); err != nil {
		return nil, err
	}
	var err error
	if b.known, err = readMessages(ctx, tx, keysOf(messages)); err != nil {
		return nil, err
	}
	accounts := make(map[api.AccountID]bool)
	if err := readMembers(ctx, tx, keysOf(conversations), func(id api.ConversationID, m member) {
		b.members[id] = append(b.members[id], m)
		accounts[m.account] = true
	}); err != nil {
		return nil, err
	}
	ids := keysOf(accounts)
	if b.accounts, err = readAccounts(ctx, tx, ids); err != nil {
		return nil, err
	}
	devices, err := readDevicesOf(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	b.devices = byAccount(devices)
	return b, b.loadSupplied(ctx, tx, sends)
}

const sqlLockMembers = `
SELECT id FROM account WHERE id IN (SELECT account FROM member WHERE conversation IN %s) ORDER BY id FOR NO KEY UPDATE`

// lockMembers is for at most sqldb.MaxIn conversations.
func lockMembers(ctx context.Context, tx *sqldb.Tx, ids []api.ConversationID) error {
	return errs.Wrap("locking members", tx.Lock(ctx, fmt.Sprintf(sqlLockMembers, sqldb.In(1, len(ids))), idArgs(ids)...))
}

func keysOf[K ~[16]byte](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareIDs)
	return keys
}

const sqlReadMessages = `
SELECT id, conversation, message_id, epoch, seq, server_time, sender, commitment, tag, devices FROM message WHERE message_id IN %s`

// readMessages returns the messages with these ids in any conversation.
func readMessages(ctx context.Context, q sqldb.Querier, ids []api.MessageID) (map[messageKey]*stored, error) {
	found := make(map[messageKey]*stored)
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		rows, err := q.Query(ctx, fmt.Sprintf(sqlReadMessages, sqldb.In(1, len(part))), idArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("looking up messages", err)
		}
		defer rows.Close()
		for rows.Next() {
			m := &stored{}
			var seq *uint64
			if err := rows.Scan(&m.id, sqldb.Blob(m.sent.ConversationID[:]), sqldb.Blob(m.sent.MessageID[:]), &m.sent.Epoch, &seq,
				&m.sent.ServerTime, sqldb.Blob(m.sender[:]), &m.commitment, &m.sent.Tag, &m.devices); err != nil {
				return nil, errs.Wrap("looking up messages", err)
			}
			if seq != nil {
				m.sent.Seq = *seq
			}
			m.sent.Devices = []api.DeviceRef{}
			unpackDevices(m.devices, func(ref api.DeviceRef, _ uint32) {
				if !slices.Contains(m.sent.Devices, ref) {
					m.sent.Devices = append(m.sent.Devices, ref)
				}
			})
			found[messageKey{m.sent.ConversationID, m.sent.MessageID}] = m
		}
		if err := rows.Err(); err != nil {
			return nil, errs.Wrap("looking up messages", err)
		}
	}
	return found, nil
}

const sqlBumpConversation = `UPDATE conversation SET last_seq = last_seq + $2 WHERE id = $1 RETURNING last_seq`

const sqlBumpConversationsArrays = `
UPDATE conversation SET last_seq = last_seq + b.count FROM unnest($1::bytea[], $2::bigint[]) AS b (conversation, count)
WHERE conversation.id = b.conversation RETURNING id, last_seq`

// bumpConversations returns the last seq of each. One by one they are bumped in the order of their ids; in one statement,
// in any order: whoever bumps a conversation has locked its members.
func bumpConversations(
	ctx context.Context, tx *sqldb.Tx, counts map[api.ConversationID]int64,
) (last map[api.ConversationID]uint64, err error) {
	last = make(map[api.ConversationID]uint64, len(counts))
	ids := slices.SortedFunc(maps.Keys(counts), compareIDs)
	if !tx.Arrays() {
		for _, id := range ids {
			var seq uint64
			if err := tx.QueryRow(ctx, sqlBumpConversation, id[:], counts[id]).Scan(&seq); err != nil {
				return nil, errs.Wrap("bumping a conversation", err)
			}
			last[id] = seq
		}
		return last, nil
	}
	var rows []any
	for _, id := range ids {
		rows = append(rows, id[:], counts[id])
	}
	out, err := tx.Query(ctx, sqlBumpConversationsArrays, sqldb.Columns("bi", rows)...)
	if err != nil {
		return nil, errs.Wrap("bumping conversations", err)
	}
	defer out.Close()
	for out.Next() {
		var id api.ConversationID
		var seq uint64
		if err := out.Scan(sqldb.Blob(id[:]), &seq); err != nil {
			return nil, errs.Wrap("bumping conversations", err)
		}
		last[id] = seq
	}
	return last, errs.Wrap("bumping conversations", out.Err())
}

// maxRowValues bounds the placeholders of one INSERT. SQLite looks each $n up by name among all before it, so that a
// statement's cost grows with the square of their number: beyond about a hundred, several statements are faster.
const maxRowValues = 128

// insertion is an INSERT of many rows in its two forms.
type insertion struct {
	values string // with a VALUES list
	arrays string // from arrays, all rows at once
	kinds  string // of the columns; see sqldb.Columns
}

// run inserts all rows.
func (i insertion) run(ctx context.Context, tx *sqldb.Tx, rows []any, scan func(func(...any) error) error) error {
	columns := len(i.kinds)
	size := maxRowValues / columns * columns
	if tx.Arrays() {
		size = max(len(rows), 1)
	}
	for part := range slices.Chunk(rows, size) {
		statement, args := i.arrays, part
		if tx.Arrays() {
			args = sqldb.Columns(i.kinds, part)
		} else {
			statement = fmt.Sprintf(i.values, sqldb.Values(1, len(part)/columns, columns))
		}
		out, err := tx.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		defer out.Close()
		for out.Next() {
			if err := scan(out.Scan); err != nil {
				return err
			}
		}
		if err := out.Err(); err != nil {
			return err
		}
	}
	return nil
}

const classMessage, classSilent = 1, 2 // of the column message.class

const (
	messageColumns = `conversation, message_id, class, epoch, seq, server_time, sender, sender_device, commitment, tag,
	shared, devices, erase_after`
	sqlInsertMessages = `
INSERT INTO message (` + messageColumns + `)
VALUES %s RETURNING id, conversation, message_id`
	sqlInsertMessagesArrays = `
INSERT INTO message (` + messageColumns + `)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[],
	$8::bigint[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bigint[])
RETURNING id, conversation, message_id`
)

func (w *sendWriter) insertMessages(ctx context.Context) error {
	var rows []any
	for _, p := range w.b.plans {
		req, sent := p.send.req, p.message.sent
		class := classMessage
		if req.Class == api.ClassSilent {
			class = classSilent
		}
		rows = append(rows, req.ConversationID[:], req.MessageID[:], class, sent.Epoch, positive(int64(sent.Seq)), sent.ServerTime,
			p.send.actor.Account[:], p.senderDevice(), req.Commitment, sent.Tag, orNull(req.Shared),
			packDevices(p.targets), positive(req.EraseAfter))
	}
	insert := insertion{sqlInsertMessages, sqlInsertMessagesArrays, "bbiiiibibbbbi"}
	err := insert.run(ctx, w.tx, rows, func(scan func(...any) error) error {
		var key messageKey
		var id int64
		if err := scan(&id, sqldb.Blob(key.conversation[:]), sqldb.Blob(key.message[:])); err != nil {
			return err
		}
		w.b.known[key].id = id
		return nil
	})
	return errs.Wrap("writing messages", err)
}

const sqlInsertWithheld = `INSERT INTO withheld (message, account) VALUES ($1, $2)`

func (w *sendWriter) insertWithheld(ctx context.Context) error {
	for _, p := range w.b.plans {
		for _, account := range p.withheld {
			if _, err := w.tx.Exec(ctx, sqlInsertWithheld, p.message.id, account[:]); err != nil {
				return errs.Wrap("withholding a message", err)
			}
		}
	}
	return nil
}

const (
	sqlInsertEntries = `
INSERT INTO mailbox (device, message, maker_device, type, bytes, size)
VALUES %s RETURNING id, device, message`
	sqlInsertEntriesArrays = `
INSERT INTO mailbox (device, message, maker_device, type, bytes, size)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[])
RETURNING id, device, message`
)

// insertEntries writes in the order of the batch, so that the entries of one conversation lie in a mailbox in the order
// of their seqs.
func (w *sendWriter) insertEntries(ctx context.Context) error {
	type place struct{ device, message int64 }
	at := make(map[place]int, len(w.entries))
	var rows []any
	for i, e := range w.entries {
		rows = append(rows, e.device.id, e.message, e.EnvelopeDevice, e.Type, orNull(e.Bytes), e.stored())
		at[place{e.device.id, e.message}] = i
	}
	insert := insertion{sqlInsertEntries, sqlInsertEntriesArrays, "iiiibi"}
	err := insert.run(ctx, w.tx, rows, func(scan func(...any) error) error {
		var id int64
		var where place
		if err := scan(&id, &where.device, &where.message); err != nil {
			return err
		}
		w.entries[at[where]].EntryID = id
		return nil
	})
	return errs.Wrap("writing mailboxes", err)
}

func (w *sendWriter) insertRecords(ctx context.Context) error {
	var rows []any
	for _, p := range w.b.plans {
		if r := p.send.req.Record; r != nil && w.b.accounts[p.send.actor.Account].keepsArchive {
			rows = append(rows, recordRow(p.send.actor.Account, p.message.id, *r, w.now)...)
		}
	}
	return insertRecords(ctx, w.tx, rows)
}

func (w *sendWriter) acceptMembers(ctx context.Context) error {
	for _, p := range w.b.plans {
		if !p.accepts {
			continue
		}
		if err := updateMember(ctx, w.tx, p.send.req.ConversationID, p.send.actor.Account, api.MemberAccepted, w.now); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlCountEntries = `UPDATE device SET entries = entries + $2, bytes = bytes + $3 WHERE id = $1`

	sqlCountEntriesArrays = `
UPDATE device SET entries = device.entries + c.entries, bytes = device.bytes + c.bytes
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS c (device, entries, bytes) WHERE id = c.device`
)

// countEntries changes the numbers of mailboxes, by device.
func countEntries(ctx context.Context, tx *sqldb.Tx, changes map[int64]mailboxSize) error {
	var rows []any
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		c := changes[id]
		if tx.Arrays() {
			rows = append(rows, id, c.entries, c.bytes)
			continue
		}
		if _, err := tx.Exec(ctx, sqlCountEntries, id, c.entries, c.bytes); err != nil {
			return errs.Wrap("counting a mailbox", err)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, sqlCountEntriesArrays, sqldb.Columns("iii", rows)...)
	return errs.Wrap("counting mailboxes", err)
}
