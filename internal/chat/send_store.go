package chat

import (
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/fault"
	"sotto/internal/sqldb"
)

// storeSends checks and stores sends in one transaction. A send that breaks a rule gets its error and leaves nothing
// behind; the others are stored. An error of the function itself means that nothing was stored, or that it is unknown.
//
// The order of writes: conversations are bumped in the order of their ids, so that two replicas cannot wait for each
// other; messages then get the next seqs in the order of the batch.
func (s *Service) storeSends(ctx context.Context, sends []send) (results []sendResult, err error) {
	repeated, refused := 0, 0
	err = s.tx(ctx, "store sends", func(tx *sqldb.Tx) error {
		repeated, refused = 0, 0
		results = make([]sendResult, len(sends))
		b, err := loadSendBatch(ctx, tx, sends)
		if err != nil {
			return err
		}
		epochs := make(map[api.AccountID]uint64, len(b.accounts))
		for id, a := range b.accounts {
			epochs[id] = a.archiveEpoch
		}
		for i := range sends {
			results[i] = b.decide(&sends[i])
		}
		w := &sendWriter{s: s, tx: tx, b: b, now: s.nowMillis()}
		if err := w.write(ctx, epochs); err != nil {
			return err
		}
		for i := range results {
			if results[i].first != nil {
				results[i].sent = results[i].first.sent
				repeated++
			}
			if results[i].err != nil {
				refused++
			}
		}
		if len(results) > 0 {
			results[0].pushes, results[0].full, results[0].owed, results[0].added = w.pushes(), w.full, w.owed, w.added
		}
		return nil
	})
	if err == nil && repeated > 0 {
		if refused > 0 {
			fault.Point("after commit with a duplicate and a refused send")
		}
		s.Repeated.Add(int64(repeated))
		s.Logger.DebugContext(ctx, "sends came again", slog.Int("sends", repeated))
	}
	return results, err
}

// pushSends follows the commit.
func (s *Service) pushSends(results []sendResult) {
	for _, r := range results {
		s.hub.push(r.pushes)
		s.hub.cutDevices(r.full, errMailboxFull)
		s.tellOwed(context.Background(), r.owed)
		s.Supplements.Add(int64(r.added))
	}
}

// sendWriter writes the plans and supplements of one batch.
type sendWriter struct {
	s       *Service
	tx      *sqldb.Tx
	b       *sendBatch
	now     int64
	entries []newEntry
	full    []int64
	owed    []owing
	added   int
}

// newEntry is an entry of a device's mailbox.
type newEntry struct {
	api.Entry
	device  *device
	message int64
}

// stored is the size that a mailbox counts.
func (e newEntry) stored() int { return len(e.Bytes) + len(e.Shared) }

func (w *sendWriter) pushes() []push {
	pushes := make([]push, len(w.entries))
	for i, e := range w.entries {
		pushes[i] = push{account: e.device.account, device: e.device.id, entry: e.Entry}
	}
	return pushes
}

