package chat

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// owedKept is how long the sender's devices are asked for a message. After that it is given up.
const owedKept = api.OwedDays * 24 * time.Hour

// owing is what one account is owed by another.
type owing struct {
	sender, account api.AccountID
	messages        int
}

// owedPlace is where an owed message stands among those of its sender.
type owedPlace struct {
	message int64
	account api.AccountID
}

func (p owedPlace) cursor() string { return fmt.Sprintf("%d-%s", p.message, p.account) }

func parseOwedPlace(cursor string) (p owedPlace, err error) {
	if cursor == "" {
		return p, nil
	}
	message, account, _ := strings.Cut(cursor, "-")
	if p.message, err = strconv.ParseInt(message, 10, 64); err == nil {
		p.account, err = api.ParseAccountID(account)
	}
	if err != nil {
		return p, errs.Invalidf("This cursor is not from here.").Because(err)
	}
	return p, nil
}

// Owed returns a page of the messages that the account's devices are asked to supplement.
func (s *Service) Owed(ctx context.Context, actor token.Actor, after string, limit int) (api.OwedMessages, error) {
	if limit < 1 || limit > api.MaxOwedPage {
		return api.OwedMessages{}, errs.Invalidf("A page has 1 to %d messages.", api.MaxOwedPage)
	}
	place, err := parseOwedPlace(after)
	if err != nil {
		return api.OwedMessages{}, err
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.OwedMessages{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.OwedMessages{}, err
	}
	return readOwed(ctx, s.DB, actor.Account, place, limit)
}

// OwedMessages counts what is owed on this server at the moment.
func (s *Service) OwedMessages(ctx context.Context) (n int, err error) {
	err = s.DB.QueryRow(ctx, sqlCountOwed).Scan(&n)
	return n, errs.Wrap("counting what is owed", err)
}

// tellOwed follows the commit.
func (s *Service) tellOwed(ctx context.Context, all []owing) {
	for _, o := range all {
		s.hub.tell(ctx, o.sender, note{Owed: &api.OwedNotice{AccountID: o.account, Count: o.messages}})
	}
}

// remindOwed tells the senders of owed messages that the account has a new or returned device to supplement them for.
func (s *Service) remindOwed(ctx context.Context, account api.AccountID) {
	all, err := readOwing(ctx, s.DB, account)
	if err != nil {
		// They learn of it when they connect.
		s.Logger.WarnContext(ctx, "senders were not told what they owe", slog.Any("err", err))
	}
	s.tellOwed(ctx, all)
}

func (s *Service) handleOwed(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	limit, err := queryNumber(r.URL.Query(), "limit", api.MaxOwedPage)
	if err != nil {
		return nil, err
	}
	return answer(s.Owed(r.Context(), actor, r.URL.Query().Get("after"), int(min(limit, api.MaxOwedPage+1))))
}

const sqlReadOwed = `
SELECT o.message, m.conversation, m.message_id, m.epoch, m.seq, o.account, o.since
FROM owed o JOIN message m ON m.id = o.message
WHERE o.sender = $1 AND (o.message, o.account) > ($2, $3) ORDER BY o.message, o.account LIMIT $4`

func readOwed(ctx context.Context, q sqldb.Querier, sender api.AccountID, after owedPlace, limit int) (api.OwedMessages, error) {
	page := api.OwedMessages{Owed: []api.OwedMessage{}}
	rows, err := q.Query(ctx, sqlReadOwed, sender[:], after.message, after.account[:], limit+1)
	if err != nil {
		return page, errs.Wrap("reading what is owed", err)
	}
	defer rows.Close()
	var last owedPlace
	for rows.Next() {
		var o api.OwedMessage
		var message int64
		if err := rows.Scan(&message, sqldb.Blob(o.ConversationID[:]), sqldb.Blob(o.MessageID[:]), &o.Epoch, &o.Seq, sqldb.Blob(o.AccountID[:]), &o.Since); err != nil {
			return page, errs.Wrap("reading what is owed", err)
		}
		if len(page.Owed) == limit {
			page.Next = last.cursor()
			return page, nil
		}
		last = owedPlace{message, o.AccountID}
		page.Owed = append(page.Owed, o)
	}
	return page, errs.Wrap("reading what is owed", rows.Err())
}

const sqlReadOwedOf = `SELECT message, account FROM owed WHERE message IN %s`

// readOwedOf returns which of the messages are owed to whom.
func readOwedOf(ctx context.Context, q sqldb.Querier, messages map[messageKey]*stored) (map[owedPlace]bool, error) {
	found := make(map[owedPlace]bool)
	ids := make([]int64, 0, len(messages))
	for _, m := range messages {
		ids = append(ids, m.id)
	}
	for part := range slices.Chunk(ids, sqldb.MaxIn) {
		rows, err := q.Query(ctx, fmt.Sprintf(sqlReadOwedOf, sqldb.In(1, len(part))), numberArgs(part)...)
		if err != nil {
			return nil, errs.Wrap("reading what is owed", err)
		}
		defer rows.Close()
		for rows.Next() {
			var p owedPlace
			if err := rows.Scan(&p.message, sqldb.Blob(p.account[:])); err != nil {
				return nil, errs.Wrap("reading what is owed", err)
			}
			found[p] = true
		}
		if err := rows.Err(); err != nil {
			return nil, errs.Wrap("reading what is owed", err)
		}
	}
	return found, nil
}

const (
	sqlCountOwed   = `SELECT COUNT(*) FROM owed WHERE since > 0`
	sqlCountOwedBy = `SELECT COUNT(*) FROM owed WHERE sender = $1`
)

func countOwedBy(ctx context.Context, q sqldb.Querier, sender api.AccountID) (n int, err error) {
	err = q.QueryRow(ctx, sqlCountOwedBy, sender[:]).Scan(&n)
	return n, errs.Wrap("counting what is owed", err)
}

// maxSenders bounds how many accounts are told when a device returns; others learn of it when they connect.
const maxSenders = 1000

const sqlReadOwing = `SELECT sender, COUNT(*) FROM owed WHERE account = $1 GROUP BY sender LIMIT $2`

func readOwing(ctx context.Context, q sqldb.Querier, account api.AccountID) ([]owing, error) {
	rows, err := q.Query(ctx, sqlReadOwing, account[:], maxSenders)
	if err != nil {
		return nil, errs.Wrap("reading who owes", err)
	}
	defer rows.Close()
	var all []owing
	for rows.Next() {
		o := owing{account: account}
		if err := rows.Scan(sqldb.Blob(o.sender[:]), &o.messages); err != nil {
			return nil, errs.Wrap("reading who owes", err)
		}
		all = append(all, o)
	}
	return all, errs.Wrap("reading who owes", rows.Err())
}

// Of a message that another device of the account still has waiting, or that one has acknowledged, nothing is owed.
const sqlInsertOwed = `
INSERT INTO owed (message, account, sender, since)
SELECT b.message, $2, m.sender, $3 FROM mailbox b JOIN message m ON m.id = b.message
WHERE b.device = $1 AND m.class = 1 AND m.sender <> $2 AND m.erased IS NULL
	AND NOT EXISTS (SELECT 1 FROM delivered x WHERE x.message = b.message AND x.account = $2)
	AND NOT EXISTS (SELECT 1 FROM mailbox o JOIN device d ON d.id = o.device
		WHERE o.message = b.message AND o.device <> $1 AND d.account = $2)
ON CONFLICT (message, account) DO NOTHING RETURNING sender`

// insertOwed comes before the device's mailbox is emptied.
func insertOwed(ctx context.Context, tx *sqldb.Tx, d *device, now int64) ([]owing, error) {
	rows, err := tx.Query(ctx, sqlInsertOwed, d.id, d.account[:], now)
	if err != nil {
		return nil, errs.Wrap("writing what is owed", err)
	}
	defer rows.Close()
	at := make(map[api.AccountID]int)
	var all []owing
	for rows.Next() {
		var sender api.AccountID
		if err := rows.Scan(sqldb.Blob(sender[:])); err != nil {
			return nil, errs.Wrap("writing what is owed", err)
		}
		if _, ok := at[sender]; !ok {
			at[sender] = len(all)
			all = append(all, owing{sender: sender, account: d.account})
		}
		all[at[sender]].messages++
	}
	return all, errs.Wrap("writing what is owed", rows.Err())
}

const sqlInsertOwedOne = `
INSERT INTO owed (message, account, sender, since) VALUES ($1, $2, $3, $4) ON CONFLICT (message, account) DO NOTHING`

func insertOwedOne(ctx context.Context, tx *sqldb.Tx, message int64, account, sender api.AccountID, now int64) error {
	_, err := tx.Exec(ctx, sqlInsertOwedOne, message, account[:], sender[:], now)
	return errs.Wrap("writing what is owed", err)
}

const sqlDeleteOwed = `DELETE FROM owed WHERE message = $1 AND account = $2`

// deleteOwed follows an envelope, or an archive record, of the account.
func deleteOwed(ctx context.Context, tx *sqldb.Tx, message int64, account api.AccountID) error {
	_, err := tx.Exec(ctx, sqlDeleteOwed, message, account[:])
	return errs.Wrap("clearing what is owed", err)
}

const sqlForgetOwed = `
DELETE FROM owed WHERE (message, account) IN (SELECT message, account FROM owed WHERE since < $1 ORDER BY since LIMIT $2)`

// forgetOwed gives up what nobody has supplemented. Every device of the account starts behind such a message.
func forgetOwed(ctx context.Context, tx *sqldb.Tx, now time.Time) (int, error) {
	res, err := tx.Exec(ctx, sqlForgetOwed, now.Add(-owedKept).UnixMilli(), upkeepBatch)
	if err != nil {
		return 0, errs.Wrap("giving up what is owed", err)
	}
	n, err := res.RowsAffected()
	return int(n), errs.Wrap("giving up what is owed", err)
}
