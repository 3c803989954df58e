package user

import (
	"bytes"
	"context"
	"net/http"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

var errPasswordRequired = errs.New(errs.Conflict, api.CodePasswordRequired,
	"The password was changed after the backup. Give the current one with the key bundle.")

// bundleChange is what the login becomes together with a bundle that was given back.
type bundleChange struct {
	known    passwordSlot // that the change was held against
	password *newPassword // nil when the slot has the parameters of the login
	verifier []byte       // of password
	recovery []byte       // verifier of the recovery code; nil when the bundle does not tell
}

// passwordSlot is the password as the login has it.
type passwordSlot struct {
	parameters []byte // as in e2ee.SlotInfo
	verifier   []byte
}

// RestoreBundle takes a newer sealed bundle than the one that the server came back with, unless the account has stored
// another since the restore. The bundle's slots say which password and recovery code open it; the login follows them.
// That needs no proof of the forgotten older password: a login of a listed device replaces it once after a restore, and
// gains nothing by it, because the account key stays in a bundle that only the real password opens.
func (s *Service) RestoreBundle(ctx context.Context, actor token.Actor, req api.RestoredBundle) error {
	if err := s.checkRestored(); err != nil {
		return err
	}
	slots, err := checkBundle(req.Bundle, actor.Account)
	if err != nil {
		return err
	}
	change := bundleChange{recovery: recoveryVerifier(slots)}
	if change.known, err = readPasswordSlot(ctx, s.DB, actor.Account); err != nil {
		return errs.Wrap("reading the login parameters", err)
	}
	if !slices.ContainsFunc(slots, func(slot e2ee.SlotInfo) bool {
		return slot.Type == e2ee.SlotPassword && bytes.Equal(slot.Parameters, change.known.parameters)
	}) {
		if err := s.checkNewerPassword(ctx, actor, req, &change); err != nil {
			return err
		}
	}
	return errs.Wrap("restoring the key bundle", s.accountTx(ctx, actor.Account, "restore bundle", func(tx *sqldb.Tx) error {
		return s.storeRestored(ctx, tx, actor.Account, req.Bundle, change)
	}))
}

func (s *Service) checkNewerPassword(
	ctx context.Context, actor token.Actor, req api.RestoredBundle, change *bundleChange,
) (err error) {
	if req.Password == nil {
		return errPasswordRequired
	}
	p := newPassword{req.Password.Method, req.Password.Salt, req.Password.Iterations, req.Password.Auth}
	if err := p.check(); err != nil {
		return err
	}
	if err := checkSlots(req.Bundle, actor.Account, p); err != nil {
		return err
	}
	if err := s.allow(ctx, limitLoginAccount, "device "+actor.Device.String()); err != nil {
		return err
	}
	change.password = &p
	change.verifier, err = s.hashing.Make(ctx, p.auth)
	return err
}

// recoveryVerifier is in the parameters of the slot for the recovery code, so that it travels with the bundle.
func recoveryVerifier(slots []e2ee.SlotInfo) []byte {
	for _, slot := range slots {
		if slot.Type == e2ee.SlotRecovery && len(slot.Parameters) == api.VerifierSize {
			return slot.Parameters
		}
	}
	return nil
}

func (s *Service) storeRestored(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, b api.Bundle, change bundleChange,
) error {
	current, changedSince, err := readRestorable(ctx, tx, account)
	if err != nil {
		return err
	}
	if current.Version == b.Version && bytes.Equal(current.Sealed, b.Sealed) {
		return nil
	}
	if b.Version <= current.Version || changedSince {
		return errBundleVersion(current)
	}
	now := s.nowMillis()
	if err := jumpBundle(ctx, tx, account, b, now); err != nil {
		return err
	}
	if change.recovery != nil {
		if err := replaceRecovery(ctx, tx, account, change.recovery); err != nil {
			return err
		}
	}
	if change.password == nil {
		return nil
	}
	return replaceVerifier(ctx, tx, account, change, now)
}

func (s *Service) handleRestoreBundle(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var req api.RestoredBundle
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return nil, s.RestoreBundle(r.Context(), actor, req)
}
