// Package notification tells people that something happened while they were away: in a list in the client, by mail, and
// by Web Push or FCM. It learns from events what happened and never what was written or by whom.
//
// An event and everything that follows from it are stored in one transaction, together with the event's id, so that an
// event that comes again changes nothing. What has to leave the server is a row in job; a worker takes due rows, sends
// and deletes them. Crash windows: before the commit the broker delivers the event again; after it the job is there;
// between a delivery and the deletion of its job the same mail, with the same Message-ID, or the same push, with the
// same topic, leaves once more, which mail programs and push services fold into one.
package notification

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/limit"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Series is the name of Migrations in sqldb.DB.Migrate. The database also needs the series of outbox and asset.
const Series = "notification"

// Migrations make the tables of this service.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Queue is the name of this service's queue at the broker.
const Queue = "notification"

// Types are the events that the queue asks for.
func Types() []event.Type {
	return []event.Type{event.MessageWaiting, event.AccountNotice, event.AddressGiven, event.ResetAsked, event.LoginEnded}
}

// Users is the user service.
type Users interface {
	// Recipient tells where mail for an account goes.
	Recipient(ctx context.Context, id api.AccountID) (api.Recipient, error)
	// PublicKeys returns the keys that verify tokens, the current one first.
	PublicKeys(ctx context.Context) ([]token.PublicKey, error)
}

// Mailer hands one mail to a mail server or provider. An error that wraps ErrGiveUp is final; any other is tried again.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// ErrGiveUp is wrapped by errors that no later try can mend.
var ErrGiveUp = errors.New("trying again cannot help")

// Config holds what the service needs from outside. Every field is required unless stated otherwise.
type Config struct {
	DB     *sqldb.DB // migrated
	Now    func() time.Time
	Rand   io.Reader // safe for concurrent use
	Logger *slog.Logger
	Users  Users
	// Hint reaches the account's sockets, wherever they are. It may lose what it is given.
	Hint  func(ctx context.Context, account api.AccountID, payload []byte) error
	Allow func(ctx context.Context, name limit.Name, key string) (retryAfter time.Duration, ok bool, err error)

	Mailer    Mailer // nil: there is no mail
	FCM       *FCM   // nil: devices push by Web Push only
	PublicURL string // that mails and pages link to, without a slash at the end

	Assets *asset.Store // over the same database; nil where no route is served and there is no logo
	Logo   *Logo        // nil: mails have no picture

	VAPID   *ecdh.PrivateKey // P-256; names this server to push services
	Contact string           // of the operator, for push services: mailto: or https: URL
	// LinkKey makes unsubscribe links and topics of push messages. 32 bytes, the same on every replica and in backups.
	LinkKey []byte
	// Alone tells that no other process works on this database: what one that died had taken is free at the start.
	Alone bool
	// LocalPush lets push messages go to private and loopback addresses. For tests and for push services in one's own
	// network.
	LocalPush bool
}

// Service answers for notifications. It is safe for concurrent use. Nothing leaves the server before Run.
type Service struct {
	Config
	verifier *token.Verifier
	push     *pusher
	logoSum  [sha256.Size]byte // of the logo; its name
	wake     chan struct{}     // a job may be due

	signInRefused atomic.Bool // of FCM, and the log says so

	// Counts of what became of jobs and input, for the metrics.
	Mailed, Pushed, Retried, GaveUp, Refused atomic.Int64
}

const linkKeySize = 32 // bytes

// New checks the secrets, without touching the database.
func New(c Config) (*Service, error) {
	if len(c.LinkKey) != linkKeySize {
		return nil, fmt.Errorf("the key of unsubscribe links has %d bytes instead of %d", len(c.LinkKey), linkKeySize)
	}
	s := &Service{Config: c, wake: make(chan struct{}, 1)}
	if c.Logo != nil {
		s.logoSum = sha256.Sum256(c.Logo.Content)
	}
	keys := token.NewKeyCache(func(ctx context.Context) ([]token.PublicKey, error) { return s.Users.PublicKeys(ctx) }, c.Now)
	s.verifier = token.NewVerifier(keys.Get, c.Now)
	var err error
	s.push, err = newPusher(c)
	return s, err
}

// Run sends what is due and tidies up until ctx ends. What was being sent then is finished or tried again later.
func (s *Service) Run(ctx context.Context) {
	parts := []func(context.Context){s.work, s.upkeep, s.Assets.Run}
	if s.Logo != nil && s.publish(ctx) != nil {
		parts = append(parts, s.publishLater)
	}
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}

// errEnded is the answer to a token whose login has ended.
var errEnded = errs.New(errs.Unauthenticated, api.CodeUnauthenticated, "This login has ended. Sign in again.")

const sqlReadEnded = `SELECT until FROM ended_login WHERE login = $1`

// Verify checks a token and that its login has not ended.
func (s *Service) Verify(ctx context.Context, t string) (token.Actor, error) {
	actor, _, err := s.verifier.Verify(t)
	if err != nil {
		return token.Actor{}, err
	}
	var until int64
	err = s.DB.QueryRow(ctx, sqlReadEnded, actor.Login[:]).Scan(&until)
	switch {
	case err == nil:
		return token.Actor{}, errEnded
	case errors.Is(err, sqldb.ErrNoRows):
		return actor, nil
	}
	return token.Actor{}, errs.Wrap("reading ended logins", err)
}

const busyRetryAfter = time.Second

// tx is sqldb.DB.Tx with the errors that a client can do something about. Everything here may be repeated.
func (s *Service) tx(ctx context.Context, name string, fn func(*sqldb.Tx) error) error {
	err := s.DB.Tx(ctx, name, fn)
	if errors.Is(err, sqldb.ErrCommitUnknown) || sqldb.IsBusy(err) {
		return errs.New(errs.Unavailable, api.CodeUnavailable,
			"The server could not store that for certain. Repeat the same request.").
			WithRetryAfter(busyRetryAfter).Because(err)
	}
	return err
}

func (s *Service) nowMillis() int64 { return s.Now().UnixMilli() }

// orNull keeps a zero id out of a column whose rows have one or none.
func orNull(id *api.ConversationID) any {
	if id == nil {
		return nil
	}
	return id[:]
}

// number is a boolean as it is stored.
func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
