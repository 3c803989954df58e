package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/asset"
	"sotto/internal/chat"
	"sotto/internal/config"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/httpx"
	"sotto/internal/limit"
	"sotto/internal/notification"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/token"
	"sotto/internal/user"
)

// services is everything of one process behind its listener: the services of its target, and what they need of others.
type services struct {
	target target
	// A database and a service are nil when another process has them.
	userDB, chatDB, notificationDB *sqldb.DB
	chat                           *chat.Service
	user                           *user.Service
	notification                   *notification.Service
	logo                           *notification.Logo // of mails; nil for none

	epoch       uint64 // read at the start; only a restore, for which every process is stopped, raises it
	peers       peers
	shared      *shared
	relays      []*outbox.Relay
	handler     http.Handler
	guards      []*httpx.Server
	health      health
	stopRunning context.CancelFunc
	running     sync.WaitGroup
}

// newServices opens the databases, builds the services and starts what runs beside requests. dir is nil for separate
// services, which keep no files.
func newServices(
	ctx context.Context, c config.Config, t target, dir *dataDir, publicURL string, logger *slog.Logger,
) (_ *services, err error) {
	s := &services{target: t, shared: &shared{close: func() error { return nil }}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.shared.close(), s.closeDatabases())
		}
	}()
	if t.notification {
		if s.logo, err = newLogo(c); err != nil {
			return nil, err
		}
	}
	secrets, err := s.openData(ctx, c, dir, logger)
	if err != nil {
		return nil, err
	}
	if s.peers, err = newPeers(c); err != nil {
		return nil, err
	}
	if err := s.readEpoch(ctx, logger); err != nil {
		return nil, err
	}
	opened, err := openShared(c, s.chatDB, s.rates(), logger)
	if err != nil {
		return nil, err
	}
	s.shared = opened
	if err := s.build(c, secrets, publicURL, logger); err != nil {
		return nil, err
	}
	if s.handler, err = s.routes(c, publicURL, logger); err != nil {
		return nil, err
	}
	for _, db := range []struct {
		name string
		*sqldb.DB
	}{{"user database", s.userDB}, {"chat database", s.chatDB}, {"notification database", s.notificationDB}} {
		if db.DB != nil {
			s.health.parts = append(s.health.parts, part{db.name, db.Ping})
		}
	}
	s.health.optional = s.shared.parts
	if assets := s.assets(); assets != nil {
		store := &remembered{ask: assets.Backend.Check}
		s.health.optional = append(s.health.optional, part{"asset store", store.check})
	}
	return s, s.start()
}

// assets is the store of one service here, which stands for that of the other: they have one backend. nil for none.
func (s *services) assets() *asset.Store {
	switch {
	case s.chat != nil:
		return s.chat.Assets
	case s.notification != nil:
		return s.notification.Assets
	}
	return nil
}

// openData opens the databases and finds the secrets. Secrets are made before the SQLite files, and never beside accounts
// that others were used for.
func (s *services) openData(ctx context.Context, c config.Config, dir *dataDir, logger *slog.Logger) (*secrets, error) {
	if !c.Postgres() {
		found, err := findSecrets(c, s.target, dir, func() error { return nil })
		if err != nil {
			return nil, err
		}
		return found, s.openDatabases(ctx, c, logger)
	}
	if err := s.openDatabases(ctx, c, logger); err != nil {
		return nil, err
	}
	return findSecrets(c, s.target, dir, func() error { return refuseNewSecrets(ctx, s.userDB) })
}

func (s *services) openDatabases(ctx context.Context, c config.Config, logger *slog.Logger) (err error) {
	for _, d := range []struct {
		name string
		here bool
		db   **sqldb.DB
	}{
		{"user", s.target.user, &s.userDB}, {"chat", s.target.chat, &s.chatDB},
		{"notification", s.target.notification, &s.notificationDB},
	} {
		if !d.here {
			continue
		}
		if *d.db, err = openDatabase(ctx, c, d.name, logger); err != nil {
			return err
		}
	}
	return nil
}

const askEvery = time.Second // for the epoch, while the user service does not answer

// readEpoch asks the user service when that is another process, for as long as it takes: services start in any order.
func (s *services) readEpoch(ctx context.Context, logger *slog.Logger) (err error) {
	if s.target.user {
		s.epoch, err = user.ReadEpoch(ctx, s.userDB)
		return errs.Wrap("reading the server's epoch", err)
	}
	for {
		if _, s.epoch, err = s.peers.user.Keys(ctx); err == nil {
			return nil
		}
		logger.Warn("waiting for the user service", "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped while waiting for the user service: %w", ctx.Err())
		case <-time.After(askEvery):
		}
	}
}

// rates are those of the services here.
func (s *services) rates() map[limit.Name]limit.Rate {
	rates := make(map[limit.Name]limit.Rate)
	if s.target.user {
		maps.Copy(rates, user.Rates())
	}
	if s.target.chat {
		maps.Copy(rates, chat.Rates())
	}
	if s.target.notification {
		maps.Copy(rates, notification.Rates())
	}
	return rates
}

