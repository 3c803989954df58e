package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sotto/api"
)

// Codes of the client's own errors. Errors that a server reported carry one of the api.Code constants.
const (
	CodeNotSignedIn = "not_signed_in"    // register or log in first
	CodeSignedIn    = "signed_in"        // the store already belongs to an account
	CodePassword    = "password"         // the password breaks a rule
	CodeArgument    = "argument"         // a parameter of the call is not valid
	CodeNetwork     = "network"          // the server could not be reached, or the connection broke
	CodeServer      = "server"           // the server's answer breaks the protocol
	CodeStore       = "store"            // the store did not work; close the client and open it again
	CodeQueueFull   = "queue_full"       // MaxQueue messages wait already
	CodeRunning     = "running"          // Run runs already
	CodeLoginEnded  = "login_ended"      // the login was ended; log in again
	CodeListBack    = "list_rollback"    // the server shows a device list older than one already seen
	CodeListFork    = "list_fork"        // the server shows a device list that contradicts one already seen
	CodeListForged  = "list_signature"   // the server shows a device list that its account has not signed
	CodeListOld     = "list_old"         // a peer used a list of the own devices with a removed one
	CodeListMissing = "list_missing"     // a peer uses a device list that the server does not show
	CodeIdentity    = "identity_changed" // the account key of a peer has changed
	CodePreKeys     = "prekeys"          // the server shows prekeys that their device has not vouched for
	CodeBundle      = "bundle"           // the server shows a key bundle that does not belong to the account as it is
	CodeUnreadable  = "unreadable"       // a message does not decrypt
	CodeMisdelivery = "misdelivery"      // a message is authentic, but not as what the server delivered it as
	CodeArchive     = "archive"          // the server shows history or settings that this account's devices did not write
	CodeServerBack  = "server_rollback"  // the server shows an earlier state of itself without a raised epoch
	CodeAsset       = "asset"            // what the server keeps of a file is not what was sealed
	CodeHole        = "hole"             // the server knows a position, but gives neither message nor reason
)

// Error is every error of this package. Message is a sentence for people that says what to do.
//
// errors.Is compares codes: errors.Is(err, client.ErrDeviceCloned), or CodeOf(err) == api.CodeExists.
type Error struct {
	Code       string
	Message    string
	RetryAfter time.Duration // for api.CodeLimited and api.CodeUnavailable
	Problem    *api.Problem  // as the server sent it; nil for errors of the client's own
	Err        error         // cause; may be nil
}

// Errors that callers ask for by name; the others are told apart by [CodeOf].
var (
	ErrDeviceCloned = &Error{Code: api.CodeDeviceCloned}
	ErrDeviceGone   = &Error{Code: api.CodeDeviceGone}
	ErrLoginEnded   = &Error{Code: CodeLoginEnded}
	ErrNotSignedIn  = &Error{Code: CodeNotSignedIn}
	ErrWrongLogin   = &Error{Code: api.CodeWrongLogin}
	ErrIdentity     = &Error{Code: CodeIdentity}
)

func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = e.Code
	}
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// CodeOf finds the code of an error of this package, "" for nil and any other error.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func fail(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// networkError keeps a cancelled context recognisable.
func networkError(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fail(CodeNetwork, "The server could not be reached. Check the network and try again.").
		because(fmt.Errorf("%s: %w", doing, err))
}

func storeError(err error) error {
	if err == nil {
		return nil
	}
	return fail(CodeStore, "The local store did not work. Close the program and open it again.").because(err)
}

func serverError(format string, args ...any) error {
	return fail(CodeServer, "The server's answer breaks the protocol. Report this to whoever runs it.").
		because(fmt.Errorf(format, args...))
}

// problemError makes an Error of what a server refused.
func problemError(p api.Problem) error {
	e := &Error{Code: p.Code, Message: p.Detail, RetryAfter: time.Duration(p.RetryAfter) * time.Second, Problem: &p}
	if e.Code == "" {
		e.Code = CodeServer
	}
	if e.Message == "" {
		e.Message = "The server refused: " + p.Title + "."
	}
	if e.Code == api.CodeDeviceCloned {
		e.Message = clonedMessage
	}
	return e
}

const clonedMessage = "This device's data was copied, and the copy has moved on. Log in again: this copy becomes a new device."

// distrust tells whether an error is about what a server showed. Such errors are counted and announced where they
// arise, and stop only what depends on it, not the connection.
func distrust(err error) bool {
	switch CodeOf(err) {
	case CodeServer, CodeListBack, CodeListFork, CodeListForged, CodeListMissing, CodeIdentity, CodePreKeys, CodeBundle,
		CodeUnreadable, CodeMisdelivery, CodeArchive, CodeAsset:
		return true
	}
	return false
}
