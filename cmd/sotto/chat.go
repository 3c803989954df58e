package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"sotto/client"
	"sotto/e2ee"
)

type chatCmd struct {
	Name    string `arg:"" help:"With whom. Your own name opens your notes to yourself."`
	History int    `default:"20" help:"How many earlier messages to show (${default})."`
}

const (
	leaveWait   = 5 * time.Second
	historyWait = 10 * time.Second // for older messages to come back to a new device, before those that are here are shown
)

const chatHelp = `  What you type is sent when you press Enter. Lines that begin with a slash are commands:
  /safety   the number to compare      /accept   accept a request
  /block    drop what they send        /quit     leave (Ctrl-D does too)
  /trust    go on after their identity has changed
`

func (s *chatCmd) Run(ctx context.Context, cli *commands) error {
	return cli.online(ctx, func(ctx context.Context, c *client.Client) error {
		v, err := c.Conversation(ctx, s.Name)
		if err != nil {
			return err
		}
		screen, restore, err := newScreen(s.Name)
		if err != nil {
			return err
		}
		defer restore()
		chat := &chat{c: c, with: v, name: s.Name, screen: screen}
		events := c.Events()
		defer events.Close()
		if err := chat.awaitHistory(ctx); err != nil {
			return err
		}
		if err := chat.showHistory(s.History); err != nil {
			return err
		}
		lines := make(chan string)
		ended := make(chan error, 1)
		go func() { ended <- screen.read(ctx, lines) }()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-ended:
				if errors.Is(err, io.EOF) {
					return chat.leave(ctx)
				}
				return err
			case text := <-lines:
				if quit := chat.typed(ctx, text); quit {
					return chat.leave(ctx)
				}
			case e := <-events.C:
				chat.happened(e)
			}
		}
	})
}

// chat is one open conversation. Its methods run on one goroutine.
type chat struct {
	c      *client.Client
	with   client.Conversation
	name   string
	screen *screen
	shown  recentIDs
}

