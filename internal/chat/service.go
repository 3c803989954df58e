// Package chat owns conversations and their members, messages, mailboxes, the archive and all sockets. It stores
// ciphertext it cannot open, gives every message a position and a tag, and keeps each envelope until the device it is
// for has acknowledged it.
//
// Sends and acknowledgements each go through one goroutine that commits whatever waits in one transaction (batch.go), so
// that the number of fsyncs does not grow with the number of clients. Sockets are told only after the commit, and
// whatever a socket was not told, its client finds in the mailbox.
package chat

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/errs"
	"sotto/internal/limit"
	"sotto/internal/outbox"
	"sotto/internal/socketio"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Series is the name of Migrations in sqldb.DB.Migrate.
const Series = "chat"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations make the tables of this service. The series of package outbox goes into the same database.
func Migrations() fs.FS { return migrations }

// Users is the user service.
type Users interface {
	// Accounts returns the newest signed list and the status of the devices of each account that exists.
	Accounts(ctx context.Context, ids []api.AccountID) ([]api.AccountLists, error)
	// PublicKeys returns the keys that verify tokens, the current one first.
	PublicKeys(ctx context.Context) ([]token.PublicKey, error)
}

// Hints are wake-ups between the replicas of this service, and a map whose entries expire. All of it may be lost.
type Hints interface {
	Publish(ctx context.Context, account api.AccountID, payload []byte) error
	Subscribe(account api.AccountID, fn func(payload []byte)) (cancel func())
	Set(ctx context.Context, key string, val []byte, ttl time.Duration) error
	Get(ctx context.Context, key string) (val []byte, ok bool, err error)
	Delete(ctx context.Context, key string) error
}

// TagKey is a server key of franking tags. Keys that made tags are kept for 400 days.
type TagKey struct {
	ID  uint32
	Key [32]byte
}

// Config holds what the service needs from outside. Every field is required unless stated otherwise.
type Config struct {
	DB     *sqldb.DB // migrated: Series and outbox.Series
	Now    func() time.Time
	Rand   io.Reader // safe for concurrent use
	Logger *slog.Logger
	Users  Users
	Hints  Hints
	Allow  func(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error)
	Epoch  func() uint64 // of the server; raised by a restore
	TagKey TagKey        // makes the tags of new messages
	Assets *asset.Store  // over the same database; nil in tests that have no assets

	// WakeRelay makes the relay look at the outbox at once; nil when its own pace will do.
	WakeRelay func()
	// Origins decides which pages may open a socket; nil allows those of the same host.
	Origins func(origin string, r *http.Request) bool
}

// Service answers for conversations. It is safe for concurrent use. Nothing is stored before Run, which also ends it.
type Service struct {
	Config
	verifier *token.Verifier
	ended    *endedLogins
	hub      *hub
	presence *presence
	sockets  *socketio.Server
	sweeping *outbox.Lease
	sends    *batcher[send, sendResult]
	acks     *batcher[ack, ackResult]

	// Holes counts positions that a sync could answer with neither an entry nor a reason. It must stay 0.
	Holes atomic.Int64
	// Repeated counts sends that were stored before and got their first answer again.
	Repeated atomic.Int64
	// Announced counts events about waiting messages.
	Announced atomic.Int64
	// Supplements counts envelopes that were added to stored messages.
	Supplements atomic.Int64
}

// New makes the service and its Socket.IO server, without touching the database.
func New(c Config) (*Service, error) {
	s := &Service{Config: c, ended: &endedLogins{}, presence: newPresence()}
	keys := token.NewKeyCache(func(ctx context.Context) ([]token.PublicKey, error) { return s.Users.PublicKeys(ctx) }, c.Now)
	s.verifier = token.NewVerifier(keys.Get, c.Now)
	var err error
	if s.sweeping, err = outbox.NewLease("sweep", c.Rand, c.Logger); err != nil {
		return nil, err
	}
	if s.WakeRelay == nil {
		s.WakeRelay = func() {}
	}
	if s.hub, err = newHub(c.Hints, c.Rand, c.Logger); err != nil {
		return nil, err
	}
	s.hub.present = s.presence.changed
	s.sends = newBatcher(c.Logger, s.storeSends, s.pushSends)
	s.acks = newBatcher(c.Logger, s.storeAcks, s.pushAcks)
	if s.sockets, err = s.newSocketServer(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run stores, watches for ended logins and tidies up until ctx ends. What was handed in before is then still stored and
// answered; what comes later is refused as unavailable. Sockets have to be drained first.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	parts := []func(context.Context){s.sends.run, s.acks.run, s.watchEnded, s.upkeep, s.sweep, s.poll, s.runPresence}
	if s.Assets != nil {
		parts = append(parts, s.Assets.Run)
	}
	for _, part := range parts {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}

// Drain ends the sockets, spread over the given time, and waits for their handlers.
func (s *Service) Drain(ctx context.Context, over time.Duration) {
	s.sockets.Drain(ctx, over)
	s.sockets.Close()
}

const busyRetryAfter = time.Second

// errUnknownOutcome is safe to answer with repeating: a message id, an entry id and a generation tell a repetition.
var errUnknownOutcome = errs.New(errs.Unavailable, api.CodeUnavailable,
	"The server could not store that for certain. Repeat the same request.").WithRetryAfter(busyRetryAfter)

// tx is sqldb.DB.Tx with the errors that a client can do something about.
func (s *Service) tx(ctx context.Context, name string, fn func(*sqldb.Tx) error) error {
	err := s.DB.Tx(ctx, name, fn)
	if errors.Is(err, sqldb.ErrCommitUnknown) || sqldb.IsBusy(err) {
		return errUnknownOutcome.Because(err)
	}
	return err
}

// accountsTx is tx for what concerns some accounts. Every transaction that changes something of an account begins with its
// row, so that those of one account run one after the other, on every replica: entries of a mailbox and records of an
// archive become visible in the order of their numbers, and no two transactions wait for each other.
func (s *Service) accountsTx(ctx context.Context, ids []api.AccountID, name string, fn func(*sqldb.Tx) error) error {
	return s.tx(ctx, name, func(tx *sqldb.Tx) error {
		if err := lockAccounts(ctx, tx, ids); err != nil {
			return err
		}
		return fn(tx)
	})
}

const sqlLockAccounts = `SELECT id FROM account WHERE id IN %s ORDER BY id FOR NO KEY UPDATE`

// lockAccounts is for at most sqldb.MaxIn accounts; none locks nothing.
func lockAccounts(ctx context.Context, tx *sqldb.Tx, ids []api.AccountID) error {
	if len(ids) == 0 {
		return nil
	}
	return errs.Wrap("locking accounts", tx.Lock(ctx, fmt.Sprintf(sqlLockAccounts, sqldb.In(1, len(ids))), idArgs(ids)...))
}

func (s *Service) nowMillis() int64 { return s.Now().UnixMilli() }

// allow counts one action of the actor's account and returns the error to answer with when there were too many.
func (s *Service) allow(ctx context.Context, name limit.Name, actor token.Actor) error {
	retryAfter, ok, err := s.Allow(ctx, name, actor.Account.String())
	if err != nil {
		return errs.Wrap("counting "+string(name), err)
	}
	if !ok {
		return errs.New(errs.Limited, api.CodeLimited, "That was too often. Wait a little and try again.").WithRetryAfter(retryAfter)
	}
	return nil
}

// orNull keeps an empty value out of a column whose rows have one or none.
func orNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// positive keeps 0 out of a column whose rows have a number or none.
func positive(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
