package notification

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	pushTTL        = 24 * time.Hour // for which a push service keeps a message for a device that is off
	pushRecord     = 1_024          // bytes of every message, padded: its length tells nothing
	pushTimeout    = 30 * time.Second
	maxPushAnswer  = 4 << 10 // bytes read of what a push service answers
	p256dhSize     = 65
	authSecretSize = 16
)

// pusher sends Web Push messages (RFC 8030, 8291, 8292). UnifiedPush endpoints take the same.
type pusher struct {
	client           *http.Client
	contact          string
	public, private  string // VAPID, base64url
	topicKey         []byte
	publicKey        []byte
	allowPlainScheme bool
}

func newPusher(c Config) (*pusher, error) {
	if c.VAPID == nil || c.VAPID.Curve() != ecdh.P256() {
		return nil, errors.New("the VAPID key is not one of P-256")
	}
	transport := &http.Transport{
		DialContext: dialer(c.LocalPush), ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 4, ResponseHeaderTimeout: pushTimeout,
		MaxResponseHeaderBytes: 16 << 10,
	}
	encode := base64.RawURLEncoding.EncodeToString
	return &pusher{
		client: &http.Client{
			Transport: transport, Timeout: pushTimeout,
			// A redirect would lead a message to where nobody subscribed.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// The library puts "mailto:" before everything but https URLs.
		contact: strings.TrimPrefix(c.Contact, "mailto:"),
		public:  encode(c.VAPID.PublicKey().Bytes()), private: encode(c.VAPID.Bytes()),
		publicKey: c.VAPID.PublicKey().Bytes(), topicKey: c.LinkKey, allowPlainScheme: c.LocalPush,
	}, nil
}

// topic is what a push service sees of what replaces what: nothing that means anything to it, another for each device.
func (p *pusher) topic(device api.DeviceID, topic string) string {
	h := hmac.New(sha256.New, p.topicKey)
	h.Write([]byte("sotto push topic v1"))
	h.Write(device[:])
	h.Write([]byte(topic))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24]) // 32 characters, the most that RFC 8030 allows
}

// errSubscriptionGone is the answer of a push service that does not know the subscription any more.
var errSubscriptionGone = errors.New("the push service does not know this subscription any more")

// post hands one message to a push service.
func (p *pusher) post(ctx context.Context, sub api.PushSubscription, topic string, urgency webpush.Urgency, payload []byte) error {
	res, err := webpush.SendNotificationWithContext(ctx, payload, &webpush.Subscription{
		Endpoint: sub.Endpoint,
		Keys: webpush.Keys{
			P256dh: base64.RawURLEncoding.EncodeToString(sub.P256dh), Auth: base64.RawURLEncoding.EncodeToString(sub.Auth),
		},
	}, &webpush.Options{
		HTTPClient: p.client, RecordSize: pushRecord, Subscriber: p.contact, Topic: topic, TTL: int(pushTTL.Seconds()),
		Urgency: urgency, VAPIDPublicKey: p.public, VAPIDPrivateKey: p.private,
	})
	if err != nil {
		if errors.Is(err, errForbiddenAddress) {
			return fmt.Errorf("%w: %w", ErrGiveUp, errForbiddenAddress)
		}
		return fmt.Errorf("asking the push service: %w", err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxPushAnswer) // so that the connection can be used again
	_ = res.Body.Close()
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return errSubscriptionGone
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return fmt.Errorf("the push service answered %d", res.StatusCode)
	}
	return fmt.Errorf("%w: the push service answered %d", ErrGiveUp, res.StatusCode)
}

// sendPush sends one job's message to its device, unless that has gone.
func (s *Service) sendPush(ctx context.Context, j job) error {
	sub, err := readSubscription(ctx, s.DB, j.device)
	if errors.Is(err, sqldb.ErrNoRows) || (err == nil && sub.FCMToken != "" && s.FCM == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	payload := api.PushPayload{Kind: j.notification.Kind, ConversationID: j.notification.ConversationID, Count: j.notification.Count}
	urgency := webpush.UrgencyHigh
	if j.notification.Kind == api.NotifyMessages {
		own, err := readConversationSettings(ctx, s.DB, j.account, *j.notification.ConversationID)
		if err != nil {
			return err
		}
		if own != nil {
			payload.MentionsOnly = own.MentionsOnly
		}
		urgency = webpush.UrgencyNormal
	}
	if sub.FCMToken != "" {
		err = s.FCM.post(ctx, sub.FCMToken, urgency)
		s.noteSignIn(ctx, err)
	} else {
		err = s.postWebPush(ctx, j.device, sub, j.topic, urgency, payload)
	}
	if errors.Is(err, errSubscriptionGone) {
		return s.subscriptionGone(ctx, j.device, sub)
	}
	if err == nil {
		s.Pushed.Add(1)
	}
	return err
}

func (s *Service) postWebPush(
	ctx context.Context, device api.DeviceID, sub api.PushSubscription, topic string, urgency webpush.Urgency, payload api.PushPayload,
) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("%w: composing the message: %w", ErrGiveUp, err)
	}
	return s.push.post(ctx, sub, s.push.topic(device, topic), urgency, body)
}

