package security_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sotto/api"
	"sotto/internal/socketio/packet"
	"sotto/internal/testenv"
	"sotto/test/contract/rest"
)

// cutWithin is how long a revoked login may live on. The stated goal is one second; the rest is for a busy machine.
const cutWithin = 5 * time.Second

// TestEndedLoginIsCut: logging out, and signing in again with the same device, end the login's tokens and its live
// socket.
func TestEndedLoginIsCut(t *testing.T) {
	d := server.Register(t, "cut").Devices[0]
	for what, end := range map[string]func(){
		"logout":         func() { server.Call(t, http.MethodPost, "/api/user/logout", d.Login.Token, nil, nil) },
		"a second login": func() { server.SignInDevice(t, d) },
	} {
		t.Run(what, func(t *testing.T) {
			server.SignInDevice(t, d)
			k := server.Socket(t, d)
			old := d.Login
			begin := time.Now()
			end()
			code, err := k.End()
			took := time.Since(begin)
			if err != nil || code != api.CodeUnauthenticated || took > cutWithin {
				t.Errorf("the socket ended after %v with %q, %v", took, code, err)
			}
			t.Logf("the socket was cut after %v", took.Round(time.Millisecond))
			for _, path := range []string{"/api/user/me", "/api/chat/mailbox", "/api/chat/conversations"} {
				answer := server.Do(t, rest.Request{Method: http.MethodGet, Path: path, Token: old.Token})
				if answer.Status != http.StatusUnauthorized {
					t.Errorf("%s with the old token: %d", path, answer.Status)
				}
			}
			refused(t, "renewal", api.CodeUnauthenticated, http.MethodPost, "/api/user/login/renew", "",
				api.RenewRequest{LoginID: old.LoginID, Renewal: d.Renewal[:]})
			k, err = server.Dial(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			err = k.Connect(api.SocketAuth{Token: old.Token, Generation: 1000, Protocol: 1})
			if r, ok := errors.AsType[*rest.Refused](err); !ok || r.Code != api.CodeUnauthenticated {
				t.Errorf("a socket with the old token: %v", err)
			}
		})
	}
}

// TestLoginsHaveFreshIDs: nobody can make a victim use a login that the attacker knows.
func TestLoginsHaveFreshIDs(t *testing.T) {
	p := server.Register(t, "fresh")
	first := p.Devices[0].Login
	second := server.SignIn(t, p)
	if second.LoginID == first.LoginID || second.Token == first.Token {
		t.Error("a login is used again")
	}
	if second.DeviceID != nil || second.WireDeviceID != 0 {
		t.Error("a login without a device proof has a device")
	}
	if life := time.Until(time.UnixMilli(second.ExpiresAt)); life > api.TokenLifetimeSeconds*time.Second {
		t.Errorf("the token lives for %v", life)
	}
}

// cookieOf finds the login cookie of an answer and checks its flags.
func cookieOf(t *testing.T, answer rest.Answer, name string, secure bool) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: answer.Header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies: %v", len(cookies), cookies)
	}
	c := cookies[0]
	if c.Name != name || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure != secure {
		t.Errorf("cookie %+v", c)
	}
	return c
}

// TestCookie: a script cannot read it, another site cannot use it, and logging out takes it away.
func TestCookie(t *testing.T) {
	p := rest.NewPerson(t, "cookie")
	answer := server.Do(t, rest.Request{Method: http.MethodPost, Path: "/api/user/register",
		Body: rest.JSON(t, p.Registration(t))})
	c := cookieOf(t, answer, api.CookieName, false)
	if !strings.Contains(string(answer.Body), `"token":"`+c.Value+`"`) {
		t.Error("the cookie holds another token than the answer")
	}
	if left := time.Until(c.Expires); left <= 0 || left > api.TokenLifetimeSeconds*time.Second {
		t.Errorf("the cookie lives for %v", left)
	}
	same := http.Header{"Cookie": {c.Name + "=" + c.Value}, "Sec-Fetch-Site": {"same-origin"}}
	if a := server.Do(t, rest.Request{Method: http.MethodGet, Path: "/api/user/me", Header: same}); a.Status != http.StatusOK {
		t.Errorf("with the cookie: %d", a.Status)
	}
	crossSite(t, c.Name+"="+c.Value)
	answer = server.Do(t, rest.Request{Method: http.MethodPost, Path: "/api/user/logout", Header: same})
	if gone := cookieOf(t, answer, api.CookieName, false); answer.Status != http.StatusNoContent || gone.Value != "" || gone.MaxAge >= 0 {
		t.Errorf("logout: %d, %+v", answer.Status, gone)
	}
	if a := server.Do(t, rest.Request{Method: http.MethodGet, Path: "/api/user/me", Header: same}); a.Status != http.StatusUnauthorized {
		t.Errorf("with the cookie after logout: %d", a.Status)
	}
}

