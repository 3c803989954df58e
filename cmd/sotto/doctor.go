package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"sotto/api"
	"sotto/client"
)

type doctorCmd struct {
	JSON bool          `name:"json" help:"One JSON object, for scripts."`
	Wait time.Duration `default:"5s" help:"Give what waits this long to go out before looking (${default})."`
}

// maxSkew is how wrong a clock may be before it is worth a word: a minute is what tokens allow for.
const maxSkew = time.Minute

// finding is one line of the page. Fields of the JSON form are only ever added.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // what is so, and what to do when it is not well
}

type diagnosis struct {
	OK       bool             `json:"ok"`
	Findings []finding        `json:"findings"`
	Counters map[string]int64 `json:"counters"` // over the life of this device's store
}

var errUnwell = errors.New("something needs your attention")

// Run looks at the account from this device and at what the server says. It ends with status 1 when there is something
// to do.
func (d *doctorCmd) Run(ctx context.Context, cli *commands) error {
	return cli.online(ctx, func(ctx context.Context, c *client.Client) error {
		h, err := settledHealth(ctx, c, d.Wait)
		if err != nil {
			return err
		}
		page := diagnose(h)
		if d.JSON {
			err = json.NewEncoder(os.Stdout).Encode(page)
		} else {
			printDiagnosis(page, h)
		}
		if err == nil && !page.OK {
			err = errUnwell
		}
		return err
	})
}

// settledHealth looks again while something is on its way.
func settledHealth(ctx context.Context, c *client.Client, wait time.Duration) (client.Health, error) {
	for deadline := time.Now().Add(wait); ; {
		h, err := c.Health(ctx)
		busy := h.Queue > 0 || h.Records > 0 || !h.History.Complete || h.PreKeys.OneTimePreKeys == 0
		if err != nil || !busy || time.Now().After(deadline) {
			return h, err
		}
		select {
		case <-ctx.Done():
			return h, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func diagnose(h client.Health) diagnosis {
	d := diagnosis{OK: true, Counters: counters(h.Counters)}
	add := func(check string, ok bool, good, otherwise string) {
		f := finding{Check: check, OK: ok, Text: good}
		if !ok {
			f.Text, d.OK = otherwise, false
		}
		d.Findings = append(d.Findings, f)
	}
	add("server", !h.PasswordRequired, fmt.Sprintf("%s, epoch %d", h.Server.Server, h.Server.Epoch),
		"the server was restored from a backup that does not have your current password: run `sotto give-back`")
	add("history", h.Archive.Archive != api.ArchiveNothing, historyKept(h.Archive),
		"no history is kept on the server, by your choice: losing every device loses your messages")
	add("history here", h.History.Complete, "all of it", fmt.Sprintf("%d of %d messages so far: stay connected", h.History.Done, h.History.Of))
	add("waiting", h.Queue == 0 && h.Records == 0, "nothing waits for the server",
		fmt.Sprintf("%d messages and %d archive records wait for the server: stay connected", h.Queue, h.Records))
	add("recovery code", h.Recovery == client.RecoveryConfirmed, "confirmed",
		"not confirmed on this device: find it and run `sotto recovery-code`; without it a forgotten password loses everything")
	add("prekeys", h.PreKeys.OneTimePreKeys > 0 && h.PreKeys.KyberPreKeys > 0,
		fmt.Sprintf("%d and %d one-time prekeys wait for others", h.PreKeys.OneTimePreKeys, h.PreKeys.KyberPreKeys),
		"they have run out and are not filled up: connect once; if this stays, look at the clock of this device")
	idle := 0
	for _, dev := range h.Devices {
		if dev.State != api.DeviceActive {
			idle++
		}
	}
	add("devices", idle == 0, fmt.Sprintf("%d, all in use", len(h.Devices)),
		fmt.Sprintf("%d of %d are signed out or not seen for long: remove those that you have lost (`sotto devices`)", idle, len(h.Devices)))
	add("unreadable", h.Unread == 0, "every message could be read",
		fmt.Sprintf("%d messages cannot be read at the moment; their senders' devices are asked for them", h.Unread))
	add("owed", h.Owed == 0, "nobody lacks a message of yours",
		fmt.Sprintf("%d messages are not delivered: the other side has lost its devices; they go out when a new one is there", h.Owed))
	add("identities", h.Stopped == 0, "nobody's identity waits for you",
		fmt.Sprintf("in %d conversations nothing is sent until you decide: `sotto safety NAME`", h.Stopped))
	add("trust", h.Counters.Alerts == 0, "the server has shown nothing that contradicts itself",
		fmt.Sprintf("%d times the server showed something that was refused; ask whoever runs it", h.Counters.Alerts))
	add("clock", h.ClockAhead.Abs() <= maxSkew, "right to "+h.ClockAhead.Abs().Round(time.Second).String(),
		fmt.Sprintf("it differs from the server's by %s: set it", h.ClockAhead.Abs().Round(time.Second)))
	return d
}

func historyKept(s api.ChatSettings) string {
	if s.Archive == api.ArchiveDays {
		return fmt.Sprintf("kept for %d days, readable for nobody but you", s.Days)
	}
	return "all of it is kept on the server, readable for nobody but you"
}

// counters are named like the server's metrics.
func counters(n client.Counters) map[string]int64 {
	return map[string]int64{
		"sotto_undecryptable_total": n.Unreadable, "sotto_misdelivered_total": n.Misdelivery, "sotto_session_repairs_total": n.SessionRepairs,
		"sotto_prekeys_low": n.PreKeysLow, "sotto_owed_messages": n.Owed, "sotto_holes_total": n.Holes, "sotto_alerts_total": n.Alerts,
		"sotto_supplements_total": n.Supplements, "sotto_send_repairs_total": n.Repairs, "sotto_archive_refused_total": n.Archive,
	}
}

func printDiagnosis(d diagnosis, h client.Health) {
	for _, f := range d.Findings {
		mark := "OK  "
		if !f.OK {
			mark = "!   "
		}
		fmt.Printf("%s%-14s %s\n", mark, f.Check, f.Text)
	}
	n := h.Counters
	fmt.Printf("\nSince this device began: %d unreadable, %d sessions repaired, %d supplements, %d sends repaired.\n",
		n.Unreadable, n.SessionRepairs, n.Supplements, n.Repairs)
}

type giveBackCmd struct {
	passwordFlags
}

// Run gives a restored server the password, and the account if it has forgotten that.
func (g *giveBackCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		if err := meetRestored(ctx, c); err != nil {
			return err
		}
		needed, err := c.PasswordRequired()
		if err != nil {
			return err
		}
		if !needed {
			fmt.Println("The server has your account with its current password. Nothing is to be given back.")
			return nil
		}
		password, err := g.read(false)
		if err != nil {
			return err
		}
		if err := c.GiveBack(ctx, password); err != nil {
			return err
		}
		fmt.Println("Given back. Everything else follows by itself while you are connected.")
		return nil
	})
}

// meetRestored connects until what needs no password is given back, or the password is found to be needed.
func meetRestored(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	events := c.Events()
	defer events.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			if client.CodeOf(err) == api.CodePasswordRequired {
				return nil
			}
			return err
		case e := <-events.C:
			if e.Type == client.EventPassword || e.Type == client.EventReconciled {
				cancel()
				return <-ended
			}
		}
	}
}
