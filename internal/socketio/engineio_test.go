package socketio_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/socketio"
)

// The Engine.IO v4 protocol document, point by point, over raw requests and raw websockets.

// quick has the heartbeat of the protocol's own test suites.
var quick = socketio.Config{
	PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, ConnectTimeout: time.Minute,
	MaxPayload: 1_000_000,
}

func TestOpen(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	check := func(o open, upgrades []string) {
		t.Helper()
		if len(o.SID) < 20 || !slices.Equal(o.Upgrades, upgrades) || o.Upgrades == nil ||
			o.PingInterval != 300 || o.PingTimeout != 200 || o.MaxPayload != 1_000_000 {
			t.Errorf("open packet %+v", o)
		}
	}
	res, body, err := r.do(t.Context(), "GET", base+"polling", "")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(err, res)
	}
	if ct := res.Header.Get("Content-Type"); ct != "text/plain; charset=UTF-8" {
		t.Errorf("content type %q", ct)
	}
	if cc := res.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("cache control %q", cc)
	}
	check(parseOpen(t, body), []string{"websocket"})
	check(parseOpen(t, r.websocket(t, "").text()), []string{})
}

func TestSessionIDsAreUnique(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	seen := make(map[string]bool)
	for range 1000 {
		sid := r.polling(t).sid
		// 144 bits in base64url.
		if len(sid) != 24 || seen[sid] {
			t.Fatalf("session id %q", sid)
		}
		seen[sid] = true
	}
}

func TestBadRequests(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	live := r.polling(t).sid
	for _, c := range []struct {
		method, query string
		status        int
		body          string
	}{
		{"GET", "/socket.io/?transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "/socket.io/?EIO=3&transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "/socket.io/?EIO=abc&transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "/socket.io/?EIO=abc&transport=websocket", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "/socket.io/?EIO=4", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "/socket.io/?EIO=4&transport=abc", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "/socket.io/?EIO=4&transport=webtransport", 400, `{"code":0,"message":"Transport unknown"}`},
		{"POST", base + "polling", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"PUT", base + "polling", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"HEAD", base + "polling", 400, ``},
		{"DELETE", base + "polling&sid=" + live, 400, `{"code":2,"message":"Bad handshake method"}`},
		{"GET", base + "polling&sid=unknown", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"POST", base + "polling&sid=unknown", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", base + "polling&sid=" + strings.Repeat("x", 10_000), 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", base + "websocket", 400, `{"code":3,"message":"Bad request"}`},
		{"GET", base + "websocket&sid=" + live, 400, `{"code":3,"message":"Bad request"}`},
		{"GET", "/elsewhere/?EIO=4&transport=polling", 404, "404 page not found\n"},
	} {
		res, body, err := r.do(t.Context(), c.method, c.query, "")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.status || body != c.body {
			t.Errorf("%s %.80s: %d %q, want %d %q", c.method, c.query, res.StatusCode, body, c.status, c.body)
		}
	}
	// None of them harmed the session they named.
	(&poller{rig: r, t: t, url: base + "polling&sid=" + live}).connect()
}

func TestWebsocketHandshakeRefused(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	for query, status := range map[string]int{
		"/socket.io/?transport=websocket":         400,
		"/socket.io/?EIO=3&transport=websocket":   400,
		"/socket.io/?EIO=4&transport=abc":         400,
		base + "websocket&sid=unknown":            400,
		"/elsewhere/?EIO=4&transport=websocket":   404,
		"/socket.io?EIO=4&transport=websocket":    101,
		"/socket.io/?EIO=4&transport=websocket&x": 101,
	} {
		if _, res := r.handshake(t, query); res.StatusCode != status {
			t.Errorf("%s: %s, want %d", query, res.Status, status)
		}
	}
}

func TestPollingPayloads(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	p := r.polling(t).connect()
	p.push(200, `42["message",1]`)
	p.want(200, `42["message-back",1]`)
	p.push(200, "42[\"message\",1]\x1e42[\"message\",2]\x1e42[\"message\",\"\u00e9\u20ac\U0001f600\"]")
	p.want(200, "42[\"message-back\",1]\x1e42[\"message-back\",2]\x1e42[\"message-back\",\"\u00e9\u20ac\U0001f600\"]")
	p.push(200, "451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==")
	p.want(200, "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==")
}

func TestPollingBadPayloadsEndTheSession(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	for _, body := range []string{
		"abc", "", "\x1e", "40\x1e", "\x1e40", "4", "7", "b!!!", "bAQID", "42[\"message\",\"\xff\"]", "2", "5", "0",
		"40\x1e40", strings.Repeat("6\x1e", 2000) + "6",
	} {
		p := r.polling(t)
		p.push(400, body)
		// Polls may still fetch what was answered before, and the close packet.
		if strings.HasPrefix(body, "40") {
			p.want(200, "")
		}
		p.want(200, "1")
		p.unknown()
	}
}

func TestPollingOneRequestAtATime(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t)
	type got struct {
		status int
		body   string
	}
	first := make(chan got)
	go func() {
		res, body, err := r.do(t.Context(), "GET", p.url, "")
		if err != nil {
			t.Error(err)
			close(first)
			return
		}
		first <- got{res.StatusCode, body}
	}()
	// The second poll ends the session whichever of the two the server sees first.
	status, body := r.get(t, p.url)
	both := []got{<-first, {status, body}}
	slices.SortFunc(both, func(a, b got) int { return a.status - b.status })
	want := []got{{200, "1"}, {400, `{"code":3,"message":"Bad request"}`}}
	if !slices.Equal(both, want) {
		t.Errorf("got %v, want %v", both, want)
	}
	p.unknown()
}

