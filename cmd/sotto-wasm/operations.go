//go:build js

package main

import (
	"context"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// operation works on one request. Operations that wait end when ctx does.
type operation func(ctx context.Context, c *core, r request) (any, error)

// operations are what a page can ask for. api.md describes each.
var operations = map[string]operation{
	"open": with(func(ctx context.Context, c *core, _ int64, a openArgs) (accountResult, error) { return c.open(ctx, a) }),
	"close": with(func(_ context.Context, c *core, self int64, _ none) (none, error) {
		return none{}, c.close(self)
	}),
	"logout": with(func(ctx context.Context, c *core, self int64, _ none) (none, error) {
		return none{}, c.logout(ctx, self)
	}),
	"cancel": with(func(_ context.Context, c *core, _ int64, a cancelArgs) (none, error) {
		return none{}, c.cancel(a.Request)
	}),
	"events": with(func(ctx context.Context, c *core, _ int64, _ none) (eventsResult, error) { return c.nextEvents(ctx) }),

	"register":      on(register),
	"login":         on(login),
	"account":       on(account),
	"run":           on(run),
	"conversation":  on(conversation),
	"conversations": on(conversations),
	"accept":        on(accept),
	"block":         on(block),
	"markRead":      on(markRead),
	"typing":        on(typing),
	"presence":      on(presence),
	"find":          on(find),
	"configure":     on(configure),
	"profile":       on(profile),
	"history":       on(history),
	"historyChoice": on(historyChoice),
	"keepHistory":   on(keepHistory),
	"edit":          on(edit),
	"react":         on(react),
	"delete":        on(deleteMessage),
	"viewed":        on(viewed),
	"setExpiry":     on(setExpiry),
	"setProfile":    on(setProfile),
	"picture":       on(picture),
	"setPicture":    on(setPicture),
	"send":          on(send),
	"waitSent":      on(waitSent),
	"messages":      on(messages),
	"notices":       on(notices),
	"queue":         on(queue),
	"devices":       on(devices),
	"safety":        on(safety),
	"decide":        on(decide),
	"giveBack":      on(giveBack),
	"counters":      on(counters),

	"renameDevice":        on(renameDevice),
	"removeDevice":        on(removeDevice),
	"changePassword":      on(changePassword),
	"newRecoveryCode":     on(newRecoveryCode),
	"confirmRecoveryCode": on(confirmRecoveryCode),
	"recoveryState":       on(recoveryState),
	"recover":             on(recoverAccount),
	"reset":               on(reset),
	"mailReset":           on(mailReset),

	"email":        on(email),
	"startEmail":   on(startEmail),
	"confirmEmail": on(confirmEmail),
	"removeEmail":  on(removeEmail),

	"notifications":                on(notifications),
	"readNotification":             on(readNotification),
	"readNotifications":            on(readNotifications),
	"deleteNotification":           on(deleteNotification),
	"notificationSettings":         on(notificationSettings),
	"setNotificationSettings":      on(setNotificationSettings),
	"conversationNotifications":    on(conversationNotification),
	"setConversationNotifications": on(setConversationNotification),
	"pushState":                    on(pushState),
	"subscribe":                    on(subscribe),
}

// none stands for an object without fields.
type none struct{}

// with reads the arguments of an operation on the core. It and on exist once for each operation, so what they do is
// elsewhere: every line here is in the download more than fifty times.
func with[A, R any](f func(ctx context.Context, c *core, self int64, args A) (R, error)) operation {
	return func(ctx context.Context, c *core, r request) (any, error) {
		var args A
		if err := r.read(&args); err != nil {
			return nil, err
		}
		return f(ctx, c, r.ID, args)
	}
}

// on reads the arguments of an operation that needs an open client.
func on[A, R any](f func(context.Context, *client.Client, A) (R, error)) operation {
	return func(ctx context.Context, c *core, r request) (any, error) {
		var args A
		opened, err := c.begin(r, &args)
		if err != nil {
			return nil, err
		}
		return f(ctx, opened, args)
	}
}

// read decodes the arguments.
func (r request) read(args any) error {
	if err := strict(r.Args, args); err != nil {
		return refusal(codeArgument, "The arguments of %s are not valid: %v.", r.Do, err)
	}
	return nil
}

// begin decodes the arguments and finds the client.
func (c *core) begin(r request, args any) (*client.Client, error) {
	if err := r.read(args); err != nil {
		return nil, err
	}
	return c.opened()
}

func register(ctx context.Context, c *client.Client, a credentials) (registerResult, error) {
	code, err := c.Register(ctx, client.RegisterOptions(a))
	return registerResult{RecoveryCode: code}, err
}

func login(ctx context.Context, c *client.Client, a credentials) (accountResult, error) {
	if err := c.Login(ctx, client.LoginOptions(a)); err != nil {
		return accountResult{}, err
	}
	return accountOf(c), nil
}

func account(_ context.Context, c *client.Client, _ none) (accountResult, error) {
	return accountOf(c), nil
}

// run is answered when the client stops: with an error when only a person can help, else after cancel.
func run(ctx context.Context, c *client.Client, _ none) (none, error) { return none{}, c.Run(ctx) }

func conversation(ctx context.Context, c *client.Client, a nameArgs) (conversationJSON, error) {
	v, err := c.Conversation(ctx, a.Username)
	return conversationJSON(v), err
}

func conversations(_ context.Context, c *client.Client, _ none) (conversationsResult, error) {
	all, err := c.Conversations()
	out := make([]conversationJSON, 0, len(all))
	for _, v := range all {
		out = append(out, conversationJSON(v))
	}
	return conversationsResult{out}, err
}

func accept(ctx context.Context, c *client.Client, a conversationArgs) (none, error) {
	return none{}, c.Accept(ctx, a.Conversation)
}

func block(ctx context.Context, c *client.Client, a conversationArgs) (none, error) {
	return none{}, c.Block(ctx, a.Conversation)
}

func typing(_ context.Context, c *client.Client, a typingArgs) (none, error) {
	return none{}, c.Typing(a.Conversation, a.Started)
}

func presence(ctx context.Context, c *client.Client, _ none) (api.PresenceAnswer, error) {
	all, err := c.Presence(ctx)
	return api.PresenceAnswer{Presence: append([]api.Presence{}, all...)}, err
}

func find(ctx context.Context, c *client.Client, a findArgs) (api.FindAnswer, error) {
	found, err := c.FindUsers(ctx, a.Prefix)
	return api.FindAnswer{Accounts: append([]api.FoundAccount{}, found...)}, err
}

func markRead(_ context.Context, c *client.Client, a markReadArgs) (none, error) {
	return none{}, c.MarkRead(a.Conversation, a.Position)
}

func configure(_ context.Context, c *client.Client, a configureArgs) (none, error) {
	return none{}, c.SetConversation(a.Conversation, a.Settings)
}

func profile(_ context.Context, c *client.Client, _ none) (profileJSON, error) {
	p, err := c.Profile()
	return profileJSON{p}, err
}

func history(_ context.Context, c *client.Client, _ none) (historyJSON, error) {
	h, err := c.History()
	return historyJSON(h), err
}

func historyChoice(ctx context.Context, c *client.Client, _ none) (api.ChatSettings, error) {
	return c.HistoryChoice(ctx)
}

func keepHistory(ctx context.Context, c *client.Client, a api.ChatSettings) (none, error) {
	return none{}, c.KeepHistory(ctx, a)
}

func edit(ctx context.Context, c *client.Client, a editArgs) (sendResult, error) {
	id, err := c.Edit(ctx, a.Conversation, a.MessageID, a.Text)
	return sendResult{MessageID: id}, err
}

func react(ctx context.Context, c *client.Client, a reactArgs) (sendResult, error) {
	id, err := c.React(ctx, a.Conversation, a.MessageID, a.Emoji)
	return sendResult{MessageID: id}, err
}

func deleteMessage(ctx context.Context, c *client.Client, a deleteArgs) (none, error) {
	return none{}, c.Delete(ctx, a.Conversation, a.MessageID, a.ForAll)
}

func viewed(_ context.Context, c *client.Client, a messageArgs) (none, error) {
	return none{}, c.Viewed(a.Conversation, a.MessageID)
}

func setExpiry(ctx context.Context, c *client.Client, a setExpiryArgs) (sendResult, error) {
	id, err := c.SetExpiry(ctx, a.Conversation, a.Seconds)
	return sendResult{MessageID: id}, err
}

func setProfile(_ context.Context, c *client.Client, a profileJSON) (none, error) {
	return none{}, c.SetProfile(a.Profile)
}

func picture(ctx context.Context, c *client.Client, a pictureArgs) (pictureJSON, error) {
	image, err := c.Picture(ctx, a.Account)
	return pictureJSON{image}, err
}

func setPicture(ctx context.Context, c *client.Client, a pictureJSON) (none, error) {
	return none{}, c.SetPicture(ctx, a.Picture)
}

func send(ctx context.Context, c *client.Client, a sendArgs) (sendResult, error) {
	if (a.Text == nil) == (a.Body == nil) {
		return sendResult{}, refusal(codeArgument, "A message has either a text or a body.")
	}
	body := e2ee.Body{}
	if a.Text != nil {
		body = e2ee.TextBody(*a.Text)
	} else {
		body.Kind, body.Bytes = a.Body.Kind, a.Body.Bytes
	}
	deliver := c.Send
	if a.Once {
		deliver = c.SendOnce
	}
	id, err := deliver(ctx, a.Conversation, body)
	return sendResult{MessageID: id}, err
}

func waitSent(ctx context.Context, c *client.Client, a waitSentArgs) (positionResult, error) {
	p, err := c.WaitSent(ctx, a.MessageID)
	return positionResult{Position: p}, err
}

func messages(_ context.Context, c *client.Client, a messagesArgs) (messagesResult, error) {
	all, err := c.Messages(a.Conversation, a.Before, a.Limit)
	out := make([]messageJSON, 0, len(all))
	for _, m := range all {
		out = append(out, messageOf(m))
	}
	return messagesResult{out}, err
}

func notices(_ context.Context, c *client.Client, _ none) (noticesResult, error) {
	all, err := c.Notices()
	return noticesResult{append([]client.Notice{}, all...)}, err
}

func queue(_ context.Context, c *client.Client, _ none) (queueResult, error) {
	n, err := c.Queue()
	return queueResult{Waiting: n}, err
}

func safety(ctx context.Context, c *client.Client, a nameArgs) (safetyResult, error) {
	s, err := c.Safety(ctx, a.Username)
	return safetyResult(s), err
}

// giveBack is for a restored server, which needs the password once.
func giveBack(ctx context.Context, c *client.Client, a giveBackArgs) (none, error) {
	return none{}, c.GiveBack(ctx, a.Password)
}

// decide records what the user decided about the key behind a safety number: compared, not compared, or (without
// verified) accepted as it is.
func decide(_ context.Context, c *client.Client, a decideArgs) (none, error) {
	s := client.Safety{Account: a.Account, Digits: a.Digits}
	if a.Verified == nil {
		return none{}, c.AcceptIdentity(s)
	}
	return none{}, c.SetVerified(s, *a.Verified)
}

func counters(_ context.Context, c *client.Client, _ none) (countersResult, error) {
	n, err := c.Counters()
	return countersResult(n), err
}
