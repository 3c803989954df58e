package chat

import (
	"context"
	"errors"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Sync answers every seq of a range with the entry that waits for the actor's device, or with the reason why none does.
// The page may be shorter than asked for, by the bound on its size.
func (s *Service) Sync(ctx context.Context, actor token.Actor, req api.SyncRequest) (api.SyncPage, error) {
	if req.From < 1 || req.From > maxGeneration || req.Limit < 1 || req.Limit > api.MaxSyncPage {
		return api.SyncPage{}, errs.Invalidf("A range begins with 1 or more and has 1 to %d positions.", api.MaxSyncPage)
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.SyncPage{}, err
	}
	d, err := s.actorDevice(ctx, actor)
	if err != nil {
		return api.SyncPage{}, err
	}
	c, err := readConversation(ctx, s.DB, actor.Account, req.ConversationID)
	if err != nil {
		return api.SyncPage{}, err
	}
	page := api.SyncPage{ConversationID: c.ConversationID, Epoch: s.Epoch(), From: req.From, LastSeq: c.LastSeq}
	if page.Items, err = s.syncItems(ctx, d, req); err != nil {
		return api.SyncPage{}, err
	}
	// LastSeq was read before the items, so every seq up to it is there.
	page.Through, err = readThrough(ctx, s.DB, d, c)
	return page, err
}

// syncRow is one message as one device sees it.
type syncRow struct {
	entryRow
	erased   *string
	devices  []byte
	withheld bool
	owed     bool
	// waits tells that another device of the account has an entry, and none has acknowledged one.
	waits bool
	start uint64
}

// reason tells why there is no entry, or "" when nothing explains it.
func (r *syncRow) reason(d *device) api.Reason {
	seq, ref := *r.seq, d.ref()
	switch {
	case r.sender != nil && r.SenderID == d.account && api.WireDeviceID(*r.sender) == d.wire && seq >= r.start:
		return api.ReasonOwn
	case r.withheld:
		return api.ReasonWithheld
	case r.erased != nil && *r.erased == string(api.ReasonDeleted):
		return api.ReasonDeleted
	case r.erased != nil:
		return api.ReasonExpired
	case r.owed:
		return api.ReasonOwed
	case seq < r.start && r.waits && r.SenderID != d.account: // own ones are in the archive from the beginning
		return api.ReasonElsewhere
	case seq < r.start:
		return api.ReasonBefore
	}
	reason := api.Reason("")
	unpackDevices(r.devices, func(had api.DeviceRef, registration uint32) {
		if had == ref && registration == d.registration {
			reason = api.ReasonAcknowledged
		}
	})
	return reason
}

func (s *Service) syncItems(ctx context.Context, d *device, req api.SyncRequest) ([]api.SyncItem, error) {
	items := []api.SyncItem{}
	rows, err := s.DB.Query(ctx, sqlReadSync, d.id, d.account[:], req.ConversationID[:], req.From, req.From+uint64(req.Limit))
	if err != nil {
		return nil, errs.Wrap("reading positions", err)
	}
	defer rows.Close()
	size, next := 0, req.From
	for rows.Next() {
		var row syncRow
		if err := rows.Scan(append(row.columns(), &row.erased, &row.devices, &row.withheld, &row.owed, &row.waits, &row.start)...); err != nil {
			return nil, errs.Wrap("reading positions", err)
		}
		for ; next < *row.seq; next++ {
			items = append(items, s.hole(next))
		}
		next++
		item := api.SyncItem{Seq: *row.seq}
		if row.id != nil {
			e := row.entry()
			if size += e.size(); len(items) > 0 && size > api.MaxMailboxPageSize {
				return items, nil
			}
			item.Entry = &e.Entry
		} else if item.Reason = row.reason(d); item.Reason == "" {
			item = s.hole(item.Seq)
		}
		items = append(items, item)
	}
	return items, errs.Wrap("reading positions", rows.Err())
}

// hole is a position that nothing explains: a fault of this server, shown to the client and counted.
func (s *Service) hole(seq uint64) api.SyncItem {
	s.Holes.Add(1)
	return api.SyncItem{Seq: seq}
}

func (s *Service) handleSync(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	from, err := queryNumber(r.URL.Query(), "from", 0)
	if err != nil {
		return nil, err
	}
	limit, err := queryNumber(r.URL.Query(), "limit", api.MaxSyncPage)
	if err != nil {
		return nil, err
	}
	return answer(s.Sync(r.Context(), actor, api.SyncRequest{
		ConversationID: id, From: uint64(from), Limit: int(min(limit, api.MaxSyncPage+1)),
	}))
}

const sqlReadSync = `
SELECT ` + entryColumns + `, m.erased, m.devices, w.message IS NOT NULL, o.message IS NOT NULL,
	a.message IS NULL AND EXISTS
		(SELECT 1 FROM mailbox x JOIN device d ON d.id = x.device WHERE x.message = m.id AND d.account = $2),
	COALESCE((SELECT seq FROM device_start WHERE device = $1 AND conversation = $3), 1)
FROM message m
LEFT JOIN mailbox b ON b.message = m.id AND b.device = $1
LEFT JOIN withheld w ON w.message = m.id AND w.account = $2
LEFT JOIN owed o ON o.message = m.id AND o.account = $2
LEFT JOIN delivered a ON a.message = m.id AND a.account = $2
WHERE m.conversation = $3 AND m.seq >= $4 AND m.seq < $5 ORDER BY m.seq`

const (
	sqlFirstWaiting = `
SELECT m.seq FROM mailbox b JOIN message m ON m.id = b.message
WHERE b.device = $1 AND m.conversation = $2 AND m.class = 1 ORDER BY m.seq LIMIT 1`
	sqlFirstOwed = `
SELECT m.seq FROM owed o JOIN message m ON m.id = o.message
WHERE o.account = $1 AND m.conversation = $2 ORDER BY m.seq LIMIT 1`
	sqlFirstElsewhere = `
SELECT m.seq FROM device d JOIN mailbox b ON b.device = d.id JOIN message m ON m.id = b.message
WHERE d.account = $1 AND d.state <> 'removed' AND m.conversation = $2 AND m.class = 1 AND (m.sender IS NULL OR m.sender <> $1)
	AND m.seq < (SELECT seq FROM device_start WHERE device = $3 AND conversation = $2)
	AND NOT EXISTS (SELECT 1 FROM delivered a WHERE a.message = m.id AND a.account = $1)
ORDER BY m.seq LIMIT 1`
)

// readThrough finds the last seq before the first one that the device still waits for. It reads the mailboxes of the
// account's devices, which are bounded.
func readThrough(ctx context.Context, q sqldb.Querier, d *device, c api.Conversation) (uint64, error) {
	through := c.LastSeq
	for _, first := range []struct {
		statement string
		args      []any
	}{
		{sqlFirstWaiting, []any{d.id, c.ConversationID[:]}},
		{sqlFirstOwed, []any{d.account[:], c.ConversationID[:]}},
		{sqlFirstElsewhere, []any{d.account[:], c.ConversationID[:], d.id}},
	} {
		var seq uint64
		err := q.QueryRow(ctx, first.statement, first.args...).Scan(&seq)
		if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
			return 0, errs.Wrap("reading what waits", err)
		}
		if err == nil {
			through = min(through, seq-1)
		}
	}
	return through, nil
}
