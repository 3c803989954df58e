package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sotto/api"
	"sotto/internal/sqldb"
	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sottod-")
	if err == nil {
		defer os.RemoveAll(dir)
		binaries = dir
		err = testenv.Build(dir, "sottod")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// sottod runs the command to its end.
func sottod(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binaries, "sottod"), args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func succeed(t *testing.T, args ...string) string {
	t.Helper()
	out, status := sottod(t, args...)
	if status != 0 {
		t.Fatalf("sottod %v: status %d\n%s", args, status, out)
	}
	return out
}

func fail(t *testing.T, want string, args ...string) {
	t.Helper()
	if out, status := sottod(t, args...); status != 1 || !strings.Contains(out, want) {
		t.Errorf("sottod %v: status %d, want %q in\n%s", args, status, want, out)
	}
}

func serve(t *testing.T, dir string) *rest.Server {
	t.Helper()
	s, err := testenv.NewServe(binaries, dir, "SOTTO_TRUSTED_PROXIES=127.0.0.1/32")
	if err != nil {
		t.Fatal(err)
	}
	s.CleanUp(t)
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &rest.Server{URL: s.URL}
}

func epoch(t *testing.T, s *rest.Server) uint64 {
	t.Helper()
	var info api.Info
	s.Call(t, http.MethodGet, "/api/info", "", nil, &info)
	return info.Epoch
}

// TestBackupOfARunningServerComesBack backs up while somebody keeps sending, and restores into another folder: what was
// acknowledged before the backup began is there, under a higher epoch, and no one-time prekey is.
func TestBackupOfARunningServerComesBack(t *testing.T) {
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	s := serve(t, data)
	alice, bob := s.Register(t, "alice").Devices[0], s.Register(t, "bob").Devices[0]
	s.Connect(t, alice)
	conversation := s.Talk(t, alice, bob)
	send := func() {
		s.Write(t, alice, "/api/chat/send", alice.Message(t, conversation, alice.Owner, bob.Owner), &api.Sent{})
	}
	const before = 5
	for range before {
		send()
	}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		for n := before; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				send()
			}
		}
	}()
	out := succeed(t, "backup", "--data-dir", data, backup)
	close(stop)
	sent := <-stopped
	if !strings.Contains(out, "the chat database: ") || !strings.Contains(out, "the user database: ") {
		t.Errorf("no progress: %s", out)
	}
	succeed(t, "verify", "--data-dir", data)
	fail(t, "is there already", "backup", "--data-dir", data, backup)

	restored := filepath.Join(dir, "restored")
	out = succeed(t, "restore", "--data-dir", restored, backup)
	if !strings.Contains(out, "one-time prekeys are void") || !strings.Contains(out, "it was 1") {
		t.Errorf("restore says nothing of prekeys and epoch: %s", out)
	}
	fail(t, "is not empty", "restore", "--data-dir", restored, backup)
	succeed(t, "verify", "--data-dir", restored)
	again := serve(t, restored)
	if old, raised := epoch(t, s), epoch(t, again); old != 1 || raised < 2 {
		t.Errorf("epoch %d, then %d", old, raised)
	}
	again.Call(t, http.MethodPost, "/api/user/login/renew", "",
		api.RenewRequest{LoginID: bob.Login.LoginID, Renewal: bob.Renewal[:]}, &bob.Login)
	var page api.SyncPage
	again.Call(t, http.MethodGet, "/api/chat/conversations/"+conversation.String()+"/sync?from=1&limit=256",
		bob.Login.Token, nil, &page)
	if n := len(page.Items); n < before || n > sent {
		t.Errorf("%d messages came back, of %d to %d", n, before, sent)
	}
	var count api.PreKeyCount
	again.Call(t, http.MethodGet, "/api/user/prekeys", bob.Login.Token, nil, &count)
	if count != (api.PreKeyCount{}) {
		t.Errorf("prekeys survived: %+v", count)
	}
	fail(t, "another sottod is using", "restore", "--data-dir", restored, backup)
}

func TestDamageIsFoundAndNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	fail(t, "there is no server's data", "backup", "--data-dir", data, backup)
	fail(t, "there is no server's data", "verify", "--data-dir", data)
	s := serve(t, data)
	alice, bob := s.Register(t, "alice").Devices[0], s.Register(t, "bob").Devices[0]
	s.Connect(t, alice)
	conversation := s.Talk(t, alice, bob)
	s.Write(t, alice, "/api/chat/send", alice.Message(t, conversation, alice.Owner, bob.Owner), &api.Sent{})
	succeed(t, "backup", "--data-dir", data, backup)

	empty := filepath.Join(dir, "empty")
	for _, name := range []string{"chat.db", "notification.db", "user.db", "secrets.json", "backup.json"} {
		path := filepath.Join(backup, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(name, info.Mode(), err)
		}
		damaged := append([]byte(nil), whole...)
		damaged[len(damaged)/2] ^= 1
		write(t, path, damaged)
		if out, status := sottod(t, "restore", "--data-dir", empty, backup); status != 1 {
			t.Errorf("damaged %s: status %d\n%s", name, status, out)
		}
		write(t, path, whole)
		if left, err := filepath.Glob(filepath.Join(empty, "*.*")); err != nil || len(left) != 0 {
			t.Errorf("damaged %s: %v is left", name, left)
		}
	}
	fail(t, "is no whole backup", "restore", "--data-dir", empty, data)
	for _, c := range []struct{ statement, fault string }{
		{"UPDATE conversation SET last_seq = last_seq + 1", "does not hold every seq"},
		{"UPDATE device SET entries = entries + 1", "holds another number of entries"},
	} {
		planted := filepath.Join(dir, c.fault)
		succeed(t, "restore", "--data-dir", planted, backup)
		damage(t, filepath.Join(planted, "chat.db"), c.statement)
		fail(t, c.fault, "verify", "--data-dir", planted)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// damage changes the data of a stopped server past it.
func damage(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), "sqlite://"+path, sqldb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(t.Context(), "damage", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
