package notification_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/httpx"
	"sotto/internal/notification"
	"sotto/internal/notification/notificationtest"
	"sotto/internal/token"
)

// parts decodes the alternatives of a mail.
func parts(t *testing.T, m notificationtest.Delivered) (subject, text, html string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", m.Header.Get("Content-Type"), err)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	read := func(r io.Reader) string {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content := read(quotedprintable.NewReader(part))
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			html = content
		} else {
			text = content
		}
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return subject, text, html
}

// TestTenMessagesMakeOneMail, and the next mail about messages waits for its time.
func TestTenMessagesMakeOneMail(t *testing.T) {
	w, mails, _, a := connected(t)
	wait := func(n int) {
		for i := range 10 {
			w.pass(time.Second)
			w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{byte(i)}, n)))
		}
	}
	wait(1)
	w.work()
	if n := len(mails.Mails()); n != 0 {
		t.Fatalf("%d mails before anybody could come back", n)
	}
	w.pass(2 * time.Minute)
	w.work()
	if n := len(mails.Mails()); n != 1 {
		t.Fatalf("%d mails about ten messages", n)
	}
	wait(2)
	w.pass(5 * time.Minute)
	w.work()
	if n := len(mails.Mails()); n != 1 {
		t.Fatalf("%d mails within half an hour", n)
	}
	w.pass(30 * time.Minute)
	w.work()
	if n := len(mails.Mails()); n != 2 || w.Mailed.Load() != 2 {
		t.Fatalf("%d mails, %d counted", n, w.Mailed.Load())
	}
	// Whoever has read the list needs no mail.
	wait(3)
	if _, err := w.MarkThrough(t.Context(), a, api.ReadThrough{Through: 1 << 60}); err != nil {
		t.Fatal(err)
	}
	w.pass(24 * time.Hour)
	w.work()
	if n := len(mails.Mails()); n != 2 {
		t.Errorf("%d mails after everything was read", n)
	}
}

func TestQuietMailWaits(t *testing.T) {
	w, mails, device, a := connected(t)
	w.set(a, func(s *api.NotificationSettings) { s.QuietFrom, s.QuietTo = 11*60, 14*60 }) // it is 12:00
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{1}, 1)))
	w.pass(119 * time.Minute)
	w.work()
	if len(mails.Mails())+len(device.Messages()) != 0 {
		t.Error("somebody was woken up")
	}
	w.pass(2 * time.Minute)
	w.work()
	if len(mails.Mails()) != 1 || len(device.Messages()) != 1 {
		t.Errorf("%d mails, %d pushes afterwards", len(mails.Mails()), len(device.Messages()))
	}
}

// TestMailSaysLittle: one mail of every kind in every language, with everything a mail needs and nothing it must not say.
// The only thing that one loads is the logo, where there is one; nothing else is changed by it.
func TestMailSaysLittle(t *testing.T) {
	plain := mailsOfEveryKind(t, nil)
	logo := &notification.Logo{Type: "image/png", Content: []byte("a picture"), Width: 300, Height: 100}
	picture := fmt.Sprintf(`<p style="margin:0 0 20px"><img src="https://chat.example.org/api/notifications/images/%x" `+
		`alt="chat.example.org" width="192" height="64" style="display:block;border:0"></p>`+"\n", sha256.Sum256(logo.Content))
	with := mailsOfEveryKind(t, logo)
	for i, html := range with {
		if with[i] = strings.Replace(html, picture, "", 1); with[i] == html {
			t.Errorf("no logo:\n%s", html)
		}
	}
	if d := cmp.Diff(plain, with, cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Errorf("with a logo:\n%s", d)
	}
}

