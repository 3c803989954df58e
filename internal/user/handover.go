package user

import (
	"context"
	"io"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

const chatRetryAfter = 2 * time.Second

// addEvent puts an event into the outbox of the transaction that makes it true.
func (s *Service) addEvent(ctx context.Context, tx *sqldb.Tx, typ event.Type, account api.AccountID, body any) error {
	var id api.EventID
	if _, err := io.ReadFull(s.Rand, id[:]); err != nil {
		return errs.Wrap("choosing an event id", err)
	}
	e, err := event.New(id, typ, account, s.Now(), body)
	if err != nil {
		return err
	}
	return outbox.Add(ctx, tx, e)
}

// addDevicesChanged writes the newest list as tx sees it.
func (s *Service) addDevicesChanged(ctx context.Context, tx *sqldb.Tx, account api.AccountID) error {
	lists, err := readNewestList(ctx, tx, account)
	if err != nil {
		return err
	}
	return s.addEvent(ctx, tx, event.DevicesChanged, account, lists)
}

// tellDevicesChanged is the fast half of the handover to chat; the event is the sure one. A device is ready only once
// chat has recorded it, so the caller's client hears of a failure and repeats its request, which then comes here again.
func (s *Service) tellDevicesChanged(ctx context.Context, account api.AccountID) error {
	s.WakeRelay()
	lists, err := readNewestList(ctx, s.DB, account)
	if err != nil {
		return errs.Wrap("reading the device list", err)
	}
	if err := s.Chat.DevicesChanged(ctx, lists); err != nil {
		return errs.New(errs.Unavailable, api.CodeUnavailable,
			"The device is stored but not ready yet. Repeat the same request.").
			WithRetryAfter(chatRetryAfter).Because(err)
	}
	return nil
}

// addNotice lets the notification service tell the account's owner what happened.
func (s *Service) addNotice(ctx context.Context, tx *sqldb.Tx, account api.AccountID, kind api.NotificationKind) error {
	return s.addEvent(ctx, tx, event.AccountNotice, account, event.Notice{Kind: kind})
}

// addLoginsEnded writes one event for each login that tx ends.
func (s *Service) addLoginsEnded(ctx context.Context, tx *sqldb.Tx, account api.AccountID, ended []api.LoginID) error {
	until := s.Now().Add(api.TokenLifetimeSeconds * time.Second).UnixMilli()
	for _, id := range ended {
		if err := s.addEvent(ctx, tx, event.LoginEnded, account, event.LoginEnd{LoginID: id, Until: until}); err != nil {
			return err
		}
	}
	return nil
}

// tellLoginsEnded makes sockets end at once. If chat cannot be reached the event does it a little later.
func (s *Service) tellLoginsEnded(ctx context.Context, account api.AccountID, ended []api.LoginID) {
	if len(ended) == 0 {
		return
	}
	s.WakeRelay()
	for _, id := range ended {
		if err := s.Chat.LoginEnded(ctx, account, id); err != nil {
			s.Logger.WarnContext(ctx, "chat will learn of an ended login by the event", "err", err.Error())
		}
	}
}
