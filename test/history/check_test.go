package history_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/test/history"
)

var (
	talk  = api.ConversationID{1}
	notes = api.ConversationID{2}
)

// said is one message of the run that every test begins with.
type said struct {
	id           api.MessageID
	conversation api.ConversationID
	user, text   string
	at           client.Position
}

var all = []said{
	{api.MessageID{1}, talk, "ada", "hello", client.Position{Epoch: 1, Seq: 1}},
	{api.MessageID{2}, talk, "bob", "yes?", client.Position{Epoch: 1, Seq: 2}},
	{api.MessageID{3}, talk, "ada", "look", client.Position{Epoch: 1, Seq: 3}},
	{api.MessageID{4}, notes, "ada", "milk", client.Position{Epoch: 1, Seq: 1}},
	{api.MessageID{5}, talk, "bob", "after the restore", client.Position{Epoch: 9, Seq: 4}},
}

var devices = []history.Fact{
	{Kind: history.Joined, Device: "ada-1", User: "ada"},
	{Kind: history.Joined, Device: "ada-2", User: "ada"},
	{Kind: history.Joined, Device: "bob-1", User: "bob"},
}

// good is a run without a fault: ada has two devices, bob one.
func good() []history.Fact {
	facts := []history.Fact{
		{Kind: history.Member, Conversation: talk, User: "ada"},
		{Kind: history.Member, Conversation: talk, User: "bob"},
		{Kind: history.Member, Conversation: notes, User: "ada"},
		{Kind: history.Vouched, User: "ada", Peer: "bob", Safety: "12345"},
		{Kind: history.Happened, Event: "supplement"},
	}
	facts = append(facts, devices...)
	for _, m := range all {
		from := m.user + "-1"
		facts = append(facts,
			history.Fact{Kind: history.Intend, Device: from, User: m.user, Conversation: m.conversation, Content: m.text},
			m.fact(history.Acked, from))
	}
	facts = append(facts, history.Fact{
		Kind: history.Intend, Device: "bob-1", User: "bob", Conversation: talk, Content: "lost with the device, never acknowledged",
	})
	for _, d := range devices {
		facts = append(facts, history.Fact{Kind: history.Listing, Device: d.Device})
		for _, m := range all {
			if d.User == "bob" && m.conversation == notes {
				continue
			}
			if m.user != d.User {
				facts = append(facts, history.Fact{Kind: history.Shown, Device: d.Device, Message: m.id})
			}
			facts = append(facts, m.fact(history.Seen, d.Device))
		}
		if d.User == "ada" {
			facts = append(facts, history.Fact{Kind: history.Contact, Device: d.Device, Peer: "bob", Safety: "12345", Verified: true})
		}
	}
	return facts
}

func (m said) fact(kind history.Kind, device string) history.Fact {
	return history.Fact{
		Kind: kind, Device: device, User: m.user, Conversation: m.conversation, Message: m.id, Position: m.at, Content: m.text,
	}
}

// find is the index of the listing line of a message on a device.
func find(t *testing.T, facts []history.Fact, kind history.Kind, device string, message byte) int {
	t.Helper()
	i := slices.IndexFunc(facts, func(f history.Fact) bool {
		return f.Kind == kind && f.Device == device && f.Message == api.MessageID{message}
	})
	if i < 0 {
		t.Fatalf("no %s of %d on %s", kind, message, device)
	}
	return i
}

func TestGood(t *testing.T) {
	r := history.Check(good())
	if len(r.Faults) > 0 || r.Acked != 5 || r.Seen != 14 || r.Happened["supplement"] != 1 {
		t.Errorf("%d acknowledged, %d seen, %v\n%s", r.Acked, r.Seen, r.Happened, r)
	}
	if missing := history.Missing(r.Happened, "supplement", "owed"); !slices.Equal(missing, []string{"owed"}) {
		t.Errorf("missing events %v", missing)
	}
}

// without takes away every line about a message on a device.
func without(facts []history.Fact, device string, message byte) []history.Fact {
	return slices.DeleteFunc(facts, func(f history.Fact) bool {
		return f.Device == device && f.Message == api.MessageID{message} && f.Kind != history.Acked
	})
}

