package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// snapshot copies the store between two writes, as a backup of the disk would.
func (p *person) snapshot(name string) {
	p.t.Helper()
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	for _, part := range []string{"", "-wal"} {
		content, err := os.ReadFile(p.path + part)
		if err == nil {
			err = os.WriteFile(filepath.Join(p.w.dir, name+part), content, 0o600)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestOldCopy: the disk is lost and an older copy of it goes on, from the same connection, so that nobody can tell it
// from the device. What the device sent and acknowledged since then, the copy reads from the archive; what it encrypts
// with used keys is repaired.
func TestOldCopy(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "one"))
	bob.sent(bob.send(id, "two"))
	ada.reads(id, 2)
	ada.snapshot("copy")
	bob.sent(bob.send(id, "three"))
	ada.sent(ada.send(id, "four"))
	bob.sent(bob.send(id, "five"))
	ada.until("the acknowledgements", func() bool { return ada.settled(id, 5) })
	ada.close()
	old := w.person("copy")
	old.connect()
	want := []string{"one", "two", "three", "four", "five"}
	if diff := cmp.Diff(want, old.reads(id, 5)); diff != "" {
		t.Errorf("the copy reads (-want +got):\n%s", diff)
	}
	old.sent(old.send(id, "six"))
	bob.sent(bob.send(id, "seven"))
	bob.reads(id, 7)
	want = append(want, "six", "seven")
	if diff := cmp.Diff(want, old.reads(id, 7)); diff != "" {
		t.Errorf("the copy reads (-want +got):\n%s", diff)
	}
	if n := old.counters(); n.Holes != 0 {
		t.Errorf("%+v", n)
	}
}

// TestLateRecord: a message from before a new device waits for an older device, which is offline. The new one gets it when
// the older one has brought it into the archive, although it has read the archive before.
func TestLateRecord(t *testing.T) {
	w := newWorld(t)
	ada, bob, second := w.person("ada"), w.person("bob"), w.person("second")
	id := ada.talk("bob")
	ada.connect()
	ada.sent(ada.send(id, "early"))
	if err := second.Login(t.Context(), login("bob")); err != nil {
		t.Fatal(err)
	}
	second.connect()
	second.until("the archive", func() bool {
		h, err := second.History()
		return err == nil && h.Complete
	})
	ada.sent(ada.send(id, "late"))
	if diff := cmp.Diff([]string{"late"}, second.reads(id, 1)); diff != "" {
		t.Errorf("the new device reads (-want +got):\n%s", diff)
	}
	second.disconnect()
	second.connect() // it looks for holes, and must not take this one for settled
	bob.connect()
	bob.until("the acknowledgements", func() bool { return bob.settled(id, 2) })
	second.disconnect()
	second.connect()
	if diff := cmp.Diff([]string{"early", "late"}, second.reads(id, 2)); diff != "" {
		t.Errorf("the new device reads (-want +got):\n%s", diff)
	}
}
