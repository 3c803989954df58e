package client_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/internal/app"
	"sotto/internal/config"
)

func (w *world) config() config.Config { return config.Config{DataDir: filepath.Join(w.dir, "data")} }

// backup copies the server's data while it runs.
func (w *world) backup() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "backup")
	if err := app.Backup(w.t.Context(), w.config(), dir, io.Discard); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// restore destroys the server's data and starts it from a backup. Whoever is connected must be disconnected before, and
// opens again afterwards: the address is another one.
func (w *world) restore(backup string, people ...*person) {
	w.t.Helper()
	for _, p := range people {
		if err := p.disconnect(); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.stop(); err != nil {
		w.t.Fatal(err)
	}
	if err := os.RemoveAll(w.config().DataDir); err != nil {
		w.t.Fatal(err)
	}
	if err := app.Restore(w.t.Context(), w.config(), backup, io.Discard); err != nil {
		w.t.Fatal(err)
	}
	w.start()
	for _, p := range people {
		p.reopen()
	}
}

// device signs in on a further device of an account.
func (w *world) device(store, username string) *person {
	w.t.Helper()
	p := w.person(store)
	if err := p.Login(w.t.Context(), login(username)); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// epochs are the epochs of the positions of a conversation.
func (p *person) positions(id api.ConversationID) (all []client.Position) {
	p.t.Helper()
	page, err := p.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range page {
		all = append(all, m.Position)
	}
	return all
}

// agree waits until all show the same messages at the same positions, those of a restored server, and checks them.
func agree(id api.ConversationID, want []string, kept int, people ...*person) {
	for _, p := range people {
		p.t.Helper()
		p.until("every message at its new position", func() bool {
			all := p.positions(id)
			return len(all) == len(want) && !slices.ContainsFunc(all[kept:], func(at client.Position) bool { return at.Epoch < 2 }) &&
				slices.Equal(all, people[0].positions(id))
		})
		got := p.texts(id)
		slices.Sort(got[kept:])
		sorted := slices.Clone(want)
		slices.Sort(sorted[kept:])
		if diff := cmp.Diff(sorted, got); diff != "" {
			p.t.Error(diff)
		}
		if !slices.Equal(p.texts(id), people[0].texts(id)) {
			p.t.Errorf("%q and %q", p.texts(id), people[0].texts(id))
		}
		if n := p.counters(); n.Alerts != 0 || n.Unreadable != 0 || n.Misdelivery != 0 || n.Holes != 0 {
			p.t.Errorf("%+v", n)
		}
	}
}

// TestServerRestored: after the backup messages went both ways, a device was added, and one wrote that is lost since. All of it
// is there again, once, and at the same positions on every device.
func TestServerRestored(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "kept"))
	bob.reads(id, 1)
	bob.until("the acknowledgement", func() bool { n, err := bob.PendingAcks(); return err == nil && n == 0 })
	backup := w.backup()

	second := w.device("second", "ada")
	second.connect()
	second.until("the conversation", func() bool { all, err := second.Conversations(); return err == nil && len(all) > 0 })
	want := []string{"kept"}
	for _, text := range []string{"one", "two", "three"} {
		ada.sent(ada.send(id, text))
		second.sent(second.send(id, "second "+text))
		bob.sent(bob.send(id, "bob "+text))
		want = append(want, text, "second "+text, "bob "+text)
	}
	for _, p := range []*person{ada, bob} {
		p.reads(id, len(want))
	}
	second.reads(id, len(want))
	second.sent(second.send(id, "on its way"))
	want = append(want, "on its way")
	bob.reads(id, len(want))
	ada.reads(id, len(want))
	w.restore(backup, ada, bob, second)

	ours := slices.DeleteFunc(slices.Clone(want), func(text string) bool { return strings.HasPrefix(text, "bob") })
	ours = append(ours, "written before the restore was known")
	waiting := ada.send(id, "written before the restore was known")
	want = append(want, "written before the restore was known")
	second.connect() // the server does not know it any more
	second.until("the introduction", func() bool { s, err := second.Settled(); return err == nil && s })
	ada.connect()
	bob.connect()
	ada.sent(waiting)
	agree(id, want, 1, ada, bob, second)
	own := slices.DeleteFunc(ada.texts(id), func(text string) bool { return !slices.Contains(ours, text) })
	if !slices.Equal(own, ours) {
		t.Errorf("what one account sent stands in another order: %q", own)
	}
	// And everything goes on.
	ada.sent(ada.send(id, "afterwards"))
	bob.sent(bob.send(id, "indeed"))
	agree(id, append(want, "afterwards", "indeed"), 1, ada, bob, second)
	for _, p := range []*person{ada, bob, second} {
		if n, err := p.Queue(); err != nil || n != 0 {
			t.Errorf("%d in the queue, %v", n, err)
		}
	}
}

// TestNewestDeviceAlone: two devices were added after the backup, and only the newer one lives, which was never connected.
// It knows enough of the lists before its own to be taken back.
func TestNewestDeviceAlone(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	backup := w.backup()
	w.device("second", "ada").close()
	third := w.device("third", "ada")
	w.restore(backup, ada, third)
	third.connect()
	third.until("the introduction", func() bool { s, err := third.Settled(); return err == nil && s })
}

// TestServerSetBack: the server's files were brought back without a higher epoch. It is refused and told.
func TestServerSetBack(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	older := filepath.Join(t.TempDir(), "data")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(older, os.DirFS(w.config().DataDir)); err != nil {
		t.Fatal(err)
	}
	w.start()
	ada.reopen()
	id := ada.talk("bob")
	ada.connect()
	ada.sent(ada.send(id, "forgotten"))
	bob := w.person("bob")
	bob.talk("ada")
	w.device("second", "ada").close()
	if _, err := bob.Safety(t.Context(), "ada"); err != nil { // pins the second version of ada's list
		t.Fatal(err)
	}
	// First a restore as it should be, then the older files.
	w.restore(w.backup(), ada, bob)
	bob.connect()
	bob.until("the epoch", func() bool { e, err := bob.ServerEpoch(); return err == nil && e > 1 })
	if err := bob.disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(w.config().DataDir), os.CopyFS(w.config().DataDir, os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	w.start()
	bob.reopen()
	events := bob.Events()
	defer events.Close()
	bob.connect()
	for e := range events.C {
		if e.Type == client.EventAlert {
			if client.CodeOf(e.Err) != client.CodeServerBack {
				t.Error(e.Err)
			}
			break
		}
	}
	if _, err := bob.Safety(t.Context(), "ada"); client.CodeOf(err) != client.CodeServerBack {
		t.Error(err)
	}
	if n := bob.counters(); n.Alerts == 0 {
		t.Errorf("%+v", n)
	}
}