// TestPlanted: every kind of fault is found where it was planted, and told as what it is.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(f []history.Fact) []history.Fact
		want  string // kind of the first fault; none when empty
		about string
	}{
		{"loss on one device", func(f []history.Fact) []history.Fact { return without(f, "ada-2", 3) }, history.FaultLost, `ada-2 does not show "look"`},
		{"loss on every device", func(f []history.Fact) []history.Fact {
			return without(without(without(f, "ada-1", 5), "ada-2", 5), "bob-1", 5)
		}, history.FaultLost, "after the restore"},
		{"loss of what only another device shows", func(f []history.Fact) []history.Fact {
			i := find(t, f, history.Acked, "ada-1", 3)
			return without(slices.Delete(f, i, i+1), "bob-1", 3)
		}, history.FaultLost, "bob-1"},
		{"loss on a removed device", func(f []history.Fact) []history.Fact {
			return append(without(f, "ada-2", 3), history.Fact{Kind: history.Removed, Device: "ada-2"})
		}, "", ""},
		{"shut by a reset", func(f []history.Fact) []history.Fact {
			return append(without(f, "bob-1", 3), history.Fact{
				Kind: history.Shut, User: "bob", Conversation: talk, Message: api.MessageID{3}, Position: client.Position{Epoch: 1, Seq: 3},
			})
		}, "", ""},
		{"loss by another's reset", func(f []history.Fact) []history.Fact {
			return append(without(f, "ada-2", 3), history.Fact{
				Kind: history.Shut, User: "bob", Conversation: talk, Message: api.MessageID{3}, Position: client.Position{Epoch: 1, Seq: 3},
			})
		}, history.FaultLost, `ada-2 does not show "look"`},
		{"never acknowledged, seen nowhere", func(f []history.Fact) []history.Fact {
			i := find(t, f, history.Acked, "bob-1", 5)
			return without(without(without(slices.Delete(f, i, i+1), "ada-1", 5), "ada-2", 5), "bob-1", 5)
		}, "", ""},
		{"listed twice", func(f []history.Fact) []history.Fact {
			i := find(t, f, history.Seen, "bob-1", 2)
			again := f[i]
			again.Position.Seq = 5
			return append(f, again)
		}, history.FaultPosition, ""},
		{"announced twice", func(f []history.Fact) []history.Fact {
			return append(f, f[find(t, f, history.Shown, "bob-1", 1)])
		}, history.FaultTwice, "announced"},
		{"sent twice under two ids", func(f []history.Fact) []history.Fact {
			for _, d := range []string{"ada-1", "ada-2", "bob-1"} {
				again := f[find(t, f, history.Seen, d, 3)]
				again.Message, again.Position = api.MessageID{99}, client.Position{Epoch: 9, Seq: 5}
				f = append(f, again)
			}
			return f
		}, history.FaultTwice, "two message ids"},
		{"swapped on one device", func(f []history.Fact) []history.Fact {
			i, j := find(t, f, history.Seen, "ada-2", 1), find(t, f, history.Seen, "ada-2", 2)
			f[i], f[j] = f[j], f[i]
			return f
		}, history.FaultOrder, "ada-2"},
		{"swapped with the positions", func(f []history.Fact) []history.Fact {
			i, j := find(t, f, history.Seen, "ada-2", 1), find(t, f, history.Seen, "ada-2", 2)
			f[i], f[j] = f[j], f[i]
			f[i].Position, f[j].Position = f[j].Position, f[i].Position
			return f
		}, history.FaultPosition, "ada-2"},
		{"old position after a restore", func(f []history.Fact) []history.Fact {
			f[find(t, f, history.Seen, "ada-2", 5)].Position = client.Position{Epoch: 1, Seq: 7}
			return f
		}, history.FaultHole, ""},
		{"epochs that go back", func(f []history.Fact) []history.Fact {
			for i := range f {
				if f[i].Message == (api.MessageID{1}) {
					f[i].Position.Epoch = 3
				}
			}
			return f
		}, history.FaultOrder, ""},
		{"hole without a reason", func(f []history.Fact) []history.Fact {
			return slices.DeleteFunc(f, func(f history.Fact) bool { return f.Message == api.MessageID{2} })
		}, history.FaultHole, "seq 2"},
		{"hole with a reason", func(f []history.Fact) []history.Fact {
			return append(slices.DeleteFunc(f, func(f history.Fact) bool { return f.Message == api.MessageID{2} }), history.Fact{
				Kind: history.Excused, Device: "bob-1", Conversation: talk, Position: client.Position{Epoch: 1, Seq: 2}, Reason: "expired",
			})
		}, "", ""},
		{"another content", func(f []history.Fact) []history.Fact {
			f[find(t, f, history.Seen, "bob-1", 1)].Content = "Hello"
			return f
		}, history.FaultContent, "nobody sent"},
		{"contents exchanged", func(f []history.Fact) []history.Fact {
			i, j := find(t, f, history.Seen, "bob-1", 1), find(t, f, history.Seen, "bob-1", 3)
			f[i].Content, f[j].Content = f[j].Content, f[i].Content
			return f
		}, history.FaultContent, "hello"},
		{"another sender", func(f []history.Fact) []history.Fact {
			f[find(t, f, history.Seen, "bob-1", 1)].User = "bob"
			return f
		}, history.FaultContent, "ada wrote it"},
		{"another conversation", func(f []history.Fact) []history.Fact {
			f[find(t, f, history.Seen, "bob-1", 3)].Conversation = notes
			return f
		}, history.FaultContent, ""},
		{"unreadable for good", func(f []history.Fact) []history.Fact {
			f = append(without(f, "bob-1", 3), history.Fact{Kind: history.Unreadable, Device: "bob-1", Message: api.MessageID{3}})
			return f
		}, history.FaultUnreadable, "still"},
		{"unreadable again", func(f []history.Fact) []history.Fact {
			return append(f, history.Fact{Kind: history.Unreadable, Device: "bob-1", Message: api.MessageID{3}})
		}, history.FaultUnreadable, "before"},
		{"unreadable for a while", func(f []history.Fact) []history.Fact {
			i := find(t, f, history.Shown, "bob-1", 3)
			return slices.Insert(f, i, history.Fact{Kind: history.Unreadable, Device: "bob-1", Message: api.MessageID{3}})
		}, "", ""},
		{"mark lost", func(f []history.Fact) []history.Fact {
			return slices.DeleteFunc(f, func(f history.Fact) bool { return f.Kind == history.Contact && f.Device == "ada-2" })
		}, history.FaultContact, "ada-2"},
		{"mark for another key", func(f []history.Fact) []history.Fact {
			return append(f, history.Fact{Kind: history.Contact, Device: "ada-2", Peer: "bob", Safety: "54321", Verified: true})
		}, history.FaultContact, "another safety number"},
		{"mark out of nowhere", func(f []history.Fact) []history.Fact {
			return append(f, history.Fact{Kind: history.Contact, Device: "bob-1", Peer: "ada", Verified: true})
		}, history.FaultContact, "never said"},
		{"warning lost, mark kept", func(f []history.Fact) []history.Fact {
			return append(f, history.Fact{Kind: history.Changed, User: "ada", Peer: "bob"})
		}, history.FaultContact, ""},
		{"warned", func(f []history.Fact) []history.Fact {
			f = append(f, history.Fact{Kind: history.Changed, User: "ada", Peer: "bob"})
			for _, d := range []string{"ada-1", "ada-2"} {
				f = append(f, history.Fact{Kind: history.Contact, Device: d, Peer: "bob", Warned: true})
			}
			return f
		}, "", ""},
		{"a device that never joined", func(f []history.Fact) []history.Fact {
			return append(f, history.Fact{Kind: history.Listing, Device: "eve-1"})
		}, history.FaultJournal, "eve-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := history.Check(c.plant(good()))
			switch {
			case c.want == "" && len(r.Faults) > 0:
				t.Errorf("faults found:\n%s", r)
			case c.want != "" && !slices.ContainsFunc(r.Faults, func(f history.Fault) bool {
				return f.Kind == c.want && strings.Contains(f.What, c.about)
			}):
				t.Errorf("no fault of kind %s about %q:\n%s", c.want, c.about, r)
			}
		})
	}
}

