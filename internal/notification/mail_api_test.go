package notification_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/event"
	"sotto/internal/notification"
)

const apiKey = "canary-key-of-the-provider"

// mailProvider takes mail over HTTP, or answers what it is told to.
type mailProvider struct {
	*httptest.Server

	mu      sync.Mutex
	status  int // 0 takes the mail
	header  http.Header
	hang    bool
	asked   int
	mails   []map[string]any
	problem string
}

func newMailProvider(t *testing.T) *mailProvider {
	t.Helper()
	p := &mailProvider{header: http.Header{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.take))
	t.Cleanup(p.Close)
	return p
}

func (p *mailProvider) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.hang {
		p.mu.Unlock()
		<-r.Context().Done() // the client went away
		p.mu.Lock()
		return
	}
	for name, values := range p.header {
		w.Header()[name] = values
	}
	if p.status != 0 {
		w.WriteHeader(p.status)
		_, _ = fmt.Fprintf(w, `{"code":"refused","message":"a@example.org %s"}`, r.Header.Get("api-key"))
		return
	}
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v3/smtp/email" || r.Header.Get("api-key") != apiKey ||
		r.Header.Get("Content-Type") != "application/json" {
		p.problem = fmt.Sprintf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.mails = append(p.mails, m)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"messageId":"<1@provider>"}`)
}

// answer makes the provider refuse from now on.
func (p *mailProvider) answer(status int, retryAfter string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.header = status, http.Header{}
	if retryAfter != "" {
		p.header.Set("Retry-After", retryAfter)
	}
}

func (p *mailProvider) seen() (asked int, mails []map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, append(mails, p.mails...)
}

func (p *mailProvider) mailer(t *testing.T) *notification.MailAPI {
	t.Helper()
	a, err := notification.NewMailAPI(p.URL+"/v3/smtp/email", apiKey, "Sotto <no-reply@example.org>")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var aMail = notification.Mail{To: "a@example.org", MessageID: "1@chat.example.org", Subject: "S", Text: "T", HTML: "<p>H</p>"}

// TestMailAPI: a mail arrives whole, once, and says which try is the same mail.
func TestMailAPI(t *testing.T) {
	p := newMailProvider(t)
	w := newWorld(t, p.mailer(t))
	a := w.newActor()
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: "device_added"}))
	w.work()
	_, mails := p.seen()
	if len(mails) != 1 || w.Mailed.Load() != 1 {
		t.Fatalf("%d mails, %d counted, %s", len(mails), w.Mailed.Load(), p.problem)
	}
	m := mails[0]
	if got := fmt.Sprint(m["sender"], m["to"]); got != "map[email:no-reply@example.org name:Sotto] [map[email:a@example.org]]" {
		t.Error(got)
	}
	for _, name := range []string{"subject", "textContent", "htmlContent"} {
		if s, _ := m[name].(string); s == "" {
			t.Errorf("no %s in %v", name, m)
		}
	}
	headers, _ := m["headers"].(map[string]any)
	for name, form := range map[string]string{
		"Message-Id": `^<[0-9a-f]{32}@chat\.example\.org>$`, "idempotencyKey": `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
		"Auto-Submitted": `^auto-generated$`, "List-Unsubscribe": `^<https://chat\.example\.org/api/.*>$`,
		"List-Unsubscribe-Post": `^List-Unsubscribe=One-Click$`,
	} {
		if s, _ := headers[name].(string); !regexp.MustCompile(form).MatchString(s) {
			t.Errorf("%s: %q", name, s)
		}
	}
	mailer, other := p.mailer(t), aMail
	other.MessageID = "2@chat.example.org"
	for _, m := range []notification.Mail{aMail, aMail, other} {
		if err := mailer.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	_, mails = p.seen()
	key := func(i int) any { return mails[i]["headers"].(map[string]any)["idempotencyKey"] }
	if key(1) != key(2) || key(1) == key(3) {
		t.Errorf("%v, %v, %v", key(1), key(2), key(3))
	}
}

// TestMailAPIAnswers: who is busy is asked again later, who refuses is not, and nobody's answer is repeated.
func TestMailAPIAnswers(t *testing.T) {
	for status, final := range map[int]bool{
		http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusPaymentRequired: true, http.StatusFound: true,
		http.StatusTooManyRequests: false, http.StatusInternalServerError: false, http.StatusServiceUnavailable: false,
	} {
		p := newMailProvider(t)
		w := newWorld(t, p.mailer(t))
		a := w.newActor()
		p.answer(status, "")
		w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: "device_added"}))
		w.work()
		p.answer(0, "")
		w.pass(time.Hour)
		w.work()
		asked, mails := p.seen()
		gaveUp := w.GaveUp.Load()
		if final && (asked != 1 || gaveUp != 1) || !final && (len(mails) != 1 || w.Retried.Load() != 1 || gaveUp != 0) {
			t.Errorf("%d: asked %d times, %d mails, gave up %d", status, asked, len(mails), gaveUp)
		}
		if logs := w.logs.String(); strings.Contains(logs, "canary") || strings.Contains(logs, "a@example.org") {
			t.Errorf("%d: the log says too much: %s", status, logs)
		}
	}
}

// TestMailAPIWaitsAsAsked, in both forms of Retry-After, and for a bounded time.
func TestMailAPIWaitsAsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		after       string
		early, late time.Duration
	}{
		"seconds":  {"3600", 59 * time.Minute, time.Hour},
		"a date":   {start.Add(2 * time.Hour).Format(http.TimeFormat), 119 * time.Minute, 2 * time.Hour},
		"years":    {"9223372036854775807", 239 * time.Minute, 4 * time.Hour},
		"the past": {start.Add(-time.Hour).Format(http.TimeFormat), time.Second, time.Minute},
		"no sense": {"soon", time.Second, time.Minute},
	} {
		p := newMailProvider(t)
		w := newWorld(t, p.mailer(t))
		p.answer(http.StatusTooManyRequests, c.after)
		w.happens(w.event(event.AccountNotice, w.newActor().Account, event.Notice{Kind: "device_added"}))
		w.work()
		p.answer(0, "")
		w.pass(c.early)
		w.work()
		if asked, _ := p.seen(); asked != 1 {
			t.Errorf("%s: asked %d times before the time was over", name, asked)
		}
		w.pass(c.late - c.early)
		w.work()
		if _, mails := p.seen(); len(mails) != 1 {
			t.Errorf("%s: %d mails afterwards", name, len(mails))
		}
	}
}

// TestMailAPIHangs: a provider that never answers is left when the time of the delivery is over, and asked again later.
func TestMailAPIHangs(t *testing.T) {
	p := newMailProvider(t)
	p.hang = true
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := p.mailer(t).Send(ctx, aMail)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, notification.ErrGiveUp) || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

// TestMailAPIFollowsNobody: neither key nor address go where a redirect leads.
func TestMailAPIFollowsNobody(t *testing.T) {
	elsewhere, p := newMailProvider(t), newMailProvider(t)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		p.answer(status, "")
		p.header.Set("Location", elsewhere.URL+"/v3/smtp/email")
		if err := p.mailer(t).Send(t.Context(), aMail); !errors.Is(err, notification.ErrGiveUp) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if asked, _ := elsewhere.seen(); asked != 0 {
		t.Errorf("somebody else was asked %d times", asked)
	}
}

// TestMailAPIHidesItsKey in everything that could be printed.
func TestMailAPIHidesItsKey(t *testing.T) {
	mailer := newMailProvider(t).mailer(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, mailer); strings.Contains(s, "canary") {
			t.Errorf("%s: %s", verb, s)
		}
	}
}
