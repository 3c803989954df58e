package notification_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/notification"
	"sotto/internal/notification/notificationtest"
	"sotto/internal/token"
)

// throughFCM is a sender through f.
func throughFCM(t *testing.T, f *notificationtest.FCM) *notification.FCM {
	t.Helper()
	var c map[string]string
	if err := json.Unmarshal([]byte(notificationtest.FCMCredentials(f.URL+notificationtest.FCMTokenPath)), &c); err != nil {
		t.Fatal(err)
	}
	sender, err := notification.NewFCM(notification.FCMAccount{
		Project: c["project_id"], Email: c["client_email"], KeyID: c["private_key_id"], Key: c["private_key"], TokenURL: c["token_uri"],
	})
	if err != nil {
		t.Fatal(err)
	}
	sender.SendTo(f.URL)
	return sender
}

// android is a world with FCM, and a device with a token.
func android(t *testing.T) (*world, *notificationtest.FCM, token.Actor) {
	t.Helper()
	f := notificationtest.NewFCM(t)
	w := newWorld(t, nil)
	w.FCM = throughFCM(t, f)
	a := w.newActor()
	w.takes(a, "device-1:canary-token")
	return w, f, a
}

// takes subscribes a device with a token.
func (w *world) takes(a token.Actor, fcmToken string) {
	w.t.Helper()
	state, err := w.Subscribe(w.t.Context(), a, api.PushSubscription{FCMToken: fcmToken})
	if err != nil || !state.Subscribed || state.FCMProject != notificationtest.FCMProject {
		w.t.Fatalf("%+v, %v", state, err)
	}
}

func (w *world) subscribed(a token.Actor) bool {
	w.t.Helper()
	state, err := w.PushState(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return state.Subscribed
}

// quiet finds what the service wrote or stored that belongs to nobody but FCM and the device.
func (w *world) quiet(what string) {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(), `SELECT failed FROM job WHERE failed IS NOT NULL`)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	all := w.logs.String()
	for rows.Next() {
		var failed string
		if err := rows.Scan(&failed); err != nil {
			w.t.Fatal(err)
		}
		all += failed
	}
	if err := rows.Err(); err != nil || strings.Contains(all, "canary") {
		w.t.Errorf("%s: %v, too much is said: %s", what, err, all)
	}
}

// TestFCM: Google learns that something is new, and nothing else. The access token is asked for once.
func TestFCM(t *testing.T) {
	w, f, a := android(t)
	talk := api.ConversationID{0xca, 0xfe}
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 4711)))
	w.work()
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifyDeviceAdded}))
	w.work()
	messages := f.Messages()
	if len(messages) != 2 || w.Pushed.Load() != 2 || f.Asked(notificationtest.FCMTokenPath) != 1 {
		t.Fatalf("%d messages, %d counted, %d access tokens\n%s", len(messages), w.Pushed.Load(), f.Asked(notificationtest.FCMTokenPath), w.logs.String())
	}
	for i, priority := range []string{"NORMAL", "HIGH"} {
		want := `{"message":{"token":"device-1:canary-token","data":{"v":"1"},` +
			`"android":{"collapse_key":"sotto","ttl":"86400s","priority":"` + priority + `"}}}`
		if messages[i].Raw != want {
			t.Errorf("got  %s\nwant %s", messages[i].Raw, want)
		}
		for _, canary := range []string{"ada", "@", talk.String()[:8], "cafe", "4711", "messages", "device_added", "chat.example.org"} {
			if strings.Contains(strings.ReplaceAll(messages[i].Raw, "device-1:canary-token", ""), canary) {
				t.Errorf("Google reads %q in %s", canary, messages[i].Raw)
			}
		}
	}
	w.quiet("sent")
}