// mailsOfEveryKind looks at the mails and returns their HTML, in any order.
func mailsOfEveryKind(t *testing.T, logo *notification.Logo) (htmls []string) {
	t.Helper()
	w, mails, _, a := connected(t)
	if w.Logo = logo; logo != nil {
		w.Service = w.another(func(*notification.Config) {})
		if err := w.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kinds := []api.NotificationKind{
		api.NotifyWelcome, api.NotifySignedIn, api.NotifyDeviceAdded, api.NotifyDeviceRemoved, api.NotifyPasswordChanged,
		api.NotifyRecovered, api.NotifyReset, "a kind of a later version",
	}
	for _, language := range notification.Languages {
		w.set(a, func(s *api.NotificationSettings) { s.Language = language })
		for _, kind := range kinds {
			w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: kind}))
		}
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{1}, 3)))
		w.pass(time.Hour)
		w.work()
	}
	all := mails.Mails()
	if len(all) != len(notification.Languages)*(len(kinds)+1) {
		t.Fatalf("%d mails", len(all))
	}
	ids := map[string]bool{}
	for _, m := range all {
		subject, text, html := parts(t, m)
		id := m.Header.Get("Message-ID")
		if ids[id] || !strings.HasSuffix(id, "@chat.example.org>") {
			t.Errorf("message id %q", id)
		}
		ids[id] = true
		unsubscribe := m.Header.Get("List-Unsubscribe")
		switch {
		case m.To != "a@example.org" || m.From != "no-reply@example.org":
			t.Errorf("from %s to %s", m.From, m.To)
		case subject == "" || strings.Contains(subject, "{{") || strings.Contains(text+html, "{{"):
			t.Errorf("%q:\n%s", subject, text)
		case !strings.HasPrefix(unsubscribe, "<https://chat.example.org/api/notifications/unsubscribe?t=") ||
			m.Header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click":
			t.Errorf("unsubscribe %q", unsubscribe)
		case !strings.Contains(text, "https://chat.example.org/") || !strings.Contains(html, "https://chat.example.org/"):
			t.Errorf("no link:\n%s", text)
		case !strings.Contains(text, "ada"):
			t.Errorf("nobody is greeted:\n%s", text)
		case strings.Contains(html, "<img") && logo == nil || strings.Contains(html, "http://"):
			t.Errorf("a mail loads something:\n%s", html)
		case m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Date") == "":
			t.Errorf("%v", m.Header)
		}
		htmls = append(htmls, strings.ReplaceAll(html, "\r\n", "\n"))
	}
	return htmls
}

