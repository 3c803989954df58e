package chat

import (
	"testing"

	"sotto/api"
)

// TestDeliveryWithoutHints: a message that another replica stored reaches a socket that heard of it by no hint, once.
func TestDeliveryWithoutHints(t *testing.T) {
	r := running(t)
	replica := r.service() // with hints of its own, that nobody else hears
	r.run(replica)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	there := r.dial(t, replica, to.auth())
	var ready api.Connection
	there.event(api.EventReady, &ready)
	poll := func() {
		t.Helper()
		if err := replica.pollMailboxes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// What is acknowledged between two polls is no reason to say anything.
	from.mustSend(from.message(c, anna, ben))
	poll()
	to.mustAck(ackOf(to.mailbox()...))
	poll()
	from.mustSend(from.message(c, anna, ben))
	poll()
	poll()
	var told api.Entries
	if there.event(api.EventEntries, &told); !told.More || len(told.Entries) != 0 {
		t.Errorf("%+v", told)
	}
	conn := replica.hub.all(func(*conn) bool { return true })[0]
	poll()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.missed {
		t.Error("the same entry was announced again")
	}
}
