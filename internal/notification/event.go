package notification

import (
	"context"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

// HandleEvent is the handler of the queue. An event that cannot be read becomes a dead letter there.
func (s *Service) HandleEvent(ctx context.Context, e event.Event) error {
	switch e.Type {
	case event.MessageWaiting:
		var body event.Waiting
		if err := e.Decode(&body); err != nil {
			s.Refused.Add(1)
			return err
		}
		return s.messagesWait(ctx, e, body)
	case event.AccountNotice:
		var body event.Notice
		if err := e.Decode(&body); err != nil {
			s.Refused.Add(1)
			return err
		}
		return s.noticed(ctx, e, api.NotificationKind(body.Kind))
	case event.AddressGiven:
		return s.mailCode(ctx, e, kindCode)
	case event.ResetAsked:
		return s.mailCode(ctx, e, kindReset)
	case event.LoginEnded:
		var end event.LoginEnd
		if err := e.Decode(&end); err != nil {
			return err
		}
		return s.loginEnded(ctx, e, end)
	default:
		return nil // for another consumer
	}
}

// once runs fn in the transaction that remembers the event, unless it was handled before.
func (s *Service) once(ctx context.Context, e event.Event, fn func(*sqldb.Tx) error) error {
	err := s.DB.Tx(ctx, string(e.Type), func(tx *sqldb.Tx) error {
		first, err := outbox.Once(ctx, tx, Queue, e, s.Now())
		if err == nil && !first {
			s.Logger.DebugContext(ctx, "an event came again", "event", e.ID.String())
		}
		if err != nil || !first {
			return err
		}
		return fn(tx)
	})
	return errs.Wrap("handling "+string(e.Type), err)
}

// messagesWait notes what waits in each conversation.
func (s *Service) messagesWait(ctx context.Context, e event.Event, body event.Waiting) error {
	var told []api.Notification
	err := s.once(ctx, e, func(tx *sqldb.Tx) error {
		told = nil
		set, err := readSettings(ctx, tx, e.Account)
		if err != nil {
			return err
		}
		for _, w := range body.Conversations {
			own, err := readConversationSettings(ctx, tx, e.Account, w.ConversationID)
			if err != nil {
				return err
			}
			n := api.Notification{Kind: api.NotifyMessages, ConversationID: &w.ConversationID, Count: w.Count, At: e.Time}
			item, err := s.deliver(ctx, tx, e.Account, n, set, own)
			if err != nil {
				return err
			}
			told = append(told, item...)
		}
		return nil
	})
	if err == nil {
		s.committed(ctx, e.Account, told)
	}
	return err
}

// noticed is for what happened to the account itself. Neither quiet hours nor a mute hold it back: somebody who was not
// the owner may have done it.
func (s *Service) noticed(ctx context.Context, e event.Event, kind api.NotificationKind) error {
	if kind == "" || len(kind) > 32 {
		s.Refused.Add(1)
		return errs.Invalidf("The kind of a notice has 1 to 32 bytes.")
	}
	var told []api.Notification
	err := s.once(ctx, e, func(tx *sqldb.Tx) error {
		set, err := readSettings(ctx, tx, e.Account)
		if err != nil {
			return err
		}
		told, err = s.deliver(ctx, tx, e.Account, api.Notification{Kind: kind, Count: 1, At: e.Time}, set, nil)
		return err
	})
	if err == nil {
		s.committed(ctx, e.Account, told)
	}
	return err
}

// mailCode sends a code to an address. It goes there only: the list and push have nothing to say.
func (s *Service) mailCode(ctx context.Context, e event.Event, kind api.NotificationKind) error {
	if s.Mailer == nil {
		return nil
	}
	err := s.once(ctx, e, func(tx *sqldb.Tx) error {
		return insertMailJob(ctx, tx, e.Account, string(kind), api.Notification{Kind: kind, Count: 1, At: e.Time}, s.nowMillis())
	})
	if err == nil {
		s.wakeWorker()
	}
	return err
}

// deliver stores a notification for every channel that the account chose. It returns what became part of the list.
func (s *Service) deliver(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, n api.Notification,
	set api.NotificationSettings, own *api.ConversationNotifications,
) (listed []api.Notification, err error) {
	p := s.plan(n, set, own)
	if p.app {
		if listed, err = insertItem(ctx, tx, account, n); err != nil {
			return nil, err
		}
	}
	if p.mail && s.Mailer != nil {
		if err := s.addMail(ctx, tx, account, n, set, p.due); err != nil {
			return nil, err
		}
	}
	if p.push {
		return listed, addPushes(ctx, tx, account, n, p.due.UnixMilli())
	}
	return listed, nil
}

// committed tells sockets and worker what is stored.
func (s *Service) committed(ctx context.Context, account api.AccountID, listed []api.Notification) {
	for _, n := range listed {
		s.tell(ctx, account, n)
	}
	s.wakeWorker()
}

const sqlInsertEnded = `
INSERT INTO ended_login (login, until) VALUES ($1, $2) ON CONFLICT (login) DO NOTHING`

// loginEnded refuses the login's tokens. Its device is signed out or removed, or has signed in anew: either way it
// subscribes again when it is there again.
func (s *Service) loginEnded(ctx context.Context, e event.Event, end event.LoginEnd) error {
	return s.once(ctx, e, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, sqlInsertEnded, end.LoginID[:], end.Until); err != nil {
			return err
		}
		return deleteSubscriptionsOf(ctx, tx, end.LoginID)
	})
}
