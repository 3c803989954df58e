package notification

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"sotto/api"
	"sotto/internal/sqldb"
)

// Mail is one mail to one person. It holds no content of a message and no sender.
type Mail struct {
	To          string // address
	MessageID   string // without angle brackets; the same on every try
	Subject     string
	Text, HTML  string
	Unsubscribe string // URL of RFC 8058; empty for mail that somebody asked for at this moment
}

// mailAfter is how long messages wait before a mail speaks of them: whoever comes back within it needs none.
const mailAfter = 2 * time.Minute

// addMail adds a job. Mail about messages waits for a while, for the end of quiet hours, and until the last such mail
// is as old as the account wants: ten messages make one mail.
func (s *Service) addMail(
	ctx context.Context, tx *sqldb.Tx, account api.AccountID, n api.Notification, set api.NotificationSettings, due time.Time,
) error {
	if n.Kind != api.NotifyMessages {
		return insertMailJob(ctx, tx, account, string(n.Kind), n, due.UnixMilli())
	}
	last, err := readMailed(ctx, tx, account)
	if err != nil {
		return err
	}
	earliest := s.Now().Add(mailAfter)
	if next := time.UnixMilli(last).Add(time.Duration(set.MailMinutes) * time.Minute); next.After(earliest) {
		earliest = next
	}
	if earliest = quietUntil(set, earliest); due.After(earliest) {
		earliest = due
	}
	return insertMailJob(ctx, tx, account, string(n.Kind), n, earliest.UnixMilli())
}

// sendMail composes a job's mail as things are now: without a verified address there is nothing to send, and what was
// switched off meanwhile stays away.
func (s *Service) sendMail(ctx context.Context, j job) error {
	if s.Mailer == nil {
		return nil
	}
	to, err := s.Users.Recipient(ctx, j.account)
	if err != nil {
		return fmt.Errorf("asking for the address: %w", err)
	}
	set, err := readSettings(ctx, s.DB, j.account)
	if err != nil {
		return err
	}
	switch j.notification.Kind { //nolint:exhaustive // the others are notifications
	case kindCode:
		return s.sendCode(ctx, j, to, set)
	case kindReset:
		return s.sendReset(ctx, j, to, set)
	}
	if to.Address == "" || !set.Channels.Mail {
		return nil
	}
	link := s.PublicURL + "/"
	if j.notification.Kind == api.NotifyMessages {
		link = s.PublicURL + "/c/" // the conversations
	}
	w := words{Name: to.Username, Host: s.host(), Count: j.notification.Count, Time: shownTime(j.notification.At, set)}
	m := Mail{To: to.Address, MessageID: s.messageID(j), Unsubscribe: s.unsubscribeLink(j.account)}
	return s.write(ctx, m, set.Language, j.notification.Kind, w, link)
}

// The jobs of mails with a code. They are no notifications: nobody else hears of them.
const (
	kindCode  api.NotificationKind = "email"      // it confirms an address
	kindReset api.NotificationKind = "reset_code" // it resets the account
)

// sendCode sends the code as it is now; when it has expired meanwhile there is nothing to send. To an address of another
// account goes a mail that says so, because the person who typed it may own both.
func (s *Service) sendCode(ctx context.Context, j job, to api.Recipient, set api.NotificationSettings) error {
	if to.Pending == "" {
		return nil
	}
	kind := kindCode
	if to.Taken {
		kind = "email_taken"
	}
	m := Mail{To: to.Pending, MessageID: s.messageID(j)}
	return s.write(ctx, m, set.Language, kind, words{Name: to.Username, Host: s.host(), Code: to.Code}, s.PublicURL+"/")
}

// sendReset sends the code as it is now, within a link. It is behind a #, which browsers tell no server.
func (s *Service) sendReset(ctx context.Context, j job, to api.Recipient, set api.NotificationSettings) error {
	if to.Address == "" || to.Reset == "" {
		return nil
	}
	w := words{Name: to.Username, Host: s.host(), Code: to.Reset, Time: shownTime(to.ResetUntil, set)}
	return s.write(ctx, Mail{To: to.Address, MessageID: s.messageID(j)}, set.Language, kindReset, w, s.PublicURL+"/restore#"+to.Reset)
}

// write composes a mail and sends it.
func (s *Service) write(ctx context.Context, m Mail, language string, kind api.NotificationKind, w words, link string) error {
	logo, err := s.shownLogo(ctx)
	if err != nil {
		return err
	}
	if err := m.write(language, string(kind), w, link, logo); err != nil {
		return fmt.Errorf("%w: %w", ErrGiveUp, err)
	}
	if err := s.Mailer.Send(ctx, m); err != nil {
		return err
	}
	s.Mailed.Add(1)
	return nil
}

// shownTime writes a time, in milliseconds, for the reader of a mail.
func shownTime(at int64, set api.NotificationSettings) string {
	zone, err := time.LoadLocation(set.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return time.UnixMilli(at).In(zone).Format("2006-01-02 15:04 MST")
}

// messageID is the same for every try of a job, so that a mail that left twice is shown once.
func (s *Service) messageID(j job) string {
	h := hmac.New(sha256.New, s.LinkKey)
	h.Write([]byte("sotto message id v1"))
	h.Write(binary.BigEndian.AppendUint64(j.account[:], uint64(j.id)))
	return hex.EncodeToString(h.Sum(nil)[:16]) + "@" + s.host()
}

// host is the name of this server in mails.
func (s *Service) host() string {
	if u, err := url.Parse(s.PublicURL); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "sotto.invalid"
}

const unsubscribePath = "/api/notifications/unsubscribe"

// unsubscribeLink names the account in a way that nobody else can make up.
func (s *Service) unsubscribeLink(account api.AccountID) string {
	return s.PublicURL + unsubscribePath + "?t=" + base64.RawURLEncoding.EncodeToString(append(account[:], s.linkTag(account)...))
}

func (s *Service) linkTag(account api.AccountID) []byte {
	h := hmac.New(sha256.New, s.LinkKey)
	h.Write([]byte("sotto unsubscribe v1"))
	h.Write(account[:])
	return h.Sum(nil)[:16]
}

// unsubscriber reads a link.
func (s *Service) unsubscriber(text string) (account api.AccountID, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(account)+16 {
		return account, false
	}
	copy(account[:], b)
	return account, hmac.Equal(b[len(account):], s.linkTag(account))
}

var anAddress = regexp.MustCompile(`[^\s<>"':;,()]+@[^\s<>"':;,()]+`)

// redact takes addresses out of what mail servers say: neither log nor database shall hold them.
func redact(text string) string { return anAddress.ReplaceAllString(text, "[address]") }
