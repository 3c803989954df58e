package chat

import (
	"bytes"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
)

var (
	errConflict = errs.Conflictf("This message id was used before by another account or with another commitment.")
	errOrder    = errs.New(errs.Conflict, api.CodeOutOfOrder, "The message that this one follows is not stored yet.")
	errBlocked  = errs.New(errs.Forbidden, api.CodeForbidden, "You have blocked this conversation. Accept it first.")
	errRecord   = errs.New(errs.Invalid, api.CodeRecordRequired, "The archive record is missing.")
	errEpoch    = errs.New(errs.Conflict, api.CodeArchiveEpoch, "The archive record was sealed under an archive key that is no longer used.")
	errSet      = errs.New(errs.Conflict, api.CodeDeviceSet, "The envelopes do not match the members' devices. Make the missing ones and send again.")
)

type messageKey struct {
	conversation api.ConversationID
	message      api.MessageID
}

// member is one account's part in a conversation.
type member struct {
	account api.AccountID
	state   api.MemberState
}

// stored is a message that is in the database, or will be with this batch.
type stored struct {
	id         int64
	sender     api.AccountID
	commitment []byte
	devices    []byte // the column
	sent       api.Sent
}

// target is a device that gets an envelope.
type target struct {
	device   *device
	envelope api.Envelope
}

// plan is an accepted send before it is written.
type plan struct {
	send     *send
	message  *stored
	targets  []target
	withheld []api.AccountID // members that have blocked the conversation
	accepts  bool            // the sender answers a message request by sending
}

// senderDevice is the device that wrote the content.
func (p *plan) senderDevice() api.WireDeviceID {
	if d := p.send.req.SenderDevice; d != 0 {
		return d
	}
	return p.send.actor.WireDevice
}

// sendBatch is the state that up to maxBatch sends are checked against, read in the storing transaction. Accepted sends
// are added to it, so that later ones of the same batch see them. One goroutine owns it.
type sendBatch struct {
	known    map[messageKey]*stored
	members  map[api.ConversationID][]member // in the order of accounts
	accounts map[api.AccountID]*account
	devices  map[api.AccountID][]*device // listed ones in any state, in the order of wire ids
	plans    []*plan

	supplied    map[int64]*supplied // by message
	supplements []*supplement
}

// sendResult is the answer to one send of a batch: sent or err. With newer, the send has to be tried once more after the
// lists of these accounts were fetched.
type sendResult struct {
	sent  api.Sent
	err   error
	newer []api.AccountID

	first  *stored // whose sent is the answer once it has its position
	pushes []push
	full   []int64 // devices that became dormant by it
	owed   []owing
	added  int // envelopes to stored messages
}

// decide checks one send. The look-up of the message id comes before everything else, so that a repeated send gets its
// first answer whatever has changed since.
func (b *sendBatch) decide(sd *send) (r sendResult) {
	key := messageKey{sd.req.ConversationID, sd.req.MessageID}
	before := b.known[key]
	if before != nil && before.sender == sd.actor.Account && bytes.Equal(before.commitment, sd.req.Commitment) {
		b.supplement(sd, before)
		return sendResult{first: before}
	}
	p := &plan{send: sd}
	if r.err = b.checkSender(p); r.err != nil {
		return r
	}
	if before != nil {
		return sendResult{err: errConflict}
	}
	if sd.req.After != nil && b.known[messageKey{key.conversation, *sd.req.After}] == nil {
		return sendResult{err: errOrder}
	}
	if sd.req.Class == api.ClassMessage {
		if r.newer, r.err = b.checkSet(p); r.err != nil {
			return r
		}
		if r.err = b.checkRecord(sd); r.err != nil {
			return r
		}
	} else if r.err = b.checkNamed(p); r.err != nil {
		return r
	}
	if sd.req.Record != nil {
		a := b.accounts[sd.actor.Account]
		a.archiveEpoch = max(a.archiveEpoch, sd.req.Record.KeyEpoch)
	}
	p.message = &stored{sender: sd.actor.Account, commitment: sd.req.Commitment}
	b.known[key] = p.message
	b.plans = append(b.plans, p)
	return sendResult{first: p.message}
}