// TestFCMAnswers: what is busy is asked again later, what is unregistered is forgotten and nothing else is, and nobody's
// answer is repeated.
func TestFCMAnswers(t *testing.T) {
	refusal := notificationtest.FCMError
	for name, c := range map[string]struct {
		status   int
		body     string
		later    bool // it is tried again and arrives
		forgets  bool
		signsNew bool
	}{
		"busy":             {429, refusal(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), true, false, false},
		"broken":           {500, refusal(500, "INTERNAL", "INTERNAL"), true, false, false},
		"away":             {503, "<canary>", true, false, false},
		"expired access":   {401, refusal(401, "UNAUTHENTICATED", ""), true, false, true},
		"unregistered":     {404, refusal(404, "NOT_FOUND", "UNREGISTERED"), false, true, false},
		"no such project":  {404, refusal(404, "NOT_FOUND", ""), false, false, false},
		"a proxy's page":   {404, "<canary>UNREGISTERED", false, false, false},
		"in the message":   {404, `{"error":{"message":"UNREGISTERED canary","status":"UNREGISTERED"}}`, false, false, false},
		"another project":  {403, refusal(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), false, false, false},
		"gone as Web Push": {410, refusal(410, "GONE", "UNREGISTERED"), false, false, false},
		"no token":         {400, refusal(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), false, false, false},
		"moved":            {302, "canary", false, false, false},
		"moved to nowhere": {302, "canary", true, false, false},
	} {
		w, f, a := android(t)
		f.Answer(notificationtest.FCMSendPath, func(try int) *notificationtest.FCMAnswer {
			if try > 1 {
				return nil
			}
			to := f.URL + "/canary"
			if c.later {
				to = "://canary" // which net/http repeats
			}
			return &notificationtest.FCMAnswer{Status: c.status, Body: c.body, Header: http.Header{"Location": {to}}}
		})
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
		w.work()
		if n := len(f.Messages()); n != 0 {
			t.Errorf("%s: %d messages at once", name, n)
		}
		w.pass(time.Hour)
		w.work()
		asked, gaveUp := f.Asked(notificationtest.FCMSendPath), w.GaveUp.Load()
		if c.later && (len(f.Messages()) != 1 || w.Retried.Load() != 1 || gaveUp != 0) ||
			!c.later && (asked != 1 || (gaveUp == 1) == c.forgets) {
			t.Errorf("%s: asked %d times, %d messages, gave up %d", name, asked, len(f.Messages()), gaveUp)
		}
		if w.subscribed(a) == c.forgets {
			t.Errorf("%s: subscribed: %v", name, !c.forgets)
		}
		if n := f.Asked(notificationtest.FCMTokenPath); (n == 2) != c.signsNew {
			t.Errorf("%s: %d access tokens", name, n)
		}
		w.quiet(name)
		f.Answer(notificationtest.FCMSendPath, func(int) *notificationtest.FCMAnswer {
			return &notificationtest.FCMAnswer{Status: c.status, Body: c.body, Header: http.Header{"Location": {"://canary"}}}
		})
		if err := throughFCM(t, f).Post(t.Context(), "x"); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFCMWaitsAsAsked, by the one that takes messages and by the one that gives access.
func TestFCMWaitsAsAsked(t *testing.T) {
	for _, path := range []string{notificationtest.FCMSendPath, notificationtest.FCMTokenPath} {
		w, f, a := android(t)
		f.Answer(path, func(try int) *notificationtest.FCMAnswer {
			if try > 1 {
				return nil
			}
			return &notificationtest.FCMAnswer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}}
		})
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
		w.work()
		w.pass(59 * time.Minute)
		w.work()
		if n := f.Asked(path); n != 1 {
			t.Errorf("%s: asked %d times before the time was over", path, n)
		}
		w.pass(time.Minute)
		w.work()
		if n := len(f.Messages()); n != 1 {
			t.Errorf("%s: %d messages afterwards", path, n)
		}
	}
}

