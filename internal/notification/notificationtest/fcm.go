package notificationtest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Parts of the service account that FCM knows.
const (
	FCMProject = "sotto-test"
	FCMEmail   = "push@sotto-test.iam.example.org"
	FCMKeyID   = "canary-key-id"
)

// FCM is Firebase Cloud Messaging together with the endpoint that gives access tokens for it.
type FCM struct {
	*httptest.Server

	mu       sync.Mutex
	gone     map[string]bool // tokens of devices
	access   []string        // tokens that are good
	messages []FCMMessage
	problems []string
	asked    map[string]int // by path
	answer   map[string]func(try int) *FCMAnswer
	stop     chan struct{}
}

// FCMMessage is one message that was taken.
type FCMMessage struct {
	Token string
	Raw   string // the whole body
	Data  map[string]string

	CollapseKey, TTL, Priority string
}

// FCMAnswer is one instead of the right one.
type FCMAnswer struct {
	Status int
	Header http.Header
	Body   string
	Hang   bool // never answers
}

// Paths of the two things that are asked for.
const (
	FCMTokenPath = "/token"
	FCMSendPath  = "/v1/projects/" + FCMProject + "/messages:send"
)

var fcmKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// NewFCM starts a service that stops with the test.
func NewFCM(t testing.TB) *FCM {
	t.Helper()
	f := &FCM{
		gone: map[string]bool{}, asked: map[string]int{}, answer: map[string]func(int) *FCMAnswer{}, stop: make(chan struct{}),
	}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		close(f.stop)
		f.Close()
		for _, p := range f.problems {
			t.Errorf("FCM was asked wrongly: %s", p)
		}
	})
	return f
}

// FCMCredentials are those of the service account, as Firebase hands them out, with this token endpoint.
func FCMCredentials(tokenURL string) string {
	der, err := x509.MarshalPKCS8PrivateKey(fcmKey())
	if err != nil {
		panic(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": FCMProject, "private_key_id": FCMKeyID, "client_email": FCMEmail,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": tokenURL,
		"universe_domain": "googleapis.com",
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Answer decides about each request to the path, counted from 1 on; nil answers as it should be.
func (f *FCM) Answer(path string, decide func(try int) *FCMAnswer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[path], f.asked[path] = decide, 0
}

// Forget lets a device's token expire.
func (f *FCM) Forget(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[token] = true
}

// Revoke makes the access tokens of before worthless.
func (f *FCM) Revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.access = nil
}

// Messages are those that were taken so far.
func (f *FCM) Messages() []FCMMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages)
}

// Asked counts the requests to the path since its Answer was set.
func (f *FCM) Asked(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[path]
}

func (f *FCM) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	f.mu.Lock()
	f.asked[r.URL.Path]++
	decide, try := f.answer[r.URL.Path], f.asked[r.URL.Path]
	f.mu.Unlock()
	a := &FCMAnswer{}
	if decide != nil {
		if a = decide(try); a == nil {
			a = &FCMAnswer{}
		}
	}
	if a.Hang {
		select {
		case <-r.Context().Done():
		case <-f.stop:
		}
		return
	}
	if a.Status == 0 {
		f.mu.Lock()
		if r.URL.Path == FCMTokenPath {
			a = f.giveAccess(r, body)
		} else {
			a = f.take(r, body)
		}
		f.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body)
}

func (f *FCM) problem(status int, format string, args ...any) *FCMAnswer {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
	return &FCMAnswer{Status: status, Body: "{}"}
}

// giveAccess verifies the assertion as RFC 7523 and Google want it.
func (f *FCM) giveAccess(r *http.Request, body []byte) *FCMAnswer {
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost ||
		r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return f.problem(http.StatusBadRequest, "%s %s: %v", r.Method, body, err)
	}
	var claims struct {
		jwt.RegisteredClaims
		Scope string `json:"scope"`
	}
	assertion, err := jwt.ParseWithClaims(r.PostForm.Get("assertion"), &claims,
		func(*jwt.Token) (any, error) { return fcmKey().Public(), nil }, jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithAudience(f.URL+FCMTokenPath), jwt.WithIssuer(FCMEmail), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	switch {
	case err != nil:
	case claims.Scope != "https://www.googleapis.com/auth/firebase.messaging" || assertion.Header["kid"] != FCMKeyID:
		err = fmt.Errorf("scope %q, key %v", claims.Scope, assertion.Header["kid"])
	case claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > time.Hour:
		err = errors.New("it is good for too long")
	}
	if err != nil {
		return f.problem(http.StatusBadRequest, "assertion: %v", err)
	}
	access := "canary-access-" + rand.Text()
	f.access = append(f.access, access)
	return &FCMAnswer{Status: http.StatusOK, Body: fmt.Sprintf(`{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, access)}
}

func (f *FCM) take(r *http.Request, body []byte) *FCMAnswer {
	access, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.URL.Path != FCMSendPath || r.Method != http.MethodPost:
		return f.problem(http.StatusNotFound, "%s %s", r.Method, r.URL)
	case !ok || !slices.Contains(f.access, access):
		return &FCMAnswer{Status: http.StatusUnauthorized, Body: FCMError(http.StatusUnauthorized, "UNAUTHENTICATED", "")}
	}
	var m struct {
		Message struct {
			Token   string            `json:"token"`
			Data    map[string]string `json:"data"`
			Android struct {
				CollapseKey string `json:"collapse_key"`
				TTL         string `json:"ttl"`
				Priority    string `json:"priority"`
			} `json:"android"`
		} `json:"message"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || r.Header.Get("Content-Type") != "application/json" {
		return f.problem(http.StatusBadRequest, "%s: %v", body, err)
	}
	if f.gone[m.Message.Token] {
		return &FCMAnswer{Status: http.StatusNotFound, Body: FCMError(http.StatusNotFound, "NOT_FOUND", "UNREGISTERED")}
	}
	f.messages = append(f.messages, FCMMessage{
		Token: m.Message.Token, Raw: string(body), Data: m.Message.Data,
		CollapseKey: m.Message.Android.CollapseKey, TTL: m.Message.Android.TTL, Priority: m.Message.Android.Priority,
	})
	return &FCMAnswer{Status: http.StatusOK, Body: `{"name":"projects/` + FCMProject + `/messages/1"}`}
}

// FCMError is the body of a refusal; code may be empty. It holds what nobody shall repeat.
func FCMError(status int, text, code string) string {
	details := ""
	if code != "" {
		details = fmt.Sprintf(`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}`, code)
	}
	return fmt.Sprintf(`{"error":{"code":%d,"message":"canary-answer","status":%q,"details":[%s]}}`, status, text, details)
}
