package user

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	maxLoginName     = 254 // bytes: the longest e-mail address
	maxLoginMethods  = 16
	maxPlainLogins   = 16                   // logins of one account without a device; the oldest ends for one more
	loginIdle        = 180 * 24 * time.Hour // without renewal, after which a login cannot be renewed
	deviceProofLabel = "sotto login v1"
)

// LoginStart answers known and unknown names alike: one look-up, one HMAC, one sealing, and the same form.
func (s *Service) LoginStart(
	ctx context.Context, _ token.Actor, req api.LoginStartRequest,
) (api.LoginStartResponse, error) {
	if req.Name == "" || len(req.Name) > maxLoginName {
		return api.LoginStartResponse{}, errs.Invalidf("A name to sign in with has 1 to %d bytes.", maxLoginName)
	}
	if len(req.Methods) > maxLoginMethods || !slices.Contains(req.Methods, api.MethodSplitPBKDF2) {
		return api.LoginStartResponse{}, errs.Invalidf("This server signs people in with the method %s.",
			api.MethodSplitPBKDF2)
	}
	name := foldName(req.Name)
	parameters := fakeParameters(s.FakeSecret, name)
	kind := kindOf(name)
	account, known, err := readLoginParameters(ctx, s.DB, kind, name)
	switch {
	case err == nil:
		parameters = known
	case !errors.Is(err, sqldb.ErrNoRows):
		return api.LoginStartResponse{}, errs.Wrap("reading the login name", err)
	}
	sealed, err := s.attempts.seal(labelOf(kind), attempt{
		account: account, name: sha256.Sum256([]byte(name)), expires: s.Now().Add(attemptLifetime).UnixMilli(),
	})
	return api.LoginStartResponse{Attempt: sealed, Method: api.MethodSplitPBKDF2, Parameters: parameters}, err
}

// kindOf tells usernames from addresses, which alone have an @.
func kindOf(name string) string {
	if strings.Contains(name, "@") {
		return kindEmail
	}
	return kindUsername
}

// labelOf is what an attempt of that kind is sealed for: the proof is of the password under that name's salt.
func labelOf(kind string) string {
	if kind == kindEmail {
		return attemptEmail
	}
	return attemptPassword
}

var errWrongLogin = errs.New(errs.Unauthenticated, api.CodeWrongLogin, "The name or the password is wrong.")

// LoginFinish checks the proof with exactly one bcrypt, known name or not. With a device proof the login belongs to
// that device and replaces its earlier login; without, the login may only add a device.
func (s *Service) LoginFinish(ctx context.Context, req api.LoginFinishRequest) (api.Login, error) {
	if err := checkAuth(req.Proof); err != nil {
		return api.Login{}, err
	}
	if len(req.RenewalHash) != api.VerifierSize {
		return api.Login{}, errs.Invalidf("The renewal hash has %d bytes.", api.VerifierSize)
	}
	kind := kindUsername
	attempt, err := s.attempts.open(attemptPassword, req.Attempt, s.nowMillis())
	if err != nil {
		kind = kindEmail
		attempt, err = s.attempts.open(attemptEmail, req.Attempt, s.nowMillis())
	}
	if err != nil {
		return api.Login{}, err
	}
	// What is wrong with the device is told only to who knows the password.
	actor, deviceErr := s.proveDevice(ctx, attempt.account, req)
	if err := s.allow(ctx, limitLoginAccount, guessKey(attempt, actor)); err != nil {
		return api.Login{}, err
	}
	known, err := readVerifierOf(ctx, s.DB, attempt.account, kind)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return api.Login{}, errs.Wrap("reading the verifier", err)
	}
	ok, err := s.hashing.Check(ctx, known.verifier, req.Proof)
	if err != nil {
		return api.Login{}, err
	}
	if !ok {
		return api.Login{}, errWrongLogin
	}
	if deviceErr != nil {
		return api.Login{}, deviceErr
	}
	return s.storeLogin(ctx, actor, known.username, req.RenewalHash, forEverything)
}