// TestFCMSignIn: an account that Google does not take, and answers that are none, are tried again; the log says once that
// the account is refused, and nothing of what was answered.
func TestFCMSignIn(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		header http.Header
		told   bool
	}{
		"key deleted":      {400, `{"error":"invalid_grant","error_description":"canary a@example.org"}`, nil, true},
		"no account":       {401, `canary`, nil, true},
		"forbidden":        {403, `{"error":"canary"}`, nil, true},
		"moved":            {302, `canary`, http.Header{"Location": {"/canary"}}, true},
		"moved to nowhere": {302, `canary`, http.Header{"Location": {"://canary"}}, false},
		"broken":           {500, `canary`, nil, false},
		"no JSON":          {200, `canary`, nil, false},
		"a number":         {200, `{"access_token":4711,"token_type":"canary"}`, nil, false},
		"no token":         {200, `{"token_type":"canary"}`, nil, false},
		"two lines":        {200, `{"access_token":"canary\r\nX: y"}`, nil, false},
		"too long":         {200, `{"access_token":"` + strings.Repeat("canary", 2_000) + `"}`, nil, false},
		"an id token":      {200, `{"access_token":"x","id_token":"canary.canary.canary"}`, nil, false},
	} {
		w, f, a := android(t)
		f.Answer(notificationtest.FCMTokenPath, func(try int) *notificationtest.FCMAnswer {
			if try > 2 {
				return nil
			}
			return &notificationtest.FCMAnswer{Status: c.status, Body: c.body, Header: c.header}
		})
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
		for range 2 {
			w.work()
			w.pass(time.Hour)
		}
		if n := strings.Count(w.logs.String(), "SOTTO_FCM_CREDENTIALS"); n > 1 || (n == 1) != c.told {
			t.Errorf("%s: the log says %d times that the account is refused", name, n)
		}
		w.work()
		if n := len(f.Messages()); n != 1 || w.Retried.Load() != 2 || w.GaveUp.Load() != 0 || f.Asked(notificationtest.FCMSendPath) != 1 {
			t.Errorf("%s: %d messages, tried again %d times, gave up %d: %s", name, n, w.Retried.Load(), w.GaveUp.Load(), w.logs.String())
		}
		w.quiet(name)
		f.Answer(notificationtest.FCMTokenPath, func(int) *notificationtest.FCMAnswer {
			return &notificationtest.FCMAnswer{Status: c.status, Body: c.body, Header: c.header}
		})
		err := throughFCM(t, f).Post(t.Context(), "x")
		if err == nil || errors.Is(err, notification.ErrGiveUp) || errors.Is(err, notification.ErrSignIn) != c.told ||
			strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFCMSignsInAgain when Google takes back the access of before.
func TestFCMSignsInAgain(t *testing.T) {
	w, f, a := android(t)
	for i := range 2 {
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{byte(i)}, 1)))
		w.work()
		f.Revoke()
	}
	w.pass(time.Hour)
	w.work()
	if n := f.Asked(notificationtest.FCMTokenPath); n != 2 || len(f.Messages()) != 2 || w.GaveUp.Load() != 0 {
		t.Errorf("%d access tokens, %d messages, gave up %d", n, len(f.Messages()), w.GaveUp.Load())
	}
}

// TestFCMHangs: who never answers is left when the time is over. Nobody waits for the time of others on top.
func TestFCMHangs(t *testing.T) {
	hang := func(int) *notificationtest.FCMAnswer { return &notificationtest.FCMAnswer{Hang: true} }
	for _, path := range []string{notificationtest.FCMTokenPath, notificationtest.FCMSendPath} {
		f := notificationtest.NewFCM(t)
		f.Answer(path, hang)
		sender := throughFCM(t, f)
		sender.SignInWithin(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := sender.Post(ctx, "x")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, notification.ErrGiveUp) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", path, err)
		}
		if left := strings.Contains(err.Error(), "signing in"); left != (path == notificationtest.FCMTokenPath) {
			t.Errorf("%s: it was not this delivery whose time was over: %v", path, err)
		}
	}
	// The token endpoint has a bound of its own, and is asked once for all who wait: one after the other would take five
	// minutes.
	f := notificationtest.NewFCM(t)
	f.Answer(notificationtest.FCMTokenPath, hang)
	sender := throughFCM(t, f)
	sender.SignInWithin(3 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := sender.Post(ctx, "x"); err == nil || ctx.Err() != nil {
				t.Errorf("%v, %v", err, ctx.Err())
			}
		})
	}
	wg.Wait()
	if n := f.Asked(notificationtest.FCMTokenPath); n > 10 { // who came too late for the first asks again
		t.Errorf("asked %d times", n)
	}
}

// TestFCMIsNotThere: the address is told, for the operator, and it is tried again.
func TestFCMIsNotThere(t *testing.T) {
	f := notificationtest.NewFCM(t)
	sender := throughFCM(t, f)
	f.Close()
	err := sender.Post(t.Context(), "x")
	if err == nil || errors.Is(err, notification.ErrGiveUp) || !strings.Contains(err.Error(), "refused") || errors.Is(err, notification.ErrSignIn) {
		t.Error(err)
	}
}

// TestFCMHidesItsKey in everything that could be printed.
func TestFCMHidesItsKey(t *testing.T) {
	sender := throughFCM(t, notificationtest.NewFCM(t))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, sender); strings.Contains(s, "PRIVATE") || strings.Contains(s, "canary") || len(s) > 100 {
			t.Errorf("%s: %s", verb, s)
		}
	}
}

