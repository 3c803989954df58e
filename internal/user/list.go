package user

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	maxListsAnswered = 1000 // signed lists in one answer, about 1.5 MB; a larger answer is refused
	maxAccountsAsked = 500  // accounts in one call of another service
)

// openList verifies a signed list under the account key that is known for the account.
func openList(l api.SignedList, account api.AccountID, key e2ee.PublicKey) (e2ee.DeviceList, error) {
	list, err := e2ee.SignedDeviceList(l).Open(key)
	switch {
	case errors.Is(err, e2ee.ErrSignature):
		return list, errSignature("device list").Because(err)
	case err != nil:
		return list, errs.Invalidf("The device list is malformed.").Because(err)
	case list.Account != account:
		return list, errs.Invalidf("The device list belongs to another account.")
	}
	return list, nil
}

func errListVersion(current api.AccountLists) *errs.Error {
	return errs.New(errs.Conflict, api.CodeListVersion,
		"The device list does not follow the newest one. Fetch that, check it and build on it.").
		WithDetails(api.ListDetails{Current: current})
}

// storeNextList is the compare-and-swap on the version of a list that was checked before the transaction: stored lists
// never change, so the same version is the list that it was checked against.
func (s *Service) storeNextList(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, version uint64, l api.SignedList,
) error {
	err := advanceList(ctx, tx, account, version)
	if errors.Is(err, sqldb.ErrNoRows) {
		current, err := readNewestList(ctx, tx, account)
		if err != nil {
			return err
		}
		return errListVersion(current)
	}
	if err != nil {
		return err
	}
	return insertList(ctx, tx, account, version, l, s.nowMillis())
}

// Lists answers with the signed lists after the versions that the client has, the oldest first and at most
// api.MaxListChain of each account: a client that gets that many asks again. Unknown accounts are left out.
func (s *Service) Lists(ctx context.Context, _ token.Actor, req api.ListsRequest) (api.ListsResponse, error) {
	if len(req.Accounts) == 0 || len(req.Accounts) > api.MaxListsAsked {
		return api.ListsResponse{}, errs.Invalidf("Ask for 1 to %d accounts.", api.MaxListsAsked)
	}
	res := api.ListsResponse{Accounts: []api.AccountLists{}}
	asked := make(map[api.AccountID]bool, len(req.Accounts))
	total := 0
	for _, a := range req.Accounts {
		if asked[a.AccountID] {
			return api.ListsResponse{}, errs.Invalidf("Account %s is asked for twice.", a.AccountID)
		}
		asked[a.AccountID] = true
		lists, err := readListsAfter(ctx, s.DB, a.AccountID, a.After)
		if errors.Is(err, sqldb.ErrNoRows) {
			continue
		}
		if err != nil {
			return api.ListsResponse{}, errs.Wrap("reading device lists", err)
		}
		if total += len(lists.Lists); total > maxListsAnswered {
			return api.ListsResponse{}, errs.New(errs.TooLarge, api.CodeTooLarge,
				"That is too much for one answer. Ask for fewer accounts at once.")
		}
		res.Accounts = append(res.Accounts, lists)
	}
	return res, nil
}

// Accounts gives other services the newest signed list of each account. Unknown accounts are left out.
func (s *Service) Accounts(ctx context.Context, ids []api.AccountID) ([]api.AccountLists, error) {
	if len(ids) > maxAccountsAsked {
		return nil, errs.Invalidf("Ask for at most %d accounts.", maxAccountsAsked)
	}
	out := make([]api.AccountLists, 0, len(ids))
	for _, id := range ids {
		lists, err := readNewestList(ctx, s.DB, id)
		if errors.Is(err, sqldb.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, errs.Wrap("reading a device list", err)
		}
		out = append(out, lists)
	}
	return out, nil
}
