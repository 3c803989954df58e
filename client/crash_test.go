package client_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/client"
)

// TestCrashWhileSending crashes the sender at every Apply of a send, before and after it is durable, until a round
// goes through without reaching the fault. Each time the client is opened again over what the store then holds. Every
// message whose Send returned is stored once, in order; one whose Send was cut off is stored once or never.
func TestCrashWhileSending(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("persisted ", after), func(t *testing.T) {
			w := newWorld(t)
			ada, bob := w.person("ada"), w.person("bob")
			id := ada.talk("bob")
			var sure []string // in order; "?" before those that may be missing
			for round := 1; ; round++ {
				ada.store.crashAt(round, after)
				text := fmt.Sprint("message ", round)
				if ada.trySend(id, text) {
					sure = append(sure, text)
				} else {
					sure = append(sure, "?"+text)
				}
				ada.connect()
				ada.until("the message or the crash", func() bool {
					n, err := ada.Queue()
					return ada.store.hasCrashed() || (err == nil && n == 0)
				})
				crashed := ada.store.hasCrashed()
				if crashed {
					if err := ada.ended(); client.CodeOf(err) != client.CodeStore {
						t.Fatalf("round %d: Run ended with %v", round, err)
					}
				}
				ada.reopen()
				ada.connect()
				ada.until("an empty queue", func() bool {
					n, err := ada.Queue()
					return err == nil && n == 0
				})
				ada.disconnect()
				if !crashed {
					break
				}
				if round > 100 {
					t.Fatal("a send takes more than 100 Applies")
				}
			}
			if len(sure) < 4 {
				t.Errorf("only %d Applies were hit", len(sure)-1)
			}
			got := ada.texts(id)
			checkSure(t, sure, got)
			bob.connect()
			if diff := cmp.Diff(got, bob.reads(id, len(got))); diff != "" {
				t.Errorf("bob reads (-ada +bob):\n%s", diff)
			}
		})
	}
}

// checkSure compares what arrived with what had to arrive; "?" marks what may be missing.
func checkSure(t *testing.T, sure, got []string) {
	t.Helper()
	i := 0
	for _, want := range sure {
		if i < len(got) && got[i] == trimMark(want) {
			i++
		} else if want[0] != '?' {
			t.Errorf("%q is missing or out of order in %q", want, got)
			return
		}
	}
	if i != len(got) {
		t.Errorf("%q is too much", got[i:])
	}
}

func trimMark(s string) string {
	if s[0] == '?' {
		return s[1:]
	}
	return s
}

// TestCrashWhileReceiving does the same to the receiver: every message is shown once, in order, and acknowledged in the
// end.
func TestCrashWhileReceiving(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("persisted ", after), func(t *testing.T) {
			w := newWorld(t)
			ada, bob := w.person("ada"), w.person("bob")
			id := ada.talk("bob")
			ada.connect()
			var want []string
			for round := 1; ; round++ {
				for i := range 2 {
					want = append(want, fmt.Sprintf("message %d.%d", round, i))
					ada.sent(ada.send(id, want[len(want)-1]))
				}
				bob.store.crashAt(round, after)
				bob.connect()
				bob.until("the messages or the crash", func() bool {
					return bob.store.hasCrashed() || bob.settled(id, len(want))
				})
				crashed := bob.store.hasCrashed()
				if crashed {
					if err := bob.ended(); client.CodeOf(err) != client.CodeStore {
						t.Fatalf("round %d: Run ended with %v", round, err)
					}
				}
				bob.reopen()
				bob.connect()
				bob.until("everything", func() bool { return bob.settled(id, len(want)) })
				if diff := cmp.Diff(want, bob.texts(id)); diff != "" {
					t.Fatalf("round %d: bob reads (-want +got):\n%s", round, diff)
				}
				bob.reopen()
				if !crashed {
					if round < 4 {
						t.Errorf("only %d Applies were hit", round-1)
					}
					break
				}
				if round > 100 {
					t.Fatal("receiving takes more than 100 Applies")
				}
			}
			if n := bob.counters(); n != (client.Counters{}) {
				t.Errorf("bob counts %+v", n)
			}
		})
	}
}
