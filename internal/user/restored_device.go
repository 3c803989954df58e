package user

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const restoredLabel = "sotto restored v1"

var (
	errAccountForgotten = errs.NotFoundf("The server does not know this account any more. Give it back with its password.")
	errNotListed        = errs.New(errs.Forbidden, api.CodeDeviceGone, "The account does not list this device any more.")
)

// RestoreStart begins to introduce a device again. It is answered for unknown accounts, too: they can be given back.
func (s *Service) RestoreStart(
	_ context.Context, _ token.Actor, req api.RestoredStartRequest,
) (res api.RestoredStartResponse, err error) {
	if err := s.checkRestored(); err != nil {
		return res, err
	}
	if req.AccountID.IsZero() {
		return res, errs.Invalidf("The account id is missing.")
	}
	res.Attempt, err = s.attempts.seal(attemptRestored, attempt{
		account: req.AccountID, expires: s.Now().Add(attemptLifetime).UnixMilli(),
	})
	return res, err
}

// restoredDevice is a request that was checked as far as that goes without the transaction.
type restoredDevice struct {
	chain        listChain
	device       checkedDevice
	renewalHash  []byte
	registration *registration // when the account is unknown
}

// RestoreDevice introduces a device that the server has forgotten, or signs it in again when its login was forgotten. A
// device that the server knows to be signed out or removed stays that. An account that is unknown is made again with
// what its owner gives back. Repeating it with a new attempt is safe.
func (s *Service) RestoreDevice(ctx context.Context, req api.RestoredDeviceRequest, body []byte) (api.Login, error) {
	if err := s.checkRestored(); err != nil {
		return api.Login{}, err
	}
	attempt, err := s.attempts.open(attemptRestored, req.Attempt, s.nowMillis())
	if err != nil {
		return api.Login{}, err
	}
	d, err := s.checkRestoredDevice(attempt.account, req)
	if err != nil {
		return api.Login{}, err
	}
	d.device.requestHash = s.hashing.requestHash(body)
	_, err = readNewestList(ctx, s.DB, attempt.account)
	if errors.Is(err, sqldb.ErrNoRows) {
		d.registration, err = s.checkForgotten(ctx, req, d)
	}
	if err != nil {
		return api.Login{}, errs.Wrap("looking the account up", err)
	}
	actor := token.Actor{Account: attempt.account, Device: d.device.DeviceID, WireDevice: d.device.WireDeviceID}
	if actor.Login, err = s.newLoginID(); err != nil {
		return api.Login{}, err
	}
	var ended []api.LoginID
	if err := s.accountTx(ctx, actor.Account, "restore device", func(tx *sqldb.Tx) (err error) {
		ended, err = s.storeRestoredDevice(ctx, tx, actor, d)
		return err
	}); err != nil {
		return api.Login{}, errs.Wrap("restoring the device", err)
	}
	s.tellLoginsEnded(ctx, actor.Account, ended)
	if err := s.tellDevicesChanged(ctx, actor.Account); err != nil {
		return api.Login{}, err
	}
	me, err := readMe(ctx, s.DB, actor.Account)
	if err != nil {
		return api.Login{}, errs.Wrap("reading the account", err)
	}
	return s.signLogin(actor, me.Username)
}

func (s *Service) checkRestoredDevice(account api.AccountID, req api.RestoredDeviceRequest) (d restoredDevice, err error) {
	if len(req.RenewalHash) != api.VerifierSize {
		return d, errs.Invalidf("The renewal hash has %d bytes.", api.VerifierSize)
	}
	d.renewalHash = req.RenewalHash
	if d.chain, err = openChain(api.AccountChain{AccountID: account, Lists: req.Lists}); err != nil {
		return d, err
	}
	list := d.chain.newest()
	listed, ok := list.Device(uint32(req.Device.WireDeviceID))
	if !ok {
		return d, errs.Invalidf("The newest device list does not have this device.")
	}
	proof := append([]byte(restoredLabel+req.Attempt), req.RenewalHash...)
	if !listed.IdentityKey.Verify(proof, req.Signature) {
		return d, errSignature("device proof")
	}
	d.device, err = checkDevice(req.Device, list, listed, s.Now())
	return d, err
}

