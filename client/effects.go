package client

import (
	"context"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// maxEdits bounds how many edits of one message are remembered, to be erased with it. Later ones stay in the history.
const maxEdits = 100

// overlay is what later messages say about a message: it is kept under the message's sender and id, also while the
// message itself is not here, so that the order in which messages arrive makes no difference. Of two that contradict each
// other the one with the later position counts, and a deletion counts for ever.
type overlay struct {
	Edit      *edited                       `json:"edit,omitempty"`
	Edits     []api.MessageID               `json:"edits,omitempty"` // that were made
	Reactions map[api.AccountID]reactedWith `json:"reactions,omitempty"`
	Erased    Erased                        `json:"erased,omitempty"`
}

type edited struct {
	Position Position `json:"position"`
	Text     string   `json:"text"`
}

type reactedWith struct {
	Position Position `json:"position"`
	Emoji    string   `json:"emoji"` // empty: taken away
}

// Reaction is an emoji that a member has put on a message.
type Reaction struct {
	Account api.AccountID
	Emoji   string
}

// isEffect tells the bodies that change an earlier message instead of being shown themselves.
func isEffect(k e2ee.BodyKind) bool {
	return k == e2ee.BodyEdit || k == e2ee.BodyReaction || k == e2ee.BodyDelete
}

// applyEffect changes, in b, the message that e is about. What e has no right to changes nothing. The caller holds c.mu.
func (c *Client) applyEffect(conversation api.ConversationID, e entry, body e2ee.Body, b *batch) error {
	var target e2ee.Target
	var change func(*overlay)
	switch body.Kind {
	case e2ee.BodyEdit:
		edit, err := body.Edit()
		if err != nil || edit.Target.Sender != [16]byte(e.Sender) {
			return nil //nolint:nilerr // nothing that anybody could do
		}
		target = edit.Target
		change = func(o *overlay) {
			if o.Edit == nil || e.Position.Compare(o.Edit.Position) > 0 {
				o.Edit = &edited{Position: e.Position, Text: edit.Text}
			}
			if !slices.Contains(o.Edits, e.ID) && len(o.Edits) < maxEdits {
				o.Edits = append(o.Edits, e.ID)
			}
		}
	case e2ee.BodyReaction:
		r, err := body.Reaction()
		if err != nil {
			return nil //nolint:nilerr // nothing that anybody could do
		}
		target = r.Target
		change = func(o *overlay) {
			if old, found := o.Reactions[e.Sender]; found && e.Position.Compare(old.Position) <= 0 {
				return
			}
			if o.Reactions == nil {
				o.Reactions = map[api.AccountID]reactedWith{}
			}
			emoji := r.Emoji
			if r.Remove {
				emoji = ""
			}
			o.Reactions[e.Sender] = reactedWith{Position: e.Position, Emoji: emoji}
		}
	case e2ee.BodyDelete:
		d, err := body.Delete()
		if err != nil || d.Target.Sender != [16]byte(e.Sender) || d.Scope != e2ee.DeleteForAll {
			return nil //nolint:nilerr // nothing that anybody could do
		}
		return c.erase(conversation, d.Target, ErasedDeleted, true, b)
	default:
		return nil
	}
	key := keyOverlay(conversation, target.Sender, target.MessageID)
	o, _, err := staged[overlay](c, b, key)
	if err != nil {
		return err
	}
	if o.Erased != "" {
		if body.Kind == e2ee.BodyEdit {
			return c.eraseEntry(conversation, e.ID, o.Erased, o.Erased == ErasedDeleted, b)
		}
		return nil
	}
	change(&o)
	b.set(key, o)
	return c.touch(conversation, target, o, b)
}

// touch notes on the message, if it is here, that it has an overlay, and announces how it is shown now. The caller holds
// c.mu.
func (c *Client) touch(conversation api.ConversationID, target e2ee.Target, o overlay, b *batch) error {
	e, found, err := c.stagedEntry(conversation, target.MessageID, b)
	if err != nil || !found || e.Sender != api.AccountID(target.Sender) {
		return err
	}
	if !e.Touched {
		e.Touched = true
		b.set(keyMessage(conversation, e.Position), e)
	}
	return c.changed(conversation, e, o, b)
}

// changed announces a message that is shown otherwise from now on.
func (c *Client) changed(conversation api.ConversationID, e entry, o overlay, b *batch) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	m, err := e.message(conversation, me.Account)
	if err != nil {
		return err
	}
	m.overlay(o)
	b.events = append(b.events, Event{Type: EventChanged, Conversation: conversation, Account: m.Sender, Message: &m})
	return nil
}

