package chat

import (
	"context"
	"fmt"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Delivered tells a sender again what a socket may have missed: which of its messages another member's device has
// acknowledged. It says nothing of members that never accepted the conversation.
func (s *Service) Delivered(ctx context.Context, actor token.Actor, req api.DeliveredRequest) (api.DeliveredAnswer, error) {
	if len(req.MessageIDs) == 0 || len(req.MessageIDs) > api.MaxDeliveredAsked {
		return api.DeliveredAnswer{}, errs.Invalidf("Ask for 1 to %d messages.", api.MaxDeliveredAsked)
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.DeliveredAnswer{}, err
	}
	if _, err := readConversation(ctx, s.DB, actor.Account, req.ConversationID); err != nil {
		return api.DeliveredAnswer{}, err
	}
	ids, err := readDelivered(ctx, s.DB, actor.Account, req)
	return api.DeliveredAnswer{MessageIDs: ids}, err
}

const sqlReadDelivered = `
SELECT m.message_id FROM message m
WHERE m.conversation = $1 AND m.sender = $2 AND m.message_id IN %s AND EXISTS (
	SELECT 1 FROM delivered d JOIN member o ON o.conversation = m.conversation AND o.account = d.account
	WHERE d.message = m.id AND d.account <> $2 AND o.accepted_at IS NOT NULL)
ORDER BY m.id`

func readDelivered(
	ctx context.Context, q sqldb.Querier, sender api.AccountID, req api.DeliveredRequest,
) ([]api.MessageID, error) {
	args := append([]any{req.ConversationID[:], sender[:]}, idArgs(req.MessageIDs)...)
	rows, err := q.Query(ctx, fmt.Sprintf(sqlReadDelivered, sqldb.In(3, len(req.MessageIDs))), args...)
	if err != nil {
		return nil, errs.Wrap("reading deliveries", err)
	}
	defer rows.Close()
	ids := []api.MessageID{}
	for rows.Next() {
		var id api.MessageID
		if err := rows.Scan(sqldb.Blob(id[:])); err != nil {
			return nil, errs.Wrap("reading deliveries", err)
		}
		ids = append(ids, id)
	}
	return ids, errs.Wrap("reading deliveries", rows.Err())
}
