package telemetry_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/api"
	"sotto/internal/config"
	"sotto/internal/telemetry"
)

func TestLogKeepsSecretsOutByType(t *testing.T) {
	canary := []byte("canary-canary-canary-canary-cana")
	key := ed25519.NewKeyFromSeed(canary)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Authorization", "Bearer "+string(canary))
	for name, v := range map[string]any{
		"bytes":          canary,
		"array":          [32]byte(canary),
		"raw JSON":       json.RawMessage(`"` + string(canary) + `"`),
		"private key":    key,
		"secret":         config.Secret(canary),
		"request":        request,
		"header":         request.Header,
		"cookie":         struct{ Value string }{string(canary)},
		"login":          api.Login{Token: string(canary)},
		"pointer":        &api.Login{Token: string(canary)},
		"list":           []string{string(canary)},
		"address of one": &canary,
		"URL":            &url.URL{Scheme: "postgres", Host: "db", User: url.UserPassword("sotto", string(canary))},
		"buffer by value": struct{ b *bytes.Buffer }{
			bytes.NewBuffer(canary),
		},
		"nil pointer": (*url.Error)(nil),
	} {
		var out bytes.Buffer
		log := telemetry.NewLogger(&out, slog.LevelInfo)
		log.With("a", v).WithGroup("g").Info("m", "b", v, slog.Group("h", "c", v))
		for _, form := range []string{string(canary), hex.EncodeToString(canary), "Y2FuYXJ5", "99,97,110,97"} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%s is in the log: %s", name, out.String())
			}
		}
		if !json.Valid(out.Bytes()) {
			t.Errorf("%s: not a JSON line: %s", name, out.String())
		}
	}
}

func TestLogShowsWhatIsMeantToBeRead(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelInfo)
	id := api.AccountID{15: 0x2a}
	log.Debug("hidden")
	log.Info("message", "account", id, "err", errors.New("cause"), "n", 3, "text", "words", "nothing", nil)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for key, want := range map[string]any{
		"msg": "message", "level": "INFO", "account": id.String(), "err": "cause", "n": 3.0, "text": "words", "nothing": nil,
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
}

func TestMetricsArePerRegistry(t *testing.T) {
	first, second := telemetry.NewRegistry(), telemetry.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "sotto_test_total", Help: "Test."})
	first.MustRegister(counter)
	counter.Add(3)
	for _, c := range []struct {
		reg  *prometheus.Registry
		want bool
	}{{first, true}, {second, false}} {
		server := httptest.NewServer(telemetry.PrivateHandler(c.reg))
		defer server.Close()
		res, err := server.Client().Get(server.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "go_goroutines") ||
			strings.Contains(string(body), "sotto_test_total 3") != c.want {
			t.Errorf("%d, %v: %.200s", res.StatusCode, err, body)
		}
	}
}
