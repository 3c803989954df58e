package main_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sotto/api"
	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

// up starts a server that the test can stop.
func up(t *testing.T, dir string, env ...string) (*testenv.Serve, *rest.Server) {
	t.Helper()
	s, err := testenv.NewServe(binaries, dir, append(env, "SOTTO_TRUSTED_PROXIES=127.0.0.1/32")...)
	if err != nil {
		t.Fatal(err)
	}
	s.CleanUp(t)
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, &rest.Server{URL: s.URL}
}

// TestMoveToPostgreSQL moves a server with accounts and messages up, and goes on there: the same tokens, the same
// messages, the next positions. What is not possible is refused and changes nothing.
func TestMoveToPostgreSQL(t *testing.T) {
	pg, err := testenv.StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pg.CleanUp(t)
	url, err := pg.NewDatabase(t.Context(), "sotto", "")
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	small, s := up(t, data)
	alice, bob := s.Register(t, "alice").Devices[0], s.Register(t, "bob").Devices[0]
	s.Connect(t, alice)
	conversation := s.Talk(t, alice, bob)
	var sent api.Sent
	for range 5 {
		s.Write(t, alice, "/api/chat/send", alice.Message(t, conversation, alice.Owner, bob.Owner), &sent)
	}
	move := []string{"migrate-store", "--from", "sqlite:" + data, "--to", url}
	fail(t, "another sottod is using", move...)
	if err := small.Stop(); err != nil {
		t.Fatal(err)
	}
	fail(t, "written sqlite:", "migrate-store", "--from", data, "--to", url)
	fail(t, "written postgres:", "migrate-store", "--from", "sqlite:"+data, "--to", "mysql://host/sotto")
	fail(t, "no server's data", "migrate-store", "--from", "sqlite:"+t.TempDir(), "--to", url)
	out := succeed(t, move...)
	if !strings.Contains(out, "chat: message: 5 rows") || !strings.Contains(out, "user: account: 2 rows") {
		t.Errorf("no progress:\n%s", out)
	}
	succeed(t, move...) // once more does no harm
	fail(t, "were moved to PostgreSQL", "serve", "--data-dir", data, "--listen", "127.0.0.1:0")

	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	private := fmt.Sprintf("127.0.0.1:%d", port)
	large, s := up(t, data, "DATABASE_URL="+url, "SOTTO_DATABASE_CONNECTIONS=6", "SOTTO_METRICS_LISTEN="+private)
	res, err := http.Get("http://" + private + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	for _, want := range []string{
		`sotto_database_connections_max{pool="write",service="chat"} 3`, `sotto_database_waits_total{pool="read",service="user"} 0`,
	} {
		if err != nil || !strings.Contains(string(metrics), want) {
			t.Errorf("the metrics lack %s: %v", want, err)
		}
	}
	if n := epoch(t, s); n != 1 {
		t.Errorf("epoch %d", n)
	}
	s.Write(t, alice, "/api/chat/send", alice.Message(t, conversation, alice.Owner, bob.Owner), &sent)
	if sent.Seq != 6 {
		t.Errorf("the next message has seq %d", sent.Seq)
	}
	var page api.SyncPage
	s.Call(t, http.MethodGet, "/api/chat/conversations/"+conversation.String()+"/sync?from=1&limit=256", bob.Login.Token, nil, &page)
	if len(page.Items) != 6 {
		t.Errorf("%d messages", len(page.Items))
	}
	if err := large.Stop(); err != nil {
		t.Fatal(err)
	}
	succeed(t, "verify", "--data-dir", data, "--database-url", url)
	succeed(t, "migrate", "--data-dir", data, "--database-url", url, "--service", "chat")
	fail(t, "there is no service", "migrate", "--data-dir", data, "--service", "mail")
	fail(t, "pg_dump", "backup", "--data-dir", data, "--database-url", url, filepath.Join(t.TempDir(), "backup"))
	fail(t, "pg_restore", "restore", "--data-dir", t.TempDir(), "--database-url", url, t.TempDir())

	// New secrets would open nothing of what is there.
	fail(t, "secrets.json is missing", "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--database-url", url)
	// Somebody else's server is no target.
	other := filepath.Join(t.TempDir(), "other")
	third, _ := up(t, other)
	if err := third.Stop(); err != nil {
		t.Fatal(err)
	}
	second, err := pg.NewDatabase(t.Context(), "second", "")
	if err != nil {
		t.Fatal(err)
	}
	fourth, s4 := up(t, filepath.Join(t.TempDir(), "fourth"), "DATABASE_URL="+second)
	s4.Register(t, "carol")
	if err := fourth.Stop(); err != nil {
		t.Fatal(err)
	}
	fail(t, "name an empty database", "migrate-store", "--from", "sqlite:"+other, "--to", second)
}
