package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"sotto/api"
	"sotto/client"
)

type listenCmd struct {
	JSON  bool `name:"json" help:"One JSON object a line, for scripts."`
	Count int  `placeholder:"N" help:"End after N messages."`
	From  bool `help:"Begin with the messages that are already here, instead of only new ones."`
}

// line is what scripts get for each message. Fields are only ever added.
type line struct {
	Conversation api.ConversationID `json:"conversation_id"`
	With         string             `json:"with"` // username of the other member
	MessageID    api.MessageID      `json:"message_id"`
	Sender       api.AccountID      `json:"sender_id"`
	SenderDevice api.WireDeviceID   `json:"sender_device"`
	Own          bool               `json:"own"` // sent by another device of this account
	Epoch        uint64             `json:"epoch"`
	Seq          uint64             `json:"seq"`
	SentAt       int64              `json:"sent_at"`
	ServerTime   int64              `json:"server_time"`
	Text         string             `json:"text,omitempty"`
	Kind         int                `json:"kind"` // number of the body kind, docs/protocol.md section 4
}

func (l *listenCmd) Run(ctx context.Context, cli *commands) error {
	return cli.online(ctx, func(ctx context.Context, c *client.Client) error {
		p := &printer{c: c, out: os.Stdout, json: l.JSON, floor: map[api.ConversationID]client.Position{}}
		events := c.Events()
		defer events.Close()
		if err := p.start(l.From); err != nil {
			return err
		}
		for l.Count == 0 || p.printed < l.Count {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case e := <-events.C:
				if err := p.handle(e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// printer prints each message once, in the order of arrival. After events were lost it reads the history from the
// newest message that was there at the start, or at the last such reading.
type printer struct {
	c       *client.Client
	out     io.Writer
	json    bool
	floor   map[api.ConversationID]client.Position // everything up to here was printed or was not wanted
	recent  recentIDs                              // printed above the floor
	printed int
}

// start marks what is here as not wanted, or prints it.
func (p *printer) start(fromBeginning bool) error {
	all, err := p.c.Conversations()
	if err != nil {
		return err
	}
	for _, v := range all {
		if fromBeginning {
			err = p.catchUp(v)
		} else {
			_, err = p.raiseFloor(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// raiseFloor moves the floor to the newest message and returns the old floor.
func (p *printer) raiseFloor(v client.Conversation) (old client.Position, err error) {
	newest, err := p.c.Messages(v.ID, client.Position{}, 1)
	if err != nil {
		return old, err
	}
	old = p.floor[v.ID]
	for _, m := range newest {
		if !m.Position.IsZero() {
			p.floor[v.ID] = m.Position
		}
	}
	return old, nil
}

func (p *printer) handle(e client.Event) error {
	switch e.Type { //nolint:exhaustive // the others change nothing that is printed
	case client.EventMessage, client.EventResync:
		all, err := p.c.Conversations()
		if err != nil {
			return err
		}
		for _, v := range all {
			switch {
			case e.Type == client.EventResync:
				err = p.catchUp(v)
			case v.ID == e.Conversation && e.Message != nil:
				err = p.print(v, *e.Message)
			}
			if err != nil {
				return err
			}
		}
	case client.EventAlert:
		fmt.Fprintln(os.Stderr, "sotto: warning:", e.Err)
	}
	return nil
}

const pageOfHistory = 200

// catchUp prints everything above the floor that was not printed, and raises the floor.
func (p *printer) catchUp(v client.Conversation) error {
	floor, err := p.raiseFloor(v)
	if err != nil {
		return err
	}
	var fresh []client.Message
	for before := (client.Position{}); ; {
		page, err := p.c.Messages(v.ID, before, pageOfHistory)
		if err != nil {
			return err
		}
		above := page[:0:0]
		for _, m := range page {
			if !m.Position.IsZero() && m.Position.Compare(floor) > 0 {
				above = append(above, m)
			}
		}
		fresh = append(above, fresh...)
		if len(above) < pageOfHistory {
			break
		}
		before = above[0].Position
	}
	for _, m := range fresh {
		if err := p.print(v, m); err != nil {
			return err
		}
	}
	return nil
}

// recentIDs remembers the last ids that were added.
type recentIDs struct {
	set   map[api.MessageID]bool
	order []api.MessageID
}

const maxRecent = 4096 // ids; many times the events that can wait

// add tells whether id is new.
func (r *recentIDs) add(id api.MessageID) bool {
	if r.set[id] {
		return false
	}
	if r.set == nil {
		r.set = map[api.MessageID]bool{}
	}
	if len(r.order) == maxRecent {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	r.set[id] = true
	r.order = append(r.order, id)
	return true
}

func (p *printer) print(v client.Conversation, m client.Message) error {
	if !p.recent.add(m.ID) || (m.Own && p.isThisDevice(m)) {
		return nil
	}
	p.printed++
	if !p.json {
		_, err := fmt.Fprintf(p.out, "%s %s: %s\n", clock(m.ServerTime), printable(nameOf(v, m)), printable(textOf(m)))
		return err
	}
	b, err := json.Marshal(line{
		Conversation: v.ID, With: v.Username, MessageID: m.ID, Sender: m.Sender, SenderDevice: m.SenderDevice, Own: m.Own,
		Epoch: m.Position.Epoch, Seq: m.Position.Seq, SentAt: m.SentAt, ServerTime: m.ServerTime, Text: m.Text(), Kind: int(m.Body.Kind),
	})
	if err != nil {
		return fmt.Errorf("writing a line: %w", err)
	}
	_, err = fmt.Fprintf(p.out, "%s\n", b)
	return err
}

func (p *printer) isThisDevice(m client.Message) bool {
	a, ok := p.c.Account()
	return ok && m.SenderDevice == a.WireDevice
}

func nameOf(v client.Conversation, m client.Message) string {
	switch {
	case m.Own:
		return "you"
	case v.Username != "":
		return v.Username
	}
	return m.Sender.String()[:8]
}

func textOf(m client.Message) string {
	if !m.Showable || m.Text() == "" {
		return "(needs a newer version of this program)"
	}
	return m.Text()
}

func clock(ms int64) string { return time.UnixMilli(ms).Format("15:04") }
