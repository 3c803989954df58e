package user

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// registration is a request that was checked as far as that goes without the database.
type registration struct {
	api.RegisterRequest
	device        checkedDevice
	verifier      []byte
	bundleVersion uint64
}

// Register makes an account with its first device and login. body is the exact request: the same bytes again get the
// first answer, whatever became of the connection. Other bytes under the same account id are a conflict.
func (s *Service) Register(ctx context.Context, req api.RegisterRequest, body []byte) (api.Login, error) {
	r, err := s.checkRegistration(req)
	if err != nil {
		return api.Login{}, err
	}
	r.device.requestHash = s.hashing.requestHash(body)
	// Before the expensive hash, although the transaction asks again: retries and taken names cost nothing then.
	actor, found, err := findRegistration(ctx, s.DB, r)
	if err != nil {
		return api.Login{}, errs.Wrap("looking the registration up", err)
	}
	if !found {
		if actor, err = s.storeRegistration(ctx, r); err != nil {
			return api.Login{}, errs.Wrap("storing the registration", err)
		}
	}
	if err := s.tellDevicesChanged(ctx, r.AccountID); err != nil {
		return api.Login{}, err
	}
	return s.signLogin(actor, r.Username)
}

func (s *Service) storeRegistration(ctx context.Context, r registration) (actor token.Actor, err error) {
	if r.verifier, err = s.hashing.Make(ctx, r.Auth); err != nil {
		return actor, err
	}
	login, err := s.newLoginID()
	if err != nil {
		return actor, err
	}
	store := func(tx *sqldb.Tx) error {
		var found bool
		var err error
		if actor, found, err = findRegistration(ctx, tx, r); err != nil || found {
			return err
		}
		actor = token.Actor{Account: r.AccountID, Device: r.device.DeviceID, WireDevice: r.device.WireDeviceID, Login: login}
		return s.insertRegistration(ctx, tx, r, actor)
	}
	err = s.tx(ctx, "register", store)
	if sqldb.IsUnique(err) {
		// The same request, or another one for the name, was stored at the same moment; now it can be seen.
		err = s.tx(ctx, "register", store)
	}
	return actor, err
}

// findRegistration tells whether the same request was stored before. It is an error when the account id or the name
// belongs to another request.
func findRegistration(ctx context.Context, q sqldb.Querier, r registration) (actor token.Actor, found bool, err error) {
	actor, hash, err := readRegistration(ctx, q, r.AccountID, r.RenewalHash)
	switch {
	case err == nil && hash == r.device.requestHash && actor.Login.IsZero():
		return actor, false, errs.Conflictf("This registration is complete and its login has ended. Sign in.")
	case err == nil && hash == r.device.requestHash:
		return actor, true, nil
	case err == nil:
		return actor, false, errs.Conflictf(
			"This account id was registered with another request. Sign in, or choose a new id.")
	case !errors.Is(err, sqldb.ErrNoRows):
		return actor, false, err
	}
	_, err = readAccountByUsername(ctx, q, r.Username)
	switch {
	case err == nil:
		return actor, false, errs.New(errs.Conflict, api.CodeExists, "The name "+r.Username+" is taken. Choose another one.")
	case !errors.Is(err, sqldb.ErrNoRows):
		return actor, false, err
	}
	return token.Actor{}, false, nil
}

func (s *Service) insertRegistration(ctx context.Context, tx *sqldb.Tx, r registration, actor token.Actor) error {
	now := s.nowMillis()
	if err := insertAccount(ctx, tx, r, now); err != nil {
		return err
	}
	if err := insertList(ctx, tx, r.AccountID, 1, r.List, now); err != nil {
		return err
	}
	if err := insertDevice(ctx, tx, r.AccountID, r.device, now); err != nil {
		return err
	}
	if err := insertBundle(ctx, tx, r.AccountID, api.Bundle{Version: r.bundleVersion, Sealed: r.Bundle}, now); err != nil {
		return err
	}
	if err := insertLogin(ctx, tx, actor, r.RenewalHash, forEverything, now); err != nil {
		return err
	}
	if err := s.addNotice(ctx, tx, r.AccountID, api.NotifyWelcome); err != nil {
		return err
	}
	return s.addDevicesChanged(ctx, tx, r.AccountID)
}

