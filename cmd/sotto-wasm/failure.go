//go:build js

package main

import (
	"context"
	"errors"
	"fmt"

	"sotto/client"
	"sotto/client/idbstore"
)

// Codes of the core's own errors. All others are those of packages client and api.
const (
	codeArgument = client.CodeArgument // the message or an argument is not valid
	codeCanceled = "canceled"          // cancel, close or logout ended the request
	codeOpen     = "open"              // a store is open already
	codeNotOpen  = "not_open"          // no store is open
	codeInternal = "internal"          // a defect of the core
)

// storeCodes say why the browser's store does not work; where several apply, the first.
var storeCodes = []struct {
	is   error
	code string
}{
	{idbstore.ErrInUse, "store_in_use"},
	{idbstore.ErrFenced, "store_fenced"},
	{idbstore.ErrFull, "store_full"},
	{idbstore.ErrDenied, "store_denied"},
	{idbstore.ErrUnsupported, "store_unsupported"},
	{idbstore.ErrDamaged, "store_damaged"},
	{idbstore.ErrNewer, "store_newer"},
	{idbstore.ErrName, codeArgument},
}

// failure is an error as the page sees it.
type failure struct {
	Code       string `json:"code"`
	Message    string `json:"message"`               // a sentence for people
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
}

func (f *failure) Error() string { return f.Message }

func refusal(code, format string, args ...any) *failure {
	return &failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	for _, s := range storeCodes {
		if errors.Is(err, s.is) {
			return &failure{Code: s.code, Message: err.Error()}
		}
	}
	if errors.Is(err, context.Canceled) {
		return refusal(codeCanceled, "The request was cancelled.")
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return &failure{Code: e.Code, Message: e.Error(), RetryAfter: int(e.RetryAfter.Seconds())}
	}
	return &failure{Code: codeInternal, Message: err.Error()}
}
