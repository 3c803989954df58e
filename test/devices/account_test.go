package devices_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"sotto/api"
	"sotto/client"
)

// Events of accounts.
const (
	eventRemoved   = "device removed"
	eventPassword  = "password changed"
	eventByPass    = "back by password"
	eventByCode    = "back by recovery code"
	eventSignedOut = "signed out"
)

// remove takes a device off the account's list from another one: most often one whose disk was lost, sometimes one that
// lives.
func (w *world) remove(ctx context.Context) error {
	by, err := w.some(func(d *device) bool { return len(d.user.devices) > 1 && !d.signedOut })
	if err != nil {
		return err
	}
	if err := w.beforeLoss(ctx); err != nil {
		return err
	}
	listed, err := by.listed(ctx)
	if err != nil {
		return err
	}
	target := pick(w, listed)
	var living *device
	for _, d := range by.user.devices {
		if me, _ := d.c.Account(); me.WireDevice == target.WireDevice {
			living = d
		}
	}
	if living == by || living != nil && w.rand.IntN(3) > 0 {
		return errNotNow
	}
	w.say("%s removes device %d (%s)", by.name, target.WireDevice, target.Name)
	if err := by.remove(ctx, target.WireDevice); err != nil {
		return err
	}
	if living != nil {
		return w.leave(living)
	}
	return nil
}

// loseAll loses every device of one person, who comes back on a new one by the password or by the recovery code, and
// adds a second.
func (w *world) loseAll(ctx context.Context) error {
	u := pick(w, w.users)
	if err := w.beforeLoss(ctx); err != nil {
		return err
	}
	w.backups = nil // what the account has now is on the server alone
	if err := w.sayToNobody(ctx, u); err != nil {
		return err
	}
	w.say("%s loses every device", u.name)
	for _, d := range slices.Clone(u.devices) {
		if err := w.leave(d); err != nil {
			return err
		}
	}
	byCode := w.rand.IntN(2) == 0
	if byCode {
		if err := w.recover(ctx, u); err != nil {
			return err
		}
		w.happened(eventByCode)
	} else {
		if _, err := w.newDevice(ctx, u); err != nil {
			return err
		}
		w.happened(eventByPass)
	}
	if w.rand.IntN(2) == 0 {
		if _, err := w.newDevice(ctx, u); err != nil {
			return err
		}
	}
	return w.removeLost(ctx, u)
}

// sayToNobody sends to somebody whose devices are all offline: what only their mailboxes have will be owed.
func (w *world) sayToNobody(ctx context.Context, u *user) error {
	for _, d := range u.devices {
		if err := d.offline(); err != nil && !d.signedOut && !d.copied {
			w.fail("%s gave up: %w", d.name, err)
		}
	}
	from, err := w.some(func(d *device) bool { return d.user != u && d.isOnline() })
	if err != nil {
		return nil
	}
	to := w.talks[slices.IndexFunc(w.talks, func(t talk) bool {
		return len(t.members) == 2 && slices.Contains(t.members, u) && slices.Contains(t.members, from.user)
	})]
	w.say("%s says something to %s, who is away", from.name, u.name)
	return w.sayNext(ctx, from, to)
}

