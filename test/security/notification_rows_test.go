package security_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"testing"
	"time"

	"sotto/api"
	"sotto/test/contract/rest"
)

func notificationSettings() api.NotificationSettings {
	return api.NotificationSettings{Channels: api.Channels{App: true}, TimeZone: "UTC", Language: "en", MailMinutes: 30}
}

// subscription is one of a push service that is never asked.
func subscription() api.PushSubscription {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return api.PushSubscription{Endpoint: "https://push.example.org/x", P256dh: key.PublicKey().Bytes(), Auth: make([]byte, 16)}
}

// tokenSubscription is one through FCM, which is never asked.
func tokenSubscription() api.PushSubscription {
	return api.PushSubscription{FCMToken: "a-token:of-FCM"}
}

// notificationRows are the operations of the notification service.
func (c *cast) notificationRows() []row {
	call := func(method, path string, body any) func(*role) rest.Request {
		return func(*role) rest.Request {
			r := rest.Request{Method: method, Path: "/api/notifications" + path}
			if body != nil {
				r.Body = rest.JSON(c.t, body)
			}
			return r
		}
	}
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	own := api.ConversationNotifications{Channels: &api.Channels{App: true}}
	rows := []row{
		{"notifications", "", call(get, "", nil), withDevice(ok, ok, ok)},
		{"unreadNotifications", "", call(get, "/unread", nil), withDevice(ok, ok, ok)},
		{"readNotifications", "", call(post, "/read", api.ReadThrough{Through: 1}), withDevice(ok, ok, ok)},
		{"notificationSettings", "", call(get, "/settings", nil), withDevice(ok, ok, ok)},
		{"putNotificationSettings", "", call(put, "/settings", notificationSettings()), withDevice(ok, ok, ok)},
		{"pushState", "", call(get, "/push", nil), withDevice(ok, ok, ok)},
		{"putPush", "", call(put, "/push", subscription()), withDevice(ok, ok, ok)},
		{"putPush", "token", call(put, "/push", tokenSubscription()), withDevice(ok, ok, ok)},
		{"deletePush", "", call(del, "/push", nil), withDevice(done, done, done)},
		{"readNotification", "random", call(post, "/item/987654321/read", nil), withDevice(notFound, notFound, notFound)},
		{"deleteNotification", "random", call(del, "/item/987654321", nil), withDevice(notFound, notFound, notFound)},
	}
	page := c.welcomed(c.dave)
	foreign := fmt.Sprintf("/item/%d", page.Notifications[0].ID) // dave's welcome
	rows = append(rows,
		row{"readNotification", "foreign", call(post, foreign+"/read", nil), withDevice(notFound, notFound, notFound)},
		row{"deleteNotification", "foreign", call(del, foreign, nil), withDevice(notFound, notFound, notFound)})
	link := unsubscribeLink(c.t, c.carol.Owner.ID)
	rows = append(rows,
		row{"unsubscribePage", "", call(get, "/unsubscribe?t="+link, nil), everyone(ok)},
		row{"unsubscribe", "", call(post, "/unsubscribe?t="+link, nil), everyone(ok)})
	rows = append(rows, c.imageRows()...)
	for object, id := range map[string]api.ConversationID{"own": c.ours, "foreign": c.theirs, "random": c.randomConversation} {
		path := "/settings/" + id.String()
		rows = append(rows,
			row{"conversationNotifications", object, call(get, path, nil), withDevice(ok, ok, ok)},
			row{"putConversationNotifications", object, call(put, path, own), withDevice(done, done, done)},
			row{"deleteConversationNotifications", object, call(del, path, nil), withDevice(done, done, done)})
	}
	return rows
}

// logo is the picture that the server shows in mails.
var logo = func() []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 20))); err != nil {
		panic(err)
	}
	return b.Bytes()
}()

// imageRows: everybody reads what the operator published, and nobody what an account uploaded, sealed or begun.
func (c *cast) imageRows() []row {
	get := func(content []byte) func(*role) rest.Request {
		path := fmt.Sprintf("/api/notifications/images/%x", sha256.Sum256(content))
		return func(*role) rest.Request { return rest.Request{Method: http.MethodGet, Path: path} }
	}
	known := get(logo)
	for deadline := time.Now().Add(30 * time.Second); server.Do(c.t, known(nil)).Status != http.StatusOK; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("the logo was not published")
		}
	}
	sealed := freshContent(10)
	store(c.t, c.carol, sealed)
	return []row{
		{"mailImage", "published", known, everyone(ok)},
		{"mailImage", "foreign", get(sealed), everyone(notFound)},
		{"mailImage", "random", get(freshContent(10)), everyone(notFound)},
	}
}

// welcomed waits for the notification that every new account gets.
func (c *cast) welcomed(d *rest.Device) (page api.Notifications) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(page.Notifications) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("nobody was welcomed")
		}
		server.Call(c.t, http.MethodGet, "/api/notifications", d.Login.Token, nil, &page)
	}
	return page
}

// unsubscribeLink is the query of the link in a mail to the account.
func unsubscribeLink(t *testing.T, account api.AccountID) string {
	t.Helper()
	key, err := hkdf.Key(sha256.New, secretNamed(t, "notification"), nil, "sotto notification links v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte("sotto unsubscribe v1"))
	h.Write(account[:])
	return base64.RawURLEncoding.EncodeToString(append(account[:], h.Sum(nil)[:16]...))
}

// validNotifications are the requests with a body of the same operations; see valid.
func (w *target) validNotifications(into map[string]rest.Request) {
	add := func(operation, method, path string, body any) {
		into[operation] = rest.Request{Method: method, Path: "/api/notifications" + path, Token: w.mallory.Login.Token, Body: rest.JSON(w.t, body)}
	}
	add("readNotifications", http.MethodPost, "/read", api.ReadThrough{Through: 1})
	add("putNotificationSettings", http.MethodPut, "/settings", notificationSettings())
	add("putConversationNotifications", http.MethodPut, "/settings/"+w.shared.String(),
		api.ConversationNotifications{Channels: &api.Channels{App: true}})
	add("putPush", http.MethodPut, "/push", subscription())
	add("putPush with a token", http.MethodPut, "/push", tokenSubscription())
}
