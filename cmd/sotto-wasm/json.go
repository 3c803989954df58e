//go:build js

package main

import (
	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// The forms in which api.md shows arguments and results. Bytes are base64, ids are UUIDs, times are milliseconds.

type openArgs struct {
	Server   string `json:"server"`
	Database string `json:"database"`
	Wait     bool   `json:"wait"`

	Identity client.IdentityPolicy `json:"identity"`
}

type cancelArgs struct {
	Request int64 `json:"request"`
}

type credentials struct {
	Username   string `json:"username"`
	Password   string `json:"password"`
	DeviceName string `json:"device_name"`
}

type nameArgs struct {
	Username string `json:"username"`
}

type conversationArgs struct {
	Conversation api.ConversationID `json:"conversation"`
}

type sendArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	Text         *string            `json:"text"`
	Body         *bodyJSON          `json:"body"`
	Once         bool               `json:"once"`
}

type messageArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	MessageID    api.MessageID      `json:"message_id"`
}

type editArgs struct {
	messageArgs
	Text string `json:"text"`
}

type reactArgs struct {
	messageArgs
	Emoji string `json:"emoji"`
}

type deleteArgs struct {
	messageArgs
	ForAll bool `json:"for_all"`
}

type setExpiryArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	Seconds      uint32             `json:"seconds"`
}

type waitSentArgs struct {
	MessageID api.MessageID `json:"message_id"`
}

type messagesArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	Before       client.Position    `json:"before"`
	Limit        int                `json:"limit"`
}

type markReadArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	Position     client.Position    `json:"position"`
}

type typingArgs struct {
	Conversation api.ConversationID `json:"conversation"`
	Started      bool               `json:"started"`
}

type findArgs struct {
	Prefix string `json:"prefix"`
}

type configureArgs struct {
	Conversation api.ConversationID          `json:"conversation"`
	Settings     client.ConversationSettings `json:"settings"`
}

type profileJSON struct {
	Profile client.Profile `json:"profile"`
}

type pictureArgs struct {
	Account api.AccountID `json:"account"`
}

type pictureJSON struct {
	Picture []byte `json:"picture"`
}

type historyJSON struct {
	Done     int  `json:"done"`
	Of       int  `json:"of"`
	Complete bool `json:"complete"`
}

type registerResult struct {
	RecoveryCode string `json:"recovery_code"`
}

type accountResult struct {
	Account *accountJSON `json:"account"` // null when nobody is signed in
}

type accountJSON struct {
	ID         api.AccountID    `json:"id"`
	Username   string           `json:"username"`
	Device     api.DeviceID     `json:"device"`
	WireDevice api.WireDeviceID `json:"wire_device"`
}

func accountOf(c *client.Client) accountResult {
	a, signedIn := c.Account()
	if !signedIn {
		return accountResult{}
	}
	form := accountJSON(a)
	return accountResult{&form}
}

type conversationJSON struct {
	ID       api.ConversationID `json:"id"`
	Kind     api.Kind           `json:"kind"`
	State    api.MemberState    `json:"state"`
	Peer     api.AccountID      `json:"peer"`
	Username string             `json:"username"`
	Verified bool               `json:"verified"`
	Changed  bool               `json:"changed"`
	Stopped  bool               `json:"stopped"`
	Read     client.Position    `json:"read"`
	PeerRead client.Position    `json:"peer_read"`

	Settings client.ConversationSettings `json:"settings"`
	Expiry   uint32                      `json:"expiry"` // seconds
	Profile  client.Profile              `json:"profile"`
}

type conversationsResult struct {
	Conversations []conversationJSON `json:"conversations"`
}

type sendResult struct {
	MessageID api.MessageID `json:"message_id"`
}

type positionResult struct {
	Position client.Position `json:"position"`
}

type bodyJSON struct {
	Kind  e2ee.BodyKind `json:"kind"`
	Bytes []byte        `json:"bytes"`
}

type messageJSON struct {
	Conversation api.ConversationID `json:"conversation"`
	ID           api.MessageID      `json:"id"`
	Position     *client.Position   `json:"position"` // null until it is stored
	Sender       api.AccountID      `json:"sender"`
	SenderDevice api.WireDeviceID   `json:"sender_device"`
	Own          bool               `json:"own"`
	SentAt       int64              `json:"sent_at"`
	ServerTime   int64              `json:"server_time"`
	State        client.State       `json:"state"`
	Failed       string             `json:"failed,omitempty"`
	Owed         bool               `json:"owed,omitempty"`
	Text         string             `json:"text,omitempty"` // of a text message
	Body         bodyJSON           `json:"body"`
	Showable     bool               `json:"showable"`
	Edited       bool               `json:"edited,omitempty"`
	Reactions    []reactionJSON     `json:"reactions,omitempty"`
	Expires      int64              `json:"expires,omitempty"`
	Once         bool               `json:"once,omitempty"`
	Erased       client.Erased      `json:"erased,omitempty"`
}

