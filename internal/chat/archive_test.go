package chat

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/errs"
)

// archive reads the whole archive of the account, page by page.
func (d *phone) archive(conversation *api.ConversationID, limit int) []api.ArchivedRecord {
	d.owner.r.t.Helper()
	all := []api.ArchivedRecord{}
	count := 0
	for before := ""; ; {
		page, err := d.owner.r.s.Archive(d.owner.r.t.Context(), d.actor(), api.ArchiveRequest{
			Before: before, ConversationID: conversation, Limit: limit,
		})
		if err != nil {
			d.owner.r.t.Fatal(err)
		}
		if before == "" {
			count = page.Count
		}
		all = append(all, page.Records...)
		if before = page.Next; before == "" {
			break
		}
	}
	if count != len(all) {
		d.owner.r.t.Fatalf("a count of %d before %d records", count, len(all))
	}
	return all
}

// messagesOf are the ids of records, in their order.
func messagesOf(records []api.ArchivedRecord) (ids []api.MessageID) {
	for _, r := range records {
		ids = append(ids, r.Record.MessageID)
	}
	return ids
}

func (d *phone) putRecord(r api.Record, revision uint64) (uint64, error) {
	now, err := d.owner.r.s.PutRecord(d.owner.r.t.Context(), d.actor(), r, revision)
	return now.Revision, err
}