// guessKey counts guesses by name. A device that has proven itself counts alone, so that somebody who keeps guessing a
// name cannot keep its owner's devices out.
func guessKey(a attempt, actor token.Actor) string {
	if actor.HasDevice() {
		return "device " + actor.Device.String()
	}
	return "name " + string(a.name[:])
}

// proveDevice returns the account as actor, with the device when the request proves one.
func (s *Service) proveDevice(
	ctx context.Context, account api.AccountID, req api.LoginFinishRequest,
) (token.Actor, error) {
	actor := token.Actor{Account: account}
	if req.Device == nil {
		return actor, nil
	}
	wire, identity, err := readDeviceIdentity(ctx, s.DB, account, req.Device.DeviceID)
	if errors.Is(err, sqldb.ErrNoRows) {
		return actor, errDeviceGone
	}
	if err != nil {
		return actor, errs.Wrap("reading the device", err)
	}
	if !identity.Verify(append([]byte(deviceProofLabel), req.Attempt...), req.Device.Signature) {
		return actor, errSignature("device proof")
	}
	actor.Device, actor.WireDevice = req.Device.DeviceID, wire
	return actor, nil
}

// storeLogin makes the login, ends the one that it replaces, and returns what a client needs to begin.
func (s *Service) storeLogin(
	ctx context.Context, actor token.Actor, username string, renewalHash []byte, purpose string,
) (login api.Login, err error) {
	if actor.Login, err = s.newLoginID(); err != nil {
		return login, err
	}
	var lists api.AccountLists
	var bundle api.Bundle
	var ended []api.LoginID
	err = s.accountTx(ctx, actor.Account, "login", func(tx *sqldb.Tx) (err error) {
		if ended, err = s.makeRoom(ctx, tx, actor); err != nil {
			return err
		}
		if err = insertLogin(ctx, tx, actor, renewalHash, purpose, s.nowMillis()); err != nil {
			return err
		}
		if purpose == forEverything { // the change of password that must follow the other one has a notice of its own
			if err = s.addNotice(ctx, tx, actor.Account, api.NotifySignedIn); err != nil {
				return err
			}
		}
		if lists, err = readNewestList(ctx, tx, actor.Account); err != nil {
			return err
		}
		bundle, err = readBundle(ctx, tx, actor.Account)
		return err
	})
	if err != nil {
		return login, errs.Wrap("storing the login", err)
	}
	s.WakeRelay()
	s.tellLoginsEnded(ctx, actor.Account, ended)
	if actor.HasDevice() {
		// Also when nothing changed: this is how a device gets ready whose introduction chat did not hear.
		if err := s.tellDevicesChanged(ctx, actor.Account); err != nil {
			return login, err
		}
	}
	login, err = s.signLogin(actor, username)
	login.Lists, login.Bundle = &lists, &bundle
	return login, err
}

// makeRoom ends what a new login of the actor replaces and forgets logins and bundles that ended long ago. It returns
// what it ended.
func (s *Service) makeRoom(ctx context.Context, tx *sqldb.Tx, actor token.Actor) (ended []api.LoginID, err error) {
	now := s.nowMillis()
	if err := deleteEndedLogins(ctx, tx, actor.Account, now); err != nil {
		return nil, err
	}
	if err := deleteOldBundles(ctx, tx, actor.Account, now); err != nil {
		return nil, err
	}
	if !actor.HasDevice() {
		ended, err = endSurplusLogins(ctx, tx, actor.Account, now)
	} else if ended, err = endDeviceLogin(ctx, tx, actor.Device, now); err == nil {
		err = s.activate(ctx, tx, actor)
	}
	if err != nil {
		return nil, err
	}
	return ended, s.addLoginsEnded(ctx, tx, actor.Account, ended)
}

