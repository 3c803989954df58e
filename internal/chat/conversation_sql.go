package chat

import (
	"context"
	"errors"
	"fmt"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const sqlInsertConversation = `INSERT INTO conversation (id, kind, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`

func insertConversation(ctx context.Context, tx *sqldb.Tx, id api.ConversationID, kind api.Kind, now int64) error {
	_, err := tx.Exec(ctx, sqlInsertConversation, id[:], string(kind), now)
	return errs.Wrap("writing a conversation", err)
}

const sqlInsertMember = `
INSERT INTO member (conversation, account, state, changed_at, accepted_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (conversation, account) DO NOTHING`

func insertMember(ctx context.Context, tx *sqldb.Tx, id api.ConversationID, account api.AccountID, state api.MemberState, now int64) error {
	var accepted any
	if state == api.MemberAccepted {
		accepted = now
	}
	_, err := tx.Exec(ctx, sqlInsertMember, id[:], account[:], string(state), now, accepted)
	return errs.Wrap("writing a member", err)
}

const sqlUpdateMember = `
UPDATE member SET state = $3, changed_at = $4, accepted_at = coalesce(accepted_at, $5) WHERE conversation = $1 AND account = $2`

func updateMember(ctx context.Context, tx *sqldb.Tx, id api.ConversationID, account api.AccountID, state api.MemberState, now int64) error {
	var accepted any
	if state == api.MemberAccepted {
		accepted = now
	}
	_, err := tx.Exec(ctx, sqlUpdateMember, id[:], account[:], string(state), now, accepted)
	return errs.Wrap("changing a member", err)
}

const sqlReadConversation = `
SELECT c.id, c.kind, m.state, c.last_seq, c.created_at FROM member m JOIN conversation c ON c.id = m.conversation
WHERE m.conversation = $1 AND m.account = $2`

// readConversation returns errNoConversation unless the account is a member.
func readConversation(ctx context.Context, q sqldb.Querier, account api.AccountID, id api.ConversationID) (api.Conversation, error) {
	var c api.Conversation
	err := q.QueryRow(ctx, sqlReadConversation, id[:], account[:]).Scan(sqldb.Blob(c.ConversationID[:]), &c.Kind, &c.State, &c.LastSeq, &c.CreatedAt)
	if errors.Is(err, sqldb.ErrNoRows) {
		return c, errNoConversation
	}
	if err != nil {
		return c, errs.Wrap("reading a conversation", err)
	}
	list := []api.Conversation{c}
	err = addMembers(ctx, q, list)
	return list[0], err
}

const sqlReadConversations = `
SELECT c.id, c.kind, m.state, c.last_seq, c.created_at FROM member m JOIN conversation c ON c.id = m.conversation
WHERE m.account = $1 AND m.conversation > $2 ORDER BY m.conversation LIMIT $3`

func readConversations(ctx context.Context, q sqldb.Querier, account api.AccountID, after api.ConversationID, limit int) ([]api.Conversation, error) {
	rows, err := q.Query(ctx, sqlReadConversations, account[:], after[:], limit)
	if err != nil {
		return nil, errs.Wrap("reading conversations", err)
	}
	defer rows.Close()
	list := []api.Conversation{}
	for rows.Next() {
		var c api.Conversation
		if err := rows.Scan(sqldb.Blob(c.ConversationID[:]), &c.Kind, &c.State, &c.LastSeq, &c.CreatedAt); err != nil {
			return nil, errs.Wrap("reading conversations", err)
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, errs.Wrap("reading conversations", err)
	}
	return list, addMembers(ctx, q, list)
}

const sqlReadMembers = `SELECT conversation, account, state FROM member WHERE conversation IN %s ORDER BY conversation, account`

// readMembers calls add for each member of the conversations, at most sqldb.MaxIn of them, in the order of ids.
func readMembers(ctx context.Context, q sqldb.Querier, ids []api.ConversationID, add func(api.ConversationID, member)) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := q.Query(ctx, fmt.Sprintf(sqlReadMembers, sqldb.In(1, len(ids))), idArgs(ids)...)
	if err != nil {
		return errs.Wrap("reading members", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id api.ConversationID
		var m member
		if err := rows.Scan(sqldb.Blob(id[:]), sqldb.Blob(m.account[:]), &m.state); err != nil {
			return errs.Wrap("reading members", err)
		}
		add(id, m)
	}
	return errs.Wrap("reading members", rows.Err())
}

func addMembers(ctx context.Context, q sqldb.Querier, list []api.Conversation) error {
	ids := make([]api.ConversationID, len(list))
	at := make(map[api.ConversationID]*api.Conversation, len(list))
	for i := range list {
		ids[i] = list[i].ConversationID
		at[ids[i]] = &list[i]
	}
	return readMembers(ctx, q, ids, func(id api.ConversationID, m member) {
		at[id].Members = append(at[id].Members, m.account)
	})
}
