package notification_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/disk"
	"sotto/internal/event"
	"sotto/internal/limit"
	"sotto/internal/notification"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/token"
)

// world is one service over a database of its own, with a clock that the test moves.
type world struct {
	t testing.TB
	*notification.Service
	db     *sqldb.DB
	store  *store
	signer *token.Signer
	logs   strings.Builder

	mu       sync.Mutex
	now      time.Time
	address  map[api.AccountID]string
	hints    []string
	accounts byte
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Recipient and PublicKeys make the world the user service.
func (w *world) Recipient(_ context.Context, id api.AccountID) (api.Recipient, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.Recipient{Username: "ada", Address: w.address[id]}, nil
}

func (w *world) PublicKeys(context.Context) ([]token.PublicKey, error) {
	return w.signer.PublicKeys(), nil
}

// start is Monday noon in UTC.
var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, mailer notification.Mailer) *world {
	t.Helper()
	return newWorldWith(t, mailer, true)
}

// newStrictWorld pushes to public addresses only.
func newStrictWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, nil, false)
}

func newWorldWith(t testing.TB, mailer notification.Mailer, local bool) *world {
	t.Helper()
	w := &world{t: t, now: start, address: map[api.AccountID]string{}}
	w.db = sqldbtest.Open(t,
		sqldbtest.Series{Name: notification.Series, Files: notification.Migrations},
		sqldbtest.Series{Name: outbox.Series, Files: outbox.Migrations},
		sqldbtest.Series{Name: asset.Series, Files: asset.Migrations()})
	files, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.store = &store{Backend: files}
	if w.signer, err = token.NewSigner([]byte(strings.Repeat("secret", 6)), w.clock); err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(&w.logs, nil))
	w.Service, err = notification.New(notification.Config{
		DB: w.db, Now: w.clock, Rand: rand.Reader, Logger: logger, Users: w,
		Assets: &asset.Store{DB: w.db, Backend: w.store, Now: w.clock, Rand: rand.Reader, Logger: logger, Quota: 1 << 20},
		Hint: func(_ context.Context, _ api.AccountID, payload []byte) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.hints = append(w.hints, string(payload))
			return nil
		},
		Allow:  func(context.Context, limit.Name, string) (time.Duration, bool, error) { return 0, true, nil },
		Mailer: mailer, PublicURL: "https://chat.example.org", VAPID: key, Contact: "https://chat.example.org",
		LinkKey: make([]byte, 32), LocalPush: local,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// store is a backend of assets that may be away.
type store struct {
	asset.Backend
	away atomic.Bool
}

func (s *store) Put(ctx context.Context, name string, content []byte) error {
	if s.away.Load() {
		return errors.New("the store is away")
	}
	return s.Backend.Put(ctx, name, content)
}

// another is a replica of the world's service over the same database, or the service after a start with other settings.
func (w *world) another(change func(*notification.Config)) *notification.Service {
	w.t.Helper()
	c := w.Config
	change(&c)
	s, err := notification.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// newActor is a device of a new account with an address.
func (w *world) newActor() token.Actor {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accounts++
	a := token.Actor{
		Account: api.AccountID{w.accounts}, Device: api.DeviceID{w.accounts}, Login: api.LoginID{w.accounts}, WireDevice: 1,
	}
	w.address[a.Account] = strings.Repeat("a", int(w.accounts)) + "@example.org"
	return a
}

// event makes an event of now.
func (w *world) event(typ event.Type, account api.AccountID, body any) event.Event {
	w.t.Helper()
	var id api.EventID
	_, _ = rand.Read(id[:])
	e, err := event.New(id, typ, account, w.clock(), body)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func waiting(conversation api.ConversationID, count int) event.Waiting {
	return event.Waiting{Conversations: []event.ConversationWaiting{{ConversationID: conversation, Count: count}}}
}

// happens hands an event to the service.
func (w *world) happens(e event.Event) {
	w.t.Helper()
	if err := w.HandleEvent(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

// work lets the worker do what is due now, until nothing is.
func (w *world) work() {
	w.t.Helper()
	for {
		n, err := w.WorkOnce(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (w *world) list(a token.Actor) api.Notifications {
	w.t.Helper()
	page, err := w.List(w.t.Context(), a, 0, api.MaxNotificationPage)
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

func (w *world) set(a token.Actor, change func(*api.NotificationSettings)) {
	w.t.Helper()
	set, err := w.Settings(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	change(&set)
	if _, err := w.SetSettings(w.t.Context(), a, set); err != nil {
		w.t.Fatal(err)
	}
}
