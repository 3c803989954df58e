package security_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"sotto/internal/notification/notificationtest"
	"sotto/internal/testenv"
	"sotto/internal/token"
	"sotto/test/contract/rest"
)

// All tests of this package attack one server, each with accounts of its own. It believes X-Forwarded-For of this
// machine, so that every request may come from another client.
var (
	binaries string
	process  *testenv.Serve
	server   *rest.Server
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-security-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = filepath.Join(dir, "bin")
	if err := up(filepath.Join(dir, "data")); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the security tests:", err)
		return 1
	}
	defer process.Kill9()
	status := m.Run()
	if err := process.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Attacks may cost the attacker anything, but never trip the server.
	for _, line := range strings.Split(process.Log(), "\n") {
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
			fmt.Fprintln(os.Stderr, "the server was tripped:", line)
			status = 1
		}
	}
	return status
}

func up(data string) (err error) {
	if err := testenv.Build(binaries, "sottod"); err != nil {
		return err
	}
	picture := filepath.Join(filepath.Dir(data), "logo.png")
	if err := os.WriteFile(picture, logo, 0o600); err != nil {
		return err
	}
	if process, err = testenv.NewServe(binaries, data, "SOTTO_TRUSTED_PROXIES=127.0.0.1/32", "SOTTO_MAIL_LOGO="+picture,
		"SOTTO_FCM_CREDENTIALS="+notificationtest.FCMCredentials("http://127.0.0.1:1/token")); err != nil {
		return err
	}
	server = &rest.Server{URL: process.URL}
	return process.Up(context.Background())
}

// serverSecret is what the server signs tokens with. Tests use it to make tokens that only the time makes invalid.
func serverSecret(t *testing.T) []byte {
	t.Helper()
	return secretNamed(t, "jwt")
}

// secretNamed reads one of the server's secrets of 32 bytes.
func secretNamed(t *testing.T, name string) (secret []byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(process.DataDir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	var secrets map[string]json.RawMessage
	if err := json.Unmarshal(b, &secrets); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(secrets[name], &secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// sign makes a token of a device's login as of a time, under a secret.
func sign(t *testing.T, d *rest.Device, secret []byte, at time.Time) string {
	t.Helper()
	signer, err := token.NewSigner(secret, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := signer.Sign(actorOf(d))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func actorOf(d *rest.Device) token.Actor {
	return token.Actor{Account: d.Owner.ID, Device: d.ID, WireDevice: d.Login.WireDeviceID, Login: d.Login.LoginID}
}

// watched is a database of the running server, read from outside.
type watched struct {
	service string
	conn    *sql.Conn
	version int64 // PRAGMA data_version before rows was read: changes with every commit of the server
	rows    string
}

var databases []*watched

// dump is every row of both databases, once the events of earlier requests have been handed over. Only the lease is left
// out: its holder renews it without being asked.
func dump(t *testing.T) string {
	t.Helper()
	if databases == nil {
		databases = []*watched{watch(t, "user"), watch(t, "chat"), watch(t, "notification")}
	}
	var all strings.Builder
	for _, w := range databases {
		w.look(t)
		all.WriteString(w.rows)
	}
	return all.String()
}

func watch(t *testing.T, service string) *watched {
	t.Helper()
	path := filepath.Join(process.DataDir, service+".db")
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(context.Background()) // open until the process ends
	if err != nil {
		t.Fatal(err)
	}
	return &watched{service: service, conn: conn, version: -1}
}

func (w *watched) read(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, table := range w.texts(t, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'lease' ORDER BY name") {
		w.readTable(t, &b, table)
	}
	return b.String()
}

// look reads all rows of one moment at which the outbox was empty.
func (w *watched) look(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !w.lookNow(t); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the outbox is not handed over")
		}
	}
}

func (w *watched) lookNow(t *testing.T) bool {
	t.Helper()
	tx, err := w.conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if len(w.texts(t, "SELECT type FROM outbox")) > 0 {
		return false
	}
	var version int64
	if err := w.conn.QueryRowContext(t.Context(), "PRAGMA data_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version != w.version {
		w.version, w.rows = version, w.read(t)
	}
	return true
}

func (w *watched) texts(t *testing.T, query string) (all []string) {
	t.Helper()
	rows, err := w.conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func (w *watched) readTable(t *testing.T, b *strings.Builder, table string) {
	t.Helper()
	rows, err := w.conn.QueryContext(t.Context(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(b, "%s.%s %v: %x\n", w.service, table, columns, values)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// difference names the lines that only one of two dumps has. The server announces by itself what has waited for ten
// seconds: when that, or what follows from it, happened in between, what it writes for it is left out.
func difference(before, after string) string {
	had, has := lines(before), lines(after)
	if !maps.Equal(sweeping(had), sweeping(has)) {
		had, has = withoutSweep(had), withoutSweep(has)
	}
	var b strings.Builder
	for line, n := range has {
		if n > had[line] {
			fmt.Fprintf(&b, "+ %.300s\n", line)
		}
	}
	for line, n := range had {
		if n > has[line] {
			fmt.Fprintf(&b, "- %.300s\n", line)
		}
	}
	return b.String()
}

// lines counts the lines of a dump.
func lines(dump string) map[string]int {
	all := map[string]int{}
	for line := range strings.SplitSeq(dump, "\n") {
		all[line]++
	}
	return all
}

// sweeping are the lines that tell how far the sweep, and those who handle its events, have come.
func sweeping(dump map[string]int) map[string]int {
	own := map[string]int{}
	for line, n := range dump {
		if strings.HasPrefix(line, "chat.sweep ") || strings.HasPrefix(line, "notification.inbox ") {
			own[line] = n
		}
	}
	return own
}

func withoutSweep(dump map[string]int) map[string]int {
	rest := map[string]int{}
	for line, n := range dump {
		table, _, _ := strings.Cut(line, " ")
		switch table {
		case "chat.sweep", "chat.sqlite_sequence", "notification.sqlite_sequence", "notification.inbox", "notification.item":
		case "chat.device": // its last column tells what was announced
			rest[line[:strings.LastIndex(line, " ")]] += n
		default:
			rest[line] = n
		}
	}
	return rest
}
