package notification_test

import (
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
)

func TestQuietHours(t *testing.T) {
	at := func(zone, text string) time.Time {
		t.Helper()
		l, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		v, err := time.ParseInLocation("2006-01-02 15:04", text, l)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		zone      string
		from, to  int
		now, want string
	}{
		{"UTC", 0, 0, "2026-03-02 12:00", "2026-03-02 12:00"},
		{"UTC", 600, 720, "2026-03-02 09:59", "2026-03-02 09:59"},
		{"UTC", 600, 720, "2026-03-02 10:00", "2026-03-02 12:00"},
		{"UTC", 600, 720, "2026-03-02 12:00", "2026-03-02 12:00"},
		{"UTC", 1320, 420, "2026-03-02 21:59", "2026-03-02 21:59"}, // 22:00 to 7:00
		{"UTC", 1320, 420, "2026-03-02 22:00", "2026-03-03 07:00"},
		{"UTC", 1320, 420, "2026-03-03 06:59", "2026-03-03 07:00"},
		{"UTC", 1320, 420, "2026-03-03 07:00", "2026-03-03 07:00"},
		{"Europe/Berlin", 1320, 420, "2026-03-28 23:00", "2026-03-29 07:00"}, // clocks go forward in between
		{"Asia/Kolkata", 1320, 420, "2026-03-02 23:30", "2026-03-03 07:00"},
		{"Pacific/Apia", 1320, 420, "2026-02-28 23:30", "2026-03-01 07:00"},
	} {
		// The clock of the server is another one.
		got := quietUntil(c.zone, c.from, c.to, at(c.zone, c.now).UTC())
		if !got.Equal(at(c.zone, c.want)) {
			t.Errorf("%s %d to %d at %s: until %v, want %s", c.zone, c.from, c.to, c.now, got, c.want)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	before, err := w.Settings(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*api.NotificationSettings){
		"zone":        func(s *api.NotificationSettings) { s.TimeZone = "Mars/Olympus" },
		"no zone":     func(s *api.NotificationSettings) { s.TimeZone = "" },
		"local zone":  func(s *api.NotificationSettings) { s.TimeZone = "Local" },
		"path":        func(s *api.NotificationSettings) { s.TimeZone = "../../etc/passwd" },
		"long zone":   func(s *api.NotificationSettings) { s.TimeZone = strings.Repeat("x", 65) },
		"minute":      func(s *api.NotificationSettings) { s.QuietFrom = 1440 },
		"minute to":   func(s *api.NotificationSettings) { s.QuietTo = -1 },
		"language":    func(s *api.NotificationSettings) { s.Language = "xx" },
		"often":       func(s *api.NotificationSettings) { s.MailMinutes = 4 },
		"seldom":      func(s *api.NotificationSettings) { s.MailMinutes = 1441 },
		"muted":       func(s *api.NotificationSettings) { s.MutedUntil = -1 },
		"muted long":  func(s *api.NotificationSettings) { s.MutedUntil = 1 << 60 },
		"header zone": func(s *api.NotificationSettings) { s.TimeZone = "UTC\r\nBcc: x" },
	} {
		set := before
		spoil(&set)
		if _, err := w.SetSettings(t.Context(), a, set); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if after, err := w.Settings(t.Context(), a); err != nil || after != before {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestMutes: a muted account and a muted conversation stay silent in mail and push; the list goes on. What happens to
// the account itself passes every mute.
func TestMutes(t *testing.T) {
	w, mails, device, a := connected(t)
	talk := api.ConversationID{1}
	channels := api.Channels{App: true, Mail: true, Push: true}
	mute := w.clock().Add(time.Hour).UnixMilli()
	if err := w.SetConversationSettings(t.Context(), a, talk, api.ConversationNotifications{Channels: &channels, MutedUntil: mute}); err != nil {
		t.Fatal(err)
	}
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 1)))
	w.set(a, func(s *api.NotificationSettings) { s.MutedUntil = mute })
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{2}, 1)))
	w.pass(30 * time.Minute)
	w.work()
	if len(mails.Mails()) != 0 || len(device.Messages()) != 0 {
		t.Errorf("%d mails, %d pushes while muted", len(mails.Mails()), len(device.Messages()))
	}
	if page := w.list(a); page.Unread != 2 {
		t.Errorf("%+v", page)
	}
	w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifyPasswordChanged}))
	w.work()
	if len(mails.Mails()) != 1 || len(device.Messages()) != 1 {
		t.Errorf("%d mails, %d pushes about the password", len(mails.Mails()), len(device.Messages()))
	}
	// Mentions are for the device to find: it gets a push that says so, and nothing else.
	w.pass(time.Hour)
	w.set(a, func(s *api.NotificationSettings) { s.MutedUntil = 0 })
	if err := w.SetConversationSettings(t.Context(), a, talk, api.ConversationNotifications{Channels: &channels, MentionsOnly: true}); err != nil {
		t.Fatal(err)
	}
	before := w.list(a)
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 2)))
	w.pass(time.Hour)
	w.work()
	if after := w.list(a); len(after.Notifications) != len(before.Notifications) || len(mails.Mails()) != 1 {
		t.Errorf("a conversation for mentions only is in the list or the mail")
	}
	if got := payload(t, device, 1); !got.MentionsOnly || got.Count != 2 {
		t.Errorf("%+v", got)
	}
	// Muted without channels of its own, it follows the account's as they are when the mute is over.
	mute = w.clock().Add(time.Hour).UnixMilli()
	if err := w.SetConversationSettings(t.Context(), a, talk, api.ConversationNotifications{MutedUntil: mute}); err != nil {
		t.Fatal(err)
	}
	w.set(a, func(s *api.NotificationSettings) { s.Channels.Mail = false })
	pushed := len(device.Messages())
	for _, want := range []int{pushed, pushed + 1} { // during the mute, and after
		w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 3)))
		w.pass(61 * time.Minute)
		w.work()
		if len(mails.Mails()) != 1 || len(device.Messages()) != want {
			t.Errorf("%d mails, %d pushes instead of 1 and %d", len(mails.Mails()), len(device.Messages()), want)
		}
	}
	wanted := api.Channels{App: true, Push: true}
	if own, err := w.ConversationSettings(t.Context(), a, talk); err != nil || *own.Channels != wanted || own.MutedUntil != mute {
		t.Errorf("%+v, %v", own, err)
	}
	w.set(a, func(s *api.NotificationSettings) { s.Channels = channels })
	// Clearing follows the account again.
	if err := w.ClearConversationSettings(t.Context(), a, talk); err != nil {
		t.Fatal(err)
	}
	if own, err := w.ConversationSettings(t.Context(), a, talk); err != nil || own.MentionsOnly || *own.Channels != channels {
		t.Errorf("%+v, %v", own, err)
	}
}