// activate makes a signed-out device part of the current set again.
func (s *Service) activate(ctx context.Context, tx *sqldb.Tx, actor token.Actor) error {
	changed, err := setDeviceState(ctx, tx, actor.Device, stateSignedOut, stateActive)
	if err != nil || !changed {
		return err
	}
	return s.addDevicesChanged(ctx, tx, actor.Account)
}

func (s *Service) newLoginID() (id api.LoginID, err error) {
	_, err = io.ReadFull(s.Rand, id[:])
	return id, errs.Wrap("choosing a login id", err)
}

func (s *Service) signLogin(actor token.Actor, username string) (api.Login, error) {
	signed, expires, err := s.Signer.Sign(actor)
	login := api.Login{
		LoginID: actor.Login, AccountID: actor.Account, Username: username, WireDeviceID: actor.WireDevice,
		Token: signed, ExpiresAt: expires.UnixMilli(),
	}
	if actor.HasDevice() {
		login.DeviceID = &actor.Device
	}
	return login, err
}

var errLoginEnded = errs.New(errs.Unauthenticated, api.CodeUnauthenticated, "This login has ended. Sign in again.")

var errDeviceGone = errs.New(errs.Forbidden, api.CodeDeviceGone,
	"The account does not list this device any more. Sign in again: it becomes a new device.")

// LoginRenew makes a new token for whoever has the renewal secret of a login. An unknown login and a wrong secret get
// the same answer; a device that was removed is told so. A login that ends at the same moment may still get a token,
// which is refused like its others.
func (s *Service) LoginRenew(ctx context.Context, req api.RenewRequest) (api.Login, error) {
	if len(req.Renewal) != api.VerifierSize {
		return api.Login{}, errs.Invalidf("The renewal secret has %d bytes.", api.VerifierSize)
	}
	stored, err := readLogin(ctx, s.DB, req.LoginID)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return api.Login{}, errs.Wrap("reading the login", err)
	}
	sum := sha256.Sum256(req.Renewal)
	now := s.Now()
	known := subtle.ConstantTimeCompare(sum[:], stored.renewalHash[:]) == 1
	if known && stored.removed {
		return api.Login{}, errDeviceGone
	}
	if !known || stored.ended || stored.renewedAt < now.Add(-loginIdle).UnixMilli() {
		return api.Login{}, errLoginEnded
	}
	if stored.purpose != forEverything {
		return api.Login{}, errRecoveryLogin
	}
	if hour := hourOf(now.UnixMilli()); stored.renewedAt < hour {
		err := s.accountTx(ctx, stored.actor.Account, "renew", func(tx *sqldb.Tx) error {
			return markRenewed(ctx, tx, stored.actor, hour)
		})
		if err != nil {
			return api.Login{}, errs.Wrap("storing the renewal", err)
		}
	}
	return s.signLogin(stored.actor, stored.username)
}

// Verify is how every route here but one knows its actor: a valid token of a login for everything that has not ended.
func (s *Service) Verify(ctx context.Context, text string) (token.Actor, error) {
	actor, stored, err := s.verifyAny(ctx, text)
	if err != nil {
		return token.Actor{}, err
	}
	if stored.purpose != forEverything {
		return token.Actor{}, errRecoveryLogin
	}
	return actor, nil
}

// verifyAny also accepts a login that may only set a new password; the caller looks at its purpose.
func (s *Service) verifyAny(ctx context.Context, text string) (token.Actor, storedLogin, error) {
	actor, _, err := s.verifier.Verify(text)
	if err != nil {
		return token.Actor{}, storedLogin{}, err
	}
	stored, err := readLogin(ctx, s.DB, actor.Login)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return token.Actor{}, storedLogin{}, errs.Wrap("reading the login", err)
	}
	// A token without a device stays valid after its login has added one: the client may not have seen the answer.
	sameDevice := !actor.HasDevice() || actor.Device == stored.actor.Device
	if err != nil || stored.ended || stored.actor.Account != actor.Account || !sameDevice {
		return token.Actor{}, storedLogin{}, errLoginEnded
	}
	return actor, stored, nil
}
