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

// Events that a run has to have seen.
const (
	eventKilled = "server killed"
	eventCrash  = "device crashed"
)

// action is one thing that may happen next. It returns errNotNow when it cannot.
type action struct {
	name   string
	weight int // among all
	do     func(*world, context.Context) error
}

var errNotNow = errors.New("not now")

var actions = []action{
	{"send", 40, (*world).send},
	{"offline", 8, (*world).goOffline},
	{"online", 8, (*world).goOnline},
	{"crash", 6, (*world).crashDevice},
	{"kill", 2, (*world).killServer},
	{"dormant", 2, (*world).dormant},
	{"backup", 4, (*world).backup},
	{"restore", 4, (*world).restore},
	{"remove", 4, (*world).remove},
	{"loseAll", 2, (*world).loseAll},
	{"password", 2, (*world).changePassword},
	{"reset", 1, (*world).reset},
	{"wipe", 3, (*world).wipe},
	{"copy", 3, (*world).copyDevice},
	{"revive", 2, (*world).revive},
	{"relapse", 2, (*world).relapse},
}

// step does one action at random.
func (w *world) step() {
	w.t.Helper()
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := w.rand.IntN(total)
	i := slices.IndexFunc(actions, func(a action) bool {
		n -= a.weight
		return n < 0
	})
	w.do(actions[i])
}

func (w *world) do(a action) {
	w.t.Helper()
	ctx, cancel := w.ctx()
	defer cancel()
	if err := a.do(w, ctx); err != nil && !errors.Is(err, errNotNow) {
		w.t.Fatalf("%s: %v", a.name, err)
	}
	w.watchRuns(ctx)
}

// plots are what has to happen at least once in a run, in turn by seed, in the middle of everything else.
var plots = [][]action{
	{
		{"backup", 0, (*world).backup}, {"send", 0, (*world).send}, {"send", 0, (*world).send},
		{"kill", 0, (*world).killServer}, {"restore", 0, (*world).restore},
	},
	{{"loseAll", 0, (*world).loseAll}},
	{{"reset", 0, (*world).reset}, {"send", 0, (*world).send}, {"loseAll", 0, (*world).loseAll}},
	{{"overtake", 0, (*world).overtake}, {"relapse", 0, (*world).relapse}},
}

// watchRuns looks after devices whose connection ended for good.
func (w *world) watchRuns(ctx context.Context) {
	for _, d := range w.devices() {
		w.lookAfter(ctx, d, d.gone())
	}
}

// lookAfter does what a person does at a device whose connection ended for the given reason, nil for none.
func (w *world) lookAfter(ctx context.Context, d *device, err error) {
	switch code := client.CodeOf(err); {
	case code == client.CodeLoginEnded && (d.signedOut || d.forgotten):
		err = d.signInAgain(ctx)
	case (code == api.CodeDeviceCloned || code == api.CodeDeviceGone) && d.copied:
		err = w.refusedCopy(ctx, d, code)
	}
	if err == nil {
		err = d.giveBack(ctx)
	}
	if err != nil {
		w.fail("%s gave up: %w", d.name, err)
	}
}

// pick is one of several at random.
func pick[T any](w *world, from []T) T { return from[w.rand.IntN(len(from))] }

// some is a living device for which ok.
func (w *world) some(ok func(*device) bool) (*device, error) {
	all := slices.DeleteFunc(w.devices(), func(d *device) bool { return !ok(d) })
	if len(all) == 0 {
		return nil, errNotNow
	}
	return pick(w, all), nil
}

const burst = 3 // messages at once, at most

func (w *world) send(ctx context.Context) error {
	d := pick(w, w.devices())
	to := w.talkOf(d.user)
	n := 1 + w.rand.IntN(burst)
	w.say("%s says %d to %s", d.name, n, to.members[0].name+"/"+to.members[len(to.members)-1].name)
	for range n {
		if err := w.sayNext(ctx, d, to); err != nil {
			return err
		}
	}
	return nil
}

// sayNext says what nobody else says.
func (w *world) sayNext(ctx context.Context, d *device, to talk) error {
	w.sent++
	return d.say(ctx, to.id, fmt.Sprintf("%04d by %s", w.sent, d.name))
}

// talkOf is a conversation of a user.
func (w *world) talkOf(u *user) talk {
	return pick(w, slices.DeleteFunc(slices.Clone(w.talks), func(t talk) bool { return !slices.Contains(t.members, u) }))
}

func (w *world) goOffline(ctx context.Context) error {
	d, err := w.some((*device).isOnline)
	if err != nil {
		return err
	}
	w.say("%s goes offline", d.name)
	w.lookAfter(ctx, d, d.offline())
	return nil
}

func (w *world) goOnline(context.Context) error {
	d, err := w.some(func(d *device) bool { return !d.isOnline() })
	if err != nil {
		return err
	}
	w.say("%s goes online", d.name)
	d.online()
	return nil
}

func (w *world) crashDevice(context.Context) error {
	d := pick(w, w.devices())
	w.say("%s crashes", d.name)
	w.happened(eventCrash)
	return d.crash()
}

// wipe loses the disk of a device, and its owner signs in again on an empty one.
func (w *world) wipe(ctx context.Context) error {
	d := pick(w, w.devices())
	if len(d.user.devices) < 2 {
		return errNotNow
	}
	if err := w.beforeLoss(ctx); err != nil {
		return err
	}
	w.say("%s is wiped", d.name)
	if err := w.leave(d); err != nil {
		return err
	}
	_, err := w.newDevice(ctx, d.user)
	return err
}

// beforeLoss keeps to the one condition: after a restore, not every device that has a message is lost before it has
// met the server again. While there is a backup that could be restored, what one device alone has is given to the others
// first.
func (w *world) beforeLoss(ctx context.Context) error {
	if w.healed && len(w.backups) == 0 {
		return nil
	}
	return w.settle(ctx)
}

// newDevice signs in with the password on an empty store.
func (w *world) newDevice(ctx context.Context, u *user) (*device, error) {
	d, err := w.join(u, filepath.Join(w.dir, fmt.Sprintf("%s-new-%d.db", u.name, u.made+1)))
	if err != nil {
		return nil, err
	}
	w.say("%s is a new device", d.name)
	start := time.Now()
	if err := d.c.Login(ctx, client.LoginOptions{Username: u.name, Password: u.password, DeviceName: d.name}); err != nil {
		return nil, fmt.Errorf("signing in on %s: %w", d.name, err)
	}
	w.say("%s has signed in within %d ms", d.name, time.Since(start).Milliseconds())
	d.online()
	return d, nil
}
