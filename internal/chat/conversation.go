package chat

import (
	"context"
	"net/http"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// errNoConversation is the answer for unknown conversations and for those of others alike.
var errNoConversation = errs.NotFoundf("There is no such conversation.")

// OpenConversation makes a conversation or finds the existing one, also when both members open it at the same time. The
// other member's state is requested until that account accepts it or sends something.
func (s *Service) OpenConversation(ctx context.Context, actor token.Actor, req api.OpenConversationRequest) (api.Conversation, error) {
	members, err := openMembers(actor, req)
	if err != nil {
		return api.Conversation{}, err
	}
	if err := s.knowAccounts(ctx, members); err != nil {
		return api.Conversation{}, err
	}
	id := api.ConversationID(e2ee.DirectConversation(members[0], members[len(members)-1]))
	var c api.Conversation
	err = s.accountsTx(ctx, members, "open conversation", func(tx *sqldb.Tx) error {
		now := s.nowMillis()
		if err := insertConversation(ctx, tx, id, req.Kind, now); err != nil {
			return err
		}
		for _, member := range members {
			state := api.MemberRequested
			if member == actor.Account {
				state = api.MemberAccepted
			}
			if err := insertMember(ctx, tx, id, member, state, now); err != nil {
				return err
			}
		}
		c, err = readConversation(ctx, tx, actor.Account, id)
		return err
	})
	return c, errs.Wrap("opening a conversation", err)
}

func openMembers(actor token.Actor, req api.OpenConversationRequest) ([]api.AccountID, error) {
	switch {
	case req.Kind == api.KindSelf && req.Peer == nil:
		return []api.AccountID{actor.Account}, nil
	case req.Kind == api.KindDirect && req.Peer != nil && !req.Peer.IsZero() && *req.Peer != actor.Account:
		return []api.AccountID{actor.Account, *req.Peer}, nil
	}
	return nil, errs.Invalidf("A conversation is of kind direct with another account as peer, or of kind self without one.")
}

// knowAccounts makes sure that this service has a copy of each account's device list.
func (s *Service) knowAccounts(ctx context.Context, ids []api.AccountID) error {
	known, err := readAccounts(ctx, s.DB, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if known[id] == nil {
			if err := s.refreshAccount(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Conversation returns one conversation of the actor.
func (s *Service) Conversation(ctx context.Context, actor token.Actor, id api.ConversationID) (api.Conversation, error) {
	return readConversation(ctx, s.DB, actor.Account, id)
}

// Conversations returns a page in the order of ids, after the conversation that the cursor names.
func (s *Service) Conversations(ctx context.Context, actor token.Actor, cursor string) (api.Conversations, error) {
	var after api.ConversationID
	if cursor != "" {
		var err error
		if after, err = api.ParseConversationID(cursor); err != nil {
			return api.Conversations{}, errs.Invalidf("This cursor is not from here.").Because(err)
		}
	}
	list, err := readConversations(ctx, s.DB, actor.Account, after, api.MaxConversations+1)
	if err != nil {
		return api.Conversations{}, err
	}
	page := api.Conversations{Conversations: list}
	if len(list) > api.MaxConversations {
		page.Conversations = list[:api.MaxConversations]
		page.Next = list[api.MaxConversations-1].ConversationID.String()
	}
	return page, nil
}

// SetMemberState accepts or blocks a conversation for the actor's account. The others are not told.
func (s *Service) SetMemberState(ctx context.Context, actor token.Actor, id api.ConversationID, req api.MemberStateRequest) (api.Conversation, error) {
	if !slices.Contains([]api.MemberState{api.MemberAccepted, api.MemberBlocked}, req.State) {
		return api.Conversation{}, errs.Invalidf("A conversation can be accepted or blocked.")
	}
	var c api.Conversation
	err := s.accountsTx(ctx, []api.AccountID{actor.Account}, "member state", func(tx *sqldb.Tx) (err error) {
		if c, err = readConversation(ctx, tx, actor.Account, id); err != nil {
			return err
		}
		if c.Kind == api.KindSelf && req.State == api.MemberBlocked {
			return errs.Invalidf("Notes to oneself cannot be blocked.")
		}
		c.State = req.State
		return updateMember(ctx, tx, id, actor.Account, req.State, s.nowMillis())
	})
	if err == nil && c.State == api.MemberAccepted {
		s.report(ctx, s.introduce(ctx, actor.Account, c.Members))
	}
	return c, errs.Wrap("changing the state of a member", err)
}

func (s *Service) handleConversations(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	page, err := s.Conversations(r.Context(), actor, r.URL.Query().Get("cursor"))
	return answer(page, err)
}

func (s *Service) handleConversation(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	return answer(s.Conversation(r.Context(), actor, id))
}

func (s *Service) handleMemberState(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	var req api.MemberStateRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return answer(s.SetMemberState(r.Context(), actor, id, req))
}