// TestArchivePages: newest first by position, whatever the order of the acknowledgements, own and received ones alike,
// of all conversations or of one, in pages of any size.
func TestArchivePages(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	withBen, withCarl := r.talk(anna, ben), r.talk(anna, carl)
	from, to := anna.devices[0], ben.devices[0]
	var all, bens []api.MessageID
	sends := make(map[api.MessageID]api.Send)
	answers := make(map[api.MessageID]api.Sent)
	store := func(by *phone, send api.Send) {
		sent := by.mustSend(send)
		sends[send.MessageID], answers[send.MessageID] = send, sent
		all = slices.Insert(all, 0, send.MessageID)
		if send.ConversationID == withBen {
			bens = slices.Insert(bens, 0, send.MessageID)
		}
	}
	for range 3 {
		store(from, from.message(withBen, anna, ben))
		store(to, to.message(withBen, anna, ben))
		store(from, from.message(withCarl, anna, carl))
	}
	box := from.mailbox()
	slices.Reverse(box)
	for _, e := range box { // the newest one is acknowledged, and thus stored, first
		from.mustAck(ackOf(e))
	}
	for limit := 1; limit <= len(all)+1; limit++ {
		if diff := cmp.Diff(all, messagesOf(from.archive(nil, limit))); diff != "" {
			t.Fatalf("pages of %d: %s", limit, diff)
		}
		if diff := cmp.Diff(bens, messagesOf(from.archive(&withBen, limit))); diff != "" {
			t.Fatalf("pages of %d of one conversation: %s", limit, diff)
		}
	}
	if n := len(to.archive(nil, 10)); n != 3 {
		t.Errorf("%d records of an account that acknowledged nothing", n)
	}
	for _, got := range from.archive(nil, api.MaxArchivePage) {
		id := got.Record.MessageID
		sender := anna
		if !slices.Contains(messagesOf(carl.devices[0].archive(nil, 10)), id) && got.Message.SenderID == ben.id {
			sender = ben
		}
		want := api.ArchivedRecord{Record: record(got.Record.ConversationID, id), Revision: 1, Message: &api.ArchivedMessage{
			Epoch: 1, Seq: answers[id].Seq, ServerTime: answers[id].ServerTime, SenderID: sender.id, SenderDevice: 1,
			Commitment: sends[id].Commitment, Tag: answers[id].Tag,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestArchivePageIsBounded: a page ends early rather than exceed its size.
func TestArchivePageIsBounded(t *testing.T) {
	r := running(t)
	anna, ben := r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from := anna.devices[0]
	for range 12 {
		send := from.message(c, anna, ben)
		send.Record.Sealed = make([]byte, maxRecordBytes)
		from.mustSend(send)
	}
	page, err := r.s.Archive(t.Context(), from.actor(), api.ArchiveRequest{Limit: api.MaxArchivePage})
	if want := api.MaxArchivePageSize / (maxRecordBytes + recordOverhead); err != nil || len(page.Records) != want || page.Next == "" {
		t.Errorf("%d records, want %d, next %q, %v", len(page.Records), want, page.Next, err)
	}
	if n := len(from.archive(nil, api.MaxArchivePage)); n != 12 {
		t.Errorf("%d records in all pages", n)
	}
}

// TestRecordSwap: a record is replaced only by who knows its revision.
func TestRecordSwap(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(1)
	c := r.talk(anna, ben)
	from, other := anna.devices[0], anna.devices[1]
	send := from.message(c, anna, ben)
	from.mustSend(send)
	repaired := record(c, send.MessageID)
	repaired.Sealed, repaired.KeyEpoch, repaired.EraseAfter = []byte("sealed again"), 2, hour
	for range 2 { // the first answer may be lost
		if now, err := other.putRecord(repaired, 1); err != nil || now != 2 {
			t.Fatalf("revision %d, %v", now, err)
		}
	}
	late := repaired
	late.Sealed = []byte("by a device that has not seen it")
	for _, revision := range []uint64{0, 1, 3} {
		_, err := from.putRecord(late, revision)
		wantCode(t, err, api.CodeConflict)
		current, ok := errs.As(err).Details.(*api.ArchivedRecord)
		if !ok || current.Revision != 2 || !cmp.Equal(current.Record, repaired) || current.Message.Seq != 1 {
			t.Errorf("details %+v", errs.As(err).Details)
		}
	}
	got := from.archive(nil, 10)
	if len(got) != 1 || got[0].Revision != 2 || !cmp.Equal(got[0].Record, repaired) {
		t.Errorf("%+v", got)
	}
	old := late
	old.KeyEpoch = 1
	_, err := from.putRecord(old, 2)
	wantCode(t, err, api.CodeArchiveEpoch)
	_, err = from.send(from.message(c, anna, ben))
	wantCode(t, err, api.CodeArchiveEpoch) // the replacement was under the newer key
}

// TestRecordGivenBack: what the server does not have it takes from any device of the account, also of a message that it
// does not know, which comes last.
func TestRecordGivenBack(t *testing.T) {
	r := running(t)
	anna, ben, carl := r.person(1), r.person(1), r.person(1)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	known := from.message(c, anna, ben)
	from.mustSend(known)
	silent := from.silent(c, to)
	from.mustSend(silent)
	forgotten := newID[api.MessageID](r)
	for _, id := range []api.MessageID{forgotten, known.MessageID} {
		for range 2 {
			if now, err := to.putRecord(record(c, id), 0); err != nil || now != 1 {
				t.Fatalf("revision %d, %v", now, err)
			}
		}
	}
	got := to.archive(nil, 1)
	if diff := cmp.Diff([]api.MessageID{known.MessageID, forgotten}, messagesOf(got)); diff != "" {
		t.Fatal(diff)
	}
	if got[0].Message == nil || got[1].Message != nil {
		t.Errorf("%+v", got)
	}
	before := r.dump()
	for name, tc := range map[string]struct {
		by       *phone
		record   api.Record
		revision uint64
		code     string
	}{
		"a stranger":              {carl.devices[0], record(c, known.MessageID), 0, api.CodeNotFound},
		"an unknown conversation": {to, record(api.ConversationID{9}, known.MessageID), 0, api.CodeNotFound},
		"a silent message":        {to, record(c, silent.MessageID), 0, api.CodeInvalid},
		"nothing to replace":      {to, record(c, newID[api.MessageID](r)), 1, api.CodeConflict},
		"an empty record":         {to, api.Record{ConversationID: c, MessageID: forgotten, KeyEpoch: 1}, 1, api.CodeInvalid},
		"no epoch":                {to, api.Record{ConversationID: c, MessageID: forgotten, Sealed: []byte{1}}, 1, api.CodeInvalid},
		"too large": {to, api.Record{
			ConversationID: c, MessageID: forgotten, KeyEpoch: 1, Sealed: make([]byte, maxRecordBytes+1),
		}, 1, api.CodeTooLarge},
	} {
		_, err := tc.by.putRecord(tc.record, tc.revision)
		if code(err) != tc.code {
			t.Errorf("%s: %v, want code %s", name, err, tc.code)
		}
	}
	for _, bad := range []api.ArchiveRequest{
		{Limit: 0}, {Limit: api.MaxArchivePage + 1}, {Limit: 1, Before: "x"}, {Limit: 1, Before: "1-2x"}, {Limit: 1, Before: strings.Repeat("9", 30)},
	} {
		_, err := r.s.Archive(t.Context(), to.actor(), bad)
		wantCode(t, err, api.CodeInvalid)
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
}

// TestEraseRecord: everybody erases their own record only; the sender takes the message out of the mailboxes as well.
func TestEraseRecord(t *testing.T) {
	r := running(t)
	anna, ben := r.person(2), r.person(2)
	c := r.talk(anna, ben)
	from, to := anna.devices[0], ben.devices[0]
	send := from.message(c, anna, ben)
	from.mustSend(send)
	kept := from.message(c, anna, ben)
	from.mustSend(kept)
	for _, e := range to.mailbox() {
		to.mustAck(ackOf(e))
	}
	erase := func(d *phone, id api.MessageID, forAll bool) {
		t.Helper()
		for range 2 { // repeating it is safe
			if err := r.s.EraseRecord(t.Context(), d.actor(), messageKey{c, id}, forAll); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(want ...int) {
		t.Helper()
		got := []int{len(from.archive(nil, 9)), len(to.archive(nil, 9)), len(anna.devices[1].mailbox()), len(ben.devices[1].mailbox())}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("records of anna and ben, entries of their other devices: " + diff)
		}
	}
	count(2, 2, 2, 2)
	erase(to, send.MessageID, true) // it is not his message
	count(2, 1, 2, 2)
	erase(from, send.MessageID, false)
	count(1, 1, 2, 2)
	erase(from, send.MessageID, true)
	count(1, 1, 1, 1)
	if item := ben.devices[1].sync(c, 1).Items[0]; item.Reason != api.ReasonDeleted {
		t.Errorf("the position has the reason %q", item.Reason)
	}
	erase(from, api.MessageID{9}, true)
	count(1, 1, 1, 1)
}
