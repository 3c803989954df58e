package chat

import (
	"context"
	"net/http"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// ack is a checked request with who asks.
type ack struct {
	actor      token.Actor
	generation uint64
	req        api.Ack
}

// Ack removes entries from the mailbox of the actor's device and stores the archive records of what they held, in one
// transaction. Entries of other devices read like ones that are gone. Repeating an Ack is always safe.
func (s *Service) Ack(ctx context.Context, actor token.Actor, generation uint64, req api.Ack) (api.Acked, error) {
	answer, err := s.submitAck(ctx, actor, generation, req)
	if err != nil {
		return api.Acked{}, err
	}
	return s.awaitAck(ctx, answer)
}

func (s *Service) submitAck(ctx context.Context, actor token.Actor, generation uint64, req api.Ack) (<-chan outcome[ackResult], error) {
	if err := validateAck(req); err != nil {
		return nil, err
	}
	if err := s.allow(ctx, limitAck, actor); err != nil {
		return nil, err
	}
	return s.acks.submit(ack{actor: actor, generation: generation, req: req})
}

func (s *Service) awaitAck(ctx context.Context, answer <-chan outcome[ackResult]) (api.Acked, error) {
	r, err := s.acks.wait(ctx, answer)
	if err != nil {
		return api.Acked{}, errs.Wrap("storing an acknowledgement", err)
	}
	return r.acked, r.err
}

func (s *Service) handleAck(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	generation, err := generationOf(r)
	if err != nil {
		return nil, err
	}
	var req api.Ack
	if err := httpx.Decode(r, &req); err != nil {
		return nil, err
	}
	return answer(s.Ack(r.Context(), actor, generation, req))
}

func validateAck(req api.Ack) error {
	if len(req.Entries) == 0 || len(req.Entries) > api.MaxAckEntries || len(req.Records) > api.MaxAckEntries {
		return errs.Invalidf("An acknowledgement names 1 to %d entries and at most as many records.", api.MaxAckEntries)
	}
	seen := make(map[int64]bool, len(req.Entries))
	for _, id := range req.Entries {
		if id < 1 || seen[id] {
			return errs.Invalidf("An acknowledgement names each entry once.")
		}
		seen[id] = true
	}
	records := make(map[messageKey]bool, len(req.Records))
	for _, r := range req.Records {
		if records[messageKey{r.ConversationID, r.MessageID}] {
			return errs.Invalidf("An acknowledgement has one record for each message.")
		}
		records[messageKey{r.ConversationID, r.MessageID}] = true
		if err := validateRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// waitingEntry is a mailbox entry as an acknowledgement needs it.
type waitingEntry struct {
	id, device, message int64
	size                int
	key                 messageKey
	class               int
	sender              api.AccountID
}

// covered names a message that the account has an archive record of.
type covered struct {
	account api.AccountID
	key     messageKey
}

// ackBatch is the state that up to maxBatch acknowledgements are checked against, and what they change. One goroutine
// owns it.
type ackBatch struct {
	entries  map[int64]*waitingEntry
	messages map[messageKey]*stored // those that records name
	members  map[api.ConversationID][]member
	accounts map[api.AccountID]*account
	devices  map[api.AccountID][]*device
	covered  map[covered]bool
	owed     map[owedPlace]bool

	leave     []int64 // entries
	changes   map[int64]removed
	records   []any // rows of sqlInsertRecords
	delivered []delivery
	settled   []owedPlace
}

// delivery is a message of somebody else that a device of the account acknowledged.
type delivery struct {
	message int64
	key     messageKey
	account api.AccountID
	sender  api.AccountID
	told    bool // whether the sender may know
}

// ackResult is the answer to one acknowledgement of a batch.
type ackResult struct {
	acked  api.Acked
	err    error
	device int64
	left   removed

	delivered []delivery // of the whole batch, with its first result
}

// storeAcks checks and stores acknowledgements in one transaction. One that breaks a rule gets its error and changes
// nothing.
func (s *Service) storeAcks(ctx context.Context, acks []ack) (results []ackResult, err error) {
	err = s.tx(ctx, "store acks", func(tx *sqldb.Tx) error {
		results = make([]ackResult, len(acks))
		b, err := loadAckBatch(ctx, tx, acks)
		if err != nil {
			return err
		}
		epochs := make(map[api.AccountID]uint64, len(b.accounts))
		for id, a := range b.accounts {
			epochs[id] = a.archiveEpoch
		}
		now := s.nowMillis()
		for i := range acks {
			results[i] = b.decide(&acks[i], now)
		}
		if err := b.write(ctx, tx); err != nil {
			return err
		}
		for id, a := range b.accounts {
			if a.archiveEpoch > epochs[id] {
				if err := raiseArchiveEpoch(ctx, tx, id, a.archiveEpoch); err != nil {
					return err
				}
			}
		}
		results[0].delivered, err = insertDelivered(ctx, tx, b.delivered, now)
		return err
	})
	return results, err
}

// pushAcks follows the commit.
func (s *Service) pushAcks(results []ackResult) {
	for _, r := range results {
		s.hub.acked(r.device, r.left)
		s.tellDelivered(context.Background(), r.delivered)
	}
}

// tellDelivered sends one note for each sender, conversation and recipient.
func (s *Service) tellDelivered(ctx context.Context, all []delivery) {
	type group struct {
		sender, account api.AccountID
		conversation    api.ConversationID
	}
	ids := make(map[group][]api.MessageID)
	for _, d := range all {
		if d.told {
			g := group{d.sender, d.account, d.key.conversation}
			ids[g] = append(ids[g], d.key.message)
		}
	}
	for g, messages := range ids {
		for part := range slices.Chunk(messages, api.MaxAckEntries) {
			s.hub.tell(ctx, g.sender, note{Delivered: &api.Delivered{
				ConversationID: g.conversation, AccountID: g.account, MessageIDs: part,
			}})
		}
	}
}

func (b *ackBatch) decide(a *ack, now int64) (r ackResult) {
	d := findDevice(b.devices[a.actor.Account], a.actor.WireDevice)
	if d == nil || d.token != a.actor.Device {
		return ackResult{err: errDeviceGone}
	}
	if err := d.checkGeneration(a.generation); err != nil {
		return ackResult{err: err}
	}
	old, err := b.checkRecords(a, now)
	if err != nil {
		return ackResult{err: err}
	}
	r.device = d.id
	r.acked.Removed = []int64{}
	for _, id := range a.req.Entries {
		e := b.entries[id]
		if e == nil || e.device != d.id {
			r.acked.Removed = append(r.acked.Removed, id)
			continue
		}
		if code := b.mayLeave(a.actor.Account, e, old); code != "" {
			r.acked.Refused = append(r.acked.Refused, api.AckRefusal{EntryID: id, Code: code})
			continue
		}
		r.acked.Removed = append(r.acked.Removed, id)
		r.left.entries++
		r.left.bytes += e.size
		b.leave = append(b.leave, id)
		delete(b.entries, id)
		b.deliver(a.actor.Account, e)
	}
	if r.left.entries > 0 {
		c := b.changes[d.id]
		b.changes[d.id] = removed{c.entries + r.left.entries, c.bytes + r.left.bytes}
	}
	return r
}

func findDevice(devices []*device, wire api.WireDeviceID) *device {
	i := slices.IndexFunc(devices, func(d *device) bool { return d.wire == wire })
	if i < 0 {
		return nil
	}
	return devices[i]
}

// checkRecords checks every record of an acknowledgement before it takes any. A record has to be of a message in a
// conversation of the account. It returns the messages whose record was sealed under an archive key that has ended.
func (b *ackBatch) checkRecords(a *ack, now int64) (old map[messageKey]bool, err error) {
	owner := b.accounts[a.actor.Account]
	old = make(map[messageKey]bool)
	for _, record := range a.req.Records {
		key := messageKey{record.ConversationID, record.MessageID}
		m := b.messages[key]
		member := slices.ContainsFunc(b.members[key.conversation], func(m member) bool { return m.account == a.actor.Account })
		if m == nil || !member || m.sent.Seq == 0 {
			return nil, errs.NotFoundf("There is no such message for an archive record.")
		}
		switch err := owner.checkKeyEpoch(record.KeyEpoch); {
		case errs.Is(err, api.CodeArchiveEpoch):
			old[key] = true
		case err != nil:
			return nil, err
		}
	}
	for _, record := range a.req.Records {
		key := messageKey{record.ConversationID, record.MessageID}
		if c := (covered{a.actor.Account, key}); owner.keepsArchive && !old[key] && !b.covered[c] {
			b.covered[c] = true
			b.records = append(b.records, recordRow(a.actor.Account, b.messages[key].id, record, now)...)
			owner.archiveEpoch = max(owner.archiveEpoch, record.KeyEpoch)
		}
	}
	for _, record := range a.req.Records {
		if key := (messageKey{record.ConversationID, record.MessageID}); !old[key] {
			b.settle(a.actor.Account, key, b.messages[key])
		}
	}
	return old, nil
}

// settle ends that a message is owed to an account which brings a record of it: a device had read it before its entry
// disappeared.
func (b *ackBatch) settle(account api.AccountID, key messageKey, m *stored) {
	place := owedPlace{m.id, account}
	if !b.owed[place] {
		return
	}
	delete(b.owed, place)
	b.settled = append(b.settled, place)
	b.deliver(account, &waitingEntry{message: m.id, key: key, class: classMessage, sender: m.sender})
}

// mayLeave returns the code of a refusal: nothing leaves a mailbox before it is in the archive.
func (b *ackBatch) mayLeave(account api.AccountID, e *waitingEntry, old map[messageKey]bool) string {
	switch {
	case e.class != classMessage || !b.accounts[account].keepsArchive || b.covered[covered{account, e.key}]:
		return ""
	case old[e.key]:
		return api.CodeArchiveEpoch
	}
	return api.CodeRecordRequired
}

func (b *ackBatch) deliver(account api.AccountID, e *waitingEntry) {
	if e.class != classMessage || e.sender == account {
		return
	}
	told := slices.Contains(b.members[e.key.conversation], member{account, api.MemberAccepted})
	b.delivered = append(b.delivered, delivery{message: e.message, key: e.key, account: account, sender: e.sender, told: told})
}

func (b *ackBatch) write(ctx context.Context, tx *sqldb.Tx) error {
	if err := insertRecords(ctx, tx, b.records); err != nil {
		return err
	}
	for _, place := range b.settled {
		if err := deleteOwed(ctx, tx, place.message, place.account); err != nil {
			return err
		}
	}
	if err := deleteEntries(ctx, tx, b.leave); err != nil {
		return err
	}
	return uncount(ctx, tx, b.changes)
}
