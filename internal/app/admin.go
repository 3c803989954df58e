package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"sotto/internal/config"
	"sotto/internal/user"
)

// ResetCode prints a one-time code by which the account of that name can be reset. It writes one row to the user
// service's database beside a server that may be running, which finds it there: SQLite lets one of two processes wait.
func ResetCode(ctx context.Context, c config.Config, name string, out io.Writer) (err error) {
	db, err := openExisting(ctx, c, "user")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	code, expires, err := user.NewResetCode(ctx, db, rand.Reader, time.Now(), name)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `%s

This code resets the account of %s once, until %s. Whoever has it takes over the name.
The account gets a new identity; its history stays closed, and every contact is told.
`, code, name, expires.UTC().Format(time.RFC3339))
	return nil
}
