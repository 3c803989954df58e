package user

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	resetCodeSize   = 16 // random bytes
	resetCodePrefix = "reset-"
	resetLifetime   = 24 * time.Hour
	oldBundleKept   = 30 * 24 * time.Hour
)

// errResetCode is one answer for codes that never were, are used or have expired.
var errResetCode = errs.New(errs.Unauthenticated, api.CodeWrongLogin,
	"This code is not valid any more. Ask for a new one.")

// NewResetCode makes a one-time code by which the account of that name can be reset within 24 hours. A code made before
// is void. It is the operator's, who reaches the database itself; no route leads here.
func NewResetCode(
	ctx context.Context, db *sqldb.DB, rand io.Reader, now time.Time, username string,
) (code string, expires time.Time, err error) {
	b := make([]byte, resetCodeSize)
	if _, err := io.ReadFull(rand, b); err != nil {
		return "", expires, errs.Wrap("choosing a code", err)
	}
	code, expires = resetCodePrefix+base64.RawURLEncoding.EncodeToString(b), now.Add(resetLifetime)
	err = db.Tx(ctx, "reset code", func(tx *sqldb.Tx) error {
		account, err := readAccountByUsername(ctx, tx, foldName(username))
		if errors.Is(err, sqldb.ErrNoRows) {
			return fmt.Errorf("nobody here is called %s", username)
		}
		if err != nil {
			return err
		}
		if err := tx.Lock(ctx, sqlLockAccount, account[:]); err != nil {
			return err
		}
		return replaceResetCode(ctx, tx, account, code, expires.UnixMilli())
	})
	return code, expires, err
}

// ResetStart tells who holds a code what the reset has to follow.
func (s *Service) ResetStart(
	ctx context.Context, _ token.Actor, req api.ResetStartRequest,
) (res api.ResetStartResponse, err error) {
	account, used, err := s.readCode(ctx, req.Code)
	if err != nil {
		return res, err
	}
	if used {
		return res, errResetCode
	}
	if res.Lists, err = readNewestList(ctx, s.DB, account); err != nil {
		return res, errs.Wrap("reading the device list", err)
	}
	me, err := readMe(ctx, s.DB, account)
	if err != nil {
		return res, errs.Wrap("reading the account", err)
	}
	bundle, err := readBundle(ctx, s.DB, account)
	res.Lists.Username, res.BundleVersion = me.Username, bundle.Version
	return res, errs.Wrap("reading the key bundle", err)
}

func (s *Service) readCode(ctx context.Context, code string) (account api.AccountID, used bool, err error) {
	account, used, err = readResetCode(ctx, s.DB, code, s.nowMillis())
	if errors.Is(err, sqldb.ErrNoRows) {
		err = errResetCode
	}
	return account, used, err
}

// reset is a request that was checked as far as that goes without the transaction.
type reset struct {
	api.ResetRequest
	account  api.AccountID
	username string
	list     e2ee.DeviceList
	device   checkedDevice
	verifier []byte
}

// Reset gives the account a new key, password, recovery code, bundle and first device. Everything of before ends in the
// same transaction; the bundle of before is kept for 30 days, in case its recovery code is found. body is the exact
// request: the same bytes again get the first answer.
func (s *Service) Reset(ctx context.Context, req api.ResetRequest, body []byte) (api.Login, error) {
	r := reset{ResetRequest: req}
	var used bool
	var err error
	if r.account, used, err = s.readCode(ctx, req.Code); err != nil {
		return api.Login{}, err
	}
	me, err := readMe(ctx, s.DB, r.account)
	if err != nil {
		return api.Login{}, errs.Wrap("reading the account", err)
	}
	r.username = me.Username
	hash := s.hashing.requestHash(body)
	var actor token.Actor
	var ended []api.LoginID
	if used {
		actor, err = s.findReset(ctx, r, hash)
	} else {
		actor, ended, err = s.storeReset(ctx, r, hash)
	}
	if err != nil {
		return api.Login{}, err
	}
	s.tellLoginsEnded(ctx, r.account, ended)
	if err := s.tellDevicesChanged(ctx, r.account); err != nil {
		return api.Login{}, err
	}
	return s.signLogin(actor, r.username)
}

// findReset recognises the request that has used the code.
func (s *Service) findReset(ctx context.Context, r reset, hash [32]byte) (token.Actor, error) {
	actor, stored, err := readRegistration(ctx, s.DB, r.account, r.RenewalHash)
	if err != nil {
		return actor, errs.Wrap("looking the reset up", err)
	}
	if stored != hash || actor.Login.IsZero() {
		return actor, errResetCode
	}
	return actor, nil
}

