package user

import (
	"context"
	"net/http"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// checkBundle reads what a sealed bundle shows without a key and holds it against its place.
func checkBundle(b api.Bundle, account api.AccountID) ([]e2ee.SlotInfo, error) {
	if len(b.Sealed) > api.MaxBundleSize {
		return nil, errs.New(errs.TooLarge, api.CodeTooLarge, "The key bundle is larger than 64 KiB.")
	}
	inside, version, slots, err := e2ee.BundleInfo(b.Sealed)
	if err != nil {
		return nil, errs.Invalidf("The key bundle is malformed.").Because(err)
	}
	if inside != account || version != b.Version {
		return nil, errs.Invalidf("The key bundle was sealed for another account or version.")
	}
	return slots, nil
}

func errBundleVersion(current api.Bundle) *errs.Error {
	return errs.New(errs.Conflict, api.CodeBundleVersion, "The key bundle has moved on. Fetch it and build on it.").
		WithDetails(current)
}

// Bundle is the actor's newest sealed key bundle.
func (s *Service) Bundle(ctx context.Context, actor token.Actor) (api.Bundle, error) {
	b, err := readBundle(ctx, s.DB, actor.Account)
	return b, errs.Wrap("reading the key bundle", err)
}

// PutBundle stores the next version, compare-and-swap. Putting the stored version again with the same bytes succeeds.
func (s *Service) PutBundle(ctx context.Context, actor token.Actor, b api.Bundle) error {
	if _, err := checkBundle(b, actor.Account); err != nil {
		return err
	}
	err := s.accountTx(ctx, actor.Account, "put bundle", func(tx *sqldb.Tx) error {
		return replaceBundle(ctx, tx, actor.Account, b, s.nowMillis())
	})
	return errs.Wrap("storing the key bundle", err)
}

func (s *Service) handlePutBundle(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	var b api.Bundle
	if err := httpx.Decode(r, &b); err != nil {
		return nil, err
	}
	return nil, s.PutBundle(r.Context(), actor, b)
}
