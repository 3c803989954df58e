package notification

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/SherClockHolmes/webpush-go"

	"sotto/api"
	"sotto/internal/sqldb"
)

// NotifyTest is the kind of notification that the operator sends to see whether the channels work.
const NotifyTest api.NotificationKind = "test"

// Outcome is what became of a test through one channel.
type Outcome struct {
	Channel string // "list", "mail", "fcm" or "push"
	Detail  string // for people
	Err     error  // nil when it arrived, or when there was nothing to send to
}

// Try sends one notification through every channel at once, whatever the account's settings say, and tells what
// happened. Mutes and quiet hours do not hold it back: somebody is looking.
func (s *Service) Try(ctx context.Context, account api.AccountID, to api.Recipient) []Outcome {
	n := api.Notification{Kind: NotifyTest, Count: 1, At: s.nowMillis()}
	err := s.DB.Tx(ctx, "test", func(tx *sqldb.Tx) error {
		_, err := insertItem(ctx, tx, account, n)
		return err
	})
	all := []Outcome{{Channel: "list", Detail: "stored; clients show it when they look next", Err: err}, s.tryMail(ctx, to), s.tryFCM(ctx)}
	return append(all, s.tryPush(ctx, account, n)...)
}

func (s *Service) tryMail(ctx context.Context, to api.Recipient) Outcome {
	o := Outcome{Channel: "mail"}
	switch {
	case s.Mailer == nil:
		o.Detail = "off: neither SOTTO_SMTP_HOST nor SOTTO_MAIL_API_URL is set"
	case to.Address == "":
		o.Detail = "the account has no verified address"
	default:
		ctx, cancel := context.WithTimeout(ctx, sendWithin)
		defer cancel()
		var random [16]byte
		_, o.Err = s.Rand.Read(random[:])
		m := Mail{To: to.Address, MessageID: fmt.Sprintf("%x@%s", random, s.host())}
		var logo *shownLogo
		if o.Err == nil {
			logo, o.Err = s.shownLogo(ctx)
		}
		if o.Err == nil {
			o.Err = m.write(defaults().Language, string(NotifyTest), words{Name: to.Username, Host: s.host()}, s.PublicURL+"/", logo)
		}
		if o.Err == nil {
			o.Err = s.Mailer.Send(ctx, m)
		}
		o.Detail = "handed on for " + masked(to.Address)
		if s.Logo != nil && logo == nil {
			o.Detail += ", without the picture of SOTTO_MAIL_LOGO: no server has published it yet"
		}
	}
	return o
}

// masked shows enough of an address to recognise it.
func masked(address string) string {
	name, domain, _ := strings.Cut(address, "@")
	return name[:min(1, len(name))] + "…@" + domain
}

// tryFCM says whether Google takes this server's account, which no device needs to be subscribed for.
func (s *Service) tryFCM(ctx context.Context) Outcome {
	if s.FCM == nil {
		return Outcome{Channel: "fcm", Detail: "off: SOTTO_FCM_CREDENTIALS is not set"}
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	_, err := s.FCM.signIn(ctx)
	return Outcome{Channel: "fcm", Detail: "signed in to the project " + s.FCM.project, Err: err}
}

func (s *Service) tryPush(ctx context.Context, account api.AccountID, n api.Notification) []Outcome {
	devices, err := readSubscribed(ctx, s.DB, account)
	if err != nil || len(devices) == 0 {
		return []Outcome{{Channel: "push", Detail: "no device has subscribed", Err: err}}
	}
	var all []Outcome
	for i, device := range devices {
		detail, err := s.tryDevice(ctx, device, n)
		if errors.Is(err, errSubscriptionGone) {
			detail, err = errSubscriptionGone.Error(), nil
		}
		all = append(all, Outcome{Channel: "push", Detail: fmt.Sprintf("device %d of %d: %s", i+1, len(devices), detail), Err: err})
	}
	return all
}

func (s *Service) tryDevice(ctx context.Context, device api.DeviceID, n api.Notification) (detail string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	sub, err := readSubscription(ctx, s.DB, device)
	switch {
	case err != nil:
		return "", err
	case sub.FCMToken == "":
		payload := api.PushPayload{Kind: n.Kind, Count: n.Count}
		return "handed to its push service", s.postWebPush(ctx, device, sub, string(n.Kind), webpush.UrgencyNormal, payload)
	case s.FCM == nil:
		return "has subscribed through FCM, which is off", nil
	}
	return "handed to FCM", s.FCM.post(ctx, sub.FCMToken, webpush.UrgencyNormal)
}