// checkForgotten is for an account that the server does not know: what it was registered with, from its owner.
func (s *Service) checkForgotten(
	ctx context.Context, req api.RestoredDeviceRequest, d restoredDevice,
) (*registration, error) {
	if req.Account == nil {
		return nil, errAccountForgotten
	}
	a := *req.Account
	name, err := newUsername(a.Username)
	if err != nil {
		return nil, err
	}
	password := newPassword{a.Method, a.Salt, a.Iterations, a.Auth}
	if err := password.check(); err != nil {
		return nil, err
	}
	if len(a.RecoveryVerifier) != api.VerifierSize {
		return nil, errs.Invalidf("The recovery verifier has %d bytes.", api.VerifierSize)
	}
	if err := checkSlots(a.Bundle, d.chain.account, password); err != nil {
		return nil, err
	}
	r := &registration{device: d.device, RegisterRequest: api.RegisterRequest{
		AccountID: d.chain.account, Username: name, Method: a.Method, Salt: a.Salt, Iterations: a.Iterations,
		RecoveryVerifier: a.RecoveryVerifier, RenewalHash: d.renewalHash, AccountKey: d.chain.key[:], Bundle: a.Bundle.Sealed,
	}, bundleVersion: a.Bundle.Version}
	r.verifier, err = s.hashing.Make(ctx, a.Auth)
	return r, err
}

// storeRestoredDevice returns the logins that end.
func (s *Service) storeRestoredDevice(
	ctx context.Context, tx *sqldb.Tx, actor token.Actor, d restoredDevice,
) (ended []api.LoginID, err error) {
	newest, err := readNewestList(ctx, tx, actor.Account)
	if errors.Is(err, sqldb.ErrNoRows) && d.registration != nil {
		err = s.insertAgain(ctx, tx, d)
	} else if err == nil {
		ended, err = s.joinRestored(ctx, tx, newest, d)
	}
	if err != nil {
		return nil, err
	}
	replaced, err := s.makeRoom(ctx, tx, actor)
	if err != nil {
		return nil, err
	}
	if err := insertLogin(ctx, tx, actor, d.renewalHash, forEverything, s.nowMillis()); err != nil {
		return nil, err
	}
	return append(ended, replaced...), s.addDevicesChanged(ctx, tx, actor.Account)
}

// insertAgain makes the account again, with the lists from the first one given on.
func (s *Service) insertAgain(ctx context.Context, tx *sqldb.Tx, d restoredDevice) error {
	r := *d.registration
	r.device = d.device
	if _, _, err := findRegistration(ctx, tx, r); err != nil { // the name may be taken
		return err
	}
	now := s.nowMillis()
	if err := insertAccount(ctx, tx, r, now); err != nil {
		return err
	}
	for i, list := range d.chain.lists {
		if err := insertList(ctx, tx, r.AccountID, list.Version, d.chain.signed[i], now); err != nil {
			return err
		}
	}
	if err := insertDevice(ctx, tx, r.AccountID, d.device, now); err != nil {
		return err
	}
	if _, err := s.alignDevices(ctx, tx, d.chain.newest()); err != nil {
		return err
	}
	return insertBundle(ctx, tx, r.AccountID, api.Bundle{Version: r.bundleVersion, Sealed: r.Bundle}, now)
}

// joinRestored takes the lists and makes sure that the server has the device that the newest of them lists.
func (s *Service) joinRestored(
	ctx context.Context, tx *sqldb.Tx, newest api.AccountLists, d restoredDevice,
) (ended []api.LoginID, err error) {
	if !bytes.Equal(newest.AccountKey, d.chain.key[:]) {
		return nil, errs.Conflictf("The account has another account key here. It has to be reset again.")
	}
	list, stored, err := s.storeChain(ctx, tx, newest, d.chain)
	if err != nil {
		return nil, err
	}
	if stored {
		if ended, err = s.alignDevices(ctx, tx, list); err != nil {
			return nil, err
		}
	}
	listed, ok := list.Device(d.device.listed.ID)
	switch {
	case ok && listed == d.device.listed:
	case d.chain.skips(list.Version): // whoever has the lists in between may give them back yet
		return nil, errListVersion(newest)
	default:
		return nil, errNotListed
	}
	return ended, s.keepOrInsert(ctx, tx, list, d)
}

func (s *Service) keepOrInsert(ctx context.Context, tx *sqldb.Tx, list e2ee.DeviceList, d restoredDevice) error {
	account, row, err := readRestoredDevice(ctx, tx, d.device.DeviceID)
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		d.device.listVersion = list.Version
		if err := insertDevice(ctx, tx, list.Account, d.device, s.nowMillis()); err != nil {
			return err
		}
		if _, err := deleteForgotten(ctx, tx, list.Account, d.device.WireDeviceID); err != nil {
			return err
		}
		return countStatus(ctx, tx, list.Account)
	case err != nil:
		return err
	case account != list.Account || row.identity != d.device.listed.IdentityKey || row.state == stateRemoved:
		return errNotListed
	case row.state != stateActive:
		return errLoginEnded
	}
	return nil
}

func (s *Service) handleRestoreDevice(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.RestoredDeviceRequest
	body, err := readWithBody(r, &req)
	if err != nil {
		return nil, err
	}
	login, err := s.RestoreDevice(r.Context(), req, body)
	return s.answerLogin(w, login, err)
}
