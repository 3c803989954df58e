package notification

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/hint"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

var errNoItem = errs.NotFoundf("There is no such notification.")

// List returns a page of the account's notifications older than one of them, newest first; before 0 begins.
func (s *Service) List(ctx context.Context, actor token.Actor, before int64, limit int) (api.Notifications, error) {
	if limit < 1 || limit > api.MaxNotificationPage {
		return api.Notifications{}, errs.Invalidf("A page has 1 to %d notifications.", api.MaxNotificationPage)
	}
	items, err := readItems(ctx, s.DB, actor.Account, before, limit)
	if err != nil {
		return api.Notifications{}, errs.Wrap("reading notifications", err)
	}
	unread, err := readUnread(ctx, s.DB, actor.Account)
	page := api.Notifications{Notifications: items, Unread: unread}
	if len(items) == limit {
		page.Next = items[limit-1].ID
	}
	return page, errs.Wrap("counting notifications", err)
}

// Unread counts what was not read.
func (s *Service) Unread(ctx context.Context, actor token.Actor) (api.UnreadCount, error) {
	n, err := readUnread(ctx, s.DB, actor.Account)
	return api.UnreadCount{Unread: n}, errs.Wrap("counting notifications", err)
}

// MarkRead marks one notification; marking it again changes nothing.
func (s *Service) MarkRead(ctx context.Context, actor token.Actor, id int64) error {
	err := s.tx(ctx, "mark notification", func(tx *sqldb.Tx) error {
		if err := markItem(ctx, tx, actor.Account, id); err != nil {
			return err
		}
		return dropReadMail(ctx, tx, actor.Account)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return errNoItem
	}
	return errs.Wrap("marking a notification", err)
}

// MarkThrough marks every notification up to and including one.
func (s *Service) MarkThrough(ctx context.Context, actor token.Actor, req api.ReadThrough) (api.UnreadCount, error) {
	if req.Through < 1 {
		return api.UnreadCount{}, errs.Invalidf("Say up to which notification.")
	}
	err := s.tx(ctx, "mark notifications", func(tx *sqldb.Tx) error {
		if err := markItems(ctx, tx, actor.Account, req.Through); err != nil {
			return err
		}
		return dropReadMail(ctx, tx, actor.Account)
	})
	if err != nil {
		return api.UnreadCount{}, errs.Wrap("marking notifications", err)
	}
	return s.Unread(ctx, actor)
}

// Delete removes one notification.
func (s *Service) Delete(ctx context.Context, actor token.Actor, id int64) error {
	err := s.tx(ctx, "delete notification", func(tx *sqldb.Tx) error { return deleteItem(ctx, tx, actor.Account, id) })
	if errors.Is(err, sqldb.ErrNoRows) {
		return errNoItem
	}
	return errs.Wrap("deleting a notification", err)
}

// tell shows a notification on the account's sockets. It may be lost: the list has it.
func (s *Service) tell(ctx context.Context, account api.AccountID, n api.Notification) {
	payload, err := hint.EncodeNotification(n)
	if err == nil {
		err = s.Hint(ctx, account, payload)
	}
	if err != nil {
		s.Logger.WarnContext(ctx, "a hint was not published", slog.Any("err", err))
	}
}

const (
	sqlDropUnread = `
DELETE FROM item WHERE account = $1 AND conversation = $2 AND seen = 0 AND at <= $3`
	sqlNewerUnread = `
SELECT id FROM item WHERE account = $1 AND conversation = $2 AND seen = 0`
	sqlInsertItem = `
INSERT INTO item (account, kind, conversation, waiting, at) VALUES ($1, $2, $3, $4, $5) RETURNING id`
	sqlTrimItems = `
DELETE FROM item WHERE account = $1 AND id <= (
	SELECT id FROM item WHERE account = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)`
)

// insertItem adds to the list. What waits in a conversation replaces what waited in it before, at the top of the list;
// an event that is older than that adds nothing.
func insertItem(ctx context.Context, tx *sqldb.Tx, account api.AccountID, n api.Notification) ([]api.Notification, error) {
	if n.ConversationID != nil {
		if _, err := tx.Exec(ctx, sqlDropUnread, account[:], n.ConversationID[:], n.At); err != nil {
			return nil, err
		}
		var newer int64
		err := tx.QueryRow(ctx, sqlNewerUnread, account[:], n.ConversationID[:]).Scan(&newer)
		if err == nil || !errors.Is(err, sqldb.ErrNoRows) {
			return nil, err
		}
	}
	err := tx.QueryRow(ctx, sqlInsertItem, account[:], string(n.Kind), orNull(n.ConversationID), n.Count, n.At).Scan(&n.ID)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, sqlTrimItems, account[:], api.MaxNotifications)
	return []api.Notification{n}, err
}

const sqlReadItems = `
SELECT id, kind, conversation, waiting, at, seen FROM item
WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT $3`

func readItems(ctx context.Context, q sqldb.Querier, account api.AccountID, before int64, limit int) ([]api.Notification, error) {
	if before < 1 {
		before = 1<<63 - 1
	}
	rows, err := q.Query(ctx, sqlReadItems, account[:], before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	items := []api.Notification{}
	for rows.Next() {
		var n api.Notification
		var conversation []byte
		var seen int
		if err := rows.Scan(&n.ID, &n.Kind, &conversation, &n.Count, &n.At, &seen); err != nil {
			return nil, err
		}
		if len(conversation) == len(api.ConversationID{}) {
			n.ConversationID = (*api.ConversationID)(conversation)
		}
		n.Read = seen == 1
		items = append(items, n)
	}
	return items, rows.Err()
}

const sqlReadUnread = `SELECT count(*) FROM item WHERE account = $1 AND seen = 0`

func readUnread(ctx context.Context, q sqldb.Querier, account api.AccountID) (n int, err error) {
	err = q.QueryRow(ctx, sqlReadUnread, account[:]).Scan(&n)
	return n, err
}

const sqlMarkItem = `UPDATE item SET seen = 1 WHERE account = $1 AND id = $2 RETURNING id`

func markItem(ctx context.Context, tx *sqldb.Tx, account api.AccountID, id int64) error {
	return tx.QueryRow(ctx, sqlMarkItem, account[:], id).Scan(&id)
}

const sqlMarkItems = `UPDATE item SET seen = 1 WHERE account = $1 AND id <= $2 AND seen = 0`

func markItems(ctx context.Context, tx *sqldb.Tx, account api.AccountID, through int64) error {
	_, err := tx.Exec(ctx, sqlMarkItems, account[:], through)
	return err
}

const sqlDeleteItem = `DELETE FROM item WHERE account = $1 AND id = $2 RETURNING id`

func deleteItem(ctx context.Context, tx *sqldb.Tx, account api.AccountID, id int64) error {
	return tx.QueryRow(ctx, sqlDeleteItem, account[:], id).Scan(&id)
}

// itemID reads the id from the path. A malformed one is not found, as an unknown one.
func itemID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, errNoItem
	}
	return id, nil
}
