// Package notification_test runs the real server against a real mail server and a push service that decrypts, and kills
// it in between.
package notification_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // writes the events that a test begins with, while the server is stopped

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/notification/notificationtest"
	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

const patience = 90 * time.Second // two busy cores; nothing here is expected to take a tenth of it

var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-notification-")
	if err == nil {
		defer os.RemoveAll(dir)
		binaries = filepath.Join(dir, "bin")
		err = testenv.Build(binaries, "sottod")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// scale multiplies the volume in make soak.
func scale(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("SOTTO_SCALE"))
	if err != nil {
		return 1
	}
	return n
}

// world is a server with the two other ends.
type world struct {
	*testing.T
	*rest.Server
	process *testenv.Serve // of newWorld
	mails   *notificationtest.MailServer
	pushes  *notificationtest.PushService
	people  []*person
}

// person has a verified address and a device that is subscribed.
type person struct {
	*rest.Device
	phone   *notificationtest.Device
	address string
	setUp   int // mails of before
}

// newEnds starts what a server needs to reach people.
func newEnds(t *testing.T) *world {
	t.Helper()
	return &world{T: t, mails: notificationtest.NewMailServer(t, notificationtest.MailOptions{}), pushes: notificationtest.NewPushService(t)}
}

// settings lead a server there.
func (w *world) settings() []string {
	return []string{
		"SOTTO_SMTP_HOST=" + w.mails.Host, fmt.Sprintf("SOTTO_SMTP_PORT=%d", w.mails.Port), "SOTTO_SMTP_TLS=none",
		"SOTTO_SMTP_FROM=sotto@example.org", "SOTTO_PUSH_LOCAL=true",
	}
}

func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	w := newEnds(t)
	var err error
	w.process, err = testenv.NewServe(binaries, filepath.Join(t.TempDir(), "data"), append(w.settings(), "SOTTO_TRUSTED_PROXIES=127.0.0.1/32")...)
	if err != nil {
		t.Fatal(err)
	}
	w.process.CleanUp(t)
	w.up()
	w.Server = &rest.Server{URL: w.process.URL}
	for _, name := range names {
		w.people = append(w.people, w.newPerson(name))
	}
	return w
}

func (w *world) up() {
	w.Helper()
	if err := w.process.Up(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	patience := patience * time.Duration(1+scale(w.T)/4)
	for deadline := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, p := range w.people {
				w.Logf("%s: %d different mails, %d of them before, %d kinds pushed", p.address, len(distinct(w.to(p.address))), p.setUp, len(pushed(w, p)))
			}
			w.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// to are the mails to an address.
func (w *world) to(address string) (all []notificationtest.Delivered) {
	for _, m := range w.mails.Mails() {
		if m.To == address {
			all = append(all, m)
		}
	}
	return all
}

var aCode = regexp.MustCompile(`\b[0-9]{8}\b`)

func (w *world) newPerson(name string) *person {
	w.Helper()
	p := &person{Device: w.Register(w, name).Devices[0], phone: w.pushes.Subscribe(w), address: name + "@example.org"}
	token := p.Login.Token
	w.Call(w, http.MethodPost, "/api/user/email/start", token, api.EmailStartRequest{Address: p.address, Proof: p.Owner.Auth}, nil)
	w.eventually("the code", func() bool { return len(w.to(p.address)) > 0 })
	body, err := io.ReadAll(w.to(p.address)[0].Body)
	if err != nil {
		w.Fatal(err)
	}
	w.Call(w, http.MethodPut, "/api/user/email", token, p.Owner.Email(w, aCode.FindString(string(body))), nil)
	w.eventually("the notice of the address", func() bool { return len(w.to(p.address)) > 1 })
	w.Call(w, http.MethodPut, "/api/notifications/push", token, p.phone.Subscription, &api.PushState{})
	p.setUp = len(w.to(p.address))
	return p
}

// add writes events into the outbox of the stopped server, as its own transactions would have.
func (w *world) add(n int) (kinds []string) {
	w.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.process.DataDir, "user.db"))
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	return w.addTo(db, "outbox", n)
}

