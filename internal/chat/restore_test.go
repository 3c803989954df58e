package chat

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/outbox"
	"sotto/internal/sqldb/sqldbtest"
)

// restore makes the server forget what was stored since a backup, and raises the epoch.
func (r *rig) restore(backup string) {
	r.t.Helper()
	r.db = sqldbtest.OpenAt(r.t, backup, sqldbtest.Series{Name: Series, Files: Migrations()},
		sqldbtest.Series{Name: outbox.Series, Files: outbox.Migrations})
	r.epoch.Add(1)
	r.s = r.service()
	r.run(r.s)
}

// TestAfterRestore: what the server forgot is sent again with the same id and commitment, by another device of the
// sender, too. It gets a new position that is above every old one, a tag that verifies, and the records that were given
// back meanwhile find their place.
func TestAfterRestore(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	from, other, to := anna.devices[0], anna.devices[1], ben.devices[0]
	kept := from.message(c, anna, ben)
	first := from.mustSend(kept)
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := r.db.CopyTo(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	var forgotten []api.Send
	for range 3 {
		forgotten = append(forgotten, from.message(c, anna, ben))
		from.mustSend(forgotten[len(forgotten)-1])
	}
	from.connect()
	from.connect()
	r.restore(backup)

	// The higher of the two generations counts: the device's.
	_, err := from.send(forgotten[0])
	wantCode(t, err, api.CodeInvalid)
	if got := from.connect(); got.Epoch != 2 || got.Generation != from.generation {
		t.Errorf("%+v", got)
	}
	if again := from.mustSend(kept); !cmp.Equal(again, first) {
		t.Errorf("what was not forgotten: %s", cmp.Diff(first, again))
	}
	for _, d := range []*phone{other, to} { // before the messages are there again
		if _, err := d.putRecord(record(c, forgotten[2].MessageID), 0); err != nil {
			t.Fatal(err)
		}
	}
	if last := to.archive(nil, 10); len(last) != 1 || last[0].Message != nil {
		t.Errorf("%+v", last)
	}
	ends, err := r.s.Epochs(t.Context(), to.actor(), c)
	if want := (api.ConversationEpochs{ConversationID: c, Epoch: 2, Ends: []api.EpochEnd{{Epoch: 1, LastSeq: 1}}}); err != nil || !cmp.Equal(ends, want) {
		t.Errorf("%+v, %v", ends, err)
	}
	_, err = r.s.Epochs(t.Context(), r.person(1).devices[0].actor(), c)
	wantCode(t, err, api.CodeNotFound)
	var sent []api.Sent
	for i, send := range forgotten {
		by := from
		if i == 2 { // the device that wrote it is lost
			by, send.SenderDevice = other, from.wire
			send.Envelopes = []api.Envelope{from.envelope(send.MessageID), to.envelope(send.MessageID)}
		}
		for range 2 {
			sent = append(slices.Clone(sent[:i]), by.mustSend(send))
		}
		if sent[i].Epoch != 2 || sent[i].Seq != uint64(i+2) {
			t.Errorf("position (%d, %d)", sent[i].Epoch, sent[i].Seq)
		}
	}
	ends, err = r.s.Epochs(t.Context(), from.actor(), c)
	if want := []api.EpochEnd{{Epoch: 1, LastSeq: 1}, {Epoch: 2, LastSeq: 4}}; err != nil || !cmp.Equal(ends.Ends, want) {
		t.Errorf("%+v, %v", ends, err)
	}
	box := to.mailbox()
	if len(box) != 4 || box[3].SenderDevice != from.wire || box[3].EnvelopeDevice != other.wire || !cmp.Equal(box[3].Tag, sent[2].Tag) {
		t.Errorf("%+v", box)
	}
	input := e2ee.TagInput{
		Conversation: c, MessageID: forgotten[2].MessageID, Sender: anna.id, SenderDevice: uint32(from.wire), Epoch: 2, Seq: 4,
		ServerTime: sent[2].ServerTime, Commitment: e2ee.Commitment(forgotten[2].Commitment),
	}
	if !e2ee.VerifyTag(func(uint32) ([32]byte, bool) { return r.s.TagKey.Key, true }, sent[2].Tag, input) {
		t.Error("the tag does not verify")
	}
	to.mustAck(ackOf(box[1:]...))
	for _, d := range []*phone{other, to} {
		archive := d.archive(&c, 1)
		if len(archive) < 3 || archive[0].Record.MessageID != forgotten[2].MessageID || archive[0].Message == nil || archive[0].Message.Seq != 4 {
			t.Errorf("%+v", archive)
		}
	}
}

// TestStateAfterRestore: account state that the server forgot is given back under the version that the devices know.
func TestStateAfterRestore(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	r := running(t)
	anna := r.person(1)
	d := anna.devices[0]
	put := func(name string, version uint64) error {
		return r.s.PutState(t.Context(), d.actor(), stateOf(name, version, "x"))
	}
	if err := put("profile", 1); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	if err := r.db.CopyTo(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	r.restore(backup)
	for name, versions := range map[string][]uint64{"profile": {5, 6}, "peer/ben": {3, 4}} {
		for _, version := range versions {
			if err := put(name, version); err != nil {
				t.Errorf("%s %d: %v", name, version, err)
			}
		}
		wantCode(t, r.s.PutState(t.Context(), d.actor(), stateOf(name, versions[0], "y")), api.CodeConflict)
	}
}