// TestPollAgainAtOnce: a client that has an answer may poll again on another connection before the first request is over
// on the server. That is no second poll at a time.
func TestPollAgainAtOnce(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	var conns [2]*wsClient
	for i := range conns {
		conn, err := r.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = newWSClient(t, conn)
	}
	for i := range 3000 {
		p.push(200, `42["message",1]`)
		c := conns[i%2]
		c.write([]byte("GET " + p.url + " HTTP/1.1\r\nHost: x\r\n\r\n"))
		want := `42["message-back",1]`
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != want {
			t.Fatalf("poll %d: %d %q, %v", i, res.StatusCode, body, err)
		}
	}
}

func TestPollingSecondPostEndsTheSession(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	r := start(t, socketio.Config{}, socketio.Handler{Event: func(*socketio.Socket, socketio.Event) {
		close(entered)
		<-release
	}})
	p := r.polling(t).connect()
	first := make(chan int)
	go func() {
		status, _ := r.post(t, p.url, `42["message"]`)
		first <- status
	}()
	<-entered
	p.push(400, "3")
	close(release)
	if status := <-first; status != 200 {
		t.Errorf("first post: %d", status)
	}
	if reason := <-r.ended; reason != socketio.ReasonProtocol {
		t.Errorf("reason %v", reason)
	}
}

func TestPollingCancelledPollEndsTheSession(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := r.do(ctx, "GET", p.url, "")
		done <- err
	}()
	eventually(t, "the poll waits", func() bool {
		return p.waiting()
	})
	cancel()
	<-done
	if reason := <-r.ended; reason != socketio.ReasonTransport {
		t.Errorf("reason %v", reason)
	}
	p.unknown()
}

func TestPollingTooLarge(t *testing.T) {
	cfg := quick
	cfg.MaxPayload = 1000
	r := start(t, cfg, socketio.Handler{})
	p := r.polling(t).connect()
	p.push(413, "4"+strings.Repeat("x", 1000))
	// Without a length the limit holds as well.
	res, body, err := r.do(t.Context(), "POST", p.url, strings.Repeat("x", 1001), "Transfer-Encoding", "chunked")
	if err != nil || res.StatusCode != 413 {
		t.Errorf("%v %v %s", err, res, body)
	}
	// What was refused changed nothing.
	p.push(200, `42["message",1]`)
	p.want(200, `42["message-back",1]`)
	// A packet as large as the limit passes.
	exact := `42["message","` + strings.Repeat("x", 1000-len(`42["message",""]`)) + `"]`
	p.push(200, exact)
	p.want(200, strings.Replace(exact, "message", "message-back", 1))
}

func TestPollingClientCloses(t *testing.T) {
	t.Run("while a poll waits", func(t *testing.T) {
		r := start(t, socketio.Config{}, socketio.Handler{})
		p := r.polling(t).connect()
		got := make(chan string)
		go func() {
			_, body := r.get(t, p.url)
			got <- body
		}()
		eventually(t, "the poll waits", p.waiting)
		p.push(200, "1")
		if body := <-got; body != "6" {
			t.Errorf("waiting poll: %q", body)
		}
		p.unknown()
		if reason := <-r.ended; reason != socketio.ReasonClient {
			t.Errorf("reason %v", reason)
		}
	})
	t.Run("before the poll", func(t *testing.T) {
		r := start(t, socketio.Config{}, socketio.Handler{})
		p := r.polling(t)
		p.push(200, "1")
		p.want(200, "6")
		p.unknown()
	})
	t.Run("nothing else counts any more", func(t *testing.T) {
		r := start(t, socketio.Config{}, socketio.Handler{})
		p := r.polling(t).connect()
		p.push(200, "42[\"message\",1]\x1e1\x1e42[\"message\",2]")
		p.want(200, "6")
		p.unknown()
	})
}