// awaitHistory gives a new device the time to read what its account has from before: it stands above what is written next.
func (c *chat) awaitHistory(ctx context.Context) error {
	said := false
	for deadline := time.Now().Add(historyWait); time.Now().Before(deadline); {
		here, err := c.c.History()
		if err != nil || here.Complete {
			return err
		}
		if !said {
			c.screen.note("Reading older messages …")
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

func (c *chat) showHistory(count int) error {
	if count < 1 || count > client.MaxHistory {
		return fmt.Errorf("--history takes 1 to %d", client.MaxHistory)
	}
	page, err := c.c.Messages(c.with.ID, client.Position{}, count)
	if err != nil {
		return err
	}
	for _, m := range page {
		c.show(m)
	}
	if c.with.State == "requested" {
		c.screen.note("%s would like to chat with you. Answer, or /accept, or /block.", c.name)
	}
	if c.with.Changed {
		c.screen.note("Warning: the identity of %s has changed. See /safety; /trust goes on with the new one.", c.name)
	}
	c.screen.note("Chatting with %s, end-to-end encrypted. /help shows the commands.", c.name)
	return nil
}

func (c *chat) show(m client.Message) {
	if !c.shown.add(m.ID) {
		return
	}
	mark := ""
	if m.State == client.StateQueued || m.State == client.StateFailed {
		mark = " (" + string(m.State) + ")"
	}
	when := m.ServerTime
	if when == 0 {
		when = m.SentAt
	}
	c.screen.print("%s %s: %s%s", clock(when), printable(nameOf(c.with, m)), printable(textOf(m)), mark)
}

// typed handles one line and tells whether to leave.
func (c *chat) typed(ctx context.Context, text string) (quit bool) {
	text = strings.TrimRight(text, " \t")
	switch {
	case text == "":
		return false
	case text == "/quit" || text == "/q":
		return true
	case text == "/help":
		c.screen.print("%s", strings.TrimRight(chatHelp, "\n"))
	case text == "/safety":
		number, err := c.c.Safety(ctx, c.name)
		if err != nil {
			c.screen.note("%v", err)
			return false
		}
		c.screen.print("%s", strings.TrimRight(grouped(number.Digits), "\n"))
		c.screen.note("%s", standing(number))
	case text == "/trust":
		number, err := c.c.Safety(ctx, c.name)
		if err == nil {
			err = c.c.AcceptIdentity(number)
		}
		c.report(err, "You go on with this identity. Compare safety numbers when you can.")
	case text == "/accept":
		c.report(c.c.Accept(ctx, c.with.ID), "Accepted.")
	case text == "/block":
		c.report(c.c.Block(ctx, c.with.ID), "Blocked. They are not told.")
	case text[0] == '/' && !strings.HasPrefix(text, "//"):
		c.screen.note("There is no command %s; /help shows them. To send a line that begins with a slash, write two.", text)
	default:
		id, err := c.c.Send(ctx, c.with.ID, e2ee.TextBody(strings.TrimPrefix(text, "/")))
		if err != nil {
			c.screen.note("Not sent: %v", err)
			return false
		}
		c.shown.add(id) // it stands on the screen where it was typed
	}
	return false
}

func (c *chat) report(err error, done string) {
	if err != nil {
		done = err.Error()
	}
	c.screen.note("%s", done)
}

// happened shows what concerns this conversation, and what concerns trust always.
func (c *chat) happened(e client.Event) {
	switch e.Type { //nolint:exhaustive // the others change nothing that is shown
	case client.EventMessage:
		if e.Conversation == c.with.ID && e.Message != nil {
			c.show(*e.Message)
		}
	case client.EventResync:
		c.catchUp()
	case client.EventFailed:
		c.screen.note("A message was refused: %v", e.Err)
	case client.EventDisconnected:
		c.screen.note("Disconnected; trying again. What you write is queued.")
	case client.EventConnected:
		c.screen.note("Connected.")
	case client.EventNotice:
		if e.Notice != nil && e.Notice.Waiting {
			c.screen.note("A message could not be decrypted. The sender's devices were asked for it again.")
		} else {
			c.screen.note("A message could not be read. It is kept on the server.")
		}
	case client.EventOwed:
		if n, err := c.c.OwedMessages(); err == nil && n > 0 && e.Conversation == c.with.ID {
			c.screen.note("%s has lost messages. They are sent again as soon as there is a device for them.", c.name)
		}
	case client.EventDevices:
		if e.Account == c.with.Peer {
			c.screen.note("%s's devices have changed.", c.name)
		}
	case client.EventAlert:
		c.screen.note("Warning: %v", e.Err)
	case client.EventIdentity:
		if e.Account == c.with.Peer && e.Err != nil {
			c.screen.note("Warning: %v See /safety; /trust goes on with the new identity.", e.Err)
		}
	}
}

// catchUp shows what was not shown yet, after events were lost.
func (c *chat) catchUp() {
	page, err := c.c.Messages(c.with.ID, client.Position{}, client.MaxHistory)
	if err != nil {
		c.screen.note("%v", err)
		return
	}
	for _, m := range page {
		c.show(m)
	}
}

// leave waits a moment for what is still queued, so that the last line before Ctrl-D is not left behind.
func (c *chat) leave(ctx context.Context) error {
	waiting, err := c.c.Messages(c.with.ID, client.Position{}, 1)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	for _, m := range waiting {
		if m.State != client.StateQueued {
			continue
		}
		if _, err := c.c.WaitSent(ctx, m.ID); err != nil {
			fmt.Fprintln(os.Stderr, "Something is still queued; it goes out the next time you are here.")
			return nil
		}
	}
	return nil
}

// screen is where the conversation is shown above the line that is being typed; without a terminal, plain lines.
type screen struct {
	out  io.Writer
	term *term.Terminal // nil without a terminal
	in   io.Reader
}

// newScreen puts the terminal into raw mode; restore ends that, also after a failure.
func newScreen(name string) (*screen, func(), error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return &screen{out: os.Stdout, in: os.Stdin}, func() {}, nil
	}
	old, err := term.MakeRaw(in)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout}, "to "+name+"> ")
	if w, h, err := term.GetSize(in); err == nil {
		_ = t.SetSize(w, h) // a wrong size only wraps lines badly
	}
	return &screen{out: t, term: t}, func() { _ = term.Restore(in, old); fmt.Println() }, nil
}

// read hands over lines until the end of input.
func (s *screen) read(ctx context.Context, lines chan<- string) error {
	next := func() (string, error) { return s.term.ReadLine() }
	if s.term == nil {
		scanner := bufio.NewScanner(s.in)
		scanner.Buffer(nil, maxText)
		next = func() (string, error) {
			if scanner.Scan() {
				return scanner.Text(), nil
			}
			if err := scanner.Err(); err != nil {
				return "", fmt.Errorf("reading what was typed: %w", err)
			}
			return "", io.EOF
		}
	}
	for {
		text, err := next()
		if err != nil {
			return err
		}
		select {
		case lines <- text:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *screen) print(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

// note is a line from the program itself.
func (s *screen) note(format string, args ...any) {
	s.print("-- "+format, args...)
}