type reactionJSON struct {
	Account api.AccountID `json:"account"`
	Emoji   string        `json:"emoji"`
}

func messageOf(m client.Message) messageJSON {
	form := messageJSON{
		Conversation: m.Conversation, ID: m.ID, Sender: m.Sender, SenderDevice: m.SenderDevice, Own: m.Own,
		SentAt: m.SentAt, ServerTime: m.ServerTime, State: m.State, Failed: m.FailedCode, Owed: m.Owed,
		Text: m.Text(), Body: bodyJSON(m.Body), Showable: m.Showable,
		Edited: m.Edited, Expires: m.Expires, Once: m.ViewOnce, Erased: m.Erased,
	}
	for _, r := range m.Reactions {
		form.Reactions = append(form.Reactions, reactionJSON(r))
	}
	if !m.Position.IsZero() {
		form.Position = &m.Position
	}
	return form
}

type messagesResult struct {
	Messages []messageJSON `json:"messages"`
}

type noticesResult struct {
	Notices []client.Notice `json:"notices"`
}

type queueResult struct {
	Waiting int `json:"waiting"`
}

type safetyResult struct {
	Account   api.AccountID           `json:"account"`
	Username  string                  `json:"username"`
	Digits    string                  `json:"digits"`
	Scannable []byte                  `json:"scannable"`
	Verified  bool                    `json:"verified"`
	Stopped   bool                    `json:"stopped"`
	Changes   []client.IdentityChange `json:"changes"`
}

type giveBackArgs struct {
	Password string `json:"password"`
}

// decideArgs name the safety number that the user saw.
type decideArgs struct {
	Account  api.AccountID `json:"account"`
	Digits   string        `json:"digits"`
	Verified *bool         `json:"verified"`
}

type countersResult struct {
	Alerts      int64 `json:"alerts"`
	Unreadable  int64 `json:"unreadable"`
	Misdelivery int64 `json:"misdelivery"`
	Archive     int64 `json:"archive"`
	Holes       int64 `json:"holes"`
	Repairs     int64 `json:"repairs"`

	Supplements     int64 `json:"supplements"`
	SessionRepairs  int64 `json:"session_repairs"`
	RetriesSent     int64 `json:"retries_sent"`
	RetriesAnswered int64 `json:"retries_answered"`
	RetriesIgnored  int64 `json:"retries_ignored"`
	Owed            int64 `json:"owed"`
	PreKeysLow      int64 `json:"prekeys_low"`
}

type eventsResult struct {
	Events []eventJSON `json:"events"`
}

// eventJSON has the fields that the event's type sets.
type eventJSON struct {
	Type         client.EventType   `json:"type"`
	Account      api.AccountID      `json:"account,omitzero"`
	Conversation api.ConversationID `json:"conversation,omitzero"`
	Message      *messageJSON       `json:"message,omitempty"`
	MessageIDs   []api.MessageID    `json:"message_ids,omitempty"`
	Notice       *client.Notice     `json:"notice,omitempty"`
	Notification *api.Notification  `json:"notification,omitempty"`
	History      *historyJSON       `json:"history,omitempty"`
	Position     client.Position    `json:"position,omitzero"`
	Typing       bool               `json:"typing,omitempty"`
	Presence     *api.Presence      `json:"presence,omitempty"`
	Error        *failure           `json:"error,omitempty"`
}

func eventOf(e client.Event) eventJSON {
	form := eventJSON{
		Type: e.Type, Account: e.Account, Conversation: e.Conversation, MessageIDs: e.MessageIDs, Notice: e.Notice,
		Position: e.Position, Typing: e.Typing, Presence: e.Presence,
		Notification: e.Notification,
	}
	if e.Message != nil {
		m := messageOf(*e.Message)
		form.Message = &m
	}
	if e.History != nil {
		h := historyJSON(*e.History)
		form.History = &h
	}
	if e.Err != nil {
		form.Error = failureOf(e.Err)
	}
	return form
}