// stagedEntry finds a stored message as it will be when b is committed.
func (c *Client) stagedEntry(conversation api.ConversationID, id api.MessageID, b *batch) (entry, bool, error) {
	p, found, err := staged[place](c, b, keyPlace(conversation, id))
	if err != nil || !found || p.Position.IsZero() {
		return entry{}, false, err
	}
	e, found, err := staged[entry](c, b, keyMessage(conversation, p.Position))
	return e, found && e.ID == id, err
}

// overlay shows what later messages have made of m.
func (m *Message) overlay(o overlay) {
	if m.Erased != "" {
		return
	}
	if o.Edit != nil {
		m.Edited = true
		switch m.Body.Kind { //nolint:exhaustive // the others have no text
		case e2ee.BodyText:
			m.Body = e2ee.TextBody(o.Edit.Text)
		case e2ee.BodyReply:
			if r, err := m.Body.Reply(); err == nil {
				m.Body = e2ee.ReplyBody(e2ee.Reply{Target: r.Target, Text: o.Edit.Text})
			}
		case e2ee.BodyAttachments:
			if a, err := m.Body.Attachments(); err == nil {
				a.Text = o.Edit.Text
				m.Body = e2ee.AttachmentsBody(a)
			}
		}
	}
	for account, r := range o.Reactions {
		if r.Emoji != "" {
			m.Reactions = append(m.Reactions, Reaction{Account: account, Emoji: r.Emoji})
		}
	}
	slices.SortFunc(m.Reactions, func(a, b Reaction) int { return slices.Compare(a.Account[:], b.Account[:]) })
}

// Edit replaces the text of an own message. Errors as for [Client.Send].
func (c *Client) Edit(ctx context.Context, conversation api.ConversationID, id api.MessageID, text string) (api.MessageID, error) {
	target, err := c.target(conversation, id, true)
	if err != nil {
		return api.MessageID{}, err
	}
	return c.Send(ctx, conversation, e2ee.EditBody(e2ee.Edit{Target: target, Text: text}))
}

// React puts an emoji on a message, in place of an earlier one; an empty emoji takes it away. Errors as for [Client.Send].
func (c *Client) React(ctx context.Context, conversation api.ConversationID, id api.MessageID, emoji string) (api.MessageID, error) {
	target, err := c.target(conversation, id, false)
	if err != nil {
		return api.MessageID{}, err
	}
	r := e2ee.Reaction{Target: target, Emoji: emoji}
	if emoji == "" {
		r.Emoji, r.Remove = "-", true
	}
	return c.Send(ctx, conversation, e2ee.ReactionBody(r))
}

// target names a message that is stored and not erased, an own one if it has to be.
func (c *Client) target(conversation api.ConversationID, id api.MessageID, own bool) (e2ee.Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return e2ee.Target{}, err
	}
	e, found, err := c.logged(conversation, id)
	switch {
	case err != nil:
		return e2ee.Target{}, err
	case !found || e.Effect:
		return e2ee.Target{}, fail(api.CodeNotFound, "There is no such message here, or it has not been sent yet.")
	case own && e.Sender != me.Account:
		return e2ee.Target{}, fail(CodeArgument, "Only own messages can be changed.")
	}
	return e2ee.Target{Sender: e.Sender, MessageID: id}, nil
}