// TestFCMTokensAreChecked, and taken only where something can be done with them.
func TestFCMTokensAreChecked(t *testing.T) {
	w, f, a := android(t)
	web := notificationtest.NewPushService(t).Subscribe(t).Subscription
	refused := w.Refused.Load()
	bad := map[string]api.PushSubscription{
		"nothing":           {},
		"too long":          {FCMToken: strings.Repeat("x", api.MaxFCMToken+1)},
		"a space":           {FCMToken: "a b"},
		"two lines":         {FCMToken: "a\nb"},
		"NUL":               {FCMToken: "a\x00"},
		"DEL":               {FCMToken: "a\x7f"},
		"not ASCII":         {FCMToken: "ä"},
		"not UTF-8":         {FCMToken: "a\xff"},
		"with an endpoint":  {FCMToken: "x", Endpoint: web.Endpoint},
		"with a key":        {FCMToken: "x", P256dh: web.P256dh},
		"with a secret":     {FCMToken: "x", Auth: web.Auth},
		"with all the rest": {FCMToken: "x", Endpoint: web.Endpoint, P256dh: web.P256dh, Auth: web.Auth},
	}
	for name, sub := range bad {
		if _, err := w.Subscribe(t.Context(), a, sub); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if n := w.Refused.Load() - refused; n != int64(len(bad)) {
		t.Errorf("%d of %d were counted", n, len(bad))
	}
	// The longest is stored and found, although nothing in it repeats.
	var long strings.Builder
	for i := 0; long.Len() < api.MaxFCMToken; i++ {
		long.WriteString(api.AccountID{byte(i), byte(i >> 8), byte(i * 31), byte(i * 57)}.String())
	}
	longest := long.String()[:api.MaxFCMToken]
	w.takes(a, longest)
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{1}, 1)))
	w.work()
	if m := f.Messages(); len(m) != 1 || m[0].Token != longest {
		t.Errorf("%d messages", len(m))
	}

	// Without FCM the app is told, and what was stored before sends nothing.
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{2}, 1)))
	w.FCM = nil
	if _, err := w.Subscribe(t.Context(), a, api.PushSubscription{FCMToken: "x"}); err == nil || !strings.Contains(err.Error(), "does not push through FCM") {
		t.Error(err)
	}
	w.work()
	state, err := w.PushState(t.Context(), a)
	if err != nil || state.Subscribed || state.FCMProject != "" || len(f.Messages()) != 1 || w.GaveUp.Load() != 0 {
		t.Errorf("%+v, %v, %d messages, gave up %d", state, err, len(f.Messages()), w.GaveUp.Load())
	}
}

// TestOneSubscriptionADevice: one way replaces the other, a token goes with the device that brought it last, and the end
// of the login ends it.
func TestOneSubscriptionADevice(t *testing.T) {
	w, f, a := android(t)
	browser := notificationtest.NewPushService(t).Subscribe(t)
	count := byte(0)
	reaches := func(what string, fcm, web int) {
		t.Helper()
		fcm, web = fcm+len(f.Messages()), web+len(browser.Messages())
		count++
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{count}, 1)))
		w.work()
		if gotF, gotW := len(f.Messages()), len(browser.Messages()); gotF != fcm || gotW != web {
			t.Errorf("%s: %d through FCM instead of %d, %d by Web Push instead of %d", what, gotF, fcm, gotW, web)
		}
		if got, err := w.Subscribed(t.Context(), a.Account); err != nil || len(got) > 1 {
			t.Errorf("%s: %d subscriptions, %v", what, len(got), err)
		}
	}
	reaches("a token", 1, 0)
	if _, err := w.Subscribe(t.Context(), a, browser.Subscription); err != nil {
		t.Fatal(err)
	}
	reaches("then an endpoint", 0, 1)
	w.takes(a, "device-1:again")
	reaches("then a token", 1, 0)
	if err := w.Unsubscribe(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	reaches("then nothing", 0, 0)

	w.takes(a, "device-1:again")
	other := w.newActor()
	w.takes(other, "device-1:again")
	if w.subscribed(a) || !w.subscribed(other) {
		t.Error("the token still belongs to the device of before")
	}
	reaches("somebody else has the token", 0, 0)
	w.takes(a, "device-1:new")
	w.happens(w.event(event.LoginEnded, other.Account, event.LoginEnd{LoginID: other.Login, Until: 1 << 60}))
	if !w.subscribed(a) || w.subscribed(other) {
		t.Error("another login has ended")
	}
	w.happens(w.event(event.LoginEnded, a.Account, event.LoginEnd{LoginID: a.Login, Until: 1 << 60}))
	if w.subscribed(a) {
		t.Error("subscribed although the login has ended")
	}
	reaches("the login has ended", 0, 0)
}

