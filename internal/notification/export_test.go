package notification

import (
	"context"
	"net/netip"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"sotto/api"
)

// WorkOnce is one round of the worker.
func (s *Service) WorkOnce(ctx context.Context) (int, error) { return s.workOnce(ctx) }

// Publish is one try to publish the logo.
func (s *Service) Publish(ctx context.Context) error { return s.publish(ctx) }

// UnsubscribeLink is what mails to the account link to.
var UnsubscribeLink = (*Service).unsubscribeLink

// Public tells whether an address may be dialled.
func Public(a netip.Addr) bool { return public(a) }

// Dialer is how push services are reached.
var Dialer = dialer

// QuietUntil is the end of quiet hours.
var QuietUntil = quietUntil

// Phrases are the sentences of a language.
var Phrases = phrases

// Languages are those that mail is written in.
var Languages = languages

// MaxTries is how often a job is tried.
const MaxTries = maxTries

// SendTo makes FCM be somewhere else.
func (f *FCM) SendTo(url string) { f.url = url }

// SignInWithin bounds how long an access token is waited for.
func (f *FCM) SignInWithin(d time.Duration) { f.signIns.Timeout = d }

// Post hands on one message.
func (f *FCM) Post(ctx context.Context, device string) error {
	return f.post(ctx, device, webpush.UrgencyNormal)
}

// ErrSignIn is that the service account is refused.
var ErrSignIn = errSignIn

// Subscribed are the devices that a notification goes to.
func (s *Service) Subscribed(ctx context.Context, account api.AccountID) ([]api.DeviceID, error) {
	return readSubscribed(ctx, s.DB, account)
}