func (w *sendWriter) write(ctx context.Context, epochs map[api.AccountID]uint64) error {
	if len(w.b.plans)+len(w.b.supplements) == 0 {
		return nil
	}
	steps := []func(context.Context) error{
		w.position, w.insertMessages, w.insertWithheld, w.insertOwed, w.prepareEntries, w.prepareSupplements, w.insertEntries,
		w.insertRecords, w.rejoinRecords, w.acceptMembers, w.countEntries,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for id, a := range w.b.accounts {
		if a.archiveEpoch > epochs[id] {
			if err := raiseArchiveEpoch(ctx, w.tx, id, a.archiveEpoch); err != nil {
				return err
			}
		}
	}
	return nil
}

// position bumps every conversation once, by the number of its new messages, and gives each message its seq, time, tag
// and first answer. A silent message has a time and a tag only.
func (w *sendWriter) position(ctx context.Context) error {
	counts := make(map[api.ConversationID]int64)
	for _, p := range w.b.plans {
		if p.send.req.Class == api.ClassMessage {
			counts[p.send.req.ConversationID]++
		}
	}
	next, err := bumpConversations(ctx, w.tx, counts)
	if err != nil {
		return err
	}
	for id, last := range next {
		next[id] = last - uint64(counts[id]) + 1
	}
	epoch := w.s.Epoch()
	for _, p := range w.b.plans {
		req := p.send.req
		sent := api.Sent{
			ConversationID: req.ConversationID, MessageID: req.MessageID, Epoch: epoch, ServerTime: w.now, Devices: p.refs(),
		}
		if req.Class == api.ClassMessage {
			sent.Seq = next[req.ConversationID]
			next[req.ConversationID]++
		}
		sent.Tag = e2ee.Tag(w.s.TagKey.ID, w.s.TagKey.Key, e2ee.TagInput{
			Conversation: req.ConversationID, MessageID: req.MessageID, Sender: p.send.actor.Account,
			SenderDevice: uint32(p.senderDevice()), Epoch: sent.Epoch, Seq: sent.Seq, ServerTime: sent.ServerTime,
			Commitment: e2ee.Commitment(req.Commitment),
		})
		p.message.sent = sent
	}
	return nil
}

func compareIDs[ID ~[16]byte](a, b ID) int {
	x, y := [16]byte(a), [16]byte(b)
	return cmp.Compare(string(x[:]), string(y[:]))
}

// refs lists the devices with an envelope. Devices of members that have blocked the conversation are among them: the
// sender must not see a difference.
func (p *plan) refs() []api.DeviceRef {
	refs := make([]api.DeviceRef, len(p.targets))
	for i, t := range p.targets {
		refs[i] = t.device.ref()
	}
	return refs
}

// packDevices is the column message.devices: per account its id, how many, and per device wire id and registration id.
func packDevices(targets []target) []byte {
	b := []byte{}
	count := -1 // index of the count of the current account
	for i, t := range targets {
		if i == 0 || t.device.account != targets[i-1].device.account {
			b = append(b, t.device.account[:]...)
			count = len(b)
			b = append(b, 0)
		}
		b[count]++
		b = append(b, byte(t.device.wire))
		b = binary.BigEndian.AppendUint16(b, uint16(t.device.registration))
	}
	return b
}

// unpackDevices calls f for each device of the column. What does not fit the format ends it.
func unpackDevices(b []byte, f func(ref api.DeviceRef, registration uint32)) {
	for len(b) > 16 {
		account, n := api.AccountID(b[:16]), int(b[16])
		for b = b[17:]; n > 0 && len(b) >= 3; n-- {
			f(api.DeviceRef{AccountID: account, DeviceID: api.WireDeviceID(b[0])}, uint32(binary.BigEndian.Uint16(b[1:])))
			b = b[3:]
		}
	}
}

// waiting tells whether a target gets a mailbox entry: not those of members that have blocked the conversation.
func (p *plan) waiting(t target) bool { return !slices.Contains(p.withheld, t.device.account) }

// prepareEntries follows insertMessages.
func (w *sendWriter) prepareEntries(context.Context) error {
	for _, p := range w.b.plans {
		for _, t := range p.targets {
			if p.waiting(t) {
				w.entries = append(w.entries, newEntry{Entry: p.entry(t), device: t.device, message: p.message.id})
			}
		}
	}
	return nil
}

// insertOwed is for members without any active device: nobody of theirs gets an envelope now.
func (w *sendWriter) insertOwed(ctx context.Context) error {
	for _, p := range w.b.plans {
		if p.send.req.Class != api.ClassMessage {
			continue
		}
		sender := p.send.actor.Account
		for _, m := range w.b.members[p.send.req.ConversationID] {
			has := slices.ContainsFunc(p.targets, func(t target) bool { return t.device.account == m.account })
			if has || m.account == sender || m.state == api.MemberBlocked {
				continue
			}
			if err := insertOwedOne(ctx, w.tx, p.message.id, m.account, sender, w.now); err != nil {
				return err
			}
			w.owed = append(w.owed, owing{sender: sender, account: m.account, messages: 1})
		}
	}
	return nil
}

// entry is what the target's mailbox holds, without its number.
func (p *plan) entry(t target) api.Entry {
	req, sent := p.send.req, p.message.sent
	return api.Entry{
		ConversationID: req.ConversationID, MessageID: req.MessageID, Class: req.Class, Epoch: sent.Epoch, Seq: sent.Seq,
		ServerTime: sent.ServerTime, SenderID: p.send.actor.Account, SenderDevice: p.senderDevice(),
		EnvelopeDevice: p.send.actor.WireDevice, Type: t.envelope.Type, Bytes: t.envelope.Bytes, Shared: req.Shared,
		Commitment: req.Commitment, Tag: sent.Tag,
	}
}

// countEntries keeps the numbers of each mailbox and makes those dormant that are over a bound. The sender is never
// refused for a full mailbox.
func (w *sendWriter) countEntries(ctx context.Context) error {
	changes, devices := make(map[int64]mailboxSize), make(map[int64]*device)
	for _, e := range w.entries {
		c := changes[e.device.id]
		changes[e.device.id], devices[e.device.id] = mailboxSize{c.entries + 1, c.bytes + e.stored()}, e.device
	}
	if err := countEntries(ctx, w.tx, changes); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		c, d := changes[id], devices[id]
		if d.entries+c.entries <= api.MaxMailboxEntries && d.bytes+c.bytes <= api.MaxMailboxBytes {
			continue
		}
		owed, err := makeDormant(ctx, w.tx, d, w.now)
		if err != nil {
			return err
		}
		w.owed = append(w.owed, owed...)
		w.full = append(w.full, id)
	}
	return nil
}