// checkSender finds out whether the actor's device may write to the conversation at all. Foreign and unknown
// conversations look the same.
func (b *sendBatch) checkSender(p *plan) error {
	actor := p.send.actor
	members := b.members[p.send.req.ConversationID]
	own := slices.IndexFunc(members, func(m member) bool { return m.account == actor.Account })
	if own < 0 {
		return errNoConversation
	}
	d := findDevice(b.devices[actor.Account], actor.WireDevice)
	if d == nil || d.token != actor.Device {
		return errDeviceGone
	}
	if err := d.checkGeneration(p.send.generation); err != nil {
		return err
	}
	for i, m := range members {
		switch {
		case i == own && m.state == api.MemberBlocked:
			return errBlocked
		case i != own && m.state == api.MemberBlocked:
			p.withheld = append(p.withheld, m.account)
		case i == own && m.state == api.MemberRequested:
			p.accepts = p.send.req.Class == api.ClassMessage
		}
	}
	return nil
}

// checkSet holds a message against the device set: for every member the list version it names, and then an envelope for
// each of their active devices but the sending one, and for no other. It returns the accounts whose named version is
// newer than the copy.
func (b *sendBatch) checkSet(p *plan) (newer []api.AccountID, err error) {
	req, members := p.send.req, b.members[p.send.req.ConversationID]
	if len(req.ListVersions) != len(members) {
		return nil, errs.Invalidf("A message names the list version of every member.")
	}
	named := make(map[api.AccountID]uint64, len(members))
	for _, v := range req.ListVersions {
		named[v.AccountID] = v.Version
	}
	details := api.DeviceSetDetails{Lists: []api.AccountLists{}}
	for _, m := range members {
		version, ok := named[m.account]
		a := b.accounts[m.account]
		switch {
		case !ok || version < 1:
			return nil, errs.Invalidf("A message names the list version of every member.")
		case version > a.version:
			newer = append(newer, m.account)
			fallthrough
		case version < a.version:
			details.Lists = append(details.Lists, a.lists(b.devices[m.account]))
		}
	}
	details.Missing, details.Extra = b.match(p)
	if len(details.Lists)+len(details.Missing)+len(details.Extra) > 0 {
		return newer, errSet.WithDetails(details)
	}
	return nil, nil
}

// match pairs the envelopes with the device set and fills in the plan's targets, in the order of accounts and devices.
func (b *sendBatch) match(p *plan) (missing, extra []api.DeviceRef) {
	envelopes := make(map[api.DeviceRef]api.Envelope, len(p.send.req.Envelopes))
	for _, e := range p.send.req.Envelopes {
		envelopes[api.DeviceRef{AccountID: e.AccountID, DeviceID: e.DeviceID}] = e
	}
	for _, m := range b.members[p.send.req.ConversationID] {
		for _, d := range b.devices[m.account] {
			if d.state != stateActive || d.ref() == p.send.actor.Ref() {
				continue
			}
			e, ok := envelopes[d.ref()]
			if !ok || e.RegistrationID != d.registration {
				missing = append(missing, d.ref())
				continue
			}
			delete(envelopes, d.ref())
			p.targets = append(p.targets, target{d, e})
		}
	}
	for _, e := range p.send.req.Envelopes {
		if _, left := envelopes[api.DeviceRef{AccountID: e.AccountID, DeviceID: e.DeviceID}]; left {
			extra = append(extra, api.DeviceRef{AccountID: e.AccountID, DeviceID: e.DeviceID})
		}
	}
	return missing, extra
}

// checkNamed holds a silent send against the devices it names: each has to be an active device of a member.
func (b *sendBatch) checkNamed(p *plan) error {
	_, extra := b.match(p)
	if len(extra) == 0 {
		return nil
	}
	details := api.DeviceSetDetails{Lists: []api.AccountLists{}, Extra: extra}
	for _, m := range b.members[p.send.req.ConversationID] {
		if slices.ContainsFunc(extra, func(ref api.DeviceRef) bool { return ref.AccountID == m.account }) {
			details.Lists = append(details.Lists, b.accounts[m.account].lists(b.devices[m.account]))
		}
	}
	return errSet.WithDetails(details)
}

// checkRecord holds the sender's archive record against the account. A record under a newer archive key than any before
// ends the older ones.
func (b *sendBatch) checkRecord(sd *send) error {
	a := b.accounts[sd.actor.Account]
	if sd.req.Record == nil {
		if a.keepsArchive {
			return errRecord
		}
		return nil
	}
	return a.checkKeyEpoch(sd.req.Record.KeyEpoch)
}

func (a *account) checkKeyEpoch(epoch uint64) error {
	switch {
	case epoch < a.archiveEpoch:
		return errEpoch.WithDetails(api.ArchiveEpochDetails{KeyEpoch: a.archiveEpoch})
	case epoch > a.archiveEpoch+maxKeyEpochStep:
		return errs.Invalidf("The archive epoch is too far ahead.")
	}
	return nil
}
