package app

import (
	"cmp"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"strings"

	"sotto/internal/config"
	"sotto/internal/notification"
)

// newNotification completes the configuration of the service with what follows from settings and secret.
func newNotification(c config.Config, secret []byte, publicURL string, n notification.Config) (*notification.Service, error) {
	key := func(label string) ([]byte, error) { return hkdf.Key(sha256.New, secret, nil, label, 32) }
	seed, err := key("sotto vapid v1")
	if err != nil {
		return nil, fmt.Errorf("deriving the key for push services: %w", err)
	}
	// One seed in 2^32 is none of P-256; then this fails at the first start, and a new data directory has another.
	if n.VAPID, err = ecdh.P256().NewPrivateKey(seed); err != nil {
		return nil, fmt.Errorf("deriving the key for push services: %w", err)
	}
	if n.LinkKey, err = key("sotto notification links v1"); err != nil {
		return nil, fmt.Errorf("deriving the key of links: %w", err)
	}
	n.PublicURL, n.LocalPush, n.Alone = publicURL, c.PushLocal, !c.Postgres()
	n.Contact = cmp.Or(c.Contact, strings.Replace(publicURL, "http://", "https://", 1))
	if n.Mailer, err = newMailer(c); err != nil {
		return nil, err
	}
	if n.FCM, err = newFCM(c); err != nil {
		return nil, err
	}
	if n.Mailer == nil {
		n.Logger.Info("there is no mail: neither SOTTO_SMTP_HOST nor SOTTO_MAIL_API_URL is set")
	}
	return notification.New(n)
}

// newMailer is the way that mail leaves by; nil when there is none.
func newMailer(c config.Config) (notification.Mailer, error) {
	switch {
	case c.SMTPHost != "":
		return notification.SMTP{
			Host: c.SMTPHost, Port: c.SMTPPort, TLS: notification.TLSPolicy(c.SMTPTLS), Username: c.SMTPUser,
			Password: string(c.SMTPPassword), From: c.SMTPFrom,
		}, nil
	case c.MailAPIURL != "":
		return notification.NewMailAPI(c.MailAPIURL, string(c.MailAPIKey), c.SMTPFrom)
	}
	return nil, nil //nolint:nilnil // there is no mail
}

// newLogo is the picture of mails; nil when there is none.
func newLogo(c config.Config) (*notification.Logo, error) {
	l, err := c.Logo()
	if err != nil || l == nil {
		return nil, err
	}
	return &notification.Logo{Type: l.Type, Content: l.Content, Width: l.Width, Height: l.Height}, nil
}

// newFCM is the way to devices that take no Web Push; nil when there is none.
func newFCM(c config.Config) (*notification.FCM, error) {
	a, err := c.FCM()
	if err != nil || a == nil {
		return nil, err
	}
	return notification.NewFCM(notification.FCMAccount{
		Project: a.Project, Email: a.Email, KeyID: a.KeyID, Key: string(a.Key), TokenURL: a.TokenURL,
	})
}
