package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/config"
	"sotto/internal/limit"
	"sotto/internal/notification"
	"sotto/internal/token"
	"sotto/internal/user"
)

// noUsers is for a notification service that nobody signs in to.
type noUsers struct{}

func (noUsers) Recipient(context.Context, api.AccountID) (api.Recipient, error) {
	return api.Recipient{}, nil
}
func (noUsers) PublicKeys(context.Context) ([]token.PublicKey, error) { return nil, nil }

// NotifyTest sends one notification to an account through every configured channel, beside a server that may be running,
// and prints what happened. It fails when a channel did.
func NotifyTest(ctx context.Context, c config.Config, name string, out io.Writer) (err error) {
	users, err := openExisting(ctx, c, "user")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, users.Close()) }()
	account, to, err := user.FindRecipient(ctx, users, name)
	if err != nil {
		return err
	}
	db, err := openExisting(ctx, c, "notification")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	secret := secretBytes(c.NotificationSecret)
	if c.NotificationSecret == "" {
		secrets, err := readSecrets(c.DataDir)
		if err != nil {
			return fmt.Errorf("%w; without a data directory name SOTTO_NOTIFICATION_SECRET", err)
		}
		secret = secrets.Notification
	}
	logo, err := newLogo(c)
	if err != nil {
		return err
	}
	var assets *asset.Store
	if logo != nil {
		if assets, err = newAssets(c, "notification", db, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
	}
	service, err := newNotification(c, secret, publicURL(c, targetServe.listen(c)), notification.Config{
		DB: db, Now: time.Now, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler), Users: noUsers{},
		Assets: assets, Logo: logo,
		Hint:  func(context.Context, api.AccountID, []byte) error { return nil }, // the server is another process
		Allow: func(context.Context, limit.Name, string) (time.Duration, bool, error) { return 0, true, nil },
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, o := range service.Try(ctx, account, to) {
		if o.Err != nil {
			fmt.Fprintf(out, "%s: FAILED: %v\n", o.Channel, o.Err)
			failed = append(failed, fmt.Errorf("%s: %w", o.Channel, o.Err))
			continue
		}
		fmt.Fprintf(out, "%s: %s\n", o.Channel, o.Detail)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d channels did not work", len(failed))
	}
	return nil
}
