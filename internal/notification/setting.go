package notification

import (
	"context"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const minutesADay = 24 * 60

// defaults are the settings of an account that chose nothing.
func defaults() api.NotificationSettings {
	return api.NotificationSettings{
		Channels: api.Channels{App: true, Mail: true, Push: true}, TimeZone: "UTC", Language: "en", MailMinutes: 30,
	}
}

// languages are those that mail is written in.
var languages = []string{"en", "de", "ar"}

// Settings returns what the account chose.
func (s *Service) Settings(ctx context.Context, actor token.Actor) (api.NotificationSettings, error) {
	set, err := readSettings(ctx, s.DB, actor.Account)
	return set, errs.Wrap("reading settings", err)
}

// SetSettings replaces them.
func (s *Service) SetSettings(ctx context.Context, actor token.Actor, set api.NotificationSettings) (api.NotificationSettings, error) {
	if err := s.checkSettings(set); err != nil {
		return set, err
	}
	err := s.tx(ctx, "notification settings", func(tx *sqldb.Tx) error { return writeSettings(ctx, tx, actor.Account, set) })
	return set, errs.Wrap("changing settings", err)
}

func (s *Service) checkSettings(set api.NotificationSettings) error {
	minute := func(m int) bool { return m >= 0 && m < minutesADay }
	switch {
	case !minute(set.QuietFrom) || !minute(set.QuietTo):
		return errs.Invalidf("Quiet hours are minutes of the day, 0 to %d.", minutesADay-1)
	case set.MailMinutes < 5 || set.MailMinutes > minutesADay:
		return errs.Invalidf("The time between mails is 5 to %d minutes.", minutesADay)
	case !slices.Contains(languages, set.Language):
		return errs.Invalidf("Mail is written in one of %v.", languages)
	case set.TimeZone == "" || set.TimeZone == "Local" || len(set.TimeZone) > api.MaxTimeZone:
		return errs.Invalidf("A time zone is a name such as Europe/Berlin.")
	}
	if _, err := time.LoadLocation(set.TimeZone); err != nil {
		return errs.Invalidf("There is no time zone of that name here. One is Europe/Berlin.").Because(err)
	}
	return s.checkMuted(set.MutedUntil)
}

func (s *Service) checkMuted(until int64) error {
	if until < 0 || until > s.Now().AddDate(0, 0, api.MaxMutedDays).UnixMilli() {
		return errs.Invalidf("Something can be muted for at most %d days.", api.MaxMutedDays)
	}
	return nil
}

// ConversationSettings returns what the account chose for one conversation. The service cannot know whether there is
// such a conversation, and answers for every id alike.
func (s *Service) ConversationSettings(
	ctx context.Context, actor token.Actor, id api.ConversationID,
) (api.ConversationNotifications, error) {
	own, err := readConversationSettings(ctx, s.DB, actor.Account, id)
	if err == nil && own == nil {
		own = &api.ConversationNotifications{}
	}
	if err == nil && own.Channels == nil {
		var set api.NotificationSettings
		set, err = readSettings(ctx, s.DB, actor.Account)
		own.Channels = &set.Channels
	}
	if err != nil {
		return api.ConversationNotifications{}, errs.Wrap("reading settings", err)
	}
	return *own, nil
}

// maxConversationSettings bounds what one account may store.
const maxConversationSettings = 10_000

// SetConversationSettings replaces them.
func (s *Service) SetConversationSettings(
	ctx context.Context, actor token.Actor, id api.ConversationID, own api.ConversationNotifications,
) error {
	if own == (api.ConversationNotifications{}) {
		return errs.Invalidf("Say what differs from the account: channels, muted_until or mentions_only. DELETE takes all of it back.")
	}
	if err := s.checkMuted(own.MutedUntil); err != nil {
		return err
	}
	err := s.tx(ctx, "conversation settings", func(tx *sqldb.Tx) error {
		n, err := countConversationSettings(ctx, tx, actor.Account)
		if err == nil && n >= maxConversationSettings {
			err = errs.New(errs.Limited, api.CodeLimited, "Too many conversations have settings of their own. Take some back.")
		}
		if err != nil {
			return err
		}
		return writeConversationSettings(ctx, tx, actor.Account, id, own)
	})
	return errs.Wrap("changing settings", err)
}

// ClearConversationSettings lets a conversation follow the account's settings again.
func (s *Service) ClearConversationSettings(ctx context.Context, actor token.Actor, id api.ConversationID) error {
	err := s.tx(ctx, "conversation settings", func(tx *sqldb.Tx) error {
		return deleteConversationSettings(ctx, tx, actor.Account, id)
	})
	return errs.Wrap("changing settings", err)
}

// plan is where a notification goes, and not before when.
type plan struct {
	app, mail, push bool
	due             time.Time
}

// plan decides by the settings. What happens to an account itself passes mutes and quiet hours, and always enters the
// list: it may be somebody else's doing.
func (s *Service) plan(n api.Notification, set api.NotificationSettings, own *api.ConversationNotifications) plan {
	now := s.Now()
	if n.Kind != api.NotifyMessages {
		return plan{app: true, mail: set.Channels.Mail, push: set.Channels.Push, due: now}
	}
	c, muted := set.Channels, set.MutedUntil > now.UnixMilli()
	p := plan{app: c.App, mail: c.Mail, push: c.Push, due: quietUntil(set, now)}
	if own != nil {
		muted = muted || own.MutedUntil > now.UnixMilli()
		if own.Channels != nil {
			p.app, p.mail, p.push = own.Channels.App, own.Channels.Mail, own.Channels.Push
		}
		if own.MentionsOnly {
			p.app, p.mail = false, false
		}
	}
	if muted {
		p.mail, p.push = false, false
	}
	return p
}

// quietUntil is the end of the quiet hours that now falls into, or now.
func quietUntil(set api.NotificationSettings, now time.Time) time.Time {
	if set.QuietFrom == set.QuietTo {
		return now
	}
	zone, err := time.LoadLocation(set.TimeZone)
	if err != nil {
		zone = time.UTC // the name was checked when it was stored; the zone database of this machine is another one
	}
	local := now.In(zone)
	minute := local.Hour()*60 + local.Minute()
	over := set.QuietFrom > set.QuietTo // midnight
	within := minute >= set.QuietFrom && minute < set.QuietTo
	if over {
		within = minute >= set.QuietFrom || minute < set.QuietTo
	}
	if !within {
		return now
	}
	day := local.Day()
	if over && minute >= set.QuietFrom {
		day++
	}
	return time.Date(local.Year(), local.Month(), day, set.QuietTo/60, set.QuietTo%60, 0, 0, zone)
}
