package client_test

import (
	"strings"
	"testing"
	"time"

	"sotto/client"
)

// TestArchiveKeysAskedFor: the archive keys that were sent to a device are lost with its mailbox, when it became dormant.
// It asks the other devices, when they are there again, and can write then.
func TestArchiveKeysAskedFor(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	second, third := w.device("second", "ada"), w.device("third", "ada")
	id := ada.talk("ada")
	ada.connect()
	second.connect()
	ada.sent(ada.send(id, "one"))
	second.reads(id, 1)
	second.disconnect()
	if pending, err := ada.RemoveDevice(t.Context(), third.ref().DeviceID, password); pending || err != nil {
		t.Fatal(pending, err)
	}
	ada.idle() // the keys are in the second device's mailbox
	ada.close()
	account, wire := second.account(), second.ref().DeviceID
	second.close()
	w.sleep(account, wire)

	ada.open()
	second.open()
	second.connect()
	ada.connect()
	second.hasKeysOf(ada)
	second.sent(second.send(id, "two"))
	ada.reads(id, 2)
}

// TestArchiveKeysAskedForSeldom: whoever could answer may be away for weeks.
func TestArchiveKeysAskedForSeldom(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	w.device("second", "ada")
	clock := clocked(ada)
	asked := func() (n int) {
		for range 100 {
			if err := ada.AskArchiveKeys(); err != nil {
				t.Fatal(err)
			}
		}
		n, err := ada.ArchiveKeysAsked()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := asked(); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	for i, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		clock.pass(pause - 10*time.Second)
		if n := asked(); n != i+1 {
			t.Errorf("asked %d times before the pause of %v", n, pause)
		}
		clock.pass(10 * time.Second)
		if n := asked(); n != i+2 {
			t.Errorf("asked %d times after the pause of %v", n, pause)
		}
	}
	for range 30 {
		clock.pass(24 * time.Hour)
		asked()
	}
	if n := asked(); n != 34 {
		t.Errorf("asked %d times in 30 days", n)
	}
}

// TestPeersAreMetInTheEnd: a new device learns whom the account has verified, and the connection breaks before it has
// seen the device list of that peer. It is fetched later.
func TestPeersAreMetInTheEnd(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	id := ada.talk("bob")
	if err := ada.SetVerified(ada.safety("bob"), true); err != nil {
		t.Fatal(err)
	}
	ada.connect()
	ada.settledState()
	two := w.device("two", "ada")
	lists := make(chan struct{}, 1000)
	two.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if strings.HasSuffix(r.URL, "/api/user/lists") {
				lists <- struct{}{}
				return errBroken
			}
			return nil
		}
	})
	two.connect()
	<-lists
	two.disconnect()
	two.net.honest()
	two.connect()
	two.until("the verified mark", func() bool { return two.conversation(id).Verified })
}
