package user

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// After a restore devices give back what the server has forgotten (docs/protocol.md, section 12, point 8). Nothing here
// is believed for who brings it: lists are signed by the account key, devices prove their listed identity key.

var errNeverRestored = errs.New(errs.Forbidden, api.CodeForbidden, "This server was never restored: it has forgotten nothing.")

func (s *Service) checkRestored() error {
	if s.Epoch() < 2 {
		return errNeverRestored
	}
	return nil
}

// listChain is consecutive lists of one account, signed by one account key.
type listChain struct {
	account api.AccountID
	key     e2ee.PublicKey
	lists   []e2ee.DeviceList
	signed  []api.SignedList
}

func (c listChain) newest() e2ee.DeviceList { return c.lists[len(c.lists)-1] }

// skips tells whether lists are missing between a version and the chain.
func (c listChain) skips(version uint64) bool { return c.lists[0].Version > version+1 }

// openChain verifies every list under the account key that it names. Whether that is the account's is the caller's to
// compare.
func openChain(given api.AccountChain) (listChain, error) {
	c := listChain{account: given.AccountID, signed: given.Lists}
	if len(given.Lists) == 0 || len(given.Lists) > api.MaxListsGivenBack {
		return c, errs.Invalidf("Give back 1 to %d device lists.", api.MaxListsGivenBack)
	}
	for i, signed := range given.Lists {
		list, err := e2ee.SignedDeviceList(signed).Parse()
		if errors.Is(err, e2ee.ErrSignature) {
			return c, errSignature("device list").Because(err)
		}
		if err != nil {
			return c, errs.Invalidf("The device list is malformed.").Because(err)
		}
		if list.Account != given.AccountID {
			return c, errs.Invalidf("The device list belongs to another account.")
		}
		if i > 0 {
			before := e2ee.SignedDeviceList(given.Lists[i-1]).Hash()
			if err := list.Follows(c.lists[i-1], before); err != nil || list.Version == c.lists[i-1].Version {
				return c, errs.Invalidf("The device lists do not follow each other.").Because(err)
			}
		}
		c.key, c.lists = list.AccountKey, append(c.lists, list)
	}
	return c, nil
}

// RestoreLists takes device lists that the server has forgotten, of any accounts: they are signed by their account keys.
// What does not follow the stored lists changes nothing. Devices that the newest list does not have are cut off.
func (s *Service) RestoreLists(
	ctx context.Context, _ token.Actor, req api.RestoredLists,
) (api.RestoredVersions, error) {
	res := api.RestoredVersions{Versions: []api.ListVersion{}}
	if err := s.checkRestored(); err != nil {
		return res, err
	}
	if len(req.Accounts) == 0 || len(req.Accounts) > api.MaxAccountsGivenBack {
		return res, errs.Invalidf("Give back the lists of 1 to %d accounts.", api.MaxAccountsGivenBack)
	}
	var chains []listChain
	total := 0
	for _, given := range req.Accounts {
		chain, err := openChain(given)
		if err != nil {
			return res, err
		}
		if total += len(chain.lists); total > api.MaxListsGivenBack {
			return res, errs.Invalidf("Give back at most %d device lists at once.", api.MaxListsGivenBack)
		}
		chains = append(chains, chain)
	}
	for _, chain := range chains {
		version, err := s.restoreChain(ctx, chain)
		if errors.Is(err, sqldb.ErrNoRows) {
			continue
		}
		if err != nil {
			return api.RestoredVersions{}, errs.Wrap("restoring device lists", err)
		}
		res.Versions = append(res.Versions, api.ListVersion{AccountID: chain.account, Version: version})
	}
	return res, nil
}

func (s *Service) restoreChain(ctx context.Context, chain listChain) (version uint64, err error) {
	var ended []api.LoginID
	var changed bool
	err = s.accountTx(ctx, chain.account, "restore lists", func(tx *sqldb.Tx) error {
		newest, err := readNewestList(ctx, tx, chain.account)
		if err != nil {
			return err
		}
		list, stored, err := s.storeChain(ctx, tx, newest, chain)
		if err != nil {
			return err
		}
		version, changed = list.Version, stored
		if !changed {
			return nil
		}
		if ended, err = s.alignDevices(ctx, tx, list); err != nil {
			return err
		}
		return s.addDevicesChanged(ctx, tx, chain.account)
	})
	if err != nil || !changed {
		return version, err
	}
	s.tellLoginsEnded(ctx, chain.account, ended)
	s.tellDevicesLeft(ctx, chain.account)
	return version, nil
}

// storeChain stores what follows the newest list. It returns the newest list afterwards and whether it is another one.
func (s *Service) storeChain(
	ctx context.Context, tx *sqldb.Tx, newest api.AccountLists, chain listChain,
) (list e2ee.DeviceList, stored bool, err error) {
	signed := e2ee.SignedDeviceList(newest.Lists[0])
	if list, err = signed.Parse(); err != nil {
		return list, false, errs.Wrap("reading the stored device list", err)
	}
	for i, next := range chain.lists {
		if next.Version <= list.Version {
			continue
		}
		if next.Follows(list, signed.Hash()) != nil { // a gap, a fork, or another account key
			return list, stored, nil
		}
		if err := s.storeNextList(ctx, tx, chain.account, next.Version, chain.signed[i]); err != nil {
			return list, stored, err
		}
		list, signed, stored = next, e2ee.SignedDeviceList(chain.signed[i]), true
	}
	return list, stored, nil
}

// alignDevices cuts off the devices that a list given back does not have, and returns the logins that end. Devices that
// only the list has are remembered as forgotten. It leaves the events of ended logins in the outbox.
func (s *Service) alignDevices(ctx context.Context, tx *sqldb.Tx, list e2ee.DeviceList) (ended []api.LoginID, err error) {
	rows, err := readDeviceRows(ctx, tx, list.Account)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		listed, ok := list.Device(uint32(row.wire))
		if ok && bytes.Equal(listed.IdentityKey[:], row.identity[:]) {
			continue
		}
		logins, err := removeDevice(ctx, tx, list.Account, row.wire, s.nowMillis())
		if err != nil {
			return nil, err
		}
		ended = append(ended, logins...)
	}
	if err := deleteAllForgotten(ctx, tx, list.Account); err != nil {
		return nil, err
	}
	for _, d := range list.Devices {
		wire := api.WireDeviceID(d.ID)
		if slices.ContainsFunc(rows, func(row deviceRow) bool { return row.wire == wire && row.identity == d.IdentityKey }) {
			continue
		}
		if err := insertForgotten(ctx, tx, list.Account, wire); err != nil {
			return nil, err
		}
	}
	if err := countStatus(ctx, tx, list.Account); err != nil {
		return nil, err
	}
	return ended, s.addLoginsEnded(ctx, tx, list.Account, ended)
}
