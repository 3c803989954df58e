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
	if errors.Is(err, sqldb.ErrNoRows) {
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
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	err = s.push.post(ctx, sub, s.push.topic(j.device, j.topic), urgency, body)
	if errors.Is(err, errSubscriptionGone) {
		return s.DB.Tx(ctx, "subscription gone", func(tx *sqldb.Tx) error { return deleteSubscription(ctx, tx, j.device) })
	}
	if err == nil {
		s.Pushed.Add(1)
	}
	return err
}

// PushState tells the actor's device the server's key and whether it is subscribed.
func (s *Service) PushState(ctx context.Context, actor token.Actor) (api.PushState, error) {
	_, err := readSubscription(ctx, s.DB, actor.Device)
	state := api.PushState{Key: s.push.publicKey, Subscribed: err == nil}
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return state, errs.Wrap("reading the subscription", err)
}

// Subscribe replaces the subscription of the actor's device.
func (s *Service) Subscribe(ctx context.Context, actor token.Actor, sub api.PushSubscription) (api.PushState, error) {
	if err := s.push.check(sub); err != nil {
		s.Refused.Add(1)
		return api.PushState{}, err
	}
	err := s.tx(ctx, "subscribe", func(tx *sqldb.Tx) error { return writeSubscription(ctx, tx, actor, sub, s.nowMillis()) })
	return api.PushState{Key: s.push.publicKey, Subscribed: true}, errs.Wrap("storing the subscription", err)
}

// Unsubscribe drops the subscription of the actor's device; without one it changes nothing.
func (s *Service) Unsubscribe(ctx context.Context, actor token.Actor) error {
	err := s.tx(ctx, "unsubscribe", func(tx *sqldb.Tx) error { return deleteSubscription(ctx, tx, actor.Device) })
	return errs.Wrap("dropping the subscription", err)
}

// check refuses what can be told from the text alone; addresses are judged when they are dialled, because names may
// lead anywhere by then.
func (p *pusher) check(sub api.PushSubscription) error {
	u, err := url.Parse(sub.Endpoint)
	if err != nil || len(sub.Endpoint) > api.MaxPushEndpoint || u.Host == "" || u.User != nil || u.Fragment != "" ||
		strings.ContainsFunc(sub.Endpoint, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
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

const sqlReadSubscription = `SELECT endpoint, p256dh, auth FROM subscription WHERE device = $1`

func readSubscription(ctx context.Context, q sqldb.Querier, device api.DeviceID) (sub api.PushSubscription, err error) {
	err = q.QueryRow(ctx, sqlReadSubscription, device[:]).Scan(&sub.Endpoint, &sub.P256dh, &sub.Auth)
	return sub, err
}

const sqlReadSubscribed = `SELECT device FROM subscription WHERE account = $1 ORDER BY device LIMIT 20`

func readSubscribed(ctx context.Context, q sqldb.Querier, account api.AccountID) (devices []api.DeviceID, err error) {
	rows, err := q.Query(ctx, sqlReadSubscribed, account[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d api.DeviceID
		if err := rows.Scan(sqldb.Blob(d[:])); err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, rows.Err()
}

const (
	sqlDropEndpoint      = `DELETE FROM subscription WHERE endpoint = $1 AND device <> $2`
	sqlWriteSubscription = `
INSERT INTO subscription (device, login, account, endpoint, p256dh, auth, since) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (device) DO UPDATE SET login = excluded.login, account = excluded.account, endpoint = excluded.endpoint,
	p256dh = excluded.p256dh, auth = excluded.auth, since = excluded.since`
)

func writeSubscription(ctx context.Context, tx *sqldb.Tx, actor token.Actor, sub api.PushSubscription, now int64) error {
	if _, err := tx.Exec(ctx, sqlDropEndpoint, sub.Endpoint, actor.Device[:]); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlWriteSubscription, actor.Device[:], actor.Login[:], actor.Account[:], sub.Endpoint, sub.P256dh,
		sub.Auth, now)
	return err
}

const sqlDeleteSubscription = `DELETE FROM subscription WHERE device = $1`

func deleteSubscription(ctx context.Context, tx *sqldb.Tx, device api.DeviceID) error {
	_, err := tx.Exec(ctx, sqlDeleteSubscription, device[:])
	return err
}

const sqlDeleteSubscriptionsOf = `DELETE FROM subscription WHERE login = $1`

func deleteSubscriptionsOf(ctx context.Context, tx *sqldb.Tx, login api.LoginID) error {
	_, err := tx.Exec(ctx, sqlDeleteSubscriptionsOf, login[:])
	return err
}