// build makes the services, which know each other only through the interfaces that each declares.
func (s *services) build(c config.Config, secrets *secrets, publicURL string, logger *slog.Logger) error {
	if s.target.chat {
		if err := s.buildChat(c, secrets, logger); err != nil {
			return err
		}
	}
	if s.target.user {
		if err := s.buildUser(c, secrets, logger); err != nil {
			return err
		}
	}
	if s.target.notification {
		assets, err := newAssets(c, "notification", s.notificationDB, logger)
		if err != nil {
			return err
		}
		s.notification, err = newNotification(c, secrets.Notification, publicURL, notification.Config{
			DB: s.notificationDB, Now: time.Now, Rand: rand.Reader, Logger: logger.With("service", "notification"),
			Users: lateUsers{s}, Hint: s.shared.hints.Publish, Allow: s.shared.allow, Assets: assets, Logo: s.logo,
		})
		return err
	}
	return nil
}

// relay publishes the outbox of one service.
func (s *services) relay(db *sqldb.DB, logger *slog.Logger, optional ...event.Type) (*outbox.Relay, error) {
	r, err := outbox.NewRelay(outbox.RelayConfig{
		DB: db, Publisher: s.shared.events, Now: time.Now, Rand: rand.Reader, Logger: logger, Optional: optional,
	})
	s.relays = append(s.relays, r)
	return r, err
}

func (s *services) buildChat(c config.Config, secrets *secrets, logger *slog.Logger) error {
	logger = logger.With("service", "chat")
	relay, err := s.relay(s.chatDB, logger, event.MessageWaiting)
	if err != nil {
		return err
	}
	assets, err := newAssets(c, "chat", s.chatDB, logger)
	if err != nil {
		return err
	}
	newest := secrets.FrankingKey[len(secrets.FrankingKey)-1]
	s.chat, err = chat.New(chat.Config{
		DB: s.chatDB, Now: time.Now, Rand: rand.Reader, Logger: logger, Users: lateUsers{s}, Hints: s.shared.hints,
		Allow: s.shared.allow, Epoch: func() uint64 { return s.epoch }, WakeRelay: relay.Wake,
		TagKey: chat.TagKey{ID: newest.KID, Key: [32]byte(newest.Key)}, Origins: origins(c.CORSOrigins),
		Assets: assets,
	})
	return err
}

func (s *services) buildUser(c config.Config, secrets *secrets, logger *slog.Logger) error {
	logger = logger.With("service", "user")
	relay, err := s.relay(s.userDB, logger)
	if err != nil {
		return err
	}
	signer, err := token.NewSigner(secrets.JWT, time.Now)
	if err != nil {
		return err
	}
	var other user.Chat = s.peers.chat
	if s.chat != nil {
		other = s.chat
	}
	s.user, err = user.New(user.Config{
		DB: s.userDB, Now: time.Now, Rand: rand.Reader, Logger: logger, Signer: signer, Chat: other,
		Allow: s.shared.allow, Epoch: func() uint64 { return s.epoch }, WakeRelay: relay.Wake,
		Pepper: secrets.Pepper, FakeSecret: secrets.FakeSecret, AttemptKey: secrets.AttemptKey,
		Server: Version(), Limits: serverLimits, SecureCookie: c.Secure(),
	})
	return err
}

// serverLimits is what GET /api/info tells.
var serverLimits = api.Limits{
	Devices: api.MaxDevices, SendBody: api.MaxSendBody, MailboxEntries: api.MaxMailboxEntries, MailboxBytes: api.MaxMailboxBytes,
	PaddedContent: e2ee.MaxPadded, OneTimePreKeys: api.MaxOneTimePreKeys, MailboxIdleDays: api.MailboxIdleDays,
}

// start subscribes the consumers first, then starts what publishes to them.
func (s *services) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	s.stopRunning = cancel
	if s.chat != nil {
		types := []event.Type{event.DevicesChanged, event.LoginEnded}
		if err := s.shared.events.Subscribe(ctx, "chat", types, s.chat.HandleEvent); err != nil {
			cancel()
			return errs.Wrap("subscribing chat", err)
		}
		s.running.Go(func() { s.chat.Run(ctx) })
	}
	if s.notification != nil {
		if err := s.shared.events.Subscribe(ctx, notification.Queue, notification.Types(), s.notification.HandleEvent); err != nil {
			cancel()
			return errs.Wrap("subscribing notification", err)
		}
		s.running.Go(func() { s.notification.Run(ctx) })
	}
	for _, r := range s.relays {
		s.running.Go(func() { r.Run(ctx) })
	}
	for _, run := range s.shared.run {
		s.running.Go(func() { run(ctx) })
	}
	return nil
}

// close ends what runs beside requests, then the connections. Nothing uses either any more.
func (s *services) close() error {
	s.stopRunning()
	s.running.Wait()
	return errors.Join(s.shared.close(), s.closeDatabases())
}

func (s *services) closeDatabases() error {
	var all []error
	for _, db := range []*sqldb.DB{s.userDB, s.chatDB, s.notificationDB} {
		if db != nil {
			all = append(all, db.Close())
		}
	}
	return errors.Join(all...)
}
