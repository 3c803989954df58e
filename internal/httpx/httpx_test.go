package httpx_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/limit"
	"sotto/internal/token"
)

type greeting struct {
	Name string `json:"name"`
	Deep any    `json:"deep,omitempty"`
}

var (
	withDevice    = token.Actor{Account: api.AccountID{1}, Device: api.DeviceID{2}, WireDevice: 1, Login: api.LoginID{3}}
	withoutDevice = token.Actor{Account: api.AccountID{1}, Login: api.LoginID{3}}
)

// server has one route of each kind; tokens are "device" and "login".
func server(t *testing.T, edit func(*httpx.Server)) (http.Handler, *httpx.Server) {
	t.Helper()
	s := &httpx.Server{
		Verify: func(_ context.Context, tok string) (token.Actor, error) {
			switch tok {
			case "device":
				return withDevice, nil
			case "login":
				return withoutDevice, nil
			}
			return token.Actor{}, errs.New(errs.Unauthenticated, api.CodeUnauthenticated, "Sign in.")
		},
		Allow: func(_ context.Context, _ limit.Name, key string) (time.Duration, bool, error) {
			return 1500 * time.Millisecond, key != "192.0.2.66", nil
		},
		Logger:       slog.New(slog.DiscardHandler),
		NewRequestID: func() string { return "r1" },
	}
	if edit != nil {
		edit(s)
	}
	mux, err := s.Mux([]httpx.Route{
		{Method: "POST", Pattern: "/api/hello", Role: httpx.Public, Limit: "hello", MaxBody: 100,
			Handle: httpx.JSON(func(_ context.Context, _ token.Actor, g greeting) (greeting, error) { return g, nil })},
		{Method: "GET", Pattern: "/api/login", Role: httpx.SignedIn, Handle: httpx.NoBody(func(_ context.Context, a token.Actor) (api.AccountID, error) { return a.Account, nil })},
		{Method: "GET", Pattern: "/api/device", Handle: httpx.NoBody(func(_ context.Context, a token.Actor) (api.DeviceID, error) { return a.Device, nil })},
		{Method: "POST", Pattern: "/api/device", Handle: func(http.ResponseWriter, *http.Request, token.Actor) (any, error) { return nil, nil }},
		{Method: "GET", Pattern: "/api/thing/{id}", Role: httpx.Public, Handle: func(_ http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
			return httpx.PathID(r, "id", api.ParseMessageID)
		}},
		{Method: "GET", Pattern: "/api/fault", Role: httpx.Public, Handle: func(http.ResponseWriter, *http.Request, token.Actor) (any, error) {
			return nil, errors.New("password of the database")
		}},
		{Method: "GET", Pattern: "/api/panic", Role: httpx.Public, Handle: func(http.ResponseWriter, *http.Request, token.Actor) (any, error) { panic("x") }},
		{Method: "GET", Pattern: "/api/info", Role: httpx.Public, Handle: func(http.ResponseWriter, *http.Request, token.Actor) (any, error) { return "info", nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	guarded, err := s.Guard(mux)
	if err != nil {
		t.Fatal(err)
	}
	return guarded, s
}

func call(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if from := r.Header.Get("From-Address"); from != "" {
		r.RemoteAddr = from
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	h, _ := server(t, nil)
	const bearer = "Authorization"
	id := api.MessageID{9}.String()
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"echo", "POST", "/api/hello", `{"name":"a"}`, nil, 200, ""},
		{"content type with charset", "POST", "/api/hello", `{"name":"a"}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"no content type", "POST", "/api/hello", `{"name":"a"}`, []string{"Content-Type", "text/plain"}, 400, api.CodeInvalid},
		{"empty body", "POST", "/api/hello", ``, nil, 400, api.CodeInvalid},
		{"malformed", "POST", "/api/hello", `{"name":`, nil, 400, api.CodeInvalid},
		{"unknown field", "POST", "/api/hello", `{"name":"a","more":1}`, nil, 400, api.CodeInvalid},
		{"upper-case field", "POST", "/api/hello", `{"Name":"a"}`, nil, 400, api.CodeInvalid},
		{"field twice", "POST", "/api/hello", `{"name":"a","name":"b"}`, nil, 400, api.CodeInvalid},
		{"field twice within", "POST", "/api/hello", `{"name":"a","deep":[{"b":1,"b":2}]}`, nil, 400, api.CodeInvalid},
		{"same field in siblings", "POST", "/api/hello", `{"name":"a","deep":[{"b":1},{"b":{"b":2}}]}`, nil, 200, ""},
		{"wrong type", "POST", "/api/hello", `{"name":5}`, nil, 400, api.CodeInvalid},
		{"not an object", "POST", "/api/hello", `[]`, nil, 400, api.CodeInvalid},
		{"trailing data", "POST", "/api/hello", `{"name":"a"}{}`, nil, 400, api.CodeInvalid},
		{"not UTF-8", "POST", "/api/hello", "{\"name\":\"\xff\"}", nil, 400, api.CodeInvalid},
		{"deep", "POST", "/api/hello", `{"deep":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, nil, 400, api.CodeInvalid},
		{"oversize", "POST", "/api/hello", `{"name":"` + strings.Repeat("a", 100) + `"}`, nil, 413, api.CodeTooLarge},
		{"limited", "POST", "/api/hello", `{"name":"a"}`, []string{"From-Address", "192.0.2.66:1"}, 429, api.CodeLimited},
		{"too old", "POST", "/api/hello", `{"name":"a"}`, []string{api.HeaderProtocol, "0"}, 426, api.CodeUpgradeRequired},
		{"too new", "POST", "/api/hello", `{"name":"a"}`, []string{api.HeaderProtocol, "2"}, 426, api.CodeUpgradeRequired},
		{"version in words", "POST", "/api/hello", `{"name":"a"}`, []string{api.HeaderProtocol, "one"}, 400, api.CodeInvalid},
		{"info for everyone", "GET", "/api/info", "", []string{api.HeaderProtocol, "0"}, 200, ""},
		{"not signed in", "GET", "/api/login", "", nil, 401, api.CodeUnauthenticated},
		{"login", "GET", "/api/login", "", []string{bearer, "Bearer login"}, 200, ""},
		{"scheme in lower case", "GET", "/api/login", "", []string{bearer, "bearer login"}, 200, ""},
		{"cookie", "GET", "/api/login", "", []string{"Cookie", "sotto_token=login"}, 200, ""},
		{"bearer wins over cookie", "GET", "/api/login", "", []string{"Cookie", "sotto_token=login", bearer, "Bearer wrong"}, 401, api.CodeUnauthenticated},
		{"login without device", "GET", "/api/device", "", []string{bearer, "Bearer login"}, 403, api.CodeForbidden},
		{"device", "GET", "/api/device", "", []string{bearer, "Bearer device"}, 200, ""},
		{"nothing to say", "POST", "/api/device", "", []string{bearer, "Bearer device"}, 204, ""},
		{"cookie from another site", "POST", "/api/device", "", []string{"Cookie", "sotto_token=device", "Sec-Fetch-Site", "cross-site"}, 403, api.CodeForbidden},
		{"cookie from another origin", "POST", "/api/device", "", []string{"Cookie", "sotto_token=device", "Origin", "https://evil.example"}, 403, api.CodeForbidden},
		{"cookie from here", "POST", "/api/device", "", []string{"Cookie", "sotto_token=device", "Sec-Fetch-Site", "same-origin"}, 204, ""},
		{"bearer from another site", "POST", "/api/device", "", []string{bearer, "Bearer device", "Sec-Fetch-Site", "cross-site"}, 204, ""},
		{"path id", "GET", "/api/thing/" + id, "", nil, 200, ""},
		{"bad path id", "GET", "/api/thing/7", "", nil, 404, api.CodeNotFound},
		{"unknown path", "GET", "/api/nothing", "", nil, 404, api.CodeNotFound},
		{"wrong method", "DELETE", "/api/device", "", nil, 405, api.CodeMethod},
		{"fault", "GET", "/api/fault", "", nil, 500, api.CodeInternal},
	} {
		w := call(h, c.method, c.path, c.body, c.header...)
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, w.Code, c.status, w.Body)
			continue
		}
		if c.code != "" {
			var p api.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != c.code || p.Status != c.status || p.RequestID != "r1" {
				t.Errorf("%s: %s", c.name, w.Body)
			}
			if w.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(w.Body.String(), "password") || strings.Contains(w.Body.String(), "greeting") {
				t.Errorf("%s: %s %s", c.name, w.Header(), w.Body)
			}
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.name, w.Header())
		}
	}
	if w := call(h, "DELETE", "/api/device", ""); w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("Allow: %q", w.Header().Get("Allow"))
	}
	if w := call(h, "POST", "/api/hello", `{"name":"a"}`, "From-Address", "192.0.2.66:1"); w.Header().Get("Retry-After") != "2" {
		t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
	}
}

func TestTrustedOriginMayUseTheCookie(t *testing.T) {
	h, _ := server(t, func(s *httpx.Server) { s.Origins = []string{"https://app.example"} })
	if w := call(h, "POST", "/api/device", "", "Cookie", "sotto_token=device", "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s := &httpx.Server{Origins: []string{"app.example"}}
	if _, err := s.Guard(http.NotFoundHandler()); err == nil {
		t.Error("an origin without a scheme was taken")
	}
}

func TestPanicIsAnsweredAndCounted(t *testing.T) {
	h, s := server(t, nil)
	w := call(h, "GET", "/api/panic", "")
	if w.Code != 500 || !strings.Contains(w.Body.String(), api.CodeInternal) || s.Panics.Load() != 1 {
		t.Errorf("%d %s, %d counted", w.Code, w.Body, s.Panics.Load())
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:1", "", "192.0.2.1"},
		{"192.0.2.1:1", "198.51.100.9", "192.0.2.1"},                          // not a proxy: anybody can write the header
		{"10.0.0.1:1", "198.51.100.9", "198.51.100.9"},                        //
		{"10.0.0.1:1", "203.0.113.5, 198.51.100.9, 10.0.0.2", "198.51.100.9"}, // what the client wrote itself comes first
		{"10.0.0.1:1", "nonsense", "10.0.0.1"},
		{"10.0.0.1:1", "198.51.100.9, nonsense", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:1", "::ffff:198.51.100.9", "198.51.100.9"},
	} {
		s := &httpx.Server{TrustedProxies: trusted, Logger: slog.New(slog.DiscardHandler), NewRequestID: func() string { return "" }}
		var got string
		h, err := s.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = httpx.ClientAddress(r).String() }))
		if err != nil {
			t.Fatal(err)
		}
		call(h, "GET", "/", "", "From-Address", c.peer, "X-Forwarded-For", c.forwarded)
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if k := httpx.LimitKey(netip.MustParseAddr("2001:db8::1:2:3:4")); k != "2001:db8::/64" {
		t.Error(k)
	}
}

func TestRouteWithoutHandlerIsRefused(t *testing.T) {
	if _, err := (&httpx.Server{}).Mux([]httpx.Route{{Method: "GET", Pattern: "/x"}}); err == nil {
		t.Error("served")
	}
}

func TestTokenCookie(t *testing.T) {
	w := httptest.NewRecorder()
	httpx.SetTokenCookie(w, "secret", time.Unix(2_000_000_000, 0), true)
	httpx.SetTokenCookie(w, "", time.Time{}, false)
	got := w.Result().Cookies()
	type facts struct {
		Name             string
		HTTPOnly, Secure bool
		SameSite         http.SameSite
		MaxAge           int
	}
	var have []facts
	for _, c := range got {
		have = append(have, facts{c.Name, c.HttpOnly, c.Secure, c.SameSite, c.MaxAge})
	}
	want := []facts{{api.CookieNameSecure, true, true, http.SameSiteStrictMode, 0}, {api.CookieName, true, false, http.SameSiteStrictMode, -1}}
	if d := cmp.Diff(want, have); d != "" {
		t.Error(d)
	}
}

func FuzzStrict(f *testing.F) {
	f.Add([]byte(`{"name":"a","deep":{"x":[1,{"y":null}]}}`))
	f.Add([]byte(`{"name":"a"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g greeting
		if err := httpx.Strict(b, &g); err != nil {
			return
		}
		// What passed must mean the same to a decoder that is not strict.
		var again greeting
		d := json.NewDecoder(strings.NewReader(string(b)))
		if err := d.Decode(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			t.Fatalf("trailing data in %q", b)
		}
		if diff := cmp.Diff(again, g); diff != "" {
			t.Fatal(diff)
		}
	})
}
