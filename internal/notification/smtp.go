package notification

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/wneessen/go-mail"
)

// TLSPolicy says how a mail server is spoken to.
type TLSPolicy string

// Policies. Without TLS passwords are never sent.
const (
	TLSImplicit      TLSPolicy = "implicit"      // TLS from the first byte, port 465
	TLSMandatory     TLSPolicy = "starttls"      // STARTTLS or nothing, port 587
	TLSOpportunistic TLSPolicy = "opportunistic" // STARTTLS where offered
	TLSNone          TLSPolicy = "none"          // for a mail server on the same machine
)

const smtpTimeout = 30 * time.Second // for each step of the exchange

// SMTP hands mail to one mail server.
type SMTP struct {
	Host               string
	Port               int
	TLS                TLSPolicy
	Username, Password string // empty: no authentication
	From               string // address, or name and address
	TLSConfig          *tls.Config
}

// Send makes one connection for one mail. What the server refuses for good (5xx) wraps ErrGiveUp.
func (s SMTP) Send(ctx context.Context, m Mail) error {
	msg, err := s.message(m)
	if err != nil {
		return fmt.Errorf("%w: composing the mail: %w", ErrGiveUp, err)
	}
	client, err := s.client(ctx)
	if err != nil {
		return fmt.Errorf("%w: the settings of the mail server do not fit: %w", ErrGiveUp, err)
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if e, ok := errors.AsType[*mail.SendError](err); ok && e.ErrorCode() >= 500 && !e.IsTemp() {
		return fmt.Errorf("%w: the mail server answered %d %s", ErrGiveUp, e.ErrorCode(), e.EnhancedStatusCode())
	}
	if err != nil {
		return fmt.Errorf("handing a mail to the mail server: %w", err)
	}
	return nil
}

func (s SMTP) client(ctx context.Context) (*mail.Client, error) {
	timeout := smtpTimeout
	if deadline, ok := ctx.Deadline(); ok { // the library looks at it only while it connects
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	options := []mail.Option{mail.WithPort(s.Port), mail.WithTimeout(timeout), mail.WithoutNoop()}
	switch s.TLS {
	case TLSImplicit:
		options = append(options, mail.WithSSL())
	case TLSMandatory:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	case TLSOpportunistic:
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	case TLSNone:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		return nil, fmt.Errorf("%q is no TLS policy; use implicit, starttls, opportunistic or none", s.TLS)
	}
	if s.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.Username), mail.WithPassword(s.Password))
	}
	if s.TLSConfig != nil {
		options = append(options, mail.WithTLSConfig(s.TLSConfig))
	}
	return mail.NewClient(s.Host, options...)
}

func (s SMTP) message(m Mail) (*mail.Msg, error) {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(s.From); err != nil {
		return nil, err
	}
	if err := msg.To(m.To); err != nil {
		return nil, err
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(m.MessageID)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Unsubscribe != "" {
		msg.SetGenHeader(mail.HeaderListUnsubscribe, "<"+m.Unsubscribe+">")
		msg.SetGenHeader(mail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
	msg.SetBodyString(mail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(mail.TypeTextHTML, m.HTML)
	return msg, nil
}
