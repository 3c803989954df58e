// Package peer carries the few calls between services over HTTP, for services that are processes of their own. For each
// direction it has a handler, which calls the service, and a client, which the other service uses in its place: what the
// consumer declares as an interface, both fulfil.
//
// A call is a POST of one JSON value to a path under /internal/, which no gateway passes on. It is signed with a key that
// follows from the secret that all services of one Sotto share, and answered with JSON or a problem document. Every call
// may be repeated, and is, when nobody took the connection: a service that is just being restarted is not missed.
package peer

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
)

const (
	maxBody     = 1 << 20          // bytes of a request and of an answer
	maxSkew     = 60 * time.Second // between the clocks of two services
	callTime    = 5 * time.Second  // for one try
	dialTime    = 2 * time.Second
	dialTries   = 8 // connections that nobody takes, over about three seconds
	firstWait   = 50 * time.Millisecond
	longestWait = time.Second
	maxIdle     = 32 // connections kept open to one service
	minSecret   = 32 // bytes

	scheme = "Sotto " // of the Authorization header
)

// Key signs and checks the calls to one service.
type Key struct {
	key []byte
	now func() time.Time
}

// NewKey derives the key for calls to the named service from the secret that all services share.
func NewKey(secret []byte, service string, now func() time.Time) (Key, error) {
	if len(secret) < minSecret {
		return Key{}, fmt.Errorf("the secret between services has %d bytes, at least %d are needed", len(secret), minSecret)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "sotto service call v1 "+service, sha256.Size)
	return Key{key, now}, err
}

// sign makes the header: the time in seconds and a MAC over time, path and body.
func (k Key) sign(path string, body []byte) string {
	seconds := strconv.FormatInt(k.now().Unix(), 10)
	return scheme + seconds + "." + k.mac(seconds, path, body)
}

func (k Key) mac(seconds, path string, body []byte) string {
	sum := sha256.Sum256(body)
	h := hmac.New(sha256.New, k.key)
	fmt.Fprintf(h, "%s\n%s\n%x", seconds, path, sum)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

var errUnsigned = errs.New(errs.Unauthenticated, api.CodeUnauthenticated,
	"This path is for the services of this server. Give them all the same SOTTO_SERVICE_SECRET and the same time.")

func (k Key) check(header, path string, body []byte) error {
	seconds, mac, ok := strings.Cut(strings.TrimPrefix(header, scheme), ".")
	if !ok || !strings.HasPrefix(header, scheme) || !hmac.Equal([]byte(mac), []byte(k.mac(seconds, path, body))) {
		return errUnsigned
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || k.now().Sub(time.Unix(at, 0)).Abs() > maxSkew {
		return errUnsigned
	}
	return nil
}

// handler answers the calls of one direction by their path.
type handler struct {
	key   Key
	log   *slog.Logger
	calls map[string]func(ctx context.Context, body []byte) (any, error)
}

// call decodes the request of a call as strictly as that of a client.
func call[Req, Res any](fn func(context.Context, Req) (Res, error)) func(context.Context, []byte) (any, error) {
	return func(ctx context.Context, body []byte) (any, error) {
		var req Req
		if err := httpx.Strict(body, &req); err != nil {
			return nil, err
		}
		return fn(ctx, req)
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res, err := h.answer(w, r)
	if err != nil {
		if errs.As(err).Kind == errs.Internal && r.Context().Err() == nil {
			h.log.ErrorContext(r.Context(), "a call of a service failed", slog.String("path", r.URL.Path), slog.Any("err", err))
		}
		problem := errs.Problem(err, "")
		httpx.WriteJSON(w, problem.Status, "application/problem+json", problem)
		return
	}
	httpx.WriteJSON(w, http.StatusOK, "application/json", res)
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, errs.New(errs.TooLarge, api.CodeTooLarge, "The call is too large.").Because(err)
	}
	if err := h.key.check(r.Header.Get("Authorization"), r.URL.Path, body); err != nil {
		return nil, err
	}
	fn := h.calls[r.URL.Path]
	if fn == nil || r.Method != http.MethodPost {
		return nil, errs.NotFoundf("There is no such call.")
	}
	return fn(r.Context(), body)
}

// Caller makes the calls of one direction.
type Caller struct {
	urls   []string
	key    Key
	client *http.Client
}

// NewCaller takes the URLs of all processes of the service. Each call goes to one of them. A nil configuration trusts
// the system's authorities for https.
func NewCaller(urls []string, key Key, tls *tls.Config) *Caller {
	return &Caller{urls: urls, key: key, client: &http.Client{
		Timeout:       callTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSClientConfig: tls, TLSHandshakeTimeout: dialTime,
			MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: callTime,
		},
	}}
}

var errAway = errs.New(errs.Unavailable, api.CodeUnavailable,
	"A part of the server cannot be reached. Repeat the same request in a moment.").WithRetryAfter(time.Second)

// post makes one call, trying another process when one does not take the connection or is stopping.
func post[Res any](ctx context.Context, c *Caller, path string, req any) (Res, error) {
	var res Res
	body, err := json.Marshal(req)
	if err != nil {
		return res, fmt.Errorf("writing a call: %w", err)
	}
	first := rand.IntN(len(c.urls)) //nolint:gosec // spreads the load
	wait := firstWait
	for try := 1; ; try++ {
		err := c.try(ctx, c.urls[(first+try)%len(c.urls)]+path, path, body, &res)
		if err == nil || try == dialTries || !nobodyThere(err) {
			return res, err
		}
		select {
		case <-ctx.Done():
			return res, errAway.Because(ctx.Err())
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // jitter
		}
		wait = min(2*wait, longestWait)
	}
}

// nobodyThere tells that the call was not begun.
func nobodyThere(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func (c *Caller) try(ctx context.Context, url, path string, body []byte, res any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making a call: %w", err)
	}
	r.Header.Set("Authorization", c.key.sign(path, body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", path) // a call whose kept connection was just closed is repeated by net/http
	answer, err := c.client.Do(r)
	if err != nil {
		return errAway.Because(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil || len(b) > maxBody {
		return errAway.Because(errors.Join(err, errors.New("reading the answer")))
	}
	if answer.StatusCode != http.StatusOK {
		return refusal(answer, b)
	}
	if err := json.Unmarshal(b, res); err != nil {
		return errAway.Because(fmt.Errorf("the answer of %s: %w", path, err))
	}
	return nil
}

// refusal makes the other service's error ours again.
func refusal(answer *http.Response, body []byte) error {
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return errAway.Because(fmt.Errorf("%s answered %s", answer.Request.URL.Path, answer.Status))
	}
	kind := errs.KindOf(answer.StatusCode)
	if kind == errs.Unauthenticated {
		return errAway.Because(errors.New(p.Detail)) // about this service, not about who asked it
	}
	return errs.New(kind, p.Code, p.Detail).WithRetryAfter(time.Duration(p.RetryAfter) * time.Second)
}
