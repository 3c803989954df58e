package devices_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/internal/testenv"
	"sotto/test/history"
)

// world is one schedule: a server, three people with their devices, and what is to be remembered of the run.
type world struct {
	t      *testing.T
	rand   *rand.Rand
	dir    string
	logs   string // folder of the journals, kept when the schedule fails
	server server
	url    string
	serve  *testenv.Serve // the same server when it is serve/SQLite: only that has backups here

	database string // of any other
	up       bool
	facts    *history.Journal // of the harness
	users    []*user
	talks    []talk

	sent    int // messages, for contents that nothing else says
	copies  []*copyOf
	backups []backup // oldest first
	moves   int      // data directories so far
	healed  bool     // every device has met the server since it was last restored

	mu     sync.Mutex
	names  map[api.AccountID]string
	broken []error // what must never happen
	story  []string
}

// server is a server of any shape.
type server interface {
	Up(ctx context.Context) error
	Restart(ctx context.Context) error
	Stop() error
}

// backup is a copy of the server's data.
type backup struct {
	folder string
	number int // among the data directories
}

// user is one person.
type user struct {
	name     string
	password string
	code     string // recovery code
	account  api.AccountID
	devices  []*device // that live
	made     int

	passwords int // so far
	removals  int // of devices, so far

	vouches bool // has verified the next one
}

// talk is a conversation with its members.
type talk struct {
	id      api.ConversationID
	members []*user
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, seed)), dir: t.TempDir(), logs: t.TempDir(), up: true, healed: true,
		names: map[api.AccountID]string{},
	}
	t.Cleanup(w.keepJournals)
	w.check(os.CopyFS(w.dir, os.DirFS(template)))
	w.check(os.Chmod(filepath.Join(w.dir, "data"), 0o700))
	w.check(w.serveCopy())
	w.check(w.server.Up(t.Context()))
	var err error
	w.facts, err = history.Open(w.logs, "run")
	w.check(err)
	for _, name := range names {
		u := &user{name: name, password: password, code: codes[name]}
		w.users = append(w.users, u)
		for i := range perUser {
			d, err := w.join(u, filepath.Join(w.dir, storeName(name, i)))
			w.check(err)
			me, _ := d.c.Account()
			u.account, w.names[me.ID] = me.ID, name
		}
	}
	w.meet()
	for _, d := range w.devices() {
		d.online()
	}
	w.vouch()
	return w
}

// vouch lets everybody compare safety numbers with the next one, on one device, and waits until their other devices know
// it: a device may be lost from then on. Every device of theirs has to know it at the end, whatever was lost in between.
func (w *world) vouch() {
	w.t.Helper()
	for i, u := range w.users {
		peer, c := w.users[(i+1)%len(w.users)], u.devices[0].c
		number, err := c.Safety(w.t.Context(), peer.name)
		w.check(err)
		w.check(c.SetVerified(number, true))
		u.vouches = true
		w.check(w.facts.Note(history.Fact{Kind: history.Vouched, User: u.name, Peer: peer.name}))
	}
	ctx, cancel := w.ctx()
	defer cancel()
	for i, u := range w.users {
		w.check(w.waitVouched(ctx, u, w.users[(i+1)%len(w.users)]))
	}
}

// vouches tells whether the device shows an account as verified.
func (d *device) vouches(peer api.AccountID) bool {
	d.w.t.Helper()
	all, err := d.c.Conversations()
	d.w.check(err)
	return slices.ContainsFunc(all, func(v client.Conversation) bool { return v.Peer == peer && v.Verified })
}

// meet finds out which conversations there are.
func (w *world) meet() {
	w.t.Helper()
	for i, u := range w.users {
		conversations, err := u.devices[0].c.Conversations()
		w.check(err)
		for _, v := range conversations {
			for j, peer := range w.users[:i+1] { // each once
				if v.Peer != peer.account {
					continue
				}
				members := []*user{u}
				if i != j {
					members = append(members, peer)
				}
				w.talks = append(w.talks, talk{v.ID, members})
				for _, m := range members {
					w.check(w.facts.Note(history.Fact{Kind: history.Member, Conversation: v.ID, User: m.name}))
				}
			}
		}
	}
	if len(w.talks) != 6 {
		w.t.Fatalf("%d conversations among three", len(w.talks))
	}
}

// join opens a store as a device of a user. It has to be signed in there, or about to be.
func (w *world) join(u *user, path string) (*device, error) {
	u.made++
	d := &device{w: w, user: u, name: fmt.Sprintf("%s-%d", u.name, u.made), path: path}
	var err error
	if d.journal, err = history.Open(w.logs, d.name); err != nil {
		return nil, err
	}
	w.t.Cleanup(func() {
		_ = d.close()
		_ = d.journal.Close()
	})
	d.note(history.Fact{Kind: history.Joined, User: u.name})
	u.devices = append(u.devices, d)
	return d, d.open()
}

// leave forgets a device that is gone for ever.
func (w *world) leave(d *device) error {
	d.note(history.Fact{Kind: history.Removed})
	var left []*device
	for _, other := range d.user.devices {
		if other != d {
			left = append(left, other)
		}
	}
	d.user.devices = left
	return errors.Join(d.tally(), d.close())
}

// devices lists those that live, of all users.
func (w *world) devices() []*device {
	var all []*device
	for _, u := range w.users {
		all = append(all, u.devices...)
	}
	return all
}

func (w *world) nameOf(a api.AccountID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name, ok := w.names[a]; ok {
		return name
	}
	return a.String()
}

// say adds a line to the story that is shown when the schedule fails.
func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail notes what must never happen. The schedule goes on, to show its consequences.
func (w *world) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	w.say("FAULT %v", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, err)
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// happened counts what a run has to have seen.
func (w *world) happened(event string) {
	if err := w.facts.Note(history.Fact{Kind: history.Happened, Event: event}); err != nil {
		w.fail("noting %s: %w", event, err)
	}
}

const commandPatience = 200 * time.Second // for one action with everything that comes to rest before it, on a machine that is busy

func (w *world) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.t.Context(), commandPatience)
}

// keepJournals leaves everything that explains a failure in the artifact folder.
func (w *world) keepJournals() {
	if !w.t.Failed() {
		return
	}
	to := w.t.ArtifactDir()
	if err := os.CopyFS(filepath.Join(to, "journals"), os.DirFS(w.logs)); err != nil {
		w.t.Logf("keeping the journals: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := os.Create(filepath.Join(to, "story.txt"))
	if err != nil {
		w.t.Logf("keeping the story: %v", err)
		return
	}
	defer f.Close()
	for _, line := range w.story {
		fmt.Fprintln(f, line)
	}
	w.t.Logf("journals and the story are in %s", to)
}