// crossSite sends every unsafe request of the contract, and the handshakes of the socket, as a page of another site
// would make a browser send them.
func crossSite(t *testing.T, cookie string) {
	t.Helper()
	host := strings.TrimPrefix(server.URL, "http://")
	for what, from := range map[string]http.Header{
		"cross-site":          {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"same site, not host": {"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://127.0.0.1:1"}},
		"old browser":         {"Origin": {"https://evil.example"}},
		"null origin":         {"Origin": {"null"}},
		"other port":          {"Origin": {"http://127.0.0.1:1"}},
		"name in the host":    {"Origin": {"http://" + host + ".evil.example"}},
		"user in the host":    {"Origin": {"http://" + host + "@evil.example"}},
	} {
		from.Set("Cookie", cookie)
		before := dump(t)
		for _, op := range unsafeOperations(t) {
			a := server.Do(t, rest.Request{Method: op[0], Path: op[1], Body: []byte("{}"), Header: from})
			if a.Status != http.StatusForbidden || a.Code(t) != api.CodeForbidden {
				t.Errorf("%s, %s %s: %d", what, op[0], op[1], a.Status)
			}
		}
		if changed := difference(before, dump(t)); changed != "" {
			t.Errorf("%s: something was changed:\n%s", what, changed)
		}
		_, err := server.Dial(t.Context(), from.Clone())
		if status, ok := errors.AsType[ws.StatusError](err); !ok || status != http.StatusForbidden {
			t.Errorf("%s: handshake by websocket: %v", what, err)
		}
		path := api.SocketPath + "?transport=polling&EIO=" + packet.Version
		if a := server.Do(t, rest.Request{Method: http.MethodGet, Path: path, Header: from}); a.Status != http.StatusForbidden {
			t.Errorf("%s: handshake by polling: %d", what, a.Status)
		}
		if a := server.Do(t, rest.Request{Method: http.MethodGet, Path: "/api/user/me", Header: from}); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: the answer may be read: %v", what, a.Header)
		}
	}
}

