package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"sotto/internal/broker"
	brokerlocal "sotto/internal/broker/local"
	"sotto/internal/broker/rabbit"
	"sotto/internal/config"
	"sotto/internal/notification"
)

const (
	deadSuffix   = ".dead"
	lettersShown = 20
)

// queue is what an operator may look into and empty.
type queue struct {
	length  func(ctx context.Context) (int, error)
	letters func(ctx context.Context, limit int) ([]broker.DeadLetter, error) // nil unless it is a queue of dead letters
	purge   func(ctx context.Context) (int64, error)
	close   func() error
}

// PurgeQueue shows what a queue holds and empties it after a question, which yes answers.
func PurgeQueue(ctx context.Context, c config.Config, name string, yes bool, in io.Reader, out io.Writer) (err error) {
	q, err := openQueue(ctx, c, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close()) }()
	n, err := q.length(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s holds %d entries.\n", name, n)
	if n == 0 {
		return nil
	}
	if q.letters != nil {
		letters, err := q.letters(ctx, lettersShown)
		if err != nil {
			return err
		}
		for _, l := range letters {
			fmt.Fprintf(out, "  %s  %s %s of %s: %s\n", time.UnixMilli(l.Time).UTC().Format(time.RFC3339),
				l.Event.Type, l.Event.ID, l.Event.Account, l.Reason)
		}
	}
	if !yes {
		fmt.Fprint(out, "Dropping them cannot be undone. Type yes to drop them: ")
		answer, err := bufio.NewReader(in).ReadString('\n')
		if strings.TrimSpace(answer) != "yes" {
			fmt.Fprintln(out, "Nothing was dropped.")
			if errors.Is(err, io.EOF) {
				return errors.New("there was no answer; in scripts use --yes")
			}
			return nil
		}
	}
	dropped, err := q.purge(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Dropped %d entries.\n", dropped)
	return nil
}

func openQueue(ctx context.Context, c config.Config, name string) (*queue, error) {
	if name == "notifications" {
		return jobQueue(ctx, c)
	}
	of, dead := strings.CutSuffix(name, deadSuffix)
	if of != "chat" && of != "notification" {
		return nil, fmt.Errorf("there is no queue %q; there are notifications (mail and push that wait to leave), "+
			"chat and notification (events), and with what they refused chat%s and notification%s",
			name, deadSuffix, deadSuffix)
	}
	if c.BrokerURL == "" {
		return localQueue(ctx, c, of, dead)
	}
	trust, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	b, err := rabbit.New(rabbit.Options{URL: string(c.BrokerURL), TLS: trust, Now: time.Now})
	if err != nil {
		return nil, err
	}
	q := &queue{
		length: func(ctx context.Context) (int, error) { return b.Length(ctx, name) },
		purge:  func(ctx context.Context) (int64, error) { return b.PurgeQueue(ctx, name) },
		close:  b.Close,
	}
	if dead {
		q.letters = func(ctx context.Context, limit int) ([]broker.DeadLetter, error) {
			return b.DeadLetters(ctx, of, limit)
		}
	}
	return q, nil
}

// jobQueue is what waits to leave as mail or push, and what was given up.
func jobQueue(ctx context.Context, c config.Config) (*queue, error) {
	db, err := openExisting(ctx, c, "notification")
	if err != nil {
		return nil, err
	}
	return &queue{
		length: func(ctx context.Context) (int, error) { return notification.Waiting(ctx, db) },
		purge:  func(ctx context.Context) (int64, error) { return notification.Purge(ctx, db) },
		close:  db.Close,
	}, nil
}

// localQueue is for a server of one process: its events wait in the outboxes of its services and are not dropped.
func localQueue(ctx context.Context, c config.Config, of string, dead bool) (*queue, error) {
	if !dead {
		return nil, fmt.Errorf("without RabbitMQ events wait in the database and cannot be dropped; %s%s has what was refused", of, deadSuffix)
	}
	db, err := openExisting(ctx, c, "chat")
	if err != nil {
		return nil, err
	}
	b := brokerlocal.New(brokerlocal.Options{DB: db, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	return &queue{
		length: func(ctx context.Context) (int, error) { return b.CountDead(ctx, of) },
		letters: func(ctx context.Context, limit int) ([]broker.DeadLetter, error) {
			return b.DeadLetters(ctx, of, limit)
		},
		purge: func(ctx context.Context) (int64, error) { return b.Purge(ctx, of) },
		close: db.Close,
	}, nil
}
