package notification_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/notification"
	"sotto/internal/notification/notificationtest"
	"sotto/internal/token"
)

func quietUntil(zone string, from, to int, now time.Time) time.Time {
	return notification.QuietUntil(api.NotificationSettings{TimeZone: zone, QuietFrom: from, QuietTo: to}, now)
}

// connected is a world with a mail server, a push service and a subscribed device.
func connected(t *testing.T) (*world, *notificationtest.MailServer, *notificationtest.Device, token.Actor) {
	t.Helper()
	mails := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	w := newWorld(t, notification.SMTP{Host: mails.Host, Port: mails.Port, TLS: notification.TLSNone, From: "Sotto <no-reply@example.org>"})
	a := w.newActor()
	device := notificationtest.NewPushService(t).Subscribe(t)
	if _, err := w.Subscribe(t.Context(), a, device.Subscription); err != nil {
		t.Fatal(err)
	}
	return w, mails, device, a
}

func payload(t *testing.T, d *notificationtest.Device, i int) (p api.PushPayload) {
	t.Helper()
	messages := d.Messages()
	if len(messages) <= i {
		t.Fatalf("%d messages", len(messages))
	}
	if err := json.Unmarshal(messages[i].Body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDecryptVector holds the receiving side, on which the tests below stand, against section 5 of RFC 8291.
func TestDecryptVector(t *testing.T) {
	decode := func(s string) []byte {
		t.Helper()
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, err := ecdh.P256().NewPrivateKey(decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := notificationtest.Decrypt(key, decode("BTBZMqHH6r4Tts7J_aSIgg"), decode(
		"DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"))
	if err != nil || string(got) != "When I grow up, I want to be a watermelon" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPush: a device gets one message of one size a conversation, which says what waits and nothing else.
func TestPush(t *testing.T) {
	w, _, device, a := connected(t)
	talk := api.ConversationID{1}
	for i := range 10 { // before the worker comes to it: one message
		w.pass(time.Millisecond)
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, i+1)))
	}
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifyDeviceAdded}))
	w.work()
	if n := len(device.Messages()); n != 2 {
		t.Fatalf("%d messages", n)
	}
	first, second := 0, 1 // they leave side by side
	if payload(t, device, 0).Kind != api.NotifyMessages {
		first, second = 1, 0
	}
	if got := payload(t, device, first); got.Count != 10 || *got.ConversationID != talk || got.Kind != api.NotifyMessages {
		t.Errorf("%+v", got)
	}
	one, two := device.Messages()[first], device.Messages()[second]
	if one.Size != two.Size {
		t.Errorf("messages of %d and %d bytes", one.Size, two.Size)
	}
	if topic := one.Header.Get("Topic"); len(topic) != 32 || strings.Contains(topic, talk.String()[:8]) {
		t.Errorf("topic %q", topic)
	}
	if u1, u2 := one.Header.Get("Urgency"), two.Header.Get("Urgency"); u1 != "normal" || u2 != "high" || one.Header.Get("TTL") != "86400" {
		t.Errorf("urgency %s and %s, TTL %s", u1, u2, one.Header.Get("TTL"))
	}
	for _, m := range device.Messages() {
		if bytes.Contains(m.Body, []byte("ada")) || bytes.Contains(m.Body, []byte("@")) {
			t.Errorf("a push says too much: %s", m.Body)
		}
	}
	w.work()
	if n := len(device.Messages()); n != 2 || w.Pushed.Load() != 2 {
		t.Errorf("%d messages, %d counted", n, w.Pushed.Load())
	}
}

// TestPushServiceAnswers: what is busy is asked again later, what is gone is forgotten, what refuses is given up.
func TestPushServiceAnswers(t *testing.T) {
	service := notificationtest.NewPushService(t)
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		status, pauses   int
		arrives, forgets bool
	}{
		"busy":    {http.StatusTooManyRequests, 1, true, false},
		"broken":  {http.StatusBadGateway, 1, true, false},
		"gone":    {http.StatusGone, 0, false, true},
		"unknown": {http.StatusNotFound, 0, false, true},
		"refuses": {http.StatusForbidden, 0, false, false},
		"moves":   {http.StatusFound, 0, false, false},
	} {
		a, device := w.newActor(), service.Subscribe(t)
		if _, err := w.Subscribe(t.Context(), a, device.Subscription); err != nil {
			t.Fatal(err)
		}
		first := true
		service.Answer(func(int) int {
			if first {
				first = false
				return c.status
			}
			return 0
		})
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
		w.work()
		if n := len(device.Messages()); n != 0 {
			t.Errorf("%s: %d messages at once", name, n)
		}
		w.pass(time.Hour)
		w.work()
		state, err := w.PushState(t.Context(), a)
		if err != nil || (len(device.Messages()) == 1) != c.arrives || state.Subscribed == c.forgets {
			t.Errorf("%s: %d messages later, %+v, %v", name, len(device.Messages()), state, err)
		}
	}
}

// TestPushIsGivenUp: a service that never answers well is asked a bounded number of times.
func TestPushIsGivenUp(t *testing.T) {
	service := notificationtest.NewPushService(t)
	w := newWorld(t, nil)
	a, device := w.newActor(), service.Subscribe(t)
	if _, err := w.Subscribe(t.Context(), a, device.Subscription); err != nil {
		t.Fatal(err)
	}
	asked := 0
	service.Answer(func(try int) int { asked = try; return http.StatusServiceUnavailable })
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
	for range 3 * notification.MaxTries {
		w.work()
		w.pass(5 * time.Hour)
	}
	if asked != notification.MaxTries || w.GaveUp.Load() != 1 {
		t.Errorf("asked %d times, gave up %d", asked, w.GaveUp.Load())
	}
}

