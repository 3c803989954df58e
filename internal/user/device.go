package user

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// checkedDevice is a registration of a device whose every part was held against the device list.
type checkedDevice struct {
	api.DeviceRegistration
	listed      e2ee.ListedDevice
	listVersion uint64
	statement   e2ee.PreKeyStatement
	requestHash [32]byte
}

func checkDevice(
	d api.DeviceRegistration, list e2ee.DeviceList, listed e2ee.ListedDevice, now time.Time,
) (checkedDevice, error) {
	if d.DeviceID.IsZero() {
		return checkedDevice{}, errs.Invalidf("The device id is missing.")
	}
	if err := checkDeviceName(d.Name); err != nil {
		return checkedDevice{}, err
	}
	if uint32(d.WireDeviceID) != listed.ID {
		return checkedDevice{}, errs.Invalidf("The device list gives the new device the number %d, not %d.",
			listed.ID, d.WireDeviceID)
	}
	statement, err := checkPreKeys(d.PreKeys, list.Account, listed, now)
	return checkedDevice{DeviceRegistration: d, listed: listed, listVersion: list.Version, statement: statement}, err
}

func checkDeviceName(name string) error {
	unfit := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(name) > api.MaxDeviceName || strings.ContainsFunc(name, unfit) {
		return errs.Invalidf("A device name has at most %d bytes and no control characters.", api.MaxDeviceName)
	}
	return nil
}

// RenameDevice gives one of the actor's own devices another name, for people. Nobody else sees it.
func (s *Service) RenameDevice(ctx context.Context, actor token.Actor, id api.DeviceID, name string) error {
	if name == "" {
		return errs.Invalidf("Say which name the device should have.")
	}
	if err := checkDeviceName(name); err != nil {
		return err
	}
	err := s.accountTx(ctx, actor.Account, "rename device", func(tx *sqldb.Tx) error {
		return renameDevice(ctx, tx, actor.Account, id, name)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return errNoDevice
	}
	return errs.Wrap("renaming the device", err)
}

func (s *Service) handleRenameDevice(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseDeviceID)
	if err != nil {
		return nil, err
	}
	var req api.RenameDeviceRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return nil, s.RenameDevice(r.Context(), actor, id, req.Name)
}

// Devices are the actor's own devices in the order of their numbers.
func (s *Service) Devices(ctx context.Context, actor token.Actor) (api.Devices, error) {
	devices, err := readDevices(ctx, s.DB, actor.Account)
	if err != nil {
		return api.Devices{}, errs.Wrap("reading the devices", err)
	}
	for i := range devices {
		devices[i].Current = devices[i].DeviceID == actor.Device
	}
	return api.Devices{Devices: devices}, nil
}

// AddDevice stores the next device list, the device that it adds, its prekeys and the next bundle in one transaction,
// and gives the login that device. body is the exact request: the same bytes again get the first answer.
//
// All signatures are checked before the transaction, against the list that is newest then. The transaction checks only
// that it still is: lists are never changed, so the same version is the same list.
func (s *Service) AddDevice(
	ctx context.Context, actor token.Actor, req api.AddDeviceRequest, body []byte,
) (api.Login, error) {
	requestHash := s.hashing.requestHash(body)
	login, found, err := findAdded(ctx, s.DB, actor, req, requestHash)
	if err != nil {
		return api.Login{}, errs.Wrap("looking the device up", err)
	}
	if !found {
		device, err := s.checkAddDevice(ctx, actor, req)
		if err != nil {
			return api.Login{}, err
		}
		device.requestHash = requestHash
		if login, err = s.storeDevice(ctx, actor, req, device); err != nil {
			return api.Login{}, errs.Wrap("storing the device", err)
		}
	}
	if err := s.tellDevicesChanged(ctx, actor.Account); err != nil {
		return api.Login{}, err
	}
	return s.signLogin(login.actor, login.username)
}