// removeLost is what a person does who has lost devices: they are removed. What waited for them alone is owed from then on.
func (w *world) removeLost(ctx context.Context, u *user) error {
	lives := map[api.WireDeviceID]bool{}
	for _, d := range u.devices {
		me, _ := d.c.Account()
		lives[me.WireDevice] = true
	}
	by := u.devices[0]
	listed, err := by.listed(ctx)
	if err != nil {
		return err
	}
	for _, lost := range listed {
		if lives[lost.WireDevice] {
			continue
		}
		w.say("%s removes the lost device %d (%s)", by.name, lost.WireDevice, lost.Name)
		if err := by.remove(ctx, lost.WireDevice); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a device of the user.
func (d *device) remove(ctx context.Context, id api.WireDeviceID) error {
	if err := d.patiently(ctx, func() error {
		_, err := d.c.RemoveDevice(ctx, id, d.user.password)
		return err
	}); err != nil {
		return fmt.Errorf("%s removes device %d: %w", d.name, id, err)
	}
	d.user.removals++
	d.w.happened(eventRemoved)
	return nil
}

// listed is what the server lists of the user's devices.
func (d *device) listed(ctx context.Context) (all []client.Device, err error) {
	err = d.patiently(ctx, func() error {
		all, err = d.c.Devices(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("devices of %s: %w", d.user.name, err)
	}
	return all, nil
}

// patiently does something again, when it was too often, as soon as that is allowed.
func (d *device) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		e, ok := errors.AsType[*client.Error](err)
		if !ok || e.Code != api.CodeLimited {
			return err
		}
		d.w.say("%s waits for %v", d.name, e.RetryAfter)
		select {
		case <-time.After(e.RetryAfter):
		case <-ctx.Done():
			return err
		}
	}
}

// recover comes back with a new password and a new code.
func (w *world) recover(ctx context.Context, u *user) error {
	d, err := w.join(u, filepath.Join(w.dir, fmt.Sprintf("%s-new-%d.db", u.name, u.made+1)))
	if err != nil {
		return err
	}
	code, err := d.c.NewRecoveryCode()
	if err != nil {
		return err
	}
	next := w.nextPassword(u)
	o := client.RecoverOptions{Username: u.name, RecoveryCode: u.code, NewPassword: next, NewCode: code, DeviceName: d.name}
	if err := d.c.Recover(ctx, o); err != nil {
		return fmt.Errorf("recovering %s: %w", u.name, err)
	}
	w.say("%s is back by the recovery code on %s", u.name, d.name)
	u.code, u.password = code, next
	d.online()
	return nil
}

func (w *world) nextPassword(u *user) string {
	u.passwords++
	return fmt.Sprintf("%s the %dth", password, u.passwords)
}

// changePassword changes it at one device, and sometimes signs the others out. They sign in again.
func (w *world) changePassword(ctx context.Context) error {
	if !w.healed { // the server may have an older password
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	d, err := w.some(func(d *device) bool { return !d.signedOut })
	if err != nil {
		return err
	}
	o := client.PasswordOptions{Password: d.user.password, NewPassword: w.nextPassword(d.user), SignOutOthers: w.rand.IntN(2) == 0}
	w.say("%s changes the password, signing others out: %v", d.name, o.SignOutOthers)
	if _, err := d.c.ChangePassword(ctx, o); err != nil {
		return fmt.Errorf("%s changes the password: %w", d.name, err)
	}
	d.user.password = o.NewPassword
	w.happened(eventPassword)
	if !o.SignOutOthers {
		return nil
	}
	for _, other := range d.user.devices {
		if other != d {
			other.signedOut = true
		}
	}
	return nil
}

// waitAsked is for a server that was restored and has an older password: one of the devices that are signed in is asked
// for the current one, and the others can sign in again.
func (w *world) waitAsked(ctx context.Context, u *user) bool {
	for !w.healed && ctx.Err() == nil {
		for _, d := range u.devices {
			if needed, err := d.c.PasswordRequired(); err == nil && needed && d.giveBack(ctx) == nil {
				return true
			}
			if !d.signedOut {
				d.online()
			}
		}
		time.Sleep(settlePoll)
	}
	return false
}

// signInAgain is what a person does at a device that was signed out.
func (d *device) signInAgain(ctx context.Context) error {
	d.w.say("%s signs in again", d.name)
	d.signedOut, d.forgotten, d.login = false, false, d.w.moves
	d.w.happened(eventSignedOut)
	o := client.LoginOptions{Username: d.user.name, Password: d.user.password, DeviceName: d.name}
	err := d.c.Login(ctx, o)
	if errors.Is(err, client.ErrWrongLogin) && d.w.waitAsked(ctx, d.user) {
		err = d.c.Login(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("signing in again on %s: %w", d.name, err)
	}
	d.online()
	return nil
}
