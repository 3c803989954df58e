// Package user owns accounts, login names, logins, devices, signed device lists, prekeys and key bundles. It checks
// every signature that it can check before it stores anything, and never holds a password, a proof or a private key.
package user

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/limit"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Series is the name of Migrations in sqldb.DB.Migrate. The database also needs the series of package outbox.
const Series = "user"

// Migrations make the tables of this service.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Chat is what the chat service is told after a commit. Both calls may be repeated and may overtake each other; the
// event in the outbox says the same again, so an error delays and loses nothing.
type Chat interface {
	DevicesChanged(ctx context.Context, lists api.AccountLists) error
	LoginEnded(ctx context.Context, account api.AccountID, login api.LoginID) error
}

// Config holds what the service needs from outside. Every field is required.
type Config struct {
	DB     *sqldb.DB // migrated
	Now    func() time.Time
	Rand   io.Reader // safe for concurrent use
	Logger *slog.Logger
	Signer *token.Signer
	Chat   Chat
	Allow  func(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error)
	Epoch  func() uint64 // of the server, for api.Info
	// WakeRelay is called after each commit that left an event in the outbox.
	WakeRelay func()

	Pepper     []byte // 32 bytes under every verifier; changing it locks everyone out
	FakeSecret []byte // 32 bytes, the same on every replica and in backups
	AttemptKey []byte // 32 bytes, the same on every replica

	Server       string     // name and version for api.Info
	Limits       api.Limits // for api.Info
	SecureCookie bool       // clients come through TLS
}

const secretSize = 32 // bytes

// Service answers for accounts. It is safe for concurrent use.
type Service struct {
	Config
	attempts *attemptSealer
	hashing  *hashing
	verifier *token.Verifier
}

// New checks the secrets. The service needs no start and no stop: it runs only while it is called.
func New(c Config) (*Service, error) {
	secrets := map[string][]byte{"pepper": c.Pepper, "fake secret": c.FakeSecret, "attempt key": c.AttemptKey}
	for name, secret := range secrets {
		if len(secret) != secretSize {
			return nil, fmt.Errorf("the %s has %d bytes instead of %d", name, len(secret), secretSize)
		}
	}
	attempts, err := newAttemptSealer(c.AttemptKey, c.Rand)
	if err != nil {
		return nil, err
	}
	return &Service{
		Config: c, attempts: attempts, hashing: newHashing(c.Pepper, max(1, runtime.NumCPU()/2)),
		verifier: token.NewVerifier(c.Signer.PublicKeys, c.Now),
	}, nil
}

// PublicKeys are the keys that verify this service's tokens, for the other services.
func (s *Service) PublicKeys(context.Context) ([]token.PublicKey, error) {
	return s.Signer.PublicKeys(), nil
}

const busyRetryAfter = time.Second

// tx is sqldb.DB.Tx with the errors that a client can do something about. Repeating the same request is safe after
// either: every write here is told apart by an id that the client chose, a version or a state.
func (s *Service) tx(ctx context.Context, name string, fn func(*sqldb.Tx) error) error {
	err := s.DB.Tx(ctx, name, fn)
	if errors.Is(err, sqldb.ErrCommitUnknown) || sqldb.IsBusy(err) {
		return errs.New(errs.Unavailable, api.CodeUnavailable,
			"The server could not store that for certain. Repeat the same request.").
			WithRetryAfter(busyRetryAfter).Because(err)
	}
	return err
}

const sqlLockAccount = `SELECT id FROM account WHERE id = $1 FOR NO KEY UPDATE`

// accountTx is tx for what concerns one account. Every transaction that changes something of an account begins with its
// row, so that those of one account run one after the other, on every replica.
func (s *Service) accountTx(ctx context.Context, account api.AccountID, name string, fn func(*sqldb.Tx) error) error {
	return s.tx(ctx, name, func(tx *sqldb.Tx) error {
		if err := tx.Lock(ctx, sqlLockAccount, account[:]); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *Service) nowMillis() int64 { return s.Now().UnixMilli() }

// allow counts one action and returns the error to answer with when there were too many.
func (s *Service) allow(ctx context.Context, name limit.Name, key string) error {
	retryAfter, ok, err := s.Allow(ctx, name, key)
	if err != nil {
		return errs.Wrap("counting "+string(name), err)
	}
	if !ok {
		return errs.New(errs.Limited, api.CodeLimited, "That was too often. Wait a little and try again.").
			WithRetryAfter(retryAfter)
	}
	return nil
}

// readAll runs a statement that returns rows; scan gives the destinations of one. No rows are an empty slice, in JSON
// []. It closes the rows before it returns, so that the next statement of a transaction may run.
func readAll[T any](
	ctx context.Context, q sqldb.Querier, scan func(row *T) []any, statement string, args ...any,
) ([]T, error) {
	rows, err := q.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		var row T
		if err := rows.Scan(scan(&row)...); err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}
