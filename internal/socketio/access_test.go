package socketio_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sotto/internal/socketio"
)

// byCookie is an application whose cookie names the account ("id=alice; ...") and whose token does as well.
func byCookie() socketio.Handler {
	return socketio.Handler{
		RequestOwner: func(req socketio.Handshake) string {
			id, _, _ := strings.Cut(strings.TrimPrefix(req.Cookie, "id="), ";")
			return id
		},
		IdentityOwner: func(identity any) string { return identity.(string) },
		Authenticate: func(_ context.Context, req socketio.Handshake, auth json.RawMessage) (any, error) {
			var token struct{ Token string }
			if auth != nil && json.Unmarshal(auth, &token) == nil && token.Token != "" {
				return token.Token, nil
			}
			id, _, _ := strings.Cut(strings.TrimPrefix(req.Cookie, "id="), ";")
			if id == "" {
				return nil, &socketio.ConnectError{Code: "unauthenticated", Message: "sign in first"}
			}
			return id, nil
		},
		Connect: func(s *socketio.Socket) { _ = s.Emit("auth", json.RawMessage("{}")) },
	}
}

// TestSessionBelongsToItsAccount: the session id alone gives nobody else the session, neither before nor after CONNECT.
func TestSessionBelongsToItsAccount(t *testing.T) {
	r := start(t, socketio.Config{}, byCookie())
	for _, connect := range []bool{false, true} {
		p := r.polling(t, "Cookie", "id=alice; v=1")
		if connect {
			p.connect()
		}
		for _, other := range [][]string{nil, {"Cookie", "id=bob"}, {"Cookie", "x=alice"}} {
			thief := &poller{rig: r, t: t, sid: p.sid, url: p.url, headers: other}
			thief.unknown()
			thief.push(400, `42["message","forged"]`)
			if _, res := r.handshake(t, base+"websocket&sid="+p.sid, other...); res.StatusCode != 400 {
				t.Errorf("%v may upgrade: %s", other, res.Status)
			}
		}
		// A renewed cookie of the same account is fine, and the thief changed nothing.
		p.headers = []string{"Cookie", "id=alice; v=2"}
		if !connect {
			p.connect()
		}
		p.push(200, `42["message","mine"]`)
		p.want(200, `42["message-back","mine"]`)
		c := r.websocket(t, "&sid="+p.sid, "Cookie", "id=alice; v=3")
		c.send("2probe")
		c.want("3probe")
	}
	if n := r.metric("refused_total", "owner"); n != 18 {
		t.Errorf("%d refusals counted", n)
	}
}

// TestSessionOfAToken: a token that arrives in CONNECT binds the session to its account.
func TestSessionOfAToken(t *testing.T) {
	r := start(t, socketio.Config{}, byCookie())
	p := r.polling(t)
	p.push(200, `40{"token":"alice"}`)
	p.want(200, "")
	for headers, status := range map[string]int{"id=bob": 400, "id=alice": 200, "": 200} {
		p.headers = []string{"Cookie", headers}
		p.push(status, `42["message"]`)
	}
}

// TestTokenOfAnotherAccount: cookie and token must not name two accounts.
func TestTokenOfAnotherAccount(t *testing.T) {
	r := start(t, socketio.Config{}, byCookie())
	c := r.websocket(t, "", "Cookie", "id=alice")
	c.text()
	c.send(`40{"token":"bob"}`)
	if got := c.text(); !strings.HasPrefix(got, `44{"data":{"code":"unauthenticated"`) {
		t.Errorf("%q", got)
	}
	c.send(`40{"token":"alice"}`)
	if got := c.text(); !strings.HasPrefix(got, `40{"sid"`) {
		t.Errorf("%q", got)
	}
}

// TestSessionWithoutRequestOwner: the headers as they are bind the session.
func TestSessionWithoutRequestOwner(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t, "Authorization", "Bearer a", "Cookie", "c=1").connect()
	for _, other := range [][]string{
		nil, {"Authorization", "Bearer a"}, {"Cookie", "c=1"}, {"Authorization", "Bearer b", "Cookie", "c=1"},
	} {
		(&poller{rig: r, t: t, url: p.url, headers: other}).unknown()
	}
	p.push(200, `42["message"]`)
}

func TestHandshakeFacts(t *testing.T) {
	got := make(chan socketio.Handshake, 1)
	r := start(t, socketio.Config{Origins: func(string, *http.Request) bool { return true }}, socketio.Handler{
		Authenticate: func(_ context.Context, req socketio.Handshake, _ json.RawMessage) (any, error) {
			got <- req
			return nil, nil
		},
	})
	c := r.websocket(t, "", "Cookie", "a=1", "Authorization", "Bearer x", "Origin", "https://chat.test", "User-Agent",
		strings.Repeat("u", 1000))
	c.send("40")
	req := <-got
	want := socketio.Handshake{
		RemoteAddr: c.conn.LocalAddr().String(), Cookie: "a=1", Authorization: "Bearer x", Origin: "https://chat.test",
		UserAgent: strings.Repeat("u", 256),
	}
	if req != want {
		t.Errorf("got %+v, want %+v", req, want)
	}
}