// TestPollingServerCloses: the DISCONNECT and the close packet come in two polls, because the official client handles the
// former too late when they come in one.
func TestPollingServerCloses(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	p.push(200, `42["close"]`)
	p.want(200, "41")
	p.want(200, "1")
	p.unknown()
	if reason := <-r.ended; reason != socketio.ReasonServer {
		t.Errorf("reason %v", reason)
	}
	// The same while a poll waits.
	p = r.polling(t).connect()
	got := make(chan string)
	go func() {
		_, body := r.get(t, p.url)
		got <- body
	}()
	eventually(t, "the poll waits", p.waiting)
	p.push(200, `42["close"]`)
	if body := <-got; body != "41" {
		t.Errorf("waiting poll: %q", body)
	}
	p.want(200, "1")
	p.unknown()
}

// TestPollingLastPacketsExpire: nobody fetches the last packets; they and the session go.
func TestPollingLastPacketsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		p := r.polling(t).connect()
		p.push(200, `42["close"]`)
		time.Sleep(6 * time.Second)
		p.unknown()
		if n := r.metric("pending_bytes", ""); n != 0 {
			t.Errorf("%d bytes pending", n)
		}
	})
}

func TestWebsocketMessages(t *testing.T) {
	r := start(t, quick, socketio.Handler{})
	c := r.connected(t)
	c.send(`42["message",1,"2",{"3":[true]}]`)
	c.want(`42["message-back",1,"2",{"3":[true]}]`)
	c.send("3") // a pong nobody asked for
	c.send("6")
	c.send(`42["message"]`)
	c.want(`42["message-back"]`)
}

func TestWebsocketBadPacketsEndTheSession(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	for _, text := range []string{"", "abc", "7", "0", "2", "2probe", "5", "b", "4", "49"} {
		c := r.websocket(t, "")
		c.text()
		c.send(text)
		c.wantClose(1008)
	}
	c := r.connected(t)
	c.sendBinary([]byte{1, 2, 3})
	c.wantClose(1008)
}

func TestWebsocketClientCloses(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	c := r.connected(t)
	c.send("1")
	c.wantClose(1000)
	if reason := <-r.ended; reason != socketio.ReasonClient {
		t.Errorf("reason %v", reason)
	}
	c = r.connected(t)
	c.conn.Close()
	if reason := <-r.ended; reason != socketio.ReasonTransport {
		t.Errorf("reason %v", reason)
	}
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{}) // 25 s and 20 s
		c := r.connected(t)
		opened := time.Now()
		c.want("2")
		if first := time.Since(opened); first < 12*time.Second || first > 23*time.Second {
			t.Errorf("first ping after %v", first)
		}
		for range 5 {
			c.send("3")
			asked := time.Now()
			c.want("2")
			if d := time.Since(asked); d < 25*time.Second || d > 25*time.Second+300*time.Millisecond {
				t.Errorf("pings are %v apart", d)
			}
		}
		// Any packet is a sign of life.
		c.send(`42["message"]`)
		c.want(`42["message-back"]`)
		c.want("2")
		asked := time.Now()
		c.wantEOF()
		if d := time.Since(asked); d < 20*time.Second || d > 20*time.Second+300*time.Millisecond {
			t.Errorf("ended after %v", d)
		}
		if reason := <-r.ended; reason != socketio.ReasonPingTimeout {
			t.Errorf("reason %v", reason)
		}
	})
}

// TestHeartbeatWithALongTimeout: pings keep their interval when the timeout is longer, and the timeout counts from the
// ping that is not answered.
func TestHeartbeatWithALongTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{PingInterval: 5 * time.Second}, socketio.Handler{}) // 20 s
		c := r.connected(t)
		c.want("2")
		for range 3 {
			c.send("3")
			asked := time.Now()
			c.want("2")
			if d := time.Since(asked); d < 5*time.Second || d > 5*time.Second+300*time.Millisecond {
				t.Errorf("pings are %v apart", d)
			}
		}
		asked := time.Now()
		time.Sleep(19 * time.Second)
		c.send("3") // late, but in time
		c.want("2")
		if d := time.Since(asked); d < 19*time.Second || d > 21*time.Second {
			t.Errorf("next ping after %v", d)
		}
		asked = time.Now()
		c.wantEOF()
		if d := time.Since(asked); d < 20*time.Second || d > 20*time.Second+300*time.Millisecond {
			t.Errorf("ended after %v", d)
		}
	})
}

