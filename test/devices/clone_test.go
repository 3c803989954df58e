package devices_test

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"sotto/api"
	"sotto/client"
)

// Events of copies.
const (
	eventCloneRefused = "clone refused" // the server recognised a copy that was overtaken
	eventRelapse      = "disk put back" // a copy goes on in the place of the device
)

// copyOf is what a device was at some time.
type copyOf struct {
	of       *device
	path     string
	removals int // of the user's devices until then
}

// copyDevice keeps a copy of a device's disk for later.
func (w *world) copyDevice(context.Context) error {
	d := pick(w, w.devices())
	c := &copyOf{of: d, path: filepath.Join(w.dir, fmt.Sprintf("copy-%d.db", len(w.copies)+1)), removals: d.user.removals}
	w.say("%s is copied", d.name)
	w.copies = append(w.copies, c)
	return d.disk.copyTo(c.path, false)
}

// revive starts a copy, in place of its original or beside it. If the original has connected since it was copied, the
// server refuses the copy; otherwise it cannot know, the copy goes on as the device, and the original is the one that
// is refused. Whoever is refused becomes a device of its own.
func (w *world) revive(ctx context.Context) error {
	if len(w.copies) == 0 {
		return errNotNow
	}
	i := w.rand.IntN(len(w.copies))
	c := w.copies[i]
	// A removal opens an archive epoch. A copy from before it has no key of that epoch and asks the other devices; where
	// there is none it needs the password, which nothing asks for yet.
	if u := c.of.user; u.removals > c.removals && len(u.devices) < 2 {
		return errNotNow
	}
	w.copies = append(w.copies[:i:i], w.copies[i+1:]...)
	return w.start(ctx, c)
}

// overtake copies a device that then connects anew, and starts the copy, which is refused.
func (w *world) overtake(ctx context.Context) error {
	d, err := w.some(func(d *device) bool { return d.isOnline() && !d.signedOut && !d.copied })
	if err != nil {
		return err
	}
	c := &copyOf{of: d, path: filepath.Join(w.dir, fmt.Sprintf("overtaken-%d.db", d.user.made+1))}
	if err := d.disk.copyTo(c.path, false); err != nil {
		return err
	}
	events := d.c.Events()
	defer events.Close()
	if err := d.offline(); err != nil {
		return err
	}
	for d.online(); ; {
		select {
		case e := <-events.C:
			if e.Type == client.EventConnected {
				return w.start(ctx, c)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s does not connect: %w", d.name, ctx.Err())
		}
	}
}

// start starts a copy.
func (w *world) start(ctx context.Context, c *copyOf) error {
	if c.of.c != nil { // it may lose what it alone has
		if err := w.beforeLoss(ctx); err != nil {
			return err
		}
		w.backups = nil
	}
	path := filepath.Join(w.dir, fmt.Sprintf("%s-copy-%d.db", c.of.user.name, c.of.user.made+1))
	for _, part := range []string{"", "-wal"} {
		if err := copyFile(c.path+part, path+part); err != nil && part == "" {
			return err
		}
	}
	switch lost := w.rand.IntN(2) == 0; {
	case c.of.c == nil:
	case lost:
		w.say("%s is lost", c.of.name)
		if err := w.leave(c.of); err != nil {
			return err
		}
	default:
		c.of.copied = true
	}
	d, err := w.join(c.of.user, path)
	if err != nil {
		return err
	}
	w.say("a copy of %s starts as %s", c.of.name, d.name)
	d.copied, d.signedOut = true, true // it may have been, since it was copied
	d.online()
	return nil
}

// relapse puts the disk of a device back to what it was before it sent something: nobody can tell it from the device
// until what it encrypts does not decrypt.
func (w *world) relapse(ctx context.Context) error {
	d, err := w.some(func(d *device) bool { return d.isOnline() && !d.signedOut && !d.copied })
	if err != nil {
		return err
	}
	if err := w.beforeLoss(ctx); err != nil {
		return err
	}
	w.backups = nil
	w.happened(eventRelapse)
	path := filepath.Join(w.dir, fmt.Sprintf("%s-back-%d.db", d.user.name, d.user.made+1))
	if err := d.disk.copyTo(path, false); err != nil {
		return err
	}
	to := w.talkOf(d.user)
	w.say("%s sends, and its disk is put back", d.name)
	for range burst {
		if err := w.sayNext(ctx, d, to); err != nil {
			return err
		}
	}
	for waiting := 1; waiting > 0 && d.gone() == nil && ctx.Err() == nil; time.Sleep(settlePoll) {
		if waiting, err = d.c.Queue(); err != nil {
			return err
		}
	}
	if err := w.leave(d); err != nil {
		return err
	}
	back, err := w.join(d.user, path)
	if err != nil {
		return err
	}
	w.say("%s is what it was, as %s", d.name, back.name)
	back.copied = true
	back.online()
	return w.sayNext(ctx, back, to)
}

// refusedCopy is what a person does at a copy that was refused: sign in, by which it becomes another device.
func (w *world) refusedCopy(ctx context.Context, d *device, code string) error {
	if code == api.CodeDeviceCloned {
		w.happened(eventCloneRefused)
	}
	if err := w.leave(d); err != nil {
		return err
	}
	next, err := w.join(d.user, d.path)
	if err != nil {
		return err
	}
	w.say("%s is a copy and was refused; it becomes %s", d.name, next.name)
	o := client.LoginOptions{Username: d.user.name, Password: d.user.password, DeviceName: next.name}
	if err := next.c.Login(ctx, o); err != nil {
		return fmt.Errorf("signing in on the copy %s: %w", next.name, err)
	}
	next.online()
	return nil
}