// addTo writes n events for everybody, each of another kind.
func (w *world) addTo(db *sql.DB, table string, n int) (kinds []string) {
	w.Helper()
	tx, err := db.BeginTx(w.Context(), nil)
	if err != nil {
		w.Fatal(err)
	}
	for i := range n {
		kinds = append(kinds, fmt.Sprintf("k%d", i))
		for _, p := range w.people {
			var id api.EventID
			_, _ = rand.Read(id[:])
			body, err := json.Marshal(event.Notice{Kind: api.NotificationKind(kinds[i])})
			if err != nil {
				w.Fatal(err)
			}
			if _, err := tx.ExecContext(w.Context(), "INSERT INTO "+table+" (id, type, account, at, body) VALUES ($1, $2, $3, $4, $5)",
				id[:], string(event.AccountNotice), p.Owner.ID[:], time.Now().UnixMilli(), string(body)); err != nil {
				w.Fatal(err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		w.Fatal(err)
	}
	return kinds
}

// listed are the kinds in the list of a person.
func (w *world) listed(p *person) map[string]int {
	w.Helper()
	found := map[string]int{}
	for before := int64(0); ; {
		var page api.Notifications
		w.Call(w, http.MethodGet, fmt.Sprintf("/api/notifications?limit=100&before=%d", before), p.Login.Token, nil, &page)
		for _, n := range page.Notifications {
			found[string(n.Kind)]++
		}
		if before = page.Next; before == 0 {
			return found
		}
	}
}

// TestKilledInBetween: 500 events, and a server that is killed again and again while it works through them. Everybody is
// told of each once: in the list once, by mail once (what left twice has the same Message-ID, which mail programs show
// once), by push once (the same topic, which push services fold). Nothing is lost, and nothing says too much.
func TestKilledInBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaries()...)
	rng := w.greylist()
	if err := w.process.Stop(); err != nil {
		t.Fatal(err)
	}
	kinds := w.add(eachGets * scale(t))
	for range kills {
		w.up()
		time.Sleep(time.Duration(100+rng.IntN(400)) * time.Millisecond)
		if err := w.process.Kill9(); err != nil {
			t.Fatal(err)
		}
	}
	w.up()
	w.allTold(kinds)
	texts := map[string]string{"log": w.process.Log()}
	for _, name := range []string{"notification.db", "notification.db-wal", "chat.db", "chat.db-wal"} {
		b, err := os.ReadFile(filepath.Join(w.process.DataDir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	w.canary(texts)
}

const (
	people   = 5
	eachGets = 100 // events, times scale
	kills    = 6
)

func canaries() (names []string) {
	for i := range people {
		names = append(names, fmt.Sprintf("canary-name-%d", i))
	}
	return names
}

// greylist lets the mail server turn one mail in eight away for later, the first few times, and returns what chooses the
// moments of a run.
func (w *world) greylist() *mathrand.Rand {
	w.Helper()
	seed := mathrand.Uint64()
	w.Logf("seed %d", seed)
	var mu sync.Mutex // guards what follows, which several deliveries use
	later, greylisted := mathrand.New(mathrand.NewPCG(seed, 1)), 0
	w.mails.Refuse(func(string, int) error {
		mu.Lock()
		defer mu.Unlock()
		if later.IntN(8) == 0 && greylisted < 5 {
			greylisted++
			return notificationtest.Greylisted
		}
		return nil
	})
	return mathrand.New(mathrand.NewPCG(seed, 0))
}

// allTold waits until everybody was told of everything by mail and push, and counts.
func (w *world) allTold(kinds []string) {
	w.Helper()
	want := len(kinds)
	w.eventually("every mail and push", func() bool {
		for _, p := range w.people {
			if len(distinct(w.to(p.address))) < want+p.setUp || len(pushed(w, p)) < want {
				return false
			}
		}
		return true
	})
	for _, p := range w.people {
		list, pushes := w.listed(p), pushed(w, p)
		for _, kind := range kinds {
			if list[kind] != 1 && want <= 500 { // the list keeps a thousand
				w.Errorf("%s has %s %d times in the list", p.address, kind, list[kind])
			}
			if len(pushes[kind]) != 1 {
				w.Errorf("%s has %s under %d topics", p.address, kind, len(pushes[kind]))
			}
		}
		if n := len(distinct(w.to(p.address))); n != want+p.setUp {
			w.Errorf("%s has %d different mails, want %d", p.address, n, want+p.setUp)
		}
	}
}

// distinct are the Message-IDs.
func distinct(mails []notificationtest.Delivered) map[string]bool {
	ids := map[string]bool{}
	for _, m := range mails {
		ids[m.Header.Get("Message-ID")] = true
	}
	return ids
}

// pushed are the topics under which each kind arrived.
func pushed(t testing.TB, p *person) map[string]map[string]bool {
	t.Helper()
	kinds := map[string]map[string]bool{}
	for _, m := range p.phone.Messages() {
		var body api.PushPayload
		if err := json.Unmarshal(m.Body, &body); err != nil {
			t.Fatal(err)
		}
		if kinds[string(body.Kind)] == nil {
			kinds[string(body.Kind)] = map[string]bool{}
		}
		kinds[string(body.Kind)][m.Header.Get("Topic")] = true
	}
	return kinds
}

// canary looks for names and addresses where they do not belong: what services but user store, the broker, the log, and
// what was pushed. Bytes may be written in hexadecimal there.
func (w *world) canary(texts map[string]string) {
	w.Helper()
	for _, p := range w.people {
		for _, m := range p.phone.Messages() {
			texts["push"] += string(m.Body)
		}
	}
	for where, text := range texts {
		text = strings.ReplaceAll(text, "sotto@example.org", "") // the sender of mail, as it is configured
		for _, canary := range []string{"canary-name", "@example.org"} {
			if strings.Contains(text, canary) || strings.Contains(text, hex.EncodeToString([]byte(canary))) {
				w.Errorf("%s holds %q", where, canary)
			}
		}
	}
}

// TestCommands: the operator tries the channels and empties the queue.
func TestCommands(t *testing.T) {
	w := newWorld(t, "ada")
	ada := w.people[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := w.process.Command(ctx, "notify-test", "Ada")
	if err != nil || !strings.Contains(out, "list: stored") || !strings.Contains(out, "mail: handed") || !strings.Contains(out, "push: device 1 of 1: handed") {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out, ada.address) {
		t.Errorf("the whole address is shown:\n%s", out)
	}
	if n := len(w.to(ada.address)); n != ada.setUp+1 {
		t.Errorf("%d mails", n)
	}
	if body, err := io.ReadAll(w.to(ada.address)[ada.setUp].Body); err != nil || !strings.Contains(string(body), "http://127.0.0.1:8080/") {
		t.Errorf("the link of a server without a public URL: %v\n%s", err, body)
	}
	if pushed(t, ada)["test"] == nil || w.listed(ada)["test"] != 1 {
		t.Errorf("%v, %v", pushed(t, ada), w.listed(ada))
	}
	w.mails.Refuse(func(string, int) error { return notificationtest.NoMailbox })
	w.pushes.Forget(ada.phone)
	if out, err = w.process.Command(ctx, "notify-test", "ada"); err == nil || !strings.Contains(out, "mail: FAILED") || !strings.Contains(out, "does not know this subscription") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = w.process.Command(ctx, "notify-test", "nobody-here"); err == nil || !strings.Contains(out, "nobody here is called") {
		t.Errorf("%v\n%s", err, out)
	}

	if out, err = w.process.Command(ctx, "purge-queue", "notifications", "--yes"); err != nil || !strings.Contains(out, "notifications holds 0 entries") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := w.process.Stop(); err != nil {
		t.Fatal(err)
	}
	w.add(3)
	w.mails.Refuse(func(string, int) error { return notificationtest.Greylisted })
	w.up()
	w.eventually("the list", func() bool { return w.listed(ada)["k2"] == 1 })
	w.eventually("the end of the pushes to a device that is gone", func() bool {
		out, err = w.process.Command(ctx, "purge-queue", "notifications")
		return strings.Contains(out, "notifications holds 3 entries")
	})
	if err == nil || !strings.Contains(out, "Nothing was dropped") {
		t.Errorf("without an answer: %v\n%s", err, out)
	}
	if out, err = w.process.Command(ctx, "purge-queue", "notifications", "--yes"); err != nil || !strings.Contains(out, "Dropped 3 entries") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = w.process.Command(ctx, "purge-queue", "nonsense"); err == nil || !strings.Contains(out, "notifications") {
		t.Errorf("%v\n%s", err, out)
	}
}
