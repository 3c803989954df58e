package user

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Logout ends the actor's login and takes its device out of the current set. The account goes on listing the device,
// which may sign in again. It succeeds even if chat cannot be reached: the event follows, and this service refuses the
// login's tokens from the commit on.
func (s *Service) Logout(ctx context.Context, actor token.Actor) error {
	err := s.accountTx(ctx, actor.Account, "logout", func(tx *sqldb.Tx) error {
		device, err := endLogin(ctx, tx, actor.Login, s.nowMillis())
		if err != nil {
			return err
		}
		if err := s.addLoginsEnded(ctx, tx, actor.Account, []api.LoginID{actor.Login}); err != nil || device.IsZero() {
			return err
		}
		if _, err := setDeviceState(ctx, tx, device, stateActive, stateSignedOut); err != nil {
			return err
		}
		return s.addDevicesChanged(ctx, tx, actor.Account)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return errLoginEnded
	}
	if err != nil {
		return errs.Wrap("ending the login", err)
	}
	s.tellLoginsEnded(ctx, actor.Account, []api.LoginID{actor.Login})
	if err := s.tellDevicesChanged(ctx, actor.Account); err != nil {
		s.Logger.WarnContext(ctx, "chat will learn of a signed-out device by the event", "err", err.Error())
	}
	return nil
}