// TestPhrasesAreComplete: every language has the same sentences with the same fillings.
func TestPhrasesAreComplete(t *testing.T) {
	english, err := notification.Phrases("en")
	if err != nil {
		t.Fatal(err)
	}
	fillings := func(s string) []string {
		var out []string
		for _, piece := range strings.Split(s, "{{")[1:] {
			name, _, _ := strings.Cut(piece, "}}")
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	for _, language := range notification.Languages {
		all, err := notification.Phrases(language)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(english) {
			t.Errorf("%s has %d sentences, English %d", language, len(all), len(english))
		}
		for key, sentence := range english {
			if all[key] == "" || (key != "dir" && !slices.Equal(fillings(sentence), fillings(all[key]))) {
				t.Errorf("%s, %s: %q", language, key, all[key])
			}
		}
	}
}

// TestMailServerAnswers: what is refused for now is tried again under the same Message-ID, what is refused for good is
// given up, and what hangs neither blocks the others nor is lost.
func TestMailServerAnswers(t *testing.T) {
	w, mails, _, a := connected(t)
	refused, fine := w.newActor(), w.newActor()
	mails.Refuse(func(to string, try int) error {
		switch {
		case to == "aa@example.org":
			return notificationtest.NoMailbox
		case to == "a@example.org" && try < 3:
			return notificationtest.Greylisted
		}
		return nil
	})
	for _, who := range []token.Actor{a, refused, fine} {
		w.happens(w.event(event.AccountNotice, who.Account, event.Notice{Kind: api.NotifySignedIn}))
	}
	w.work()
	if got := mails.Mails(); len(got) != 1 || got[0].To != "aaa@example.org" {
		t.Fatalf("%+v", got)
	}
	for range 4 {
		w.pass(time.Hour)
		w.work()
	}
	if got := mails.Mails(); len(got) != 2 || got[1].To != "a@example.org" || w.Retried.Load() != 2 || w.GaveUp.Load() != 1 {
		t.Errorf("%d mails, %d retried, %d given up", len(got), w.Retried.Load(), w.GaveUp.Load())
	}
	if strings.Contains(w.logs.String(), "@example.org") {
		t.Errorf("the log holds an address:\n%s", w.logs.String())
	}
	if n, err := notification.Waiting(t.Context(), w.db); err != nil || n != 1 {
		t.Errorf("%d jobs are left, %v", n, err)
	}
	if n, err := notification.Purge(t.Context(), w.db); err != nil || n != 1 {
		t.Errorf("%d jobs were dropped, %v", n, err)
	}
}

func TestHangingMailServer(t *testing.T) {
	mails := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	mails.Hang(true)
	smtp := notification.SMTP{Host: mails.Host, Port: mails.Port, TLS: notification.TLSNone, From: "no-reply@example.org"}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := smtp.Send(ctx, notification.Mail{To: "a@example.org", MessageID: "x@y", Subject: "s", Text: "t", HTML: "h"})
	if err == nil || errors.Is(err, notification.ErrGiveUp) {
		t.Errorf("%v", err)
	}
	mails.Hang(false)
	if err := smtp.Send(t.Context(), notification.Mail{To: "a@example.org", MessageID: "x@y", Subject: "s", Text: "t", HTML: "h"}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestTLSPolicies: each policy against a server with and without TLS, and one whose certificate is not trusted.
func TestTLSPolicies(t *testing.T) {
	certificate, roots := selfSigned(t)
	server := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	trusting, distrusting := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12}
	plain := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	starttls := notificationtest.NewMailServer(t, notificationtest.MailOptions{TLS: server, Password: "correct horse"})
	implicit := notificationtest.NewMailServer(t, notificationtest.MailOptions{TLS: server, Implicit: true})
	for name, c := range map[string]struct {
		at       *notificationtest.MailServer
		policy   notification.TLSPolicy
		tls      *tls.Config
		password string
		arrives  bool
	}{
		"starttls":                      {starttls, notification.TLSMandatory, trusting, "correct horse", true},
		"starttls, wrong password":      {starttls, notification.TLSMandatory, trusting, "wrong", false},
		"starttls, not trusted":         {starttls, notification.TLSMandatory, distrusting, "correct horse", false},
		"starttls, not offered":         {plain, notification.TLSMandatory, trusting, "", false},
		"opportunistic":                 {starttls, notification.TLSOpportunistic, trusting, "correct horse", true},
		"opportunistic, not offered":    {plain, notification.TLSOpportunistic, trusting, "", true},
		"implicit":                      {implicit, notification.TLSImplicit, trusting, "", true},
		"implicit, not trusted":         {implicit, notification.TLSImplicit, distrusting, "", false},
		"none":                          {plain, notification.TLSNone, nil, "", true},
		"none, but a password is asked": {starttls, notification.TLSNone, nil, "correct horse", false},
		"no policy":                     {plain, "whatever", nil, "", false},
	} {
		before := len(c.at.Mails())
		s := notification.SMTP{Host: c.at.Host, Port: c.at.Port, TLS: c.policy, TLSConfig: c.tls, From: "no-reply@example.org", Password: c.password}
		if c.password != "" {
			s.Username = "sottod"
		}
		err := s.Send(t.Context(), notification.Mail{To: "a@example.org", MessageID: "x@y", Subject: "s", Text: "t", HTML: "h"})
		got := c.at.Mails()[before:]
		if (err == nil) != c.arrives || (len(got) == 1) != c.arrives {
			t.Errorf("%s: %v, %d mails", name, err, len(got))
		}
		if len(got) == 1 && got[0].TLS != (c.at != plain) {
			t.Errorf("%s: TLS %v", name, got[0].TLS)
		}
		if err != nil && strings.Contains(err.Error(), "correct horse") {
			t.Errorf("%s: the error holds the password", name)
		}
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// TestHeaderInjection: names and addresses cannot add a header, a recipient or a body.
func TestHeaderInjection(t *testing.T) {
	mails := notificationtest.NewMailServer(t, notificationtest.MailOptions{})
	s := notification.SMTP{Host: mails.Host, Port: mails.Port, TLS: notification.TLSNone, From: "no-reply@example.org"}
	evil := "x\r\nBcc: victim@example.org\r\n\r\nhello"
	for name, m := range map[string]notification.Mail{
		"address":   {To: "a@example.org\r\nBcc: victim@example.org", MessageID: "x@y", Subject: "s"},
		"two":       {To: "a@example.org, victim@example.org", MessageID: "x@y", Subject: "s"},
		"route":     {To: "<a@example.org>\r\nRCPT TO:<victim@example.org>", MessageID: "x@y", Subject: "s"},
		"subject":   {To: "a@example.org", MessageID: "x@y", Subject: evil},
		"unsub":     {To: "a@example.org", MessageID: "x@y", Subject: "s", Unsubscribe: "https://x/" + evil},
		"messageid": {To: "a@example.org", MessageID: evil, Subject: "s"},
	} {
		m.Text, m.HTML = "text", "html"
		_ = s.Send(t.Context(), m) // refused or harmless
		for _, got := range mails.Mails() {
			if got.To != "a@example.org" || got.Header.Get("Bcc") != "" || !strings.HasPrefix(got.Header.Get("Content-Type"), "multipart/alternative") {
				t.Errorf("%s: to %s, %v", name, got.To, got.Header)
			}
		}
	}
}

// TestUnsubscribe: looking changes nothing, the button and the one-click request do, and nobody can do it for another.
func TestUnsubscribe(t *testing.T) {
	w, mails, _, a := connected(t)
	server := httptest.NewServer(handler(t, w))
	defer server.Close()
	link, err := url.Parse(notification.UnsubscribeLink(w.Service, a.Account))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, query, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+link.Path+"?"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(page)
	}
	mailed := func() bool {
		set, err := w.Settings(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		return set.Channels.Mail
	}
	if status, page := ask(http.MethodGet, link.RawQuery, ""); status != http.StatusOK || !strings.Contains(page, "<button>") || !mailed() {
		t.Errorf("looking: %d %s", status, page)
	}
	raw := link.Query().Get("t")
	for _, bad := range []string{"", "x", raw[:len(raw)-1], strings.Repeat("A", len(raw)), raw + "A", "<script>"} {
		if status, page := ask(http.MethodPost, url.Values{"t": {bad}}.Encode(), ""); status != http.StatusBadRequest || strings.Contains(page, "<script>") || !mailed() {
			t.Errorf("%q: %d %s", bad, status, page)
		}
	}
	if status, _ := ask(http.MethodPost, link.RawQuery, "List-Unsubscribe=One-Click"); status != http.StatusOK || mailed() {
		t.Errorf("one click: %d", status)
	}
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn}))
	w.work()
	if n := len(mails.Mails()); n != 0 {
		t.Errorf("%d mails afterwards", n)
	}
}

func handler(t *testing.T, w *world) http.Handler {
	t.Helper()
	s := &httpx.Server{Verify: w.Verify, Allow: w.Allow, Logger: w.Logger, NewRequestID: func() string { return "1" }}
	mux, err := s.Mux(w.Routes())
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Guard(mux)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestCanary: nothing that was written or named reaches the payloads, the database or the log of this service. It has no
// way to know a content; what it does know, an address, is in no table.
func TestCanary(t *testing.T) {
	w, _, device, a := connected(t)
	w.happens(w.event(event.MessageWaiting, a.Account, json.RawMessage(fmt.Sprintf(
		`{"conversations":[{"conversation_id":"%s","count":1,"sender":"canary-name","text":"canary-text"}]}`, api.ConversationID{1}))))
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn}))
	w.pass(time.Hour)
	w.work()
	var all strings.Builder
	all.WriteString(w.logs.String())
	for _, m := range device.Messages() {
		all.Write(m.Body)
	}
	for _, table := range []string{"item", "job", "setting", "mailed", "inbox"} {
		rows, err := w.db.Query(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = &values[i]
			}
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(&all, values...)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, canary := range []string{"canary", "a@example.org", "ada"} {
		if strings.Contains(all.String(), canary) {
			t.Errorf("%q was kept", canary)
		}
	}
}