// TestOnlyThePlanted: one fault does not drown in its consequences.
func TestOnlyThePlanted(t *testing.T) {
	if r := history.Check(without(good(), "ada-2", 3)); len(r.Faults) != 1 {
		t.Errorf("%d faults:\n%s", len(r.Faults), r)
	}
}

// TestJournals: facts survive the file, in order, over several openings and journals; a broken line is told.
func TestJournals(t *testing.T) {
	folder := t.TempDir()
	facts := good()
	for i, f := range facts {
		name := f.Device
		if name == "" {
			name = "run"
		}
		j, err := history.Open(folder, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Note(f); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if got, err := history.Read(folder); err != nil || len(got) != 1 || got[0] != f {
				t.Fatalf("%+v, %v; want %+v", got, err, f)
			}
		}
	}
	got, err := history.Read(folder)
	if err != nil || len(got) != len(facts) {
		t.Fatalf("%d facts of %d, %v", len(got), len(facts), err)
	}
	if r := history.Check(got); len(r.Faults) > 0 || r.Acked != 5 || r.Seen != 14 {
		t.Errorf("%d acknowledged, %d seen\n%s", r.Acked, r.Seen, r)
	}
	if err := os.WriteFile(filepath.Join(folder, "torn.journal"), []byte(`{"kind":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Read(folder); err == nil || !strings.Contains(err.Error(), "torn.journal") {
		t.Errorf("reading a torn journal: %v", err)
	}
}
