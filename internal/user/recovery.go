package user

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

var (
	errWrongRecovery = errs.New(errs.Unauthenticated, api.CodeWrongLogin, "The name or the recovery code is wrong.")
	errRecoveryLogin = errs.New(errs.Forbidden, api.CodeForbidden,
		"You came in with the recovery code. Set a new password first.")
)

// RecoveryStart answers known and unknown names alike: one look-up, one sealing, and the same form.
func (s *Service) RecoveryStart(
	ctx context.Context, _ token.Actor, req api.RecoveryStartRequest,
) (api.RecoveryStartResponse, error) {
	if req.Name == "" || len(req.Name) > maxLoginName {
		return api.RecoveryStartResponse{}, errs.Invalidf("A name to sign in with has 1 to %d bytes.", maxLoginName)
	}
	name := foldName(req.Name)
	account, err := readAccountByUsername(ctx, s.DB, name)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return api.RecoveryStartResponse{}, errs.Wrap("reading the login name", err)
	}
	sealed, err := s.attempts.seal(attemptRecovery, attempt{
		account: account, name: sha256.Sum256([]byte(name)), expires: s.Now().Add(attemptLifetime).UnixMilli(),
	})
	return api.RecoveryStartResponse{Attempt: sealed}, err
}

// RecoveryFinish checks the recovery code and makes a login that may only set a new password. The code has 128 random
// bits, so that its verifier is a plain hash; an unknown name is compared with zeros and fails like a wrong code.
func (s *Service) RecoveryFinish(ctx context.Context, req api.RecoveryFinishRequest) (api.Login, error) {
	if len(req.RecoveryAuth) != api.VerifierSize || len(req.RenewalHash) != api.VerifierSize {
		return api.Login{}, errs.Invalidf("The recovery auth and the renewal hash have %d bytes each.", api.VerifierSize)
	}
	attempt, err := s.attempts.open(attemptRecovery, req.Attempt, s.nowMillis())
	if err != nil {
		return api.Login{}, err
	}
	if err := s.allow(ctx, limitRecoveryAccount, string(attempt.name[:])); err != nil {
		return api.Login{}, err
	}
	username, verifier, err := readRecovery(ctx, s.DB, attempt.account)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return api.Login{}, errs.Wrap("reading the recovery verifier", err)
	}
	sum := sha256.Sum256(req.RecoveryAuth)
	same := subtle.ConstantTimeCompare(sum[:], verifier[:]) == 1
	if err != nil || !same {
		return api.Login{}, errWrongRecovery
	}
	return s.storeLogin(ctx, token.Actor{Account: attempt.account}, username, req.RenewalHash, forPassword)
}

func (s *Service) handleRecoveryFinish(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	var req api.RecoveryFinishRequest
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	login, err := s.RecoveryFinish(r.Context(), req)
	return s.answerLogin(w, login, err)
}

const sqlReadRecovery = `
SELECT n.name, a.recovery_verifier FROM account a JOIN login_name n ON n.account_id = a.id AND n.kind = 'username'
WHERE a.id = $1`

func readRecovery(
	ctx context.Context, q sqldb.Querier, account api.AccountID,
) (username string, verifier [32]byte, err error) {
	err = q.QueryRow(ctx, sqlReadRecovery, account[:]).Scan(&username, sqldb.Blob(verifier[:]))
	return username, verifier, err
}
