package notification

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// newAPIClient reaches a provider that the operator named.
func newAPIClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
			MaxIdleConnsPerHost: workBatch, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: 16 << 10,
		},
		Timeout: timeout,
		// A redirect would take the key, and a person's address, to where the operator did not send them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// readAnswer reads a little of an answer and closes it, so that the connection can be used again.
func readAnswer(res *http.Response) []byte {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxPushAnswer)) // the status says what counts
	_ = res.Body.Close()
	return body
}

// judge turns the answer of a provider into what the worker knows: nil, try again, or ErrGiveUp.
func judge(who string, res *http.Response) error {
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return &laterError{answer: fmt.Sprintf("%s answered %d", who, res.StatusCode), after: res.Header.Get("Retry-After")}
	}
	return fmt.Errorf("%w: %s answered %d", ErrGiveUp, who, res.StatusCode)
}

// laterError is the answer of somebody who is busy and may have said until when.
type laterError struct {
	answer string
	after  string // the header Retry-After
}

func (e *laterError) Error() string { return e.answer }

// askedToWait is for how long whoever answered err wants to be left alone, 0 when that is unknown. More than retryMost is
// not granted: a wrong clock somewhere must not hold a notification back for years.
func askedToWait(err error, now time.Time) time.Duration {
	later, ok := errors.AsType[*laterError](err)
	if !ok {
		return 0
	}
	text := strings.TrimSpace(later.after)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(retryMost/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), retryMost)
	}
	return 0
}

// idempotencyKey is a UUID (version 8 of RFC 9562) that follows from the name.
func idempotencyKey(name string) string {
	b := sha256.Sum256([]byte(name))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
