package user

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// removal is a next device list with devices less, held against the newest one.
type removal struct {
	signed  api.SignedList
	list    e2ee.DeviceList
	removed []e2ee.ListedDevice // at least one
}

// checkRemoval accepts only the direct successor of the newest list that leaves out one device or more and changes no
// other.
func (s *Service) checkRemoval(ctx context.Context, account api.AccountID, next api.SignedList) (removal, error) {
	r := removal{signed: next}
	current, err := readNewestList(ctx, s.DB, account)
	if err != nil {
		return r, errs.Wrap("reading the device list", err)
	}
	newest := e2ee.SignedDeviceList(current.Lists[0])
	previous, err := newest.Parse()
	if err != nil {
		return r, errs.Wrap("reading the stored device list", err)
	}
	if r.list, err = openList(next, account, previous.AccountKey); err != nil {
		return r, err
	}
	if err := r.list.Follows(previous, newest.Hash()); err != nil || r.list.Version == previous.Version {
		return r, errListVersion(current).Because(err)
	}
	for _, d := range previous.Devices {
		if !slices.Contains(r.list.Devices, d) {
			r.removed = append(r.removed, d)
		}
	}
	if len(r.removed) == 0 || len(r.list.Devices)+len(r.removed) != len(previous.Devices) {
		return r, errs.Invalidf("The next device list leaves out at least one device and changes no other.")
	}
	return r, nil
}

// RemoveDevice stores the list without the device and the next bundle, and cuts the device off: its logins end and its
// prekeys are gone, in one transaction. Any device may be removed by who proves the password, the asking one too.
// Repeating the request after it was stored tells chat again and gets the same answer.
func (s *Service) RemoveDevice(
	ctx context.Context, actor token.Actor, id api.DeviceID, req api.RemoveDeviceRequest,
) (api.DevicesChange, error) {
	wire, removed, err := readRemovable(ctx, s.DB, actor.Account, id)
	if errors.Is(err, sqldb.ErrNoRows) {
		return api.DevicesChange{}, errNoDevice
	}
	if err != nil {
		return api.DevicesChange{}, errs.Wrap("reading the device", err)
	}
	var ended []api.LoginID
	if removed {
		err = s.checkRemoved(ctx, actor.Account, req.List)
	} else {
		ended, err = s.storeRemoval(ctx, actor, wire, req)
	}
	if err != nil {
		return api.DevicesChange{}, err
	}
	s.tellLoginsEnded(ctx, actor.Account, ended)
	return s.tellDevicesLeft(ctx, actor.Account), nil
}

var errNoDevice = errs.NotFoundf("You have no such device.")

// checkRemoved recognises the request that has removed a device by the list that it stored.
func (s *Service) checkRemoved(ctx context.Context, account api.AccountID, l api.SignedList) error {
	list, err := e2ee.SignedDeviceList(l).Parse()
	if err != nil {
		return errNoDevice
	}
	stored, err := readList(ctx, s.DB, account, list.Version)
	if errors.Is(err, sqldb.ErrNoRows) || (err == nil && !bytes.Equal(stored, l.List)) {
		return errNoDevice
	}
	return errs.Wrap("reading a device list", err)
}

