package chat

import (
	"context"
	"sync"
	"testing"

	"sotto/api"
	"sotto/internal/sqldb/sqldbtest"
)

// TestReplicasBatchInOppositeOrder: two replicas store batches for the same conversations, each in the other's order, while
// the receiver acknowledges on both. Nobody waits for the other, every seq is there once, and the numbers of the mailbox
// are those of its entries.
func TestReplicasBatchInOppositeOrder(t *testing.T) {
	r := newRig(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	pairs := []*person{ben, carl}
	var conversations []api.ConversationID
	for _, p := range pairs {
		conversations = append(conversations, r.talk(anna, p))
	}
	from := anna.devices[0]
	const rounds = 25
	var wg sync.WaitGroup
	for replica, s := range []*Service{r.s, r.service()} {
		wg.Go(func() {
			for range rounds {
				var sends []send
				for i := range pairs {
					at := (i + replica) % len(pairs)
					sends = append(sends, send{from.actor(), from.generation, from.message(conversations[at], anna, pairs[at])})
				}
				results, err := s.storeSends(t.Context(), sends)
				if err != nil {
					t.Error(err)
					return
				}
				for _, result := range results {
					if result.err != nil {
						t.Error(result.err)
					}
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				to := pairs[replica].devices[0]
				var acks []ack
				for _, e := range to.mailbox() {
					acks = append(acks, ack{to.actor(), to.generation, ackOf(e)})
				}
				if len(acks) == 0 {
					continue
				}
				if _, err := s.storeAcks(t.Context(), acks[:min(len(acks), maxBatch)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, id := range conversations {
		c, err := r.s.Conversation(t.Context(), from.actor(), id)
		if err != nil || c.LastSeq != 2*rounds {
			t.Errorf("last seq %d, %v", c.LastSeq, err)
		}
		to := pairs[i].devices[0]
		d, err := readDevice(t.Context(), r.db, to.owner.id, to.wire)
		if err != nil || d.entries != len(to.mailbox()) {
			t.Errorf("%d entries, the device's row says %d, %v", len(to.mailbox()), d.entries, err)
		}
	}
	if sqldbtest.On(t) == sqldbtest.Postgres {
		var deadlocks int
		if err := r.db.QueryRow(context.Background(),
			"SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks); err != nil || deadlocks != 0 {
			t.Errorf("%d deadlocks, %v", deadlocks, err)
		}
	}
}

// TestTwoReplicasLearnOfAnAccount: the first list of an account arrives at two replicas at once, an older one among them.
// The newest wins, and nothing is there twice.
func TestTwoReplicasLearnOfAnAccount(t *testing.T) {
	r := newRig(t)
	replicas := []*Service{r.s, r.service(), r.service()}
	for range 10 {
		p := r.stranger(1)
		old := p.lists()
		p.addDevice()
		p.sign()
		newest := p.lists()
		var wg sync.WaitGroup
		for i, s := range replicas {
			wg.Go(func() {
				if err := s.DevicesChanged(t.Context(), []api.AccountLists{newest, old, newest}[i]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		devices, err := readDevicesOf(t.Context(), r.db, []api.AccountID{p.id})
		if err != nil || len(devices) != 2 {
			t.Errorf("%d devices, %v", len(devices), err)
		}
		known, err := readAccounts(t.Context(), r.db, []api.AccountID{p.id})
		if err != nil || known[p.id].version != 2 {
			t.Errorf("version %d, %v", known[p.id].version, err)
		}
	}
}

// TestLoginEndsWhileItsSocketConnects: on the other replica, at the same moment. Whichever is first, no socket stays.
func TestLoginEndsWhileItsSocketConnects(t *testing.T) {
	r := running(t)
	replica := r.service()
	r.run(replica)
	d := r.person(1).devices[0]
	for range 10 {
		d.login = newID[api.LoginID](r)
		ended := make(chan error, 1)
		auth := d.auth()
		go func() { ended <- r.s.LoginEnded(context.Background(), d.owner.id, d.login) }()
		w := r.dial(t, replica, auth)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.end()
	}
}