// TestDevicesAreBounded over both ways together.
func TestDevicesAreBounded(t *testing.T) {
	w, _, first := android(t)
	service := notificationtest.NewPushService(t)
	for i := range 30 {
		a := w.newActor()
		a.Account = first.Account
		sub := api.PushSubscription{FCMToken: fmt.Sprintf("t%d", i)}
		if i%2 == 0 {
			sub = service.Subscribe(t).Subscription
		}
		if _, err := w.Subscribe(t.Context(), a, sub); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := w.Subscribed(t.Context(), first.Account); err != nil || len(got) != 20 {
		t.Errorf("%d devices, %v", len(got), err)
	}
}

// TestGoneWhileSubscribingAnew: a device that brings a new subscription while a push service is about to say that the old
// one is over keeps the new one, and gets the message there.
func TestGoneWhileSubscribingAnew(t *testing.T) {
	f := notificationtest.NewFCM(t)
	service := notificationtest.NewPushService(t)
	browsers := []*notificationtest.Device{service.Subscribe(t), service.Subscribe(t)}
	web := func(i int) api.PushSubscription { return browsers[i].Subscription }
	fcm := func(i int) api.PushSubscription {
		return api.PushSubscription{FCMToken: fmt.Sprintf("token-%d", i)}
	}
	for name, c := range map[string]struct{ first, then api.PushSubscription }{
		"an endpoint for an endpoint": {web(0), web(1)}, "a token for a token": {fcm(0), fcm(1)},
		"a token for an endpoint": {web(0), fcm(1)}, "an endpoint for a token": {fcm(0), web(1)},
	} {
		w := newWorld(t, nil)
		w.FCM = throughFCM(t, f)
		a := w.newActor()
		if _, err := w.Subscribe(t.Context(), a, c.first); err != nil {
			t.Fatal(err)
		}
		anew := func(try int) bool {
			if try == 1 {
				w.pass(time.Second)
				if _, err := w.Subscribe(t.Context(), a, c.then); err != nil {
					t.Error(err)
				}
			}
			return try == 1
		}
		tries := 0
		service.Answer(func(int) int {
			if tries++; anew(tries) && c.first.FCMToken == "" {
				return http.StatusGone
			}
			return 0
		})
		f.Answer(notificationtest.FCMSendPath, func(try int) *notificationtest.FCMAnswer {
			if c.first.FCMToken == "" || !anew(try) {
				return nil
			}
			return &notificationtest.FCMAnswer{
				Status: http.StatusNotFound, Body: notificationtest.FCMError(http.StatusNotFound, "NOT_FOUND", "UNREGISTERED"),
			}
		})
		if c.first.FCMToken != "" {
			service.Answer(nil)
		}
		before := len(f.Messages()) + len(browsers[1].Messages())
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{7}, 1)))
		w.work()
		if !w.subscribed(a) {
			t.Errorf("%s: the new subscription went, too", name)
		}
		w.pass(time.Minute)
		w.work()
		if n := len(f.Messages()) + len(browsers[1].Messages()) - before; n != 1 || w.GaveUp.Load() != 0 {
			t.Errorf("%s: %d messages, gave up %d", name, n, w.GaveUp.Load())
		}
	}
}

// TestTryFCM: the operator sees whether Google takes the account, and what became of each device.
func TestTryFCM(t *testing.T) {
	w, f, a := android(t)
	second := w.newActor()
	second.Account = a.Account
	w.takes(second, "gone")
	f.Forget("gone")
	try := func() string {
		var lines []string
		for _, o := range w.Try(t.Context(), a.Account, api.Recipient{Username: "ada"}) {
			if o.Channel == "fcm" || o.Channel == "push" {
				lines = append(lines, fmt.Sprintf("%s: %s %v", o.Channel, o.Detail, o.Err))
			}
		}
		return strings.Join(lines, "\n")
	}
	same := func(got, want string) {
		t.Helper()
		if got != want || strings.Contains(got, "canary") {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	same(try(), "fcm: signed in to the project sotto-test <nil>\npush: device 1 of 2: handed to FCM <nil>\n"+
		"push: device 2 of 2: the push service does not know this subscription any more <nil>")
	f.Revoke()
	f.Answer(notificationtest.FCMTokenPath, func(int) *notificationtest.FCMAnswer {
		return &notificationtest.FCMAnswer{Status: http.StatusBadRequest, Body: `{"error":"canary"}`}
	})
	w.FCM = throughFCM(t, f)
	refused := "the service account of FCM is refused: the token endpoint answered 400"
	if got := try(); strings.Count(got, refused) != 3 || strings.Contains(got, "canary") {
		t.Error(got)
	}
	w.FCM = nil
	same(try(), "fcm: off: SOTTO_FCM_CREDENTIALS is not set <nil>\npush: device 1 of 2: has subscribed through FCM, which is off <nil>\n"+
		"push: device 2 of 2: has subscribed through FCM, which is off <nil>")
	if n := len(f.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}
