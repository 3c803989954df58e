package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/sqldb/sqldbtest"
)

func TestStatements(t *testing.T) {
	r := newRig(t)
	sqldbtest.CheckStatements(t, ".", r.db, nil)
}

func TestTransactionsLockAccounts(t *testing.T) {
	sqldbtest.CheckTransactions(t, ".", map[string]string{
		"name":            "accountsTx itself",
		"devices changed": "changeDevices locks the account",
		"event":           "changeDevices locks the account; an ended login has no order",
		"store sends":     "loadSendBatch locks the members",
		"store acks":      "loadAckBatch locks the accounts",
		"login ended":     "one row, and no order",
		"settings":        "one statement, on the account's row",
		"upkeep":          "each step that empties mailboxes locks whose they are",
		"contact":         "touch locks the owners",
		"sweep":           "after the lease, the accounts that it announces",
		"erase":           "the members",
	})
}

// TestSendReadAck is the way of one message: stored with a position, waiting for every device but the sending one, gone
// after the acknowledgement that brings the record.
func TestSendReadAck(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	send := anna.devices[0].message(c, anna, ben)
	sent := anna.devices[0].mustSend(send)
	if sent.Seq != 1 || sent.Epoch != 1 || sent.ServerTime != startOfTime || len(sent.Devices) != 2 {
		t.Fatalf("first answer %+v", sent)
	}
	input := e2ee.TagInput{
		Conversation: c, MessageID: send.MessageID, Sender: anna.id, SenderDevice: 1, Epoch: 1, Seq: 1, ServerTime: startOfTime,
		Commitment: e2ee.Commitment(send.Commitment),
	}
	key := func(kid uint32) ([32]byte, bool) { return r.s.TagKey.Key, kid == r.s.TagKey.ID }
	if !e2ee.VerifyTag(key, sent.Tag, input) {
		t.Error("the tag does not verify")
	}
	if got := anna.devices[0].mailbox(); len(got) != 0 {
		t.Errorf("the sending device got its own message: %v", got)
	}
	for _, d := range []*phone{anna.devices[1], ben.devices[0]} {
		entries := d.mailbox()
		want := []api.Entry{{
			ConversationID: c, MessageID: send.MessageID, Class: api.ClassMessage, Epoch: 1, Seq: 1, ServerTime: startOfTime,
			SenderID: anna.id, SenderDevice: 1, EnvelopeDevice: 1, Type: api.EnvelopeWhisper, Bytes: d.envelope(send.MessageID).Bytes,
			Commitment: send.Commitment, Tag: sent.Tag,
		}}
		if len(entries) == 1 {
			want[0].EntryID = entries[0].EntryID
		}
		if diff := cmp.Diff(want, entries); diff != "" {
			t.Fatal(diff)
		}
	}
	entry := ben.devices[0].mailbox()[0]
	acked := ben.devices[0].mustAck(ackOf(entry))
	if diff := cmp.Diff(api.Acked{Removed: []int64{entry.EntryID}}, acked); diff != "" {
		t.Fatal(diff)
	}
	if got := ben.devices[0].mailbox(); len(got) != 0 {
		t.Errorf("acknowledged entries are still there: %v", got)
	}
}
