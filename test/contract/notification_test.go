package contract_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
// address away. It returns that next mail.
func (s *script) email(d *rest.Device, mails *notificationtest.MailServer) (changed string) {
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
	changed = body(1) // the address
	link := regexp.MustCompile(`/api/notifications/unsubscribe\?t=[\w-]+`).FindString(changed)
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
	return changed
}

// aLogo is a file for SOTTO_MAIL_LOGO.
func aLogo(t *testing.T) (path string, content []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 20))); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "logo.png")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, b.Bytes()
}

// image is what a mail shows.
func (s *script) image(mail string, content []byte) {
	s.Helper()
	path := regexp.MustCompile(`/api/notifications/images/[0-9a-f]{64}`).FindString(mail)
	get := rest.Request{Method: http.MethodGet, Path: path}
	if got := s.Do(s, get); got.Status != http.StatusOK || !bytes.Equal(got.Body, content) || got.Header.Get("Content-Type") != "image/png" {
		s.Errorf("%q: %d, %d bytes, %v", path, got.Status, len(got.Body), got.Header)
	}
	get.Header = http.Header{"Range": {"bytes=1-3"}}
	if got := s.Do(s, get); got.Status != http.StatusPartialContent || string(got.Body) != "PNG" {
		s.Errorf("%d, %q", got.Status, got.Body)
	}
	get.Header = http.Header{"Range": {"bytes=200000-"}}
	s.do(api.CodeInvalid, get)
	get.Header = http.Header{"If-None-Match": {`"` + path[len(path)-64:] + `"`}}
	if got := s.Do(s, get); got.Status != http.StatusNotModified {
		s.Errorf("%d", got.Status)
	}
	s.refused(api.CodeNotFound, http.MethodGet, path[:len(path)-64]+strings.Repeat("0", 64), "", nil)
}

// page asks for what is made for people.
func (s *script) page(method, path string) {
	s.Helper()
	answer := s.Do(s, rest.Request{Method: method, Path: path})
	if answer.Status != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
		s.Errorf("%s %s: %d", method, path, answer.Status)
	}
}
