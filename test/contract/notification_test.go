package contract_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/notification/notificationtest"
	"sotto/test/contract/rest"
)

const notificationsPath = "/api/notifications"

// eventually asks again until the answer is there: notifications follow what caused them.
func (s *script) eventually(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s did not come", what)
		}
	}
}

// notifications reads and clears the list, and changes every setting there and back.
func (s *script) notifications(d *rest.Device) {
	token := d.Login.Token
	var page api.Notifications
	s.eventually("the welcome", func() bool {
		s.Call(s, http.MethodGet, notificationsPath+"?limit=1", token, nil, &page)
		return len(page.Notifications) > 0
	})
	s.Call(s, http.MethodGet, fmt.Sprintf("%s?before=%d", notificationsPath, page.Notifications[0].ID+1), token, nil, &page)
	id := page.Notifications[0].ID
	s.Call(s, http.MethodGet, notificationsPath+"/unread", token, nil, &api.UnreadCount{})
	s.Call(s, http.MethodPost, fmt.Sprintf("%s/item/%d/read", notificationsPath, id), token, nil, nil)
	s.Call(s, http.MethodPost, notificationsPath+"/read", token, api.ReadThrough{Through: id}, &api.UnreadCount{})
	s.Call(s, http.MethodDelete, fmt.Sprintf("%s/item/%d", notificationsPath, id), token, nil, nil)
	s.refused(api.CodeNotFound, http.MethodDelete, fmt.Sprintf("%s/item/%d", notificationsPath, id), token, nil)

	var set api.NotificationSettings
	s.Call(s, http.MethodGet, notificationsPath+"/settings", token, nil, &set)
	set.QuietFrom, set.QuietTo, set.TimeZone = 1320, 420, "Europe/Berlin"
	s.Call(s, http.MethodPut, notificationsPath+"/settings", token, set, &set)
	of := notificationsPath + "/settings/" + rest.Random[api.ConversationID](s).String()
	var own api.ConversationNotifications
	s.Call(s, http.MethodGet, of, token, nil, &own)
	own.MentionsOnly = true
	s.Call(s, http.MethodPut, of, token, own, nil)
	s.Call(s, http.MethodDelete, of, token, nil, nil)

	s.Call(s, http.MethodGet, notificationsPath+"/push", token, nil, &api.PushState{})
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	sub := api.PushSubscription{Endpoint: "https://push.example.com/x", P256dh: key.PublicKey().Bytes(), Auth: make([]byte, 16)}
	s.Call(s, http.MethodPut, notificationsPath+"/push", token, sub, &api.PushState{})
	s.Call(s, http.MethodDelete, notificationsPath+"/push", token, nil, nil)
	sub.Endpoint = "https://127.0.0.1/x"
	s.refused(api.CodeInvalid, http.MethodPut, notificationsPath+"/push", token, sub)
	var state api.PushState
	s.Call(s, http.MethodPut, notificationsPath+"/push", token, api.PushSubscription{FCMToken: "parity:token"}, &state)
	s.Call(s, http.MethodGet, notificationsPath+"/push", token, nil, &state)
	if !state.Subscribed || state.FCMProject != notificationtest.FCMProject {
		s.Errorf("with a token of FCM: %+v", state)
	}
	s.refused(api.CodeInvalid, http.MethodPut, notificationsPath+"/push", token, api.PushSubscription{FCMToken: "two words"})
	sub.FCMToken = "parity:token"
	s.refused(api.CodeInvalid, http.MethodPut, notificationsPath+"/push", token, sub)
	s.Call(s, http.MethodDelete, notificationsPath+"/push", token, nil, nil)
}

// email confirms an address with the code from the mail, unsubscribes through the link in the next one, and takes the
// address away.
func (s *script) email(d *rest.Device, mails *notificationtest.MailServer) {
	token, p := d.Login.Token, d.Owner
	s.Call(s, http.MethodPost, "/api/user/email/start", token, api.EmailStartRequest{Address: "bob@example.org", Proof: p.Auth}, nil)
	body := func(i int) (text string) {
		s.eventually("a mail", func() bool { return len(mails.Mails()) > i })
		b, err := io.ReadAll(mails.Mails()[i].Body)
		if err != nil {
			s.Fatal(err)
		}
		return strings.ReplaceAll(strings.ReplaceAll(string(b), "=\r\n", ""), "=3D", "=")
	}
	code := regexp.MustCompile(`\b[0-9]{8}\b`).FindString(body(0))
	s.Call(s, http.MethodPut, "/api/user/email", token, p.Email(s, code), nil)
	link := regexp.MustCompile(`/api/notifications/unsubscribe\?t=[\w-]+`).FindString(body(1)) // the address was changed
	u, err := url.Parse(link)
	if err != nil || link == "" {
		s.Fatalf("no link, %v", err)
	}
	s.page(http.MethodGet, u.RequestURI())
	s.page(http.MethodPost, u.RequestURI())
	for _, name := range []string{"Bob@example.org", "nobody-here"} {
		s.Call(s, http.MethodPost, "/api/user/reset/mail", "", api.MailResetRequest{Name: name}, &struct{}{})
	}
	if !regexp.MustCompile(`/restore#reset-[\w-]{22}`).MatchString(body(2)) {
		s.Errorf("no link in %s", body(2))
	}
	s.Call(s, http.MethodPost, "/api/user/email/remove", token, p.EmailRemoval(s), nil)
}

// page asks for what is made for people.
func (s *script) page(method, path string) {
	s.Helper()
	answer := s.Do(s, rest.Request{Method: method, Path: path})
	if answer.Status != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
		s.Errorf("%s %s: %d", method, path, answer.Status)
	}
}
