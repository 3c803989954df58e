package devices_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sotto/client"
	"sotto/test/history"
)

// Events of a reset.
const (
	eventReset   = "account reset"
	eventChanged = "identity change decided"
)

// reset gives somebody who has lost every device, the password and the recovery code the account back, without its
// history: the identity changes, and everybody else is told. Who had verified it compares the new safety number.
func (w *world) reset(ctx context.Context) error {
	if w.serve == nil {
		return errNotNow
	}
	u := pick(w, w.users)
	if err := w.settle(ctx); err != nil {
		return err
	}
	if err := w.shut(u); err != nil {
		return err
	}
	w.backups = nil // a reset that a restored server forgot has to be made again
	w.say("%s loses everything; the account is reset", u.name)
	for _, d := range slices.Clone(u.devices) {
		if err := w.leave(d); err != nil {
			return err
		}
	}
	if err := w.resetBy(ctx, u); err != nil {
		return err
	}
	w.happened(eventReset)
	for i, other := range w.users {
		if other == u {
			continue
		}
		if err := w.facts.Note(history.Fact{Kind: history.Changed, User: other.name, Peer: u.name}); err != nil {
			return err
		}
		if other.vouches && w.users[(i+1)%len(w.users)] == u {
			if err := w.compareAnew(ctx, other, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// shut notes that what u's devices show, before they are lost, has to be shown to u no more.
func (w *world) shut(u *user) error {
	facts, err := u.devices[0].listing()
	if err != nil {
		return err
	}
	for _, f := range facts {
		if f.Kind != history.Seen {
			continue
		}
		if err := w.facts.Note(history.Fact{
			Kind: history.Shut, User: u.name, Conversation: f.Conversation, Message: f.Message, Position: f.Position,
		}); err != nil {
			return err
		}
	}
	return w.facts.Note(history.Fact{Kind: history.Anew, User: u.name})
}

// resetBy uses the operator's code on a new device.
func (w *world) resetBy(ctx context.Context, u *user) error {
	out, err := w.serve.Command(ctx, "admin", "reset", u.name)
	if err != nil {
		return err
	}
	at := strings.Index(out, "reset-")
	if at < 0 {
		return fmt.Errorf("no code in %q", out)
	}
	d, err := w.join(u, filepath.Join(w.dir, fmt.Sprintf("%s-new-%d.db", u.name, u.made+1)))
	if err != nil {
		return err
	}
	code, err := d.c.NewRecoveryCode()
	if err != nil {
		return err
	}
	next := w.nextPassword(u)
	o := client.ResetOptions{Code: strings.Fields(out[at:])[0], NewPassword: next, NewCode: code, DeviceName: d.name}
	if _, err := d.c.Reset(ctx, o); err != nil {
		return fmt.Errorf("resetting %s: %w", u.name, err)
	}
	u.code, u.password, u.vouches = code, next, false
	d.online()
	return nil
}

// compareAnew waits until somebody is warned on one device, and lets them compare the new number there.
func (w *world) compareAnew(ctx context.Context, u, peer *user) error {
	d := u.devices[0]
	d.online()
	for !d.warned(peer) {
		if ctx.Err() != nil {
			return fmt.Errorf("%s is never warned that the identity of %s has changed", d.name, peer.name)
		}
		time.Sleep(settlePoll)
	}
	number, err := d.c.Safety(ctx, peer.name)
	if err != nil {
		return err
	}
	if !number.Stopped {
		return errors.New("a verified contact with another identity may be written to")
	}
	w.say("%s compares the new number of %s", d.name, peer.name)
	if err := d.c.SetVerified(number, true); err != nil {
		return fmt.Errorf("%s compares the number of %s: %w", d.name, peer.name, err)
	}
	w.happened(eventChanged)
	if err := w.facts.Note(history.Fact{Kind: history.Vouched, User: u.name, Peer: peer.name}); err != nil {
		return err
	}
	if len(u.devices) == 1 { // what one device alone knows is lost with it
		if _, err := w.newDevice(ctx, u); err != nil {
			return err
		}
	}
	return w.waitVouched(ctx, u, peer)
}

// waitVouched waits until every device of u knows that u has verified the peer as the server shows it now: one that has not
// met another identity yet still shows the mark of the one before.
func (w *world) waitVouched(ctx context.Context, u, peer *user) error {
	for _, d := range u.devices {
		d.online()
		for met := false; !met || !d.vouches(peer.account); {
			if !met {
				_, err := d.c.Safety(ctx, peer.name)
				met = err == nil
			}
			w.watchRuns(ctx)
			if ctx.Err() != nil {
				return fmt.Errorf("%s was never told that %s has verified %s", d.name, u.name, peer.name)
			}
			time.Sleep(settlePoll)
		}
	}
	return nil
}

// warned tells whether the device shows that an identity has changed.
func (d *device) warned(peer *user) bool {
	all, err := d.c.Conversations()
	d.w.check(err)
	return slices.ContainsFunc(all, func(v client.Conversation) bool { return v.Peer == peer.account && v.Changed })
}