func TestEndpointBelongsToTheLastDevice(t *testing.T) {
	w, _, device, first := connected(t)
	second := w.newActor()
	if _, err := w.Subscribe(t.Context(), second, device.Subscription); err != nil {
		t.Fatal(err)
	}
	if state, err := w.PushState(t.Context(), first); err != nil || state.Subscribed {
		t.Errorf("%+v, %v", state, err)
	}
	w.happens(w.event(event.MessageWaiting, first.Account, waiting(api.ConversationID{1}, 1)))
	w.work()
	if n := len(device.Messages()); n != 0 {
		t.Errorf("the device of one account got %d messages of another", n)
	}
	// It ends with the login.
	w.happens(w.event(event.LoginEnded, second.Account, event.LoginEnd{LoginID: second.Login, Until: 1 << 60}))
	if state, err := w.PushState(t.Context(), second); err != nil || state.Subscribed {
		t.Errorf("after the login has ended: %+v, %v", state, err)
	}
}

// forbidden are addresses that belong to nobody on the public network, in every form that one can be written in.
var forbidden = []string{
	"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
	"100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
	"224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
	"::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:192.168.1.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
	"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "fe80::1", "fe80::1%lo", "febf::1", "fec0::1", "fc00::1", "fd00::1", "fd12:3456::1",
	"ff02::1", "ff0e::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "2002:a00:1::", "100::1", "3fff::1", "5f00::1",
}

// hostForms are names and spellings that lead to such addresses.
var hostForms = []string{
	"localhost", "LOCALHOST", "localhost.", "x.localhost", "printer.local", "vault.internal", "router.lan", "nas.home", "a.localdomain",
	"intranet", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "x.onion", "x.test", "x.example", "x.invalid", "1.0.0.127.in-addr.arpa",
}

func TestForbiddenAddresses(t *testing.T) {
	if n := len(forbidden) + len(hostForms); n < 60 {
		t.Fatalf("only %d forms", n)
	}
	for _, s := range forbidden {
		if notification.Public(netip.MustParseAddr(s)) {
			t.Errorf("%s counts as public", s)
		}
	}
	for _, s := range []string{"1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8"} {
		if !notification.Public(netip.MustParseAddr(s)) {
			t.Errorf("%s does not count as public", s)
		}
	}
}

// TestDialRefuses: whatever a name leads to, a connection to such an address is not made; nothing is asked there.
func TestDialRefuses(t *testing.T) {
	service := notificationtest.NewPushService(t)
	address := strings.TrimPrefix(service.URL, "http://")
	if conn, err := notification.Dialer(true)(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	} else if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{address, "localhost:443", "127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:443", "0.0.0.0:443", "169.254.169.254:443"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		conn, err := notification.Dialer(false)(ctx, "tcp", at)
		cancel()
		if err == nil {
			t.Errorf("%s was dialled", at)
			_ = conn.Close()
		} else if !strings.Contains(err.Error(), "public network") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestSubscriptionsAreChecked(t *testing.T) {
	good := notificationtest.NewPushService(t).Subscribe(t).Subscription
	strict := newStrictWorld(t)
	a := strict.newActor()
	urls := []string{
		"", "x", "http://push.example.org/", "ftp://push.example.org/", "https://", "https:///x", "https://user:pw@push.example.com/x",
		"https://push.example.com/#x", "https://push.example.com:22/x", "https://push.example.com/a b", "https://push.example.com/\r\nX: y",
		"https://push.example.com/" + strings.Repeat("x", api.MaxPushEndpoint), "javascript:alert(1)", "//push.example.com/", "https://пуш.рф/x",
	}
	for _, host := range append(hostForms, forbidden...) {
		if strings.Contains(host, ":") {
			host = "[" + strings.ReplaceAll(host, "%", "%25") + "]"
		}
		urls = append(urls, fmt.Sprintf("https://%s/x", host))
	}
	for _, u := range urls {
		sub := good
		sub.Endpoint = u
		if _, err := strict.Subscribe(t.Context(), a, sub); err == nil {
			t.Errorf("%q was taken", u)
		}
	}
	sub := good
	sub.Endpoint = "https://push.example.com/x"
	for name, spoil := range map[string]func(*api.PushSubscription){
		"no key":        func(s *api.PushSubscription) { s.P256dh = nil },
		"short key":     func(s *api.PushSubscription) { s.P256dh = s.P256dh[:64] },
		"no point":      func(s *api.PushSubscription) { s.P256dh = bytes.Repeat([]byte{4}, 65) },
		"compressed":    func(s *api.PushSubscription) { s.P256dh = append([]byte{2}, make([]byte, 64)...) },
		"no auth":       func(s *api.PushSubscription) { s.Auth = nil },
		"too long auth": func(s *api.PushSubscription) { s.Auth = make([]byte, 17) },
	} {
		spoiled := sub
		spoil(&spoiled)
		if _, err := strict.Subscribe(t.Context(), a, spoiled); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if state, err := strict.PushState(t.Context(), a); err != nil || state.Subscribed {
		t.Errorf("%+v, %v", state, err)
	}
	if strict.Refused.Load() != int64(len(urls)+6) {
		t.Errorf("%d of %d were counted", strict.Refused.Load(), len(urls)+6)
	}
	if _, err := strict.Subscribe(t.Context(), a, sub); err != nil {
		t.Errorf("a good one: %v", err)
	}
}
