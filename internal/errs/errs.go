// Package errs is the one error type of the services. An Error is made where a rule is broken, travels wrapped with
// what each layer was doing, and is translated once at the edge, by httpx or the socket adapter, into an api.Problem.
// Only Public and Details ever leave the process.
package errs

import (
	"errors"
	"fmt"
	"time"

	"sotto/api"
)

// Kind is what went wrong in terms of the transport; it decides the HTTP status.
type Kind uint8

// Kinds. The zero value is Internal so that a forgotten kind never looks like the caller's fault.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Method
	Conflict
	TooLarge
	Limited
	Unavailable
	UpgradeRequired
)

// Error says what went wrong in three registers: Kind for the transport, Code for programs, Public for people.
type Error struct {
	Kind       Kind
	Code       string        // one of the api.Code constants
	Public     string        // a sentence that may be shown to whoever asked
	Details    any           // marshalled into api.Problem.Details; may be nil
	RetryAfter time.Duration // for Limited and Unavailable
	Err        error         // cause, logged and never shown; may be nil
}

// New makes an error without a cause.
func New(kind Kind, code, public string) *Error {
	return &Error{Kind: kind, Code: code, Public: public}
}

// Error is for logs: it includes the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Public + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Public
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Because returns a copy with a cause for the log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// WithDetails returns a copy that carries details for programs.
func (e *Error) WithDetails(details any) *Error {
	c := *e
	c.Details = details
	return &c
}

// WithRetryAfter returns a copy that tells when to come back.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Wrap adds what we were doing, in lower case, and is nil for a nil error.
func Wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// As finds the Error within err. An error without one is Internal: it is nobody's business but the log's.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: Internal, Code: api.CodeInternal, Public: "Something went wrong on the server.", Err: err}
}

// Is tells whether err is an Error with this code.
func Is(err error, code string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// Shorthands for the kinds that many rules use.

// Invalidf reports bad input.
func Invalidf(format string, args ...any) *Error {
	return New(Invalid, api.CodeInvalid, fmt.Sprintf(format, args...))
}

// NotFoundf reports what does not exist or may not be seen by the actor; the two must read the same.
func NotFoundf(format string, args ...any) *Error {
	return New(NotFound, api.CodeNotFound, fmt.Sprintf(format, args...))
}

// Conflictf reports that something else is already there.
func Conflictf(format string, args ...any) *Error {
	return New(Conflict, api.CodeConflict, fmt.Sprintf(format, args...))
}
