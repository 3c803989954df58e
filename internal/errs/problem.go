package errs

import (
	"encoding/json"
	"net/http"
	"time"

	"sotto/api"
)

// statusOf is the one table from kind to HTTP status.
var statusOf = map[Kind]int{
	Internal:        http.StatusInternalServerError,
	Invalid:         http.StatusBadRequest,
	Unauthenticated: http.StatusUnauthorized,
	Forbidden:       http.StatusForbidden,
	NotFound:        http.StatusNotFound,
	Method:          http.StatusMethodNotAllowed,
	Conflict:        http.StatusConflict,
	TooLarge:        http.StatusRequestEntityTooLarge,
	Limited:         http.StatusTooManyRequests,
	Unavailable:     http.StatusServiceUnavailable,
	UpgradeRequired: http.StatusUpgradeRequired,
}

// KindOf is the way back, for the answers of other services.
func KindOf(status int) Kind {
	for kind, s := range statusOf {
		if s == status {
			return kind
		}
	}
	return Internal
}

// Problem translates err for whoever asked. It never holds the cause.
func Problem(err error, requestID string) api.Problem {
	e := As(err)
	p := api.Problem{
		Type: "about:blank", Title: http.StatusText(statusOf[e.Kind]), Status: statusOf[e.Kind],
		Code: e.Code, Detail: e.Public, RequestID: requestID,
		RetryAfter: int64((e.RetryAfter + time.Second - 1) / time.Second),
	}
	if e.Details != nil {
		if b, err := json.Marshal(e.Details); err == nil {
			p.Details = b
		}
	}
	return p
}
