package devices_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
	"sotto/test/history"
)

// device is one device of a user: a client over a store file, and the journal of what its user saw.
type device struct {
	w       *world
	user    *user
	name    string // used once in a run
	path    string // store file; another one after each crash
	journal *history.Journal

	c       *client.Client
	disk    *disk
	sub     *client.Subscription
	watched chan struct{} // closed when the watcher has ended
	cancel  context.CancelFunc
	ended   chan error // of Run; nil while offline
	lives   int

	signedOut bool // its login was ended on purpose
	login     int  // world.moves when it signed in again
	forgotten bool // a backup was restored in which it may be signed out
	copied    bool // there is, or was, another device with this store
}

// disk is a store that a crash can stop at any moment: nothing is written any more, and what was is there.
type disk struct {
	client.Store
	mu   sync.Mutex
	path string
	dead bool
}

var errCrash = errors.New("this device has crashed")

func (d *disk) Apply(b client.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errCrash
	}
	return d.Store.Apply(b)
}

// copyTo copies the files between two writes; crash makes it the last.
func (d *disk) copyTo(path string, crash bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = d.dead || crash
	for _, part := range []string{"", "-wal"} {
		if err := copyFile(d.path+part, path+part); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// open opens the store and begins to note what its user is told.
func (d *device) open() error {
	c, err := open(d.w.url, d.path, func(s client.Store) client.Store {
		d.disk = &disk{Store: s, path: d.path}
		return d.disk
	}, slog.New(slog.NewTextHandler(teller{d}, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
	if err != nil {
		return fmt.Errorf("opening %s: %w", d.name, err)
	}
	d.c, d.sub, d.watched = c, c.Events(), make(chan struct{})
	go d.watch(d.sub, d.watched)
	return nil
}

// teller adds what a client logs to the story.
type teller struct{ d *device }

func (t teller) Write(line []byte) (int, error) {
	t.d.w.say("%s: %s", t.d.name, bytes.TrimSpace(line))
	return len(line), nil
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// watch notes what a user at this device would see happen.
func (d *device) watch(events *client.Subscription, ended chan struct{}) {
	defer close(ended)
	for e := range events.C {
		switch e.Type {
		case client.EventMessage:
			if e.Message.Text() != "" {
				d.note(history.Fact{Kind: history.Shown, Message: e.Message.ID})
			}
		case client.EventSent:
			d.note(d.fact(history.Acked, *e.Message))
		case client.EventNotice:
			d.w.say("%s cannot read %s: %v", d.name, e.Notice.MessageID, e.Err)
			d.note(history.Fact{Kind: history.Unreadable, Message: e.Notice.MessageID})
		case client.EventFailed:
			d.w.fail("%s: the server refused %q for good: %w", d.name, e.Message.Text(), e.Err)
		case client.EventAlert:
			d.w.say("%s is alerted: %v", d.name, e.Err)
		}
	}
}

func (d *device) note(f history.Fact) {
	f.Device = d.name
	if err := d.journal.Note(f); err != nil {
		d.w.fail("%s: %w", d.name, err)
	}
}

func (d *device) fact(kind history.Kind, m client.Message) history.Fact {
	return history.Fact{
		Kind: kind, User: d.w.nameOf(m.Sender), Conversation: m.Conversation, Message: m.ID, Position: m.Position, Content: m.Text(),
	}
}

// Events that devices count.
const (
	eventSupplement = "supplement"
	eventOwed       = "owed"
	eventRepair     = "repair"
)

// tally notes what a device has counted in its life.
func (d *device) tally() error {
	n, err := d.c.Counters()
	if err != nil {
		return fmt.Errorf("counters of %s: %w", d.name, err)
	}
	for event, n := range map[string]int64{eventSupplement: n.Supplements, eventOwed: n.Owed, eventRepair: n.SessionRepairs + n.RetriesAnswered} {
		if n > 0 {
			d.w.happened(event)
		}
	}
	return nil
}

// close ends the connection and the client.
func (d *device) close() error {
	if d.c == nil {
		return nil
	}
	d.offline()
	d.sub.Close()
	<-d.watched
	err := d.c.Close()
	d.c = nil
	return err
}

func (d *device) isOnline() bool { return d.ended != nil }

func (d *device) online() {
	if d.isOnline() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d.cancel, d.ended = cancel, ended
	c := d.c
	go func() { ended <- c.Run(ctx) }()
}

// offline ends Run, and returns why it had ended before, nil when it had not.
func (d *device) offline() error {
	if !d.isOnline() {
		return nil
	}
	d.cancel()
	err := <-d.ended
	d.ended = nil
	return err
}

// gone looks whether Run has given up, and returns why.
func (d *device) gone() error {
	if !d.isOnline() {
		return nil
	}
	select {
	case err := <-d.ended:
		d.cancel()
		d.ended = nil
		return err
	default:
		return nil
	}
}

// crash is the end of the program at any moment, and its next start.
func (d *device) crash() error {
	online := d.isOnline()
	next := d.nextPath()
	if err := d.disk.copyTo(next, true); err != nil {
		return fmt.Errorf("crash of %s: %w", d.name, err)
	}
	_ = d.close() // it cannot write any more, and says so
	d.path = next
	if err := d.open(); err != nil {
		return err
	}
	if online {
		d.online()
	}
	return nil
}

func (d *device) nextPath() string {
	d.lives++
	return filepath.Join(d.w.dir, fmt.Sprintf("%s.%d.db", d.name, d.lives))
}

// say queues a message.
func (d *device) say(ctx context.Context, conversation api.ConversationID, text string) error {
	d.note(history.Fact{Kind: history.Intend, User: d.user.name, Conversation: conversation, Content: text})
	_, err := d.c.Send(ctx, conversation, e2ee.TextBody(text))
	switch client.CodeOf(err) {
	case client.CodeNetwork, client.CodeStore, api.CodeDeviceCloned, api.CodeDeviceGone, client.CodeLoginEnded, client.CodeNotSignedIn:
		d.w.say("%s could not say %q: %v", d.name, text, err)
		return nil // it never said so
	}
	return err
}

// messages is everything that the device shows of a conversation, oldest first.
func (d *device) messages(id api.ConversationID) ([]client.Message, error) {
	var all []client.Message
	for before := (client.Position{}); ; {
		page, err := d.c.Messages(id, before, client.MaxHistory)
		if err != nil {
			return nil, err
		}
		var stored []client.Message
		for _, m := range page {
			if !m.Position.IsZero() {
				stored = append(stored, m)
			}
		}
		all = append(stored, all...)
		if len(stored) < client.MaxHistory {
			return all, nil
		}
		before = stored[0].Position
	}
}

// listing is the device's whole history and what it could not read, as facts.
func (d *device) listing() ([]history.Fact, error) {
	facts := []history.Fact{{Kind: history.Listing, Device: d.name}}
	conversations, err := d.c.Conversations()
	if err != nil {
		return nil, fmt.Errorf("conversations of %s: %w", d.name, err)
	}
	for _, v := range conversations {
		if v.Peer != d.user.account {
			facts = append(facts, history.Fact{
				Kind: history.Contact, Device: d.name, Peer: d.w.nameOf(v.Peer), Verified: v.Verified, Warned: v.Changed,
			})
		}
		messages, err := d.messages(v.ID)
		if err != nil {
			return nil, fmt.Errorf("messages of %s: %w", d.name, err)
		}
		for _, m := range messages {
			f := d.fact(history.Seen, m)
			f.Device = d.name
			if m.Text() == "" { // something that says nothing by itself
				f.Kind, f.Reason = history.Excused, "no text"
			}
			facts = append(facts, f)
		}
	}
	notices, err := d.c.Notices()
	if err != nil {
		return nil, fmt.Errorf("notices of %s: %w", d.name, err)
	}
	for _, n := range notices {
		if n.Code == client.CodeIdentity {
			continue // of a contact, not of a message
		}
		facts = append(facts, history.Fact{Kind: history.Unreadable, Device: d.name, Message: n.MessageID})
	}
	return facts, nil
}
