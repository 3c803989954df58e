package chat

import (
	"context"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// restored tells whether a backup was ever restored: then devices know newer versions than this server, and a version may
// be skipped when they give one back.
func (s *Service) restored() bool { return s.Epoch() > 1 }

// Epochs tells how far each epoch has reached in a conversation, by which a device finds out what the server has
// forgotten.
func (s *Service) Epochs(ctx context.Context, actor token.Actor, id api.ConversationID) (api.ConversationEpochs, error) {
	res := api.ConversationEpochs{ConversationID: id, Epoch: s.Epoch(), Ends: []api.EpochEnd{}}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return res, err
	}
	if _, err := readConversation(ctx, s.DB, actor.Account, id); err != nil {
		return res, err
	}
	ends, err := readEpochs(ctx, s.DB, id)
	res.Ends = append(res.Ends, ends...)
	return res, err
}

const sqlReadEpochs = `
SELECT epoch, max(seq) FROM message WHERE conversation = $1 AND seq IS NOT NULL GROUP BY epoch ORDER BY epoch`

// readEpochs reads the whole conversation: each device asks once for each restore.
func readEpochs(ctx context.Context, q sqldb.Querier, id api.ConversationID) (ends []api.EpochEnd, err error) {
	rows, err := q.Query(ctx, sqlReadEpochs, id[:])
	if err != nil {
		return nil, errs.Wrap("reading epochs", err)
	}
	defer rows.Close()
	for rows.Next() {
		var end api.EpochEnd
		if err := rows.Scan(&end.Epoch, &end.LastSeq); err != nil {
			return nil, errs.Wrap("reading epochs", err)
		}
		ends = append(ends, end)
	}
	return ends, errs.Wrap("reading epochs", rows.Err())
}

func (s *Service) handleEpochs(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	return answer(s.Epochs(r.Context(), actor, id))
}
