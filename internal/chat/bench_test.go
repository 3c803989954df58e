package chat

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/sqldb/sqldbtest"
)

// BenchmarkStoreSends is the store path alone: check, position, one mailbox entry and the sender's archive record, for
// batches of several sizes. One iteration is one message.
func BenchmarkStoreSends(b *testing.B) {
	for _, size := range []int{1, 8, maxBatch} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			r := newRig(b)
			anna, ben := r.person(1), r.person(1)
			c := r.talk(anna, ben)
			from := anna.devices[0]
			sends := make([]send, b.N)
			for i := range sends {
				req := from.message(c, anna, ben)
				req.Envelopes[0].Bytes = make([]byte, 1024)
				req.Record.Sealed = make([]byte, 1024)
				sends[i] = send{from.actor(), from.generation, req}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for rest := sends; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if _, err := r.s.storeSends(b.Context(), rest[:min(size, len(rest))]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkStoreAcks acknowledges single entries, each with its record.
func BenchmarkStoreAcks(b *testing.B) {
	r := newRig(b)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	n := min(b.N, api.MaxMailboxEntries) // a mailbox holds no more; the rest acknowledges what is gone
	for done := 0; done < n; {
		var sends []send
		for ; len(sends) < maxBatch && done < n; done++ {
			sends = append(sends, send{from.actor(), from.generation, from.message(c, anna, ben)})
		}
		if _, err := r.s.storeSends(b.Context(), sends); err != nil {
			b.Fatal(err)
		}
	}
	entries := to.mailbox()
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		var acks []ack
		for ; len(acks) < maxBatch && done < b.N; done++ {
			acks = append(acks, ack{to.actor(), to.generation, ackOf(entries[done%n])})
		}
		if _, err := r.s.storeAcks(b.Context(), acks); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
}

// BenchmarkGrowth stores SOTTO_GROWTH messages (20,000) in 50 conversations, each acknowledged with its record, and tells
// the rate of the first and of the last tenth: growing must not make it slower.
func BenchmarkGrowth(b *testing.B) {
	total := 20_000
	if text := os.Getenv("SOTTO_GROWTH"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil || total < 10*maxBatch {
			b.Fatalf("SOTTO_GROWTH is %q; give a number of messages from %d on", text, 10*maxBatch)
		}
	}
	for range b.N {
		r := newRig(b)
		anna := r.person(1)
		from := anna.devices[0]
		var people []*person
		var conversations []api.ConversationID
		for range 50 {
			people = append(people, r.person(1))
			conversations = append(conversations, r.talk(anna, people[len(people)-1]))
		}
		started, tenth := time.Now(), time.Now()
		var first, last float64
		for done, part := 0, 0; done < total; {
			r.growByBatch(b, from, people, conversations)
			if done += maxBatch; done >= (part+1)*total/10 {
				part++
				last = float64(total) / 10 / time.Since(tenth).Seconds()
				if first == 0 {
					first = last
				}
				b.Logf("%s: %d messages, %.0f/s", sqldbtest.On(b), done, last)
				tenth = time.Now()
			}
		}
		b.ReportMetric(float64(total)/time.Since(started).Seconds(), "messages/s")
		b.ReportMetric(first, "first/s")
		b.ReportMetric(last, "last/s")
	}
}

// growByBatch stores one batch and its acknowledgements.
func (r *rig) growByBatch(b *testing.B, from *phone, people []*person, conversations []api.ConversationID) {
	b.Helper()
	var sends []send
	for range maxBatch {
		at := int(r.serial.Add(1)) % len(people)
		req := from.message(conversations[at], from.owner, people[at])
		req.Envelopes[0].Bytes, req.Record.Sealed = make([]byte, 512), make([]byte, 256)
		sends = append(sends, send{from.actor(), from.generation, req})
	}
	results, err := r.s.storeSends(b.Context(), sends)
	if err != nil {
		b.Fatal(err)
	}
	var acks []ack
	for _, p := range results[0].pushes {
		i := slices.IndexFunc(people, func(q *person) bool { return q.id == p.account })
		to := people[i].devices[0]
		acks = append(acks, ack{to.actor(), to.generation, ackOf(p.entry)})
	}
	if _, err := r.s.storeAcks(b.Context(), acks); err != nil {
		b.Fatal(err)
	}
}
