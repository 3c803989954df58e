package user

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// passwordChange is a request that was checked as far as that goes without the transaction.
type passwordChange struct {
	api.PasswordRequest
	hash     [32]byte   // keyed, of the exact request
	recovery bool       // the asking login came from the recovery code
	known    knownLogin // that the proof was held against
	verifier []byte     // of the new password
	removal  removal    // empty without a list

	emailVerifier []byte // of the new password under the e-mail login's salt, when there is such a login
}

// PutPassword replaces salt, verifier and bundle, and with them the recovery code and the device list if the request
// says so, in one transaction. The actor proves the current password, unless its login came from the recovery code:
// then it must bring a new code, and becomes a login for everything. body is the exact request: the same bytes again
// get the first answer.
//
// Logins from the recovery code always end with the password they were to replace.
func (s *Service) PutPassword(
	ctx context.Context, actor token.Actor, recovery bool, req api.PasswordRequest, body []byte,
) (api.DevicesChange, error) {
	c := passwordChange{PasswordRequest: req, hash: s.hashing.requestHash(body), recovery: recovery}
	done, err := isPasswordRequest(ctx, s.DB, actor.Account, c.hash)
	if err != nil {
		return api.DevicesChange{}, errs.Wrap("looking the change of password up", err)
	}
	var ended []api.LoginID
	if !done {
		if err := s.checkPasswordChange(ctx, actor, &c); err != nil {
			return api.DevicesChange{}, err
		}
		if ended, err = s.storePassword(ctx, actor, c); err != nil {
			return api.DevicesChange{}, errs.Wrap("storing the password", err)
		}
	}
	s.tellLoginsEnded(ctx, actor.Account, ended)
	return s.tellDevicesLeft(ctx, actor.Account), nil
}

// checkPasswordChange does the cheap checks first: the two bcrypts are for requests that are right otherwise.
func (s *Service) checkPasswordChange(ctx context.Context, actor token.Actor, c *passwordChange) (err error) {
	password := newPassword{c.Method, c.Salt, c.Iterations, c.Auth}
	if err := password.check(); err != nil {
		return err
	}
	if n := len(c.RecoveryVerifier); n != api.VerifierSize && (n != 0 || c.recovery) {
		return errs.Invalidf("The recovery verifier has %d bytes. After recovery a new code is needed.", api.VerifierSize)
	}
	if err := checkSlots(c.Bundle, actor.Account, password); err != nil {
		return err
	}
	if c.List != nil {
		if c.removal, err = s.checkRemoval(ctx, actor.Account, *c.List); err != nil {
			return err
		}
	}
	if c.known, err = readVerifier(ctx, s.DB, actor.Account); err != nil {
		return errs.Wrap("reading the verifier", err)
	}
	if bytes.Equal(c.Salt, c.known.salt) {
		return errs.Invalidf("A new password needs a new salt.")
	}
	if !c.recovery {
		if err := s.proveAgain(ctx, actor, c.known, c.Proof); err != nil {
			return err
		}
	} else if c.Proof != "" {
		return errs.Invalidf("After recovery there is no current password to prove.")
	}
	if err := s.checkEmailPassword(ctx, actor.Account, c); err != nil {
		return err
	}
	c.verifier, err = s.hashing.Make(ctx, c.Auth)
	return err
}

// proveAgain asks a signed-in actor for the password once more. Guesses count by login, so that a stolen token gets as
// many as a stranger, and keeps nobody else out.
func (s *Service) proveAgain(ctx context.Context, actor token.Actor, known knownLogin, proof string) error {
	if err := checkAuth(proof); err != nil {
		return err
	}
	if err := s.allow(ctx, limitLoginAccount, "login "+actor.Login.String()); err != nil {
		return err
	}
	ok, err := s.hashing.Check(ctx, known.verifier, proof)
	if err == nil && !ok {
		err = errs.New(errs.Forbidden, api.CodeWrongLogin, "The password is wrong.")
	}
	return err
}

// storePassword decides races: of two requests that began with the same bundle one finds its version taken.
func (s *Service) storePassword(
	ctx context.Context, actor token.Actor, c passwordChange,
) (ended []api.LoginID, err error) {
	err = s.accountTx(ctx, actor.Account, "password", func(tx *sqldb.Tx) error {
		ended = nil
		done, err := isPasswordRequest(ctx, tx, actor.Account, c.hash)
		if err != nil || done {
			return err
		}
		login, err := readLogin(ctx, tx, actor.Login)
		if err != nil {
			return err
		}
		if login.ended {
			return errLoginEnded
		}
		ended, err = s.replacePassword(ctx, tx, actor, c)
		return err
	})
	return ended, err
}

func (s *Service) replacePassword(
	ctx context.Context, tx *sqldb.Tx, actor token.Actor, c passwordChange,
) (ended []api.LoginID, err error) {
	now := s.nowMillis()
	if err := swapBundle(ctx, tx, actor.Account, c.Bundle, now); err != nil {
		return nil, err
	}
	err = swapVerifier(ctx, tx, actor.Account, c, now)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, errs.Conflictf("The password was changed a moment ago. Start again.")
	}
	if err != nil {
		return nil, err
	}
	if err := changeEmail(ctx, tx, actor.Account, c, now); err != nil {
		return nil, err
	}
	if err := changeAccount(ctx, tx, actor, c); err != nil {
		return nil, err
	}
	if ended, err = endLogins(ctx, tx, actor, c.SignOutOthers, now); err != nil {
		return nil, err
	}
	changed := false
	if c.SignOutOthers {
		if changed, err = signOutOthers(ctx, tx, actor); err != nil {
			return nil, err
		}
	}
	if c.List != nil {
		more, err := s.removeListed(ctx, tx, actor.Account, c.removal)
		if err != nil {
			return nil, err
		}
		ended, changed = append(ended, more...), true
	}
	if changed {
		if err := s.addDevicesChanged(ctx, tx, actor.Account); err != nil {
			return nil, err
		}
	}
	notice := api.NotifyPasswordChanged
	if c.recovery {
		notice = api.NotifyRecovered
	}
	if err := s.addNotice(ctx, tx, actor.Account, notice); err != nil {
		return nil, err
	}
	return ended, s.addLoginsEnded(ctx, tx, actor.Account, ended)
}

// changeEmail changes the password of the e-mail login, too. It is a conflict when that came or went meanwhile.
func changeEmail(ctx context.Context, tx *sqldb.Tx, account api.AccountID, c passwordChange, now int64) error {
	has, err := hasEmail(ctx, tx, account)
	switch {
	case err != nil:
		return err
	case has != (c.Email != nil):
		return errs.Conflictf("The e-mail address was changed a moment ago. Start again.")
	case !has:
		return nil
	}
	return changeEmailVerifier(ctx, tx, account, *c.Email, c.emailVerifier, now)
}

// handlePutPassword is public in the table of routes and looks at the token itself, because it is the one route for
// logins that every other refuses.
func (s *Service) handlePutPassword(_ http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	text, _ := httpx.TokenFrom(r)
	actor, login, err := s.verifyAny(r.Context(), text)
	if err != nil {
		return nil, err
	}
	var req api.PasswordRequest
	body, err := readWithBody(r, &req)
	if err != nil {
		return nil, err
	}
	return s.PutPassword(r.Context(), actor, login.purpose == forPassword, req, body)
}
