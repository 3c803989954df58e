package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/internal/chat"
	"sotto/internal/config"
	"sotto/internal/errs"
	"sotto/internal/notification"
	"sotto/internal/peer"
	"sotto/internal/user"
)

const serviceSecret = "service secret of a test of 32 or more"

// whole is a server of one process that also answers calls of other services.
func whole(t *testing.T) (*services, *httptest.Server) {
	t.Helper()
	return wholeAt(t, t.TempDir())
}

func wholeAt(t *testing.T, folder string) (*services, *httptest.Server) {
	t.Helper()
	c := config.Config{DataDir: folder, ServiceSecret: serviceSecret}
	s, err := newServices(t.Context(), c, targetServe, openTemp(t, c.DataDir), "http://127.0.0.1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler)
	t.Cleanup(func() {
		server.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s, server
}

func register(t *testing.T, url, name string) api.AccountID {
	t.Helper()
	store, err := sqlitestore.Open(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(client.Options{Server: url, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Register(t.Context(), client.RegisterOptions{Username: name, Password: "correct horse battery", DeviceName: "one"}); err != nil {
		t.Fatal(err)
	}
	account, _ := c.Account()
	return account.ID
}

func peersAt(t *testing.T, urls ...string) peers {
	t.Helper()
	p, err := newPeers(config.Config{ServiceSecret: serviceSecret, UserURL: urls, ChatURL: urls})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCallsBetweenServices holds the service itself and the client over HTTP to the same.
func TestCallsBetweenServices(t *testing.T) {
	s, server := whole(t)
	anna := register(t, server.URL, "anna")
	remote := peersAt(t, server.URL)
	t.Run("user itself", func(t *testing.T) { testUser(t, s.user, anna) })
	t.Run("user over HTTP", func(t *testing.T) { testUser(t, remote.user, anna) })
	t.Run("chat itself", func(t *testing.T) { testChat(t, s, s.chat, anna) })
	t.Run("chat over HTTP", func(t *testing.T) { testChat(t, s, remote.chat, anna) })
	if _, epoch, err := remote.user.Keys(t.Context()); err != nil || epoch != s.epoch || epoch == 0 {
		t.Errorf("epoch %d, %v; the server's is %d", epoch, err, s.epoch)
	}
}

func testUser(t *testing.T, u interface {
	chat.Users
	notification.Users
}, anna api.AccountID) {
	nobody := api.AccountID{15: 1}
	lists, err := u.Accounts(t.Context(), []api.AccountID{nobody, anna})
	if err != nil || len(lists) != 1 || lists[0].AccountID != anna || len(lists[0].Lists) != 1 || len(lists[0].AccountKey) != 33 {
		t.Errorf("accounts: %+v, %v", lists, err)
	}
	if lists, err := u.Accounts(t.Context(), nil); err != nil || len(lists) != 0 {
		t.Errorf("no accounts: %v, %v", lists, err)
	}
	if _, err := u.Accounts(t.Context(), make([]api.AccountID, 10_000)); !errs.Is(err, api.CodeInvalid) {
		t.Errorf("too many accounts: %v", err)
	}
	keys, err := u.PublicKeys(t.Context())
	if err != nil || len(keys) == 0 || len(keys[0].Key) != 32 || keys[0].KID == "" {
		t.Errorf("keys: %v, %v", keys, err)
	}
	if r, err := u.Recipient(t.Context(), anna); err != nil || r.Username != "anna" {
		t.Errorf("recipient: %+v, %v", r, err)
	}
	if r, err := u.Recipient(t.Context(), nobody); err != nil || cmp.Diff(api.Recipient{}, r) != "" {
		t.Errorf("recipient of nobody: %+v, %v", r, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Accounts(gone, []api.AccountID{anna}); err == nil {
		t.Error("a call that was cancelled got an answer")
	}
}

func testChat(t *testing.T, s *services, c user.Chat, anna api.AccountID) {
	lists, err := s.user.Accounts(t.Context(), []api.AccountID{anna})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.DevicesChanged(t.Context(), lists[0]); err != nil {
			t.Errorf("devices changed: %v", err)
		}
		if err := c.LoginEnded(t.Context(), anna, api.LoginID{15: 9}); err != nil {
			t.Errorf("login ended: %v", err)
		}
	}
	if err := c.DevicesChanged(t.Context(), api.AccountLists{AccountID: anna}); err == nil {
		t.Error("a list that nobody signed was taken")
	}
}

// TestCallsAreSigned: whoever does not have the secret, or repeats a call later, or changes it, hears nothing.
func TestCallsAreSigned(t *testing.T) {
	_, server := whole(t)
	now := time.Now()
	key := func(secret, service string, at time.Time) peer.Key {
		k, err := peer.NewKey(secretBytes(config.Secret(secret)), service, func() time.Time { return at })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, c := range map[string]struct {
		key peer.Key
		ok  bool
	}{
		"right":           {key(serviceSecret, peer.UserName, now), true},
		"another secret":  {key("another secret of 32 or more letters", peer.UserName, now), false},
		"another service": {key(serviceSecret, peer.ChatName, now), false},
		"too old":         {key(serviceSecret, peer.UserName, now.Add(-2*time.Minute)), false},
		"from the future": {key(serviceSecret, peer.UserName, now.Add(2*time.Minute)), false},
	} {
		caller := peer.UserClient{Caller: peer.NewCaller([]string{server.URL}, c.key, nil)}
		if _, err := caller.PublicKeys(t.Context()); (err == nil) != c.ok || err != nil && !errs.Is(err, api.CodeUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, header := range []string{"", "Bearer x", "Sotto ", "Sotto 1.x", "Sotto 99999999999999999999.x"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/internal/user/accounts", strings.NewReader(`{"ids":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized || err != nil || strings.Contains(string(body), "account") {
			t.Errorf("%q: %s %s", header, res.Status, body)
		}
	}
	if _, err := peer.NewKey([]byte("short"), peer.UserName, time.Now); err == nil {
		t.Error("a short secret was taken")
	}
}

// TestACallWaitsForAProcess: of two processes one is away, and then both are for a moment.
func TestACallWaitsForAProcess(t *testing.T) {
	_, server := whole(t)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	for range 10 {
		if _, err := peersAt(t, away.URL, server.URL).user.PublicKeys(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := peersAt(t, away.URL).user.PublicKeys(t.Context()); !errs.Is(err, api.CodeUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestSeparateServicesSayWhatIsMissing: nothing is opened before.
func TestSeparateServicesSayWhatIsMissing(t *testing.T) {
	c := config.Config{}
	for _, step := range []struct {
		want string
		next func()
	}{
		{"SOTTO_DATABASE_URL is not set", func() { c.DatabaseURL = "postgres://nobody@127.0.0.1:1/none?connect_timeout=1" }},
		{"SOTTO_BROKER_URL is not set", func() { c.BrokerURL = "amqp://127.0.0.1:1/" }},
		{"SOTTO_REDIS_URL is not set", func() { c.RedisURL = "redis://127.0.0.1:1/" }},
		{"SOTTO_SERVICE_SECRET is not set", func() {}},
	} {
		for name, run := range map[string]func(context.Context, config.Config, io.Writer, io.Writer) error{
			"user": User, "chat": Chat, "notification": Notification,
		} {
			if err := run(t.Context(), c, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), step.want) {
				t.Errorf("%s: %v, want %q", name, err, step.want)
			}
		}
		step.next()
	}
	for name, set := range map[string]func(*config.Config){
		"SOTTO_JWT_SECRET": func(*config.Config) {},
		"SOTTO_PEPPER":     func(c *config.Config) { c.JWTSecret = serviceSecret },
	} {
		c := config.Config{}
		set(&c)
		if _, err := findSecrets(c, targetUser, nil, nil); err == nil || !strings.Contains(err.Error(), name+" is not set") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []config.Secret{"x", "0:" + serviceSecret, "1:short", "1:" + serviceSecret + ",2"} {
		if _, err := findSecrets(config.Config{FrankingKey: bad}, targetChat, nil, nil); err == nil || !strings.Contains(err.Error(), "openssl") {
			t.Errorf("franking key %q: %v", string(bad), err)
		}
	}
}

// TestSecretsFromSettings: a value of secrets.json is the same secret as a setting, and what follows from the pepper is
// the same on every process.
func TestSecretsFromSettings(t *testing.T) {
	const copied = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	c := config.Config{JWTSecret: serviceSecret, Pepper: copied, FrankingKey: "1:" + copied + ",2:" + serviceSecret}
	first, err := findSecrets(c, targetUser, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := findSecrets(c, targetUser, nil, nil)
	if diff := cmp.Diff(first, second); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if string(first.Pepper) != "0123456789abcdef0123456789abcdef" || len(first.FakeSecret) != 32 || len(first.AttemptKey) != 32 ||
		cmp.Equal(first.FakeSecret, first.AttemptKey) || len(first.FrankingKey) != 2 || first.FrankingKey[1].KID != 2 {
		t.Errorf("%+v", first)
	}
}
