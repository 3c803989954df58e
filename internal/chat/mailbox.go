package chat

import (
	"context"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// entryOverhead is counted for each entry of a page beside its ciphertexts.
const entryOverhead = 400 // bytes

// Mailbox returns the oldest entries of the actor's device behind After. The page ends early rather than exceed
// api.MaxMailboxPageSize bytes of ciphertext, but holds at least one entry when there is one.
func (s *Service) Mailbox(ctx context.Context, actor token.Actor, req api.MailboxRequest) (api.MailboxPage, error) {
	if req.After < 0 || req.Limit < 1 || req.Limit > api.MaxMailboxPage {
		return api.MailboxPage{}, errs.Invalidf("A page has 1 to %d entries.", api.MaxMailboxPage)
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.MailboxPage{}, err
	}
	d, err := s.actorDevice(ctx, actor)
	if err != nil {
		return api.MailboxPage{}, err
	}
	if s.nowMillis()-d.seen > seenEvery {
		if err := s.touch(ctx, []int64{d.id}); err != nil {
			return api.MailboxPage{}, err
		}
	}
	return s.mailboxPage(ctx, d.id, req)
}

func (s *Service) mailboxPage(ctx context.Context, device int64, req api.MailboxRequest) (api.MailboxPage, error) {
	page := api.MailboxPage{Entries: []api.Entry{}, Epoch: s.Epoch()}
	rows, err := s.DB.Query(ctx, sqlReadMailbox, device, req.After, req.Limit+1)
	if err != nil {
		return page, errs.Wrap("reading a mailbox", err)
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		var row entryRow
		if err := rows.Scan(row.columns()...); err != nil {
			return page, errs.Wrap("reading a mailbox", err)
		}
		e := row.entry()
		size += e.size()
		if n := len(page.Entries); n == req.Limit || n > 0 && size > api.MaxMailboxPageSize {
			page.Next = page.Entries[n-1].EntryID
			return page, nil
		}
		page.Entries = append(page.Entries, e.Entry)
	}
	return page, errs.Wrap("reading a mailbox", rows.Err())
}

func (s *Service) handleMailbox(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	after, err := queryNumber(r.URL.Query(), "after", 0)
	if err != nil {
		return nil, err
	}
	limit, err := queryNumber(r.URL.Query(), "limit", api.MaxMailboxPage)
	if err != nil {
		return nil, err
	}
	return answer(s.Mailbox(r.Context(), actor, api.MailboxRequest{After: after, Limit: int(min(limit, api.MaxMailboxPage+1))}))
}

// entryColumns belong to the tables mailbox b and message m.
const entryColumns = `b.id, m.conversation, m.message_id, m.class, m.epoch, m.seq, m.server_time, m.sender, m.sender_device,
	b.maker_device, b.type, b.bytes, m.shared, m.commitment, m.tag`

const sqlReadMailbox = `
SELECT ` + entryColumns + ` FROM mailbox b JOIN message m ON m.id = b.message
WHERE b.device = $1 AND b.id > $2 ORDER BY b.id LIMIT $3`

// entryRow scans entryColumns; all of the mailbox may be NULL, after a LEFT JOIN.
type entryRow struct {
	api.Entry
	id, maker, kind *int64
	class           int
	seq             *uint64
	sender          *uint32
}

func (r *entryRow) columns() []any {
	return []any{&r.id, sqldb.Blob(r.ConversationID[:]), sqldb.Blob(r.MessageID[:]), &r.class, &r.Epoch, &r.seq, &r.ServerTime,
		sqldb.Blob(r.SenderID[:]), &r.sender, &r.maker, &r.kind, &r.Bytes, &r.Shared, &r.Commitment, &r.Tag}
}

// sizedEntry is an entry with what it counts for in a page.
type sizedEntry struct{ api.Entry }

func (e sizedEntry) size() int { return len(e.Bytes) + len(e.Shared) + entryOverhead }

// entry needs a row with a mailbox part.
func (r *entryRow) entry() sizedEntry {
	e := r.Entry
	e.EntryID, e.Type, e.EnvelopeDevice = *r.id, int(*r.kind), api.WireDeviceID(*r.maker)
	e.Class = api.ClassMessage
	if r.class == classSilent {
		e.Class = api.ClassSilent
	}
	if r.seq != nil {
		e.Seq = *r.seq
	}
	if r.sender != nil {
		e.SenderDevice = api.WireDeviceID(*r.sender)
	}
	return sizedEntry{e}
}

// removed is what left one mailbox.
type removed struct{ entries, bytes int }

// mailboxSize is a change of what a device's row says about its mailbox.
type mailboxSize struct{ entries, bytes int }

// uncount takes from the numbers of mailboxes what left them.
func uncount(ctx context.Context, tx *sqldb.Tx, left map[int64]removed) error {
	changes := make(map[int64]mailboxSize, len(left))
	for id, r := range left {
		changes[id] = mailboxSize{-r.entries, -r.bytes}
	}
	return countEntries(ctx, tx, changes)
}