func (s *Service) checkReset(ctx context.Context, r *reset) error {
	password := newPassword{r.Method, r.Salt, r.Iterations, r.Auth}
	if err := password.check(); err != nil {
		return err
	}
	if len(r.RecoveryVerifier) != api.VerifierSize || len(r.RenewalHash) != api.VerifierSize {
		return errs.Invalidf("The recovery verifier and the renewal hash have %d bytes each.", api.VerifierSize)
	}
	key, err := e2ee.ParsePublicKey(r.AccountKey)
	if err != nil {
		return errs.Invalidf("The account key is not an EC key of 33 bytes.").Because(err)
	}
	if r.list, err = openList(r.List, r.account, key); err != nil {
		return err
	}
	current, err := readNewestList(ctx, s.DB, r.account)
	if err != nil {
		return errs.Wrap("reading the device list", err)
	}
	newest := e2ee.SignedDeviceList(current.Lists[0])
	previous, err := newest.Parse()
	if err != nil {
		return errs.Wrap("reading the stored device list", err)
	}
	switch err := r.list.Follows(previous, newest.Hash()); {
	case err == nil:
		return errs.Invalidf("A reset needs a new account key.")
	case !errors.Is(err, e2ee.ErrAccountKey):
		return errListVersion(current).Because(err)
	}
	if len(r.list.Devices) != 1 || r.list.Devices[0].ID != 1 {
		return errs.Invalidf("The first device list after a reset has one device with the number 1.")
	}
	if err := checkSlots(r.Bundle, r.account, password); err != nil {
		return err
	}
	r.device, err = checkDevice(r.Device, r.list, r.list.Devices[0], s.Now())
	return err
}

func (s *Service) storeReset(
	ctx context.Context, r reset, hash [32]byte,
) (actor token.Actor, ended []api.LoginID, err error) {
	if err := s.checkReset(ctx, &r); err != nil {
		return actor, nil, err
	}
	r.device.requestHash = hash
	if r.verifier, err = s.hashing.Make(ctx, r.Auth); err != nil {
		return actor, nil, err
	}
	actor = token.Actor{Account: r.account, Device: r.device.DeviceID, WireDevice: r.device.WireDeviceID}
	if actor.Login, err = s.newLoginID(); err != nil {
		return actor, nil, err
	}
	err = s.accountTx(ctx, r.account, "reset", func(tx *sqldb.Tx) (err error) {
		if err := useResetCode(ctx, tx, r.Code, s.nowMillis()); errors.Is(err, sqldb.ErrNoRows) {
			return errResetCode
		} else if err != nil {
			return err
		}
		if ended, err = s.endEverything(ctx, tx, r.account); err != nil {
			return err
		}
		return s.insertReset(ctx, tx, r, actor)
	})
	return actor, ended, errs.Wrap("resetting the account", err)
}

// endEverything ends all logins and removes all devices with their prekeys.
func (s *Service) endEverything(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID,
) (ended []api.LoginID, err error) {
	now := s.nowMillis()
	if ended, err = endLogins(ctx, tx, token.Actor{Account: account}, true, now); err != nil {
		return nil, err
	}
	devices, err := readDevices(ctx, tx, account)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if _, err := removeDevice(ctx, tx, account, d.WireDeviceID, now); err != nil {
			return nil, err
		}
	}
	if err := deleteAllForgotten(ctx, tx, account); err != nil {
		return nil, err
	}
	return ended, s.addLoginsEnded(ctx, tx, account, ended)
}

func (s *Service) insertReset(ctx context.Context, tx *sqldb.Tx, r reset, actor token.Actor) error {
	now := s.nowMillis()
	if err := keepOldBundle(ctx, tx, r.account, s.Now().Add(oldBundleKept).UnixMilli()); err != nil {
		return err
	}
	if err := swapBundle(ctx, tx, r.account, r.Bundle, now); err != nil {
		return err
	}
	if err := s.storeNextList(ctx, tx, r.account, r.list.Version, r.List); err != nil {
		return err
	}
	if err := replaceAccount(ctx, tx, r, now); err != nil {
		return err
	}
	if err := deleteEmail(ctx, tx, r.account); err != nil { // its verifier is of the password of before
		return err
	}
	if err := insertDevice(ctx, tx, r.account, r.device, now); err != nil {
		return err
	}
	if err := insertLogin(ctx, tx, actor, r.RenewalHash, forEverything, now); err != nil {
		return err
	}
	if err := s.addNotice(ctx, tx, r.account, api.NotifyReset); err != nil {
		return err
	}
	return s.addDevicesChanged(ctx, tx, r.account)
}

func (s *Service) handleReset(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.ResetRequest
	body, err := readWithBody(r, &req)
	if err != nil {
		return nil, err
	}
	login, err := s.Reset(r.Context(), req, body)
	return s.answerLogin(w, login, err)
}

func hashCode(code string) []byte {
	sum := sha256.Sum256([]byte(code))
	return sum[:]
}
