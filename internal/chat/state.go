package chat

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const stateOverhead = 200 // bytes counted for each piece of state in a page beside its ciphertext

var errStateVersion = errs.Conflictf("The account state was changed by another device meanwhile.")

// States returns a page of the account's state that was changed at a time or later, in the order of names, behind the one
// given. The page ends early rather than exceed api.MaxStatePageSize bytes.
func (s *Service) States(ctx context.Context, actor token.Actor, after string, since int64, limit int) (api.States, error) {
	if limit < 1 || limit > api.MaxStatePage {
		return api.States{}, errs.Invalidf("A page has 1 to %d pieces of state.", api.MaxStatePage)
	}
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.States{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.States{}, err
	}
	return readStates(ctx, s.DB, actor.Account, after, since, limit)
}

// State returns one piece of account state.
func (s *Service) State(ctx context.Context, actor token.Actor, name string) (api.State, error) {
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.State{}, err
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return api.State{}, err
	}
	st, err := readState(ctx, s.DB, actor.Account, name)
	if err == nil && st == nil {
		return api.State{}, errs.NotFoundf("There is no account state of this name.")
	}
	if err != nil {
		return api.State{}, err
	}
	return *st, nil
}

// PutState stores the next version of a piece of account state: 1, or one more than the stored version. Repeating it is
// safe. The account's other devices are told.
func (s *Service) PutState(ctx context.Context, actor token.Actor, st api.State) error {
	if err := validateState(st); err != nil {
		return err
	}
	d, err := s.actorDevice(ctx, actor)
	if err != nil {
		return err
	}
	if err := s.accountsTx(ctx, []api.AccountID{actor.Account}, "account state", func(tx *sqldb.Tx) error {
		return s.swapState(ctx, tx, actor.Account, st)
	}); err != nil {
		return errs.Wrap("changing account state", err)
	}
	s.hub.tell(ctx, actor.Account, note{State: &stateNote{By: d.id, State: api.StateVersion{Name: st.Name, Version: st.Version}}})
	return nil
}

func validateState(st api.State) error {
	switch {
	case len(st.Name) < 1 || len(st.Name) > api.MaxStateName ||
		strings.Trim(st.Name, "abcdefghijklmnopqrstuvwxyz0123456789/_.-") != "":
		return errs.Invalidf("The name of account state has 1 to %d characters of a-z, 0-9, /, _, . and -.", api.MaxStateName)
	case st.Version < 1 || st.Version > maxGeneration:
		return errs.Invalidf("The versions of account state begin with 1.")
	case st.KeyEpoch < 1 || st.KeyEpoch > maxKeyEpoch:
		return errs.Invalidf("The account state names no archive epoch.")
	case len(st.Sealed) == 0:
		return errs.Invalidf("The account state is empty.")
	case len(st.Sealed) > api.MaxStateBytes:
		return errs.New(errs.TooLarge, api.CodeTooLarge, "The account state is too large.")
	}
	return nil
}

func (s *Service) swapState(ctx context.Context, tx *sqldb.Tx, id api.AccountID, st api.State) error {
	accounts, err := readAccounts(ctx, tx, []api.AccountID{id})
	if err != nil {
		return err
	}
	current, err := readState(ctx, tx, id, st.Name)
	switch {
	case err != nil:
		return err
	case current != nil && current.Version == st.Version && current.KeyEpoch == st.KeyEpoch && bytes.Equal(current.Sealed, st.Sealed):
		return nil // the answer to the first try was lost
	case current == nil && st.Version != 1 && !s.restored():
		return errStateVersion
	case current != nil && st.Version != current.Version+1 && (st.Version <= current.Version || !s.restored()):
		return errStateVersion.WithDetails(current)
	}
	if err := accounts[id].checkKeyEpoch(st.KeyEpoch); err != nil {
		return err
	}
	if err := raiseArchiveEpoch(ctx, tx, id, st.KeyEpoch); err != nil {
		return err
	}
	if current == nil {
		switch n, err := countStates(ctx, tx, id); {
		case err != nil:
			return err
		case n >= api.MaxStates:
			return errs.New(errs.TooLarge, api.CodeTooLarge, "The account has too many pieces of state.")
		}
	}
	return upsertState(ctx, tx, id, st, s.nowMillis())
}

func (s *Service) handleStates(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	q := r.URL.Query()
	if q.Has("name") {
		return s.handleState(r.Context(), actor, q)
	}
	limit, err := queryNumber(q, "limit", api.MaxStatePage)
	if err != nil {
		return nil, err
	}
	since, err := queryNumber(q, "since", 0)
	if err != nil {
		return nil, err
	}
	return answer(s.States(r.Context(), actor, q.Get("after"), since, int(min(limit, api.MaxStatePage+1))))
}

// handleState answers with a page, too, of the one piece that was asked for.
func (s *Service) handleState(ctx context.Context, actor token.Actor, q url.Values) (any, error) {
	st, err := s.State(ctx, actor, q.Get("name"))
	return answer(api.States{States: []api.State{st}}, err)
}

func (s *Service) handlePutState(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var st api.State
	if err := httpx.Decode(r, &st); err != nil {
		return nil, err
	}
	return nil, s.PutState(r.Context(), actor, st)
}
