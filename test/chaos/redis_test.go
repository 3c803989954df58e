package chaos_test

import (
	"cmp"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestRedisAwayForLong: while Redis is away messages between people at different processes are found by looking at the
// mailboxes, nobody can sign in, everything else goes on; and afterwards all is as before. SOTTO_AWAY is for how long.
func TestRedisAwayForLong(t *testing.T) {
	w := newWorld(t, shapeNamed("2chat/nginx"), number(t, "SOTTO_SEED", uint64(time.Now().UnixNano())%1_000_000))
	w.recovered()
	if err := services.Redis.Kill9(); err != nil {
		t.Fatal(err)
	}
	signIn := func(status int) probe {
		return probe{http.MethodPost, "/api/user/login/start", `{"name":"u00","methods":["split-pbkdf2-v1"]}`, status}
	}
	read := probe{http.MethodGet, "/api/info", "", http.StatusOK}
	away, err := time.ParseDuration(cmp.Or(os.Getenv("SOTTO_AWAY"), "1s"))
	w.check(err)
	for end := time.Now().Add(away); time.Now().Before(end); {
		w.check(signIn(http.StatusServiceUnavailable).ask(t.Context(), w.server.URL))
		w.check(read.ask(t.Context(), w.server.URL))
		w.recovered()
	}
	for _, p := range w.server.Processes {
		if p.Name != "nginx" {
			w.check(w.server.Ready(t.Context(), p)) // without Redis a process still takes work
		}
	}
	w.settle()
	if err := services.Redis.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(recoveryWait); ; time.Sleep(100 * time.Millisecond) {
		err := signIn(http.StatusOK).ask(t.Context(), w.server.URL)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
