// Package event holds the types of durable events and their JSON. It is the only thing services share about each other
// besides package api. An event is delivered at least once, in any order, so that every body says what is true from now
// on and never what to add to what was.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sotto/api"
)

// Type names what happened, and thereby the body.
type Type string

// Types. The string is part of the contract between versions that run at the same time.
const (
	// DevicesChanged carries api.AccountLists with the newest list of Account. The version of the list decides.
	DevicesChanged Type = "devices.changed"
	// LoginEnded carries a LoginEnd. Receiving it again changes nothing.
	LoginEnded Type = "login.ended"
	// MessageWaiting carries a Waiting: messages of Account have waited for a while.
	MessageWaiting Type = "message.waiting"
	// AccountNotice carries a Notice: something happened to Account that its owner should learn of.
	AccountNotice Type = "account.notice"
	// AddressGiven carries an empty object: a code should go to the address that Account wants to use.
	AddressGiven Type = "address.given"
	// ResetAsked carries an empty object: a code that resets Account should go to its address. Account may be nobody.
	ResetAsked Type = "reset.asked"
	// AuditRecorded carries an Audit. The event id keeps it from being recorded twice.
	AuditRecorded Type = "audit.recorded"
)

// MaxBody bounds a body: the largest holds one device list with its signature and account key.
const MaxBody = 64 << 10 // bytes

// Event is one thing that happened in a service and was committed there.
type Event struct {
	ID      api.EventID     `json:"id"` // the same on every delivery
	Type    Type            `json:"type"`
	Account api.AccountID   `json:"account_id"` // whom it is about
	Time    int64           `json:"time"`       // when it happened, milliseconds since 1970 UTC
	Body    json.RawMessage `json:"body"`
}

// LoginEnd is the body of LoginEnded.
type LoginEnd struct {
	LoginID api.LoginID `json:"login_id"`
	Until   int64       `json:"until"` // when the last token of the login expires by itself
}

// Waiting is the body of MessageWaiting: how many messages wait in each conversation now. It names no sender.
type Waiting struct {
	Conversations []ConversationWaiting `json:"conversations"` // at most MaxWaiting, those with the oldest messages first
}

// MaxWaiting bounds the conversations of one Waiting.
const MaxWaiting = 100

// ConversationWaiting is one conversation of a Waiting.
type ConversationWaiting struct {
	ConversationID api.ConversationID `json:"conversation_id"`
	Count          int                `json:"count"` // at least 1
}

// Notice is the body of AccountNotice.
type Notice struct {
	Kind api.NotificationKind `json:"kind"`
}

// Audit is the body of AuditRecorded: something that an administrator may have to explain one day.
type Audit struct {
	Actor  api.AccountID `json:"actor"`  // who did it
	Action string        `json:"action"` // stable word, for example "report.closed"
	Note   string        `json:"note"`   // for people; never a content, a token or a key
}

// New makes an event with its body in JSON. It fails on a body larger than MaxBody.
func New(id api.EventID, typ Type, account api.AccountID, at time.Time, body any) (Event, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Event{}, fmt.Errorf("writing the body of %s: %w", typ, err)
	}
	e := Event{ID: id, Type: typ, Account: account, Time: at.UnixMilli(), Body: b}
	return e, e.Validate()
}

// Validate tells what makes an event unfit to be stored or published.
func (e Event) Validate() error {
	switch {
	case e.ID == api.EventID{}:
		return errors.New("event without an id")
	case e.Type == "":
		return errors.New("event without a type")
	case len(e.Body) > MaxBody:
		return fmt.Errorf("body of %s has %d bytes, at most %d are allowed", e.Type, len(e.Body), MaxBody)
	case !json.Valid(e.Body):
		return fmt.Errorf("body of %s is not JSON", e.Type)
	}
	return nil
}

// Decode reads the body. Unknown fields are ignored, because the other service may be one version ahead.
func (e Event) Decode(body any) error {
	if err := json.Unmarshal(e.Body, body); err != nil {
		return fmt.Errorf("reading the body of %s %s: %w", e.Type, e.ID, err)
	}
	return nil
}
