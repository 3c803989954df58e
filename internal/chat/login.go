package chat

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	// revokeEvery is how often every replica reads the ended logins and removed devices: without any hint, a revocation
	// takes effect within a second.
	revokeEvery = time.Second
	// tokenOutlives is for how long a token of an ended login may still verify, with room for clock differences.
	tokenOutlives = (api.TokenLifetimeSeconds + 60) * time.Second
)

// errEnded is the answer to a token whose login has ended.
var errEnded = errs.New(errs.Unauthenticated, api.CodeUnauthenticated, "This login has ended. Sign in again.")

// Verify checks a token and that its login has not ended.
func (s *Service) Verify(_ context.Context, t string) (token.Actor, error) {
	actor, _, err := s.verifier.Verify(t)
	if err != nil {
		return token.Actor{}, err
	}
	if s.ended.has(actor.Login) {
		return token.Actor{}, errEnded
	}
	return actor, nil
}

// LoginEnded refuses the login's tokens from now on and ends its sockets, here at once and on other replicas within a
// second. Repeating it changes nothing.
func (s *Service) LoginEnded(ctx context.Context, account api.AccountID, login api.LoginID) error {
	until := s.Now().Add(tokenOutlives).UnixMilli()
	if err := s.tx(ctx, "login ended", func(tx *sqldb.Tx) error {
		return insertEnded(ctx, tx, account, login, until)
	}); err != nil {
		return errs.Wrap("recording an ended login", err)
	}
	s.loginEnded(ctx, account, login)
	return nil
}

// loginEnded follows the commit.
func (s *Service) loginEnded(ctx context.Context, account api.AccountID, login api.LoginID) {
	s.ended.add(login)
	s.hub.cutLogins(s.ended.has)
	s.hub.tell(ctx, account, note{Revoked: true})
}

// watchEnded reads the two small tables each second and when a hint says that they changed.
func (s *Service) watchEnded(ctx context.Context) {
	tick := time.NewTicker(revokeEvery)
	defer tick.Stop()
	for {
		if err := s.readRevoked(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "ended logins were not read", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.hub.revoked:
		}
	}
}

// readRevoked takes over what any replica recorded, and cuts the sockets concerned.
func (s *Service) readRevoked(ctx context.Context) error {
	now := s.nowMillis()
	logins, err := readEnded(ctx, s.DB, now)
	if err != nil {
		return err
	}
	devices, err := readRemovedDevices(ctx, s.DB, now)
	if err != nil {
		return err
	}
	s.ended.replace(logins)
	s.hub.cutLogins(s.ended.has)
	s.hub.cutDevices(devices, errDeviceGone)
	return nil
}

// endedLogins is this process's copy of the table.
type endedLogins struct {
	mu     sync.RWMutex
	logins map[api.LoginID]struct{}
	// added holds what was recorded here since the last read began: replace must not forget it.
	added map[api.LoginID]struct{}
}

func (e *endedLogins) has(login api.LoginID) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if _, ok := e.added[login]; ok {
		return true
	}
	_, ok := e.logins[login]
	return ok
}

func (e *endedLogins) add(login api.LoginID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.added == nil {
		e.added = make(map[api.LoginID]struct{})
	}
	e.added[login] = struct{}{}
}

// replace takes a new copy. What was added before stays until a copy contains it.
func (e *endedLogins) replace(logins map[api.LoginID]struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logins = logins
	for login := range e.added {
		if _, ok := logins[login]; ok {
			delete(e.added, login)
		}
	}
}

const sqlInsertEnded = `
INSERT INTO ended_login (login, account, until) VALUES ($1, $2, $3) ON CONFLICT (login) DO NOTHING`

func insertEnded(ctx context.Context, tx *sqldb.Tx, account api.AccountID, login api.LoginID, until int64) error {
	_, err := tx.Exec(ctx, sqlInsertEnded, login[:], account[:], until)
	return err
}

const sqlReadEnded = `SELECT login FROM ended_login WHERE until > $1`

func readEnded(ctx context.Context, q sqldb.Querier, now int64) (map[api.LoginID]struct{}, error) {
	rows, err := q.Query(ctx, sqlReadEnded, now)
	if err != nil {
		return nil, errs.Wrap("reading ended logins", err)
	}
	defer rows.Close()
	logins := make(map[api.LoginID]struct{})
	for rows.Next() {
		var id api.LoginID
		if err := rows.Scan(sqldb.Blob(id[:])); err != nil {
			return nil, errs.Wrap("reading ended logins", err)
		}
		logins[id] = struct{}{}
	}
	return logins, errs.Wrap("reading ended logins", rows.Err())
}

const sqlForgetEnded = `DELETE FROM ended_login WHERE until <= $1`

func forgetEnded(ctx context.Context, tx *sqldb.Tx, now int64) error {
	_, err := tx.Exec(ctx, sqlForgetEnded, now)
	return err
}