func (s *Service) storeRemoval(
	ctx context.Context, actor token.Actor, wire api.WireDeviceID, req api.RemoveDeviceRequest,
) (ended []api.LoginID, err error) {
	if _, err := checkBundle(req.Bundle, actor.Account); err != nil {
		return nil, err
	}
	r, err := s.checkRemoval(ctx, actor.Account, req.List)
	if err != nil {
		return nil, err
	}
	if len(r.removed) != 1 || r.removed[0].ID != uint32(wire) {
		return nil, errs.Invalidf("The next device list leaves out the device with the number %d and no other.", wire)
	}
	known, err := readVerifier(ctx, s.DB, actor.Account)
	if err != nil {
		return nil, errs.Wrap("reading the verifier", err)
	}
	if err := s.proveAgain(ctx, actor, known, req.Proof); err != nil {
		return nil, err
	}
	err = s.accountTx(ctx, actor.Account, "remove device", func(tx *sqldb.Tx) (err error) {
		now, err := readVerifier(ctx, tx, actor.Account)
		if err != nil {
			return err
		}
		if !bytes.Equal(now.verifier, known.verifier) {
			return errs.Conflictf("The password was changed a moment ago. Start again.")
		}
		if ended, err = s.removeListed(ctx, tx, actor.Account, r); err != nil {
			return err
		}
		if err := swapBundle(ctx, tx, actor.Account, req.Bundle, s.nowMillis()); err != nil {
			return err
		}
		if err := s.addLoginsEnded(ctx, tx, actor.Account, ended); err != nil {
			return err
		}
		if err := s.addNotice(ctx, tx, actor.Account, api.NotifyDeviceRemoved); err != nil {
			return err
		}
		return s.addDevicesChanged(ctx, tx, actor.Account)
	})
	return ended, errs.Wrap("removing the device", err)
}

// removeListed stores the list and cuts off what it leaves out. It returns the logins that end; the caller adds the
// events. Of two requests that began with the same list one finds its version taken.
func (s *Service) removeListed(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, r removal,
) (ended []api.LoginID, err error) {
	if err := s.storeNextList(ctx, tx, account, r.list.Version, r.signed); err != nil {
		return nil, err
	}
	for _, d := range r.removed {
		logins, err := removeDevice(ctx, tx, account, api.WireDeviceID(d.ID), s.nowMillis())
		if err != nil {
			return nil, err
		}
		ended = append(ended, logins...)
	}
	return ended, nil
}

// tellDevicesLeft tells chat after a commit that took devices out of the current set. That chat cannot be reached takes
// nothing back: the event follows, and this service refuses the tokens from the commit on.
func (s *Service) tellDevicesLeft(ctx context.Context, account api.AccountID) api.DevicesChange {
	err := s.tellDevicesChanged(ctx, account)
	if err != nil {
		s.Logger.WarnContext(ctx, "chat will learn of devices that left by the event", "err", err.Error())
	}
	return api.DevicesChange{Pending: err != nil}
}

func (s *Service) handleRemoveDevice(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseDeviceID)
	if err != nil {
		return nil, err
	}
	var req api.RemoveDeviceRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return s.RemoveDevice(r.Context(), actor, id, req)
}

const sqlReadRemovable = `
SELECT wire_id, coalesce(removed_at, 0) FROM device WHERE id = $2 AND account_id = $1`

func readRemovable(
	ctx context.Context, q sqldb.Querier, account api.AccountID, id api.DeviceID,
) (wire api.WireDeviceID, removed bool, err error) {
	var at int64
	err = q.QueryRow(ctx, sqlReadRemovable, account[:], id[:]).Scan(&wire, &at)
	return wire, at != 0, err
}

const sqlRemoveDevice = `
UPDATE device SET state = 'removed', removed_at = $3 WHERE account_id = $1 AND wire_id = $2 AND removed_at IS NULL
RETURNING id`

const sqlDropPreKeys = `
DELETE FROM prekey WHERE device_id = $1`

const sqlEndRemovedLogin = `
UPDATE login SET ended_at = $2, end_reason = 'device' WHERE device_id = $1 AND ended_at IS NULL RETURNING id`

// removeDevice returns the logins that it ends. The device's id is never used again, so its prekeys need no tombstones.
func removeDevice(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, wire api.WireDeviceID, now int64,
) ([]api.LoginID, error) {
	var id api.DeviceID
	err := tx.QueryRow(ctx, sqlRemoveDevice, account[:], wire, now).Scan(sqldb.Blob(id[:]))
	if errors.Is(err, sqldb.ErrNoRows) {
		if forgotten, deleteErr := deleteForgotten(ctx, tx, account, wire); forgotten || deleteErr != nil {
			return nil, deleteErr
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, sqlDropPreKeys, id[:]); err != nil {
		return nil, err
	}
	return readAll(ctx, tx, scanLoginID, sqlEndRemovedLogin, id[:], now)
}
