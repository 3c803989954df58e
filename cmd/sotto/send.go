package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sotto/client"
	"sotto/e2ee"
)

const maxText = 60 << 10 // bytes; a content has at most 64 KiB after padding

type sendCmd struct {
	Name    string        `arg:"" help:"To whom. Your own name keeps a note to yourself."`
	Text    string        `arg:"" help:"What to say, or - to read it from standard input."`
	Timeout time.Duration `default:"30s" help:"Give up waiting after this long (${default}). The message stays queued and goes out with the next command."`
}

func (s *sendCmd) Run(ctx context.Context, cli *commands) error {
	text := s.Text
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(os.Stdin, maxText+1))
		if err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		text = strings.TrimSuffix(string(b), "\n")
	}
	if text == "" || len(text) > maxText {
		return fmt.Errorf("a message has 1 to %d bytes, this one has %d", maxText, len(text))
	}
	return cli.online(ctx, func(ctx context.Context, c *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, s.Timeout)
		defer cancel()
		conversation, err := c.Conversation(ctx, s.Name)
		if err != nil {
			return err
		}
		if conversation.Changed {
			fmt.Fprintf(os.Stderr, "sotto: warning: the identity of %s has changed; see `sotto safety %s`\n", s.Name, s.Name)
		}
		id, err := c.Send(ctx, conversation.ID, e2ee.TextBody(text))
		if err != nil {
			return err
		}
		_, err = c.WaitSent(ctx, id)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the server has not stored the message within %v; it stays queued here and goes out with the next command", s.Timeout)
		}
		return err
	})
}

// online runs one command while the client is connected, and ends the connection after it. A failure of the
// connection that trying again cannot mend ends the command.
func (c *commands) online(ctx context.Context, command func(context.Context, *client.Client) error) error {
	return c.with(func(cl *client.Client) error {
		if _, ok := cl.Account(); !ok {
			return fmt.Errorf("nobody is signed in here; start with `sotto register NAME` or `sotto login NAME`: %w", client.ErrNotSignedIn)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		ended := make(chan struct{})
		var fatal error
		go func() {
			defer close(ended)
			if fatal = cl.Run(ctx); fatal != nil && ctx.Err() == nil {
				cancel(fatal)
			}
		}()
		err := command(ctx, cl)
		cause := context.Cause(ctx)
		cancel(nil)
		<-ended
		if cause != nil && errors.Is(err, context.Canceled) && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return err
	})
}