// TestHeartbeatDuringALongMessage: a message that takes longer than the heartbeat is read as long as it makes progress; one
// that trickles is not.
func TestHeartbeatDuringALongMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		for _, slow := range []struct {
			piece int
			lives bool
		}{{16 << 10, true}, {1, false}} {
			c := r.connected(t)
			send, want := echoEvent(strings.Repeat("x", 1_000_000))
			began := time.Now()
			go func() {
				for piece := range slices.Chunk(rawFrame(true, 0, opText, []byte(send)), slow.piece) {
					if _, err := c.conn.Write(piece); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			op, text, err := c.next()
			for ; err == nil && string(text) == "2"; op, text, err = c.next() {
			}
			if lived := err == nil && op == opText && string(text) == want; lived != slow.lives {
				t.Errorf("%d bytes a second: op %d, %v after %v", slow.piece, op, err, time.Since(began))
			}
			if d := time.Since(began); slow.lives && d < time.Minute || !slow.lives && d > 46*time.Second {
				t.Errorf("%d bytes a second: took %v", slow.piece, d)
			}
			c.conn.Close()
			time.Sleep(2 * time.Second) // for the goroutine that trickles
		}
	})
}

func TestHeartbeatPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		p := r.polling(t).connect()
		for range 3 {
			p.want(200, "2")
			p.push(200, "3")
		}
		p.want(200, "2")
		// The poll that waits when the time is over learns the end.
		p.want(200, "1")
		p.unknown()
		// Without a poll the session is gone at once.
		p = r.polling(t)
		time.Sleep(46 * time.Second)
		p.unknown()
	})
}

// TestFirstPingsAreSpread: sessions opened in the same moment do not ping in the same moment.
func TestFirstPingsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{}, socketio.Handler{})
		const n = 64
		at := make(chan time.Duration, n)
		opened := time.Now()
		for range n {
			c := r.connected(t)
			go func() {
				c.want("2")
				at <- time.Since(opened)
			}()
		}
		ticks := make(map[time.Duration]int)
		for range n {
			ticks[(<-at).Round(100*time.Millisecond)]++
		}
		if len(ticks) < n/3 {
			t.Errorf("%d sessions ping in %d moments", n, len(ticks))
		}
	})
}

func TestUpgrade(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	c := r.websocket(t, "&sid="+p.sid)
	c.send("2probe")
	c.want("3probe")
	// Until the client ends the upgrade polling works in both directions, and polls come back soon.
	p.push(200, `42["message","by polling"]`)
	p.want(200, `42["message-back","by polling"]`)
	p.want(200, "6")
	p.want(200, "6")
	p.push(200, `42["message","left over"]`)
	c.send("5")
	c.want(`42["message-back","left over"]`)
	c.send(`42["message","by websocket"]`)
	c.want(`42["message-back","by websocket"]`)
	p.unknown()
	p.push(400, "3")
	if _, res := r.handshake(t, base+"websocket&sid="+p.sid); res.StatusCode != 400 {
		t.Errorf("second websocket: %s", res.Status)
	}
	c.send(`42["message","still here"]`)
	c.want(`42["message-back","still here"]`)
	if r.metric("sessions", "polling") != 0 || r.metric("sessions", "websocket") != 1 {
		t.Errorf("sessions are counted wrongly: %v", r.srv.Metrics())
	}
	c.frame(true, 0, opClose, nil)
	c.wantClose(0)
}

// TestUpgradeReleasesTheWaitingPoll: the poll that waits when the probe arrives comes back.
func TestUpgradeReleasesTheWaitingPoll(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	got := make(chan string)
	go func() {
		_, body := r.get(t, p.url)
		got <- body
	}()
	eventually(t, "the poll waits", p.waiting)
	c := r.websocket(t, "&sid="+p.sid)
	c.send("2probe")
	c.want("3probe")
	if body := <-got; body != "6" {
		t.Errorf("poll: %q", body)
	}
	c.send("5")
	c.send(`42["message",1]`)
	c.want(`42["message-back",1]`)
}

// TestUpgradeInOneSegment: the client's frames right behind the probe and behind the switch are not lost, wherever the
// server's reads end.
func TestUpgradeInOneSegment(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	c := r.websocket(t, "&sid="+p.sid)
	all := slices.Concat(rawFrame(true, 0, opText, []byte("2probe")), rawFrame(true, 0, opText, []byte("5")),
		rawFrame(true, 0, opText, []byte(`42["message",1]`)), rawFrame(true, 0, opText, []byte(`42["message",2]`)))
	c.write(all)
	c.want("3probe")
	c.want(`42["message-back",1]`)
	c.want(`42["message-back",2]`)
}