// errSubscribedAnew lets the message go to the new subscription.
var errSubscribedAnew = errors.New("the device has subscribed anew meanwhile")

// subscriptionGone forgets a subscription. The device may have brought another while the push service was asked.
func (s *Service) subscriptionGone(ctx context.Context, device api.DeviceID, sub api.PushSubscription) error {
	var anew bool
	err := s.DB.Tx(ctx, "subscription gone", func(tx *sqldb.Tx) error {
		if err := deleteGone(ctx, tx, device, sub); err != nil {
			return err
		}
		_, err := readSubscription(ctx, tx, device)
		anew = err == nil
		if errors.Is(err, sqldb.ErrNoRows) {
			err = nil
		}
		return err
	})
	if err == nil && anew {
		return errSubscribedAnew
	}
	return err
}

// noteSignIn logs once that Google refuses the service account: jobs wait for most of a day before they say so.
func (s *Service) noteSignIn(ctx context.Context, err error) {
	switch {
	case err == nil:
		s.signInRefused.Store(false)
	case errors.Is(err, errSignIn) && !s.signInRefused.Swap(true):
		s.Logger.WarnContext(ctx, "FCM takes no messages of this server; look after SOTTO_FCM_CREDENTIALS and the clock",
			slog.String("reason", reason(err)))
	}
}

// PushState tells the actor's device the server's key and whether it is subscribed.
func (s *Service) PushState(ctx context.Context, actor token.Actor) (api.PushState, error) {
	sub, err := readSubscription(ctx, s.DB, actor.Device)
	subscribed := err == nil && (sub.FCMToken == "" || s.FCM != nil)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return s.pushState(subscribed), errs.Wrap("reading the subscription", err)
}

func (s *Service) pushState(subscribed bool) api.PushState {
	state := api.PushState{Key: s.push.publicKey, Subscribed: subscribed}
	if s.FCM != nil {
		state.FCMProject = s.FCM.project
	}
	return state
}

// Subscribe replaces the subscription of the actor's device.
func (s *Service) Subscribe(ctx context.Context, actor token.Actor, sub api.PushSubscription) (api.PushState, error) {
	if err := s.checkSubscription(sub); err != nil {
		s.Refused.Add(1)
		return api.PushState{}, err
	}
	err := s.tx(ctx, "subscribe", func(tx *sqldb.Tx) error { return writeSubscription(ctx, tx, actor, sub, s.nowMillis()) })
	return s.pushState(true), errs.Wrap("storing the subscription", err)
}

// Unsubscribe drops the subscription of the actor's device; without one it changes nothing.
func (s *Service) Unsubscribe(ctx context.Context, actor token.Actor) error {
	err := s.tx(ctx, "unsubscribe", func(tx *sqldb.Tx) error { return deleteSubscription(ctx, tx, actor.Device) })
	return errs.Wrap("dropping the subscription", err)
}

func (s *Service) checkSubscription(sub api.PushSubscription) error {
	switch {
	case sub.FCMToken == "":
		return s.push.check(sub)
	case sub.Endpoint != "" || len(sub.P256dh) > 0 || len(sub.Auth) > 0:
		return errs.Invalidf("A subscription is either an fcm_token, or endpoint, p256dh and auth.")
	case len(sub.FCMToken) > api.MaxFCMToken || strings.ContainsFunc(sub.FCMToken, notPrintable):
		return errs.Invalidf("An fcm_token has at most %d bytes, all of them printable ASCII.", api.MaxFCMToken)
	case s.FCM == nil:
		return errs.Invalidf("This server does not push through FCM. Subscribe with Web Push or UnifiedPush.")
	}
	return nil
}

// check refuses what can be told from the text alone; addresses are judged when they are dialled, because names may
// lead anywhere by then.
func (p *pusher) check(sub api.PushSubscription) error {
	u, err := url.Parse(sub.Endpoint)
	if err != nil || len(sub.Endpoint) > api.MaxPushEndpoint || u.Host == "" || u.User != nil || u.Fragment != "" ||
		strings.ContainsFunc(sub.Endpoint, notPrintable) {
		return errs.Invalidf("The endpoint is an https URL of at most %d bytes.", api.MaxPushEndpoint)
	}
	if u.Scheme != "https" && (!p.allowPlainScheme || u.Scheme != "http") {
		return errs.Invalidf("The endpoint is an https URL of at most %d bytes.", api.MaxPushEndpoint)
	}
	if port := u.Port(); port != "" && port != "443" && !p.allowPlainScheme {
		return errs.Invalidf("The endpoint is at port 443.")
	}
	if forbiddenHost(u.Hostname()) && !p.allowPlainScheme {
		return errs.Invalidf("The endpoint is not on the public network.")
	}
	if len(sub.Auth) != authSecretSize || len(sub.P256dh) != p256dhSize {
		return errs.Invalidf("p256dh has %d bytes, auth has %d.", p256dhSize, authSecretSize)
	}
	if _, err := ecdh.P256().NewPublicKey(bytes.Clone(sub.P256dh)); err != nil {
		return errs.Invalidf("p256dh is not a point of P-256.").Because(err)
	}
	return nil
}