func TestOrigins(t *testing.T) {
	for name, c := range map[string]struct {
		origins func(string, *http.Request) bool
		origin  string
		allowed bool
	}{
		"no origin":             {nil, "", true},
		"same host":             {nil, "https://sotto.test", true},
		"same host, upper case": {nil, "https://SOTTO.test", true},
		"other host":            {nil, "https://evil.test", false},
		"other port":            {nil, "https://sotto.test:8443", false},
		"null":                  {nil, "null", false},
		"not a URL":             {nil, "::", false},
		"listed":                {func(o string, _ *http.Request) bool { return o == "https://app.test" }, "https://app.test", true},
		"not listed":            {func(o string, _ *http.Request) bool { return o == "https://app.test" }, "https://sotto.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, socketio.Config{Origins: c.origins}, socketio.Handler{})
			victim := r.polling(t)
			var headers []string
			if c.origin != "" {
				headers = []string{"Origin", c.origin}
			}
			for _, req := range [][2]string{
				{"GET", base + "polling"}, {"OPTIONS", base + "polling"}, {"POST", victim.url}, {"GET", victim.url},
			} {
				res, body, err := r.do(t.Context(), req[0], req[1], "3", headers...)
				if err != nil {
					t.Fatal(err)
				}
				if refused := res.StatusCode == 403; refused == c.allowed {
					t.Errorf("%s: %s", req[0], res.Status)
				}
				if !c.allowed && body != `{"code":4,"message":"Forbidden"}` {
					t.Errorf("body %q", body)
				}
				allow, credentials := res.Header.Get("Access-Control-Allow-Origin"), res.Header.Get("Access-Control-Allow-Credentials")
				if want := c.allowed && c.origin != ""; (allow == c.origin && want) != want || (credentials == "true") != want {
					t.Errorf("%s: allow-origin %q, credentials %q", req[0], allow, credentials)
				}
				if res.Header.Get("Vary") != "Origin" {
					t.Error("answers differ by origin and do not say so")
				}
				if req[0] == "GET" && req[1] == base+"polling" && c.allowed {
					victim.push(200, "40") // something for the last poll to fetch
				}
			}
			_, res := r.handshake(t, base+"websocket", headers...)
			if want := map[bool]int{true: 101, false: 403}[c.allowed]; res.StatusCode != want {
				t.Errorf("websocket: %s", res.Status)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	r := start(t, socketio.Config{Origins: func(string, *http.Request) bool { return true }}, socketio.Handler{})
	res, body, err := r.do(t.Context(), "OPTIONS", base+"polling", "", "Origin", "https://app.test",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	if err != nil || res.StatusCode != 204 || body != "" {
		t.Fatal(err, res, body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://app.test",
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods":     "GET, POST",
		"Access-Control-Allow-Headers":     "Authorization, Content-Type",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestStrangersCannotHoldMuch: before a CONNECT is accepted, messages are bounded to what a token needs.
func TestStrangersCannotHoldMuch(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	const most = 16 << 10
	token := func(n int) string { return `40{"token":"` + strings.Repeat("x", n-len(`40{"token":""}`)) + `"}` }
	c := r.websocket(t, "")
	c.text()
	c.send(token(most + 1))
	c.wantClose(1009)
	p := r.polling(t)
	p.push(413, token(most+1))
	p.push(200, token(most))
	p.want(200, "")
	big, back := echoEvent(strings.Repeat("x", 500_000))
	p.push(200, big)
	p.want(200, back)
	// An upgrade keeps the bound, whatever it was.
	c = r.websocket(t, "&sid="+p.sid)
	c.send("2probe")
	c.want("3probe")
	c.send("5")
	c.send(big)
	c.want(back)
	p = r.polling(t)
	c = r.websocket(t, "&sid="+p.sid)
	c.send("2probe")
	c.want("3probe")
	c.send("5")
	c.send("40")
	c.text()
	c.want(`42["auth",{}]`)
	c.send(big)
	c.want(back)
}

func TestSessionsAreBounded(t *testing.T) {
	r := start(t, socketio.Config{MaxSessions: 3}, socketio.Handler{})
	a, b := r.polling(t), r.connected(t)
	r.polling(t)
	status, body := r.get(t, base+"polling")
	if status != 503 || body != `{"code":3,"message":"Server is full or stopping"}` {
		t.Errorf("%d %s", status, body)
	}
	if _, res := r.handshake(t, base+"websocket"); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s", res.Status)
	}
	// Those inside are unharmed, and a place that becomes free is free.
	b.send(`42["message"]`)
	b.want(`42["message-back"]`)
	a.push(200, "1")
	a.want(200, "6")
	r.polling(t)
}

func TestDrain(t *testing.T) {
	const n = 40
	r := start(t, socketio.Config{}, socketio.Handler{})
	ends := make(chan time.Time, n)
	for i := range n {
		if i%2 == 0 {
			c := r.connected(t)
			go func() {
				c.wantClose(1001) // no DISCONNECT: clients are to come back
				ends <- time.Now()
			}()
			continue
		}
		p := r.polling(t).connect()
		go func() {
			p.want(200, "1")
			ends <- time.Now()
		}()
		eventually(t, "the poll waits", p.waiting)
	}
	const over = 400 * time.Millisecond
	began := time.Now()
	drained := make(chan struct{})
	go func() { r.srv.Drain(t.Context(), over); close(drained) }()
	early := 0
	for range n {
		if (<-ends).Sub(began) < over/2 {
			early++
		}
	}
	<-drained
	if early < n/8 || early > n*3/4 {
		t.Errorf("%d of %d ended in the first half of the time", early, n)
	}
	if status, _ := r.get(t, base+"polling"); status != 503 {
		t.Errorf("handshake while stopping: %d", status)
	}
	if reason := <-r.ended; reason != socketio.ReasonDrain {
		t.Errorf("reason %v", reason)
	}
}

func TestDrainStopsWaitingWithItsContext(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	for range 5 {
		r.connected(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.srv.Drain(ctx, time.Hour)
	if n := r.srv.Sessions(); n != 0 {
		t.Errorf("%d sessions left", n)
	}
}