// TestWebsocketFramesBehindTheHandshake: frames that the HTTP server had already read belong to the websocket.
func TestWebsocketFramesBehindTheHandshake(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	conn, err := r.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req := "GET " + base + "websocket HTTP/1.1\r\nHost: sotto.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	c := newWSClient(t, conn)
	c.write(slices.Concat([]byte(req), rawFrame(true, 0, opText, []byte("40")),
		rawFrame(true, 0, opText, []byte(`42["message",1]`))))
	if res := c.readHandshake(); res.StatusCode != 101 {
		t.Fatal(res.Status)
	}
	c.text()
	c.text()
	c.want(`42["auth",{}]`)
	c.want(`42["message-back",1]`)
}

func TestUpgradeThatFails(t *testing.T) {
	for name, spoil := range map[string]func(c *wsClient){
		"closed":                 func(c *wsClient) { c.conn.Close() },
		"closed after the probe": func(c *wsClient) { c.send("2probe"); c.want("3probe"); c.conn.Close() },
		"switch without a probe": func(c *wsClient) { c.send("5"); c.wantEOF() },
		"event in place of probe": func(c *wsClient) {
			c.send(`42["message","not here"]`)
			c.wantEOF()
		},
		"probe twice":    func(c *wsClient) { c.send("2probe"); c.want("3probe"); c.send("2probe"); c.wantEOF() },
		"binary":         func(c *wsClient) { c.sendBinary([]byte("2probe")); c.wantEOF() },
		"too large":      func(c *wsClient) { c.tooLarge(1<<20 + 1); c.conn.Close() },
		"protocol error": func(c *wsClient) { c.frame(true, 7, opText, []byte("2probe")); c.wantEOF() },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, socketio.Config{}, socketio.Handler{})
			p := r.polling(t).connect()
			spoil(r.websocket(t, "&sid="+p.sid))
			eventually(t, "the probe is given up", func() bool { return r.metric("upgrades_total", "failed") == 1 })
			// The session lives on polling and may try again.
			p.push(200, `42["message",1]`)
			p.want(200, `42["message-back",1]`)
			c := r.websocket(t, "&sid="+p.sid)
			c.send("2probe")
			c.want("3probe")
			c.send("5")
			c.send(`42["message",2]`)
			c.want(`42["message-back",2]`)
		})
	}
}

func TestUpgradeOneAtATime(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	c := r.websocket(t, "&sid="+p.sid)
	if _, res := r.handshake(t, base+"websocket&sid="+p.sid); res.StatusCode != 400 {
		t.Errorf("second upgrade: %s", res.Status)
	}
	c.send("2probe")
	c.want("3probe")
}

// TestUpgradeTimesOut: half an upgrade is given up, the session stays on polling.
func TestUpgradeTimesOut(t *testing.T) {
	for _, probed := range []bool{false, true} {
		t.Run(fmt.Sprint(probed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startPipe(t, socketio.Config{}, socketio.Handler{}) // 10 s
				p := r.polling(t).connect()
				c := r.websocket(t, "&sid="+p.sid)
				if probed {
					c.send("2probe")
					c.want("3probe")
				}
				began := time.Now()
				c.wantEOF()
				if d := time.Since(began); d < 10*time.Second || d > 11*time.Second {
					t.Errorf("given up after %v", d)
				}
				p.push(200, `42["message",1]`)
				p.want(200, `42["message-back",1]`)
			})
		})
	}
}

// TestUpgradeWhenTheSessionEnds: the websocket of an upgrade ends with its session.
func TestUpgradeWhenTheSessionEnds(t *testing.T) {
	r := start(t, socketio.Config{}, socketio.Handler{})
	p := r.polling(t).connect()
	c := r.websocket(t, "&sid="+p.sid)
	c.send("2probe")
	c.want("3probe")
	p.push(200, "1")
	c.wantEOF()
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startPipe(t, socketio.Config{PingInterval: time.Hour}, socketio.Handler{}) // 45 s
		began := time.Now()
		c := r.websocket(t, "")
		c.text()
		if op, _, err := c.next(); op != opClose || err != nil {
			t.Errorf("op %d, error %v", op, err)
		}
		if d := time.Since(began); d < 45*time.Second || d > 46*time.Second {
			t.Errorf("ended after %v", d)
		}
		p := r.polling(t)
		time.Sleep(44 * time.Second)
		p.want(200, "1")
		p.unknown()
	})
}