func (s *Service) checkRegistration(req api.RegisterRequest) (r registration, err error) {
	r.RegisterRequest, r.bundleVersion = req, 1
	if req.AccountID.IsZero() {
		return r, errs.Invalidf("The account id is missing.")
	}
	if r.Username, err = newUsername(req.Username); err != nil {
		return r, err
	}
	password := newPassword{req.Method, req.Salt, req.Iterations, req.Auth}
	if err := password.check(); err != nil {
		return r, err
	}
	if len(req.RecoveryVerifier) != api.VerifierSize || len(req.RenewalHash) != api.VerifierSize {
		return r, errs.Invalidf("The recovery verifier and the renewal hash have %d bytes each.", api.VerifierSize)
	}
	list, err := checkFirstList(req)
	if err != nil {
		return r, err
	}
	if err := checkSlots(api.Bundle{Version: r.bundleVersion, Sealed: req.Bundle}, req.AccountID, password); err != nil {
		return r, err
	}
	r.device, err = checkDevice(req.Device, list, list.Devices[0], s.Now())
	return r, err
}

// checkSlots wants a slot for the recovery code, and one for the password under the parameters that login start will
// hand out: with others the password would sign in and open nothing.
func checkSlots(b api.Bundle, account api.AccountID, p newPassword) error {
	slots, err := checkBundle(b, account)
	if err != nil {
		return err
	}
	password := slices.ContainsFunc(slots, func(s e2ee.SlotInfo) bool {
		return s.Type == e2ee.SlotPassword && bytes.Equal(s.Parameters, p.parameters())
	})
	recovery := slices.ContainsFunc(slots, func(s e2ee.SlotInfo) bool { return s.Type == e2ee.SlotRecovery })
	if !password || !recovery {
		return errs.Invalidf("The key bundle needs a slot for this password and one for the recovery code.")
	}
	return nil
}

// checkFirstList verifies version 1 of the device list, with its one device, under the account key of the request.
func checkFirstList(req api.RegisterRequest) (e2ee.DeviceList, error) {
	key, err := e2ee.ParsePublicKey(req.AccountKey)
	if err != nil {
		return e2ee.DeviceList{}, errs.Invalidf("The account key is not an EC key of 33 bytes.").Because(err)
	}
	list, err := openList(req.List, req.AccountID, key)
	if err != nil {
		return list, err
	}
	if list.Version != 1 || len(list.Devices) != 1 || list.Devices[0].ID != 1 {
		return e2ee.DeviceList{}, errs.Invalidf("The first device list has version 1 and one device with the number 1.")
	}
	return list, nil
}

// newPassword is what a client says of a password that it sets.
type newPassword struct {
	method     string
	salt       []byte
	iterations int
	auth       string
}

// parameters are those of the slot that the password opens; p was checked.
func (p newPassword) parameters() []byte {
	return e2ee.PasswordParameters{
		KDF: p.method, Salt: [api.SaltSize]byte(p.salt), Iterations: uint32(p.iterations),
	}.Marshal()
}

// check holds it against the bounds of docs/protocol.md, section 5.
func (p newPassword) check() error {
	if p.method != api.MethodSplitPBKDF2 {
		return errs.Invalidf("The only sign-in method here is %s.", api.MethodSplitPBKDF2)
	}
	if len(p.salt) != api.SaltSize {
		return errs.Invalidf("The salt has %d bytes.", api.SaltSize)
	}
	if p.iterations < api.MinIterations || p.iterations > api.MaxIterations {
		return errs.Invalidf("The iterations are %d to %d.", api.MinIterations, api.MaxIterations)
	}
	return checkAuth(p.auth)
}

func checkAuth(auth string) error {
	if _, err := base64.RawURLEncoding.Strict().DecodeString(auth); err != nil || len(auth) != api.AuthLength {
		return errs.Invalidf("The proof is %d characters of base64url.", api.AuthLength)
	}
	return nil
}
