package user_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/httpx"
	"sotto/internal/limit"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/token"
	"sotto/internal/user"
)

var start = time.Date(2026, 3, 1, 12, 34, 56, 0, time.UTC)

// world is one server with its database, reached over HTTP like any other.
type world struct {
	t       testing.TB
	db      *sqldb.DB
	service *user.Service
	handler http.Handler
	chat    *chatLog
	limits  *limitLog
	clock   *clock
	rand    io.Reader
	signer  *token.Signer
	epoch   uint64
}

// clock is moved by the test. Requests may read it from several goroutines.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// seeded is a deterministic source for keys and ids, safe for concurrent use.
type seeded struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newSeeded(seed byte) *seeded { return &seeded{r: rand.NewChaCha8([32]byte{seed})} }

func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// chatLog stands for the chat service and can be made to fail.
type chatLog struct {
	mu      sync.Mutex
	changed []api.AccountLists
	ended   []api.LoginID
	down    bool
}

var errChatDown = errors.New("chat does not answer")

func (c *chatLog) DevicesChanged(_ context.Context, lists api.AccountLists) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return errChatDown
	}
	c.changed = append(c.changed, lists)
	return nil
}

func (c *chatLog) LoginEnded(_ context.Context, _ api.AccountID, login api.LoginID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return errChatDown
	}
	c.ended = append(c.ended, login)
	return nil
}

// limitLog allows everything and counts it, except names that the test has closed.
type limitLog struct {
	mu     sync.Mutex
	counts map[limit.Name]map[string]int
	closed map[limit.Name]bool
}

func (l *limitLog) Allow(_ context.Context, name limit.Name, key string) (time.Duration, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts[name] == nil {
		l.counts[name] = map[string]int{}
	}
	l.counts[name][key]++
	return time.Minute, !l.closed[name], nil
}

// newWorld starts a server whose only accounts are alice and bob, each with one device that has oneTime prekeys of each
// sort. They were registered once for the whole package, because each registration takes a bcrypt of the real cost.
func newWorld(t testing.TB) (w *world, alice, bob *person) {
	t.Helper()
	w = worldOn(t, sqldbtest.Filled(t, "alice and bob", func(db *sqldb.DB) { registerBoth(t, db) }, series...))
	people, _ := newPeople(t)
	for i, p := range people {
		p.devices[0].login = templateLogins[sqldbtest.On(t)][i]
	}
	return w, people[0], people[1]
}

const oneTime = 5

// newPeople makes the same two people with the same keys every time.
func newPeople(t testing.TB) (people []*person, requests []api.RegisterRequest) {
	t.Helper()
	rand := newSeeded(1)
	for _, name := range []string{"alice", "bob"} {
		p := newPerson(t, rand, name)
		people = append(people, p)
		requests = append(requests, p.registration(oneTime))
	}
	return people, requests
}

// templateLogins are what registering both answered, on each engine.
var templateLogins = map[sqldbtest.Engine][]api.Login{}

func registerBoth(t testing.TB, db *sqldb.DB) {
	t.Helper()
	w := worldOn(t, db)
	_, requests := newPeople(t)
	for _, req := range requests {
		var login api.Login
		w.must(http.MethodPost, "/api/user/register", "", req, &login)
		templateLogins[sqldbtest.On(t)] = append(templateLogins[sqldbtest.On(t)], login)
	}
}

func worldOn(t testing.TB, db *sqldb.DB) *world {
	t.Helper()
	return seededWorld(t, db, byte(3+len(templateLogins[sqldbtest.On(t)])))
}

func seededWorld(t testing.TB, db *sqldb.DB, seed byte) *world {
	t.Helper()
	w := &world{
		t: t, db: db, clock: &clock{now: start}, chat: &chatLog{}, rand: newSeeded(2), epoch: 7,
		limits: &limitLog{counts: map[limit.Name]map[string]int{}, closed: map[limit.Name]bool{}},
	}
	signer, err := token.NewSigner(bytes.Repeat([]byte{1}, 32), w.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	w.signer = signer
	// Ids differ from the template's, so the seed does.
	w.service, err = user.New(user.Config{
		DB: db, Now: w.clock.Now, Rand: newSeeded(seed), Logger: slog.New(slog.DiscardHandler), Signer: signer,
		Chat: w.chat, Allow: w.limits.Allow, Epoch: func() uint64 { return w.epoch }, WakeRelay: func() {},
		Pepper: bytes.Repeat([]byte{2}, 32), FakeSecret: bytes.Repeat([]byte{3}, 32), AttemptKey: bytes.Repeat([]byte{4}, 32),
		Server: "sottod test", Limits: api.Limits{Devices: api.MaxDevices},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &httpx.Server{Verify: w.service.Verify, Allow: w.limits.Allow, Logger: slog.New(slog.DiscardHandler), NewRequestID: func() string { return "r" }}
	mux, err := server.Mux(w.service.Routes())
	if err != nil {
		t.Fatal(err)
	}
	if w.handler, err = server.Guard(mux); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := server.Panics.Load(); n != 0 {
			t.Errorf("%d handlers panicked", n)
		}
	})
	return w
}

var series = []sqldbtest.Series{{Name: user.Series, Files: user.Migrations}, {Name: outbox.Series, Files: outbox.Migrations}}

// send makes a request with a raw body; nil for none.
func (w *world) send(method, path, bearer string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// call makes a request and decodes its answer into res, or returns the problem.
func (w *world) call(method, path, bearer string, req, res any) *api.Problem {
	w.t.Helper()
	var body []byte
	if req != nil {
		body = marshal(w.t, req)
	}
	return w.decode(w.send(method, path, bearer, body), res)
}

func (w *world) decode(rec *httptest.ResponseRecorder, res any) *api.Problem {
	w.t.Helper()
	if rec.Code >= http.StatusBadRequest {
		var p api.Problem
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Status != rec.Code || p.Code == "" {
			w.t.Fatalf("status %d without a problem document: %s", rec.Code, rec.Body)
		}
		return &p
	}
	if rec.Code == http.StatusNoContent {
		return nil
	}
	if res == nil {
		w.t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	d := json.NewDecoder(rec.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(res); err != nil {
		w.t.Fatal(err)
	}
	return nil
}

// sign makes a token without a device.
func (w *world) sign(account api.AccountID, login api.LoginID) string {
	w.t.Helper()
	signed, _, err := w.signer.Sign(token.Actor{Account: account, Login: login})
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// must is call for requests that have to succeed.
func (w *world) must(method, path, bearer string, req, res any) {
	w.t.Helper()
	if p := w.call(method, path, bearer, req, res); p != nil {
		w.t.Fatalf("%s %s: %+v", method, path, p)
	}
}

// refused is call for requests that have to fail with code and change no table.
func (w *world) refused(code, method, path, bearer string, req any) *api.Problem {
	w.t.Helper()
	before := w.dump()
	p := w.call(method, path, bearer, req, &json.RawMessage{})
	if p == nil || p.Code != code {
		w.t.Errorf("%s %s: got %+v, want code %s", method, path, p, code)
		return &api.Problem{}
	}
	if after := w.dump(); after != before {
		w.t.Errorf("%s %s was refused with %s and changed the tables:\n%s\nbefore:\n%s", method, path, code, after, before)
	}
	return p
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}