// findAdded tells whether the same request was stored before by the same login. It is an error when the login has a
// device already.
func findAdded(
	ctx context.Context, q sqldb.Querier, actor token.Actor, req api.AddDeviceRequest, hash [32]byte,
) (login storedLogin, found bool, err error) {
	if login, err = readLogin(ctx, q, actor.Login); err != nil || !login.actor.HasDevice() {
		return login, false, err
	}
	stored, err := readRequestHash(ctx, q, login.actor.Device)
	if err == nil && (stored != hash || login.actor.Device != req.Device.DeviceID) {
		err = errs.Conflictf("This login has a device already. Sign in again to add another one.")
	}
	return login, err == nil, err
}

// checkAddDevice holds the request against the newest list and against itself.
func (s *Service) checkAddDevice(
	ctx context.Context, actor token.Actor, req api.AddDeviceRequest,
) (checkedDevice, error) {
	current, err := readNewestList(ctx, s.DB, actor.Account)
	if err != nil {
		return checkedDevice{}, errs.Wrap("reading the device list", err)
	}
	list, listed, err := checkNextList(req.List, current)
	if err != nil {
		return checkedDevice{}, err
	}
	if _, err := checkBundle(req.Bundle, actor.Account); err != nil {
		return checkedDevice{}, err
	}
	return checkDevice(req.Device, list, listed, s.Now())
}

// checkNextList accepts only the direct successor of the current list that adds exactly one device, under the lowest
// free number, and leaves the others as they are.
func checkNextList(
	next api.SignedList, current api.AccountLists,
) (list e2ee.DeviceList, added e2ee.ListedDevice, err error) {
	newest := e2ee.SignedDeviceList(current.Lists[0])
	previous, err := newest.Parse()
	if err != nil {
		return list, added, errs.Wrap("reading the stored device list", err)
	}
	if len(previous.Devices) >= api.MaxDevices {
		return list, added, errs.Conflictf("The account has %d devices, which is the most. Remove one first.", api.MaxDevices)
	}
	if list, err = openList(next, current.AccountID, previous.AccountKey); err != nil {
		return list, added, err
	}
	if err := list.Follows(previous, newest.Hash()); err != nil || list.Version == previous.Version {
		return list, added, errListVersion(current).Because(err)
	}
	listed, ok := list.Device(previous.FreeID())
	others := slices.DeleteFunc(slices.Clone(list.Devices), func(d e2ee.ListedDevice) bool { return d == listed })
	if !ok || !slices.Equal(others, previous.Devices) {
		return list, added, errs.Invalidf("The next device list adds one device with the number %d and changes no other.",
			previous.FreeID())
	}
	return list, listed, nil
}

// storeDevice decides races: of two requests that began with the same list one finds its version taken.
func (s *Service) storeDevice(
	ctx context.Context, actor token.Actor, req api.AddDeviceRequest, d checkedDevice,
) (login storedLogin, err error) {
	err = s.accountTx(ctx, actor.Account, "add device", func(tx *sqldb.Tx) error {
		var found bool
		if login, found, err = findAdded(ctx, tx, actor, req, d.requestHash); err != nil || found {
			return err
		}
		if login.ended {
			return errLoginEnded
		}
		login.actor.Device, login.actor.WireDevice = d.DeviceID, d.WireDeviceID
		return s.insertAdded(ctx, tx, login.actor, req, d)
	})
	return login, err
}

func (s *Service) insertAdded(
	ctx context.Context, tx *sqldb.Tx, actor token.Actor, req api.AddDeviceRequest, d checkedDevice,
) error {
	now := s.nowMillis()
	if err := s.storeNextList(ctx, tx, actor.Account, d.listVersion, req.List); err != nil {
		return err
	}
	if err := insertDevice(ctx, tx, actor.Account, d, now); err != nil {
		return err
	}
	if err := replaceBundle(ctx, tx, actor.Account, req.Bundle, now); err != nil {
		return err
	}
	if err := giveDevice(ctx, tx, actor); err != nil {
		return err
	}
	if err := s.addNotice(ctx, tx, actor.Account, api.NotifyDeviceAdded); err != nil {
		return err
	}
	return s.addDevicesChanged(ctx, tx, actor.Account)
}
