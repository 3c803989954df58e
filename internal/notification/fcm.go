package notification

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/SherClockHolmes/webpush-go"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
	"golang.org/x/sync/singleflight"

	"sotto/api"
)

const (
	fcmURL         = "https://fcm.googleapis.com"
	fcmScope       = "https://www.googleapis.com/auth/firebase.messaging"
	fcmTimeout     = 30 * time.Second // one message
	fcmSignIn      = 10 * time.Second // one access token; both together less than sendWithin
	fcmCollapse    = "sotto"          // one for all: what a device that was off gets is one message
	maxAccessToken = 8 << 10          // bytes
)

// FCM sends through Firebase Cloud Messaging (HTTP v1), which reads what it carries: the messages say nothing.
type FCM struct {
	url     string
	project string
	account jwt.Config
	client  *http.Client
	signIns *http.Client

	asking singleflight.Group // whoever waits for an access token waits for the same one
	mu     sync.Mutex
	access *oauth2.Token // nil: ask for one
}

// FCMAccount is a service account of a Firebase project.
type FCMAccount struct {
	Project, Email string
	KeyID, Key     string // PEM
	TokenURL       string
}

// NewFCM takes an account whose fields were checked. Nothing is asked yet.
func NewFCM(a FCMAccount) (*FCM, error) {
	if a.Project == "" || a.Email == "" || a.Key == "" || a.TokenURL == "" {
		return nil, errors.New("the service account of FCM is not complete")
	}
	return &FCM{
		url: fcmURL, project: a.Project, client: newAPIClient(fcmTimeout), signIns: newAPIClient(fcmSignIn),
		account: jwt.Config{
			Email: a.Email, PrivateKey: []byte(a.Key), PrivateKeyID: a.KeyID, Scopes: []string{fcmScope}, TokenURL: a.TokenURL,
		},
	}, nil
}

// String, for every verb of fmt that would otherwise print the fields, keeps the key out of logs.
func (f *FCM) String() string { return "FCM of the project " + f.project }

// GoString is String for %#v.
func (f *FCM) GoString() string { return f.String() }

// errSignIn is that Google does not take the service account. The operator, or the time, can mend that: it is tried again.
var errSignIn = errors.New("the service account of FCM is refused")

type fcmRequest struct {
	Message fcmMessage `json:"message"`
}

type fcmMessage struct {
	Token   string            `json:"token"`
	Data    map[string]string `json:"data"`
	Android fcmAndroid        `json:"android"`
}

type fcmAndroid struct {
	CollapseKey string `json:"collapse_key"`
	TTL         string `json:"ttl"`
	Priority    string `json:"priority"`
}

// post hands one message to FCM.
func (f *FCM) post(ctx context.Context, device string, urgency webpush.Urgency) error {
	access, err := f.signIn(ctx)
	if err != nil {
		return err
	}
	m := fcmMessage{Token: device, Data: map[string]string{"v": api.FCMVersion}, Android: fcmAndroid{
		CollapseKey: fcmCollapse, TTL: fmt.Sprintf("%ds", int(pushTTL.Seconds())), Priority: "NORMAL",
	}}
	if urgency == webpush.UrgencyHigh {
		m.Android.Priority = "HIGH"
	}
	body, err := json.Marshal(fcmRequest{m})
	if err != nil {
		return fmt.Errorf("%w: composing the message: %w", ErrGiveUp, err)
	}
	url := f.url + "/v1/projects/" + f.project + "/messages:send"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: composing the request: %w", ErrGiveUp, err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	req.Header.Set("Content-Type", "application/json")
	res, err := f.client.Do(req)
	if err != nil {
		return unanswered("FCM", err)
	}
	answer := readAnswer(res)
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		f.forget(access)
		return fmt.Errorf("%w: FCM answered 401", errSignIn)
	case res.StatusCode == http.StatusNotFound && unregistered(answer):
		return errSubscriptionGone
	}
	return judge("FCM", res)
}

// unregistered tells a token that is over from everything else that FCM does not find, such as the project.
func unregistered(answer []byte) bool {
	var a struct {
		Error struct {
			Details []struct {
				ErrorCode string `json:"errorCode"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return false
	}
	for _, d := range a.Error.Details {
		if d.ErrorCode == "UNREGISTERED" {
			return true
		}
	}
	return false
}

// signIn returns the access token, a new one when there is none or it is about to expire. The library asks without the
// context of anybody: fcmSignIn bounds that, and nobody waits in a queue for who asked before.
func (f *FCM) signIn(ctx context.Context) (string, error) {
	if access := f.current(); access != "" {
		return access, nil
	}
	select {
	case a := <-f.asking.DoChan("", func() (any, error) { return f.ask() }):
		access, _ := a.Val.(string)
		return access, a.Err
	case <-ctx.Done():
		return "", fmt.Errorf("signing in to FCM: %w", ctx.Err())
	}
}

func (f *FCM) current() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.access.Valid() {
		return ""
	}
	return f.access.AccessToken
}

// forget drops an access token that FCM refuses.
func (f *FCM) forget(access string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.access != nil && f.access.AccessToken == access {
		f.access = nil
	}
}

// roundTrips is a function as http.RoundTripper.
type roundTrips func(*http.Request) (*http.Response, error)

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ask asks the token endpoint. What it answers is not repeated, and the library's errors do: of them only the status
// counts, and what went wrong below HTTP.
func (f *FCM) ask() (string, error) {
	if access := f.current(); access != "" {
		return access, nil // somebody else was faster
	}
	var broken error
	client := *f.signIns
	client.Transport = roundTrips(func(r *http.Request) (res *http.Response, err error) {
		res, err = f.signIns.Transport.RoundTrip(r)
		broken = err
		return res, err
	})
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &client)
	access, err := f.account.TokenSource(ctx).Token()
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			if judged := judge("the token endpoint of FCM", refused.Response); !errors.Is(judged, ErrGiveUp) {
				return "", judged
			}
			return "", fmt.Errorf("%w: the token endpoint answered %d", errSignIn, refused.Response.StatusCode)
		}
		return "", unanswered("the token endpoint of FCM", broken)
	}
	if t := access.AccessToken; t == "" || len(t) > maxAccessToken || strings.ContainsFunc(t, notPrintable) {
		return "", unanswered("the token endpoint of FCM", nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.access = access
	return access.AccessToken, nil
}

// unanswered says that there was no answer, or none that makes sense. What net/http makes of the latter may quote it.
func unanswered(who string, err error) error {
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("asking %s: %w", who, err)
	case errors.As(err, &network):
		return fmt.Errorf("asking %s: %w", who, network)
	case errors.As(err, &certificate):
		return fmt.Errorf("asking %s: %w", who, certificate)
	}
	return fmt.Errorf("%s did not give an answer that can be read", who)
}

func notPrintable(r rune) bool { return r <= ' ' || r >= 0x7f }