// unsafeOperations are the methods and paths that change something.
func unsafeOperations(t *testing.T) (all [][2]string) {
	t.Helper()
	for path, item := range contract(t).Paths.Map() {
		for method := range item.Operations() {
			if method != http.MethodGet {
				all = append(all, [2]string{method, strings.Replace(path, "{id}", rest.Random[api.ConversationID](t).String(), 1)})
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d unsafe operations", len(all))
	}
	return all
}

// TestSecureCookie: behind TLS the cookie is bound to this very host and never travels in the clear.
func TestSecureCookie(t *testing.T) {
	t.Parallel()
	tls, err := testenv.NewServe(binaries, filepath.Join(t.TempDir(), "data"), "SOTTO_PUBLIC_URL=https://chat.example")
	if err != nil {
		t.Fatal(err)
	}
	tls.CleanUp(t)
	if err := tls.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	behind := &rest.Server{URL: tls.URL}
	p := rest.NewPerson(t, "secure")
	cookieOf(t, behind.Do(t, rest.Request{
		Method: http.MethodPost, Path: "/api/user/register", Body: rest.JSON(t, p.Registration(t)),
	}), api.CookieNameSecure, true)
}

// TestNamesAreNotTold: what anybody may ask without a login does not tell whether a name exists.
func TestNamesAreNotTold(t *testing.T) {
	p := server.Register(t, "told-known")
	names := []string{"told-known", "TOLD-Known", "told-nobody", "someone@told.example", "x"}
	var salts [][]byte
	sizes := map[string]bool{}
	for _, name := range names {
		var twice [2]api.LoginStartResponse
		for i := range twice {
			a := server.Do(t, rest.Request{Method: http.MethodPost, Path: "/api/user/login/start",
				Body: rest.JSON(t, loginStart(name))})
			if err := json.Unmarshal(a.Body, &twice[i]); err != nil {
				t.Fatal(err)
			}
			sizes[fmt.Sprintf("start: %d, %d bytes, %d headers", a.Status, len(a.Body), len(a.Header))] = true
		}
		if one, two := twice[0].Parameters, twice[1].Parameters; string(one.Salt) != string(two.Salt) || one.Iterations != two.Iterations {
			t.Errorf("%s: two tries get other parameters", name)
		}
		salts = append(salts, twice[0].Parameters.Salt)
	}
	if string(salts[0]) != string(salts[1]) || string(salts[0]) == string(salts[2]) || string(salts[2]) == string(salts[3]) {
		t.Error("salts are told apart wrongly")
	}
	if len(sizes) != 1 {
		t.Errorf("known and unknown names are told apart by %v", sizes)
	}
	wrong := rest.NewPerson(t, "x").Auth
	bodies := map[string]bool{}
	for _, name := range []string{"told-known", "told-nobody"} {
		a := server.Do(t, rest.Request{Method: http.MethodPost, Path: "/api/user/login/finish", Body: rest.JSON(t, api.LoginFinishRequest{
			Attempt: server.Start(t, name).Attempt, Proof: wrong, RenewalHash: make([]byte, 32), Device: p.Devices[0].Prove(t,
				"x"),
		})})
		if a.Code(t) != api.CodeWrongLogin || len(a.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
		bodies[string(withoutRequestID(t, a))] = true
	}
	if len(bodies) != 1 {
		t.Errorf("wrong password and unknown name are told apart: %v", bodies)
	}
}

// TestGuessing: ten guesses, then one each six minutes; from whatever addresses. The owner's devices still get in.
func TestGuessing(t *testing.T) {
	t.Parallel() // most of it is waiting for bcrypt
	p := server.Register(t, "guessed")
	wrong := rest.NewPerson(t, "x").Auth
	guess := func(name, proof string) (code string, retryAfter int64) {
		a := server.Do(t, rest.Request{Method: http.MethodPost, Path: "/api/user/login/finish", Body: rest.JSON(t, api.LoginFinishRequest{
			Attempt: server.Start(t, name).Attempt, Proof: proof, RenewalHash: make([]byte, 32),
		})})
		if code = a.Code(t); code != "" {
			retryAfter = a.Problem(t).RetryAfter
		}
		return code, retryAfter
	}
	for _, name := range []string{"guessed", "guessed-nobody"} { // the limit does not tell which of them exists
		for i := range 10 {
			if code, _ := guess(name, wrong); code != api.CodeWrongLogin {
				t.Fatalf("%s, guess %d: %s", name, i+1, code)
			}
		}
		for range 3 {
			if code, wait := guess(name, wrong); code != api.CodeLimited || wait < 1 || wait > 6*60 {
				t.Errorf("%s, the eleventh guess: %s, again after %d s", name, code, wait)
			}
		}
	}
	if code, wait := guess("guessed", p.Auth); code != api.CodeLimited || wait > 6*60 {
		t.Errorf("a right guess among many: %q, again after %d s", code, wait)
	}
	server.SignInDevice(t, p.Devices[0]) // fails the test when it is refused
	server.Call(t, http.MethodGet, "/api/user/me", p.Devices[0].Login.Token, nil, nil)
}

// TestGuessingFromOneAddress: many names from one client are limited, too, and others are not concerned.
func TestGuessingFromOneAddress(t *testing.T) {
	from := server.Address()
	ask := func(from string) string {
		return server.Do(t, rest.Request{
			Method: http.MethodPost, Path: "/api/user/login/finish", From: from, Body: []byte(`{}`),
		}).Code(t)
	}
	allowed := 0
	for ask(from) == api.CodeInvalid {
		if allowed++; allowed > 100 {
			t.Fatal("more than 100 guesses from one address")
		}
	}
	if code := ask(from); code != api.CodeLimited {
		t.Errorf("after %d guesses: %s", allowed, code)
	}
	if code := ask(server.Address()); code != api.CodeInvalid {
		t.Errorf("another client: %s", code)
	}
}
