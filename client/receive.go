package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// maxNotices bounds the notices of one store. More are counted and announced, but not kept.
const maxNotices = 1_000

// Notice is a message that could not be read. It stays in the mailbox, and when it can be read later the notice goes.
type Notice struct {
	Conversation api.ConversationID `json:"conversation"`
	MessageID    api.MessageID      `json:"message_id"`
	Sender       api.AccountID      `json:"sender"` // as the server says
	ServerTime   int64              `json:"server_time"`
	Code         string             `json:"code"` // CodeUnreadable, CodeMisdelivery or one of the list codes
	// Waiting: the sender's devices were asked for the message again.
	Waiting bool `json:"waiting,omitempty"`
}

// unread is what the store keeps of a notice.
type unread struct {
	Notice
	Silent bool `json:"silent,omitempty"` // nothing to show: a content of class silent

	Asked int   `json:"asked,omitempty"` // requests to send it again
	Next  int64 `json:"next,omitempty"`  // when it may be asked for again
}

// Notices lists the messages of all conversations that could not be read.
func (c *Client) Notices() ([]Notice, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixNotice}, nil, maxNotices)
	if err != nil {
		return nil, storeError(err)
	}
	out := make([]Notice, 0, len(items))
	for _, it := range items {
		var n unread
		if err := decode(it.Value, &n); err != nil {
			return nil, err
		}
		if !n.Silent {
			out = append(out, n.Notice)
		}
	}
	return out, nil
}

// receiveLoop empties the mailbox, looks for holes, and then takes what is pushed.
func (n *connection) receiveLoop(ctx context.Context) error {
	timer := time.NewTicker(resyncEvery)
	defer timer.Stop()
	if err := n.resync(ctx); err != nil {
		return err
	}
	for {
		var err error
		select {
		case entries := <-n.mail:
			for _, e := range entries {
				if err = n.receive(ctx, e); err != nil {
					break
				}
			}
		case <-n.reread:
			err = n.readMailbox(ctx)
		case v := <-n.hints:
			err = n.followHint(ctx, v)
		case <-timer.C:
			err = n.resync(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (n *connection) resync(ctx context.Context) error {
	signal(n.acks) // those that an earlier connection left
	if err := n.readMailbox(ctx); err != nil {
		return err
	}
	return n.findHoles(ctx)
}

// readMailbox makes one pass over the mailbox. Entries that stay, because they cannot be read, are passed over.
func (n *connection) readMailbox(ctx context.Context) error {
	after := int64(0)
	for {
		var page api.MailboxPage
		req := api.MailboxRequest{After: after, Limit: api.MaxMailboxPage}
		if err := n.socket.request(ctx, api.EventMailbox, req, &page); err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := n.receive(ctx, e); err != nil {
				return err
			}
		}
		if page.Next <= after {
			return nil
		}
		after = page.Next
	}
}

// followHint fetches a device list that the server says has a newer version. It is a comfort: a refused send would
// bring it, too. Its devices may be owed messages.
func (n *connection) followHint(ctx context.Context, v api.ListVersion) error {
	n.c.mu.Lock()
	p, err := n.c.pin(v.AccountID)
	n.c.mu.Unlock()
	if err != nil || p.Version == 0 || v.Version <= p.Version {
		return err
	}
	if n.c.hasOwed() {
		n.owedAgain.Store(true)
		signal(n.owed)
	}
	return passOver(n.c.fetchLists(ctx, v.AccountID))
}

// passOver drops errors about what the server showed: they were announced where they arose, and stop no connection.
func passOver(err error) error {
	if distrust(err) {
		return nil
	}
	return err
}

// errNewerLists asks for the lists of an account before a message is looked at again.
type errNewerLists struct{ account api.AccountID }

func (e errNewerLists) Error() string {
	return "a newer device list of " + e.account.String() + " is needed"
}

// receive takes one mailbox entry. A message that cannot be read becomes a notice; the error is that of the connection
// or the store.
func (n *connection) receive(ctx context.Context, e api.Entry) error {
	c := n.c
	err := c.take(ctx, e)
	switch {
	case err == nil:
		signal(n.acks)
		return nil
	case !distrust(err):
		return err
	case e.Class == api.ClassEphemeral:
		return nil // shown now or never
	}
	return c.notice(e, err)
}

// take reads an entry, unless it was read before, and stores everything that follows from it.
func (c *Client) take(ctx context.Context, e api.Entry) error {
	again, err := c.redelivered(e)
	if again || err != nil {
		return err
	}
	v, err := c.known(ctx, e.ConversationID)
	if CodeOf(err) == api.CodeNotFound {
		return misdelivered(err)
	}
	if err != nil {
		return err
	}
	asked := map[api.AccountID]bool{}
	for {
		err := c.open(e, v, asked)
		newer, ok := errors.AsType[errNewerLists](err)
		if !ok {
			return err
		}
		asked[newer.account] = true
		if err := passOver(c.fetchLists(ctx, newer.account)); err != nil {
			return err
		}
	}
}

// redelivered recognises a message that is stored already, before anything is decrypted: its keys are gone. It makes
// sure that an acknowledgement is under way.
func (c *Client) redelivered(e api.Entry) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, found, err := c.place(e.ConversationID, e.MessageID)
	if err != nil || !found {
		return false, err
	}
	if _, waiting, err := c.getRaw(keyAck(e.EntryID)); waiting || err != nil {
		return true, err
	}
	me, err := c.device()
	if err != nil {
		return true, err
	}
	ack := pendingAck{Entry: e.EntryID, Conversation: e.ConversationID, ID: e.MessageID}
	b := &batch{}
	stored, found, err := get[entry](c, keyMessage(e.ConversationID, p.Position))
	if err != nil {
		return true, err
	}
	if found && stored.ID == e.MessageID {
		if at := (Position{Epoch: e.Epoch, Seq: e.Seq}); at.Epoch > stored.Position.Epoch {
			if err := c.redeliveredAt(e, p, stored, b); err != nil {
				return true, err
			}
			stored.Position, stored.ServerTime, stored.Tag = at, e.ServerTime, e.Tag
		}
	}
	if found && stored.ID == e.MessageID && stored.Erased == "" {
		if ack.Record, err = c.recordOf(me, e.ConversationID, stored); err != nil {
			return true, err
		}
	}
	b.put(keyAck(e.EntryID), ack)
	b.delete(keyNotice(e.ConversationID, e.MessageID)) // it came another way
	return true, c.commit(b)
}

// redeliveredAt takes the position of a message that was sent again after a restore. The caller holds c.mu.
func (c *Client) redeliveredAt(e api.Entry, p place, stored entry, b *batch) error {
	same, err := sameCommitment(stored, e.Commitment)
	if err == nil && (!same || e.SenderID != stored.Sender || e.SenderDevice != stored.SenderDevice) {
		err = misdelivered(errors.New("sent again as something else"))
	}
	if err != nil {
		return err
	}
	return c.adoptPosition(e.ConversationID, p, entry{
		ID: e.MessageID, Position: Position{Epoch: e.Epoch, Seq: e.Seq}, ServerTime: e.ServerTime, Tag: e.Tag,
	}, b)
}

// recordOf makes the archive record of a stored message; nil for one of the own account, whose record travelled in the
// send.
func (c *Client) recordOf(me device, conversation api.ConversationID, e entry) (*api.Record, error) {
	if e.Sender == me.Account {
		return nil, nil
	}
	return c.sealEntry(me, conversation, e)
}

// sealEntry makes the archive record of any stored message; nil for an erased one. The caller holds c.mu.
func (c *Client) sealEntry(me device, conversation api.ConversationID, e entry) (*api.Record, error) {
	if e.Erased != "" {
		return nil, nil
	}
	content, err := e2ee.ParseContent(e.Content)
	if err != nil {
		return nil, storeError(err)
	}
	padded, err := e2ee.Pad(archived(content).Marshal())
	if err != nil {
		return nil, storeError(err)
	}
	record := e2ee.Record{
		Padded: padded, Key: e2ee.FrankingKey(e.Key), Sender: e.Sender, SenderDevice: uint32(e.SenderDevice),
		SentAt: content.SentAt,
	}
	if e.Sender != me.Account {
		record.Epoch, record.Seq, record.ServerTime, record.Tag = e.Position.Epoch, e.Position.Seq, e.ServerTime, e.Tag
	}
	return c.sealRecord(me, conversation, e.ID, record, roundUp(expires(content, e.ServerTime)))
}

// misdelivered is for what is authentic, but not what or where the server says.
func misdelivered(err error) error {
	return fail(CodeMisdelivery, "The server delivered a message as something that it is not.").because(err)
}

func unreadable(err error) error {
	return fail(CodeUnreadable, "A message could not be decrypted.").because(err)
}

// open decrypts an entry, holds it against the signed lists and its outside, and commits session, used prekeys,
// message, place and acknowledgement in one Apply. Before that Apply nothing has changed, so a crash, or a return for
// newer lists, starts over with the same keys.
func (c *Client) open(e api.Entry, v conversation, asked map[api.AccountID]bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	outside, err := outsideOf(e, v, me)
	if err != nil {
		return misdelivered(err)
	}
	b := &batch{}
	if e.Type == api.EnvelopePlaintext {
		return c.takePlain(e, me, asked, b)
	}
	envelope, err := c.decrypt(e, me, asked, b)
	if err != nil {
		return err
	}
	content, err := envelope.Open(outside)
	if err != nil {
		return misdelivered(err)
	}
	if err := c.checkPins(e, me.Account, envelope.Pins, b); err != nil {
		return err
	}
	stored := entry{
		ID: e.MessageID, Position: Position{Epoch: e.Epoch, Seq: e.Seq}, Sender: e.SenderID, SenderDevice: e.SenderDevice,
		ServerTime: e.ServerTime, Content: content.Marshal(), Key: envelope.Key[:], Tag: e.Tag,
	}
	return c.settle(e, me, content, stored, b)
}

// settle commits an opened message by its class. The caller holds c.mu.
func (c *Client) settle(e api.Entry, me device, content e2ee.Content, stored entry, b *batch) error {
	message, err := stored.message(e.ConversationID, me.Account)
	if err != nil {
		return err
	}
	event := Event{Type: EventMessage, Conversation: e.ConversationID, Account: e.SenderID, Message: &message}
	ack := pendingAck{Entry: e.EntryID, Conversation: e.ConversationID, ID: e.MessageID}
	switch content.Class {
	case e2ee.ClassMessage:
		if e.SenderID == me.Account {
			if err := c.answered(e.ConversationID, b); err != nil {
				return err
			}
		}
		if stored.Position.Epoch == 0 || stored.Position.Seq == 0 || e.EntryID <= 0 {
			return misdelivered(errors.New("a message without a position"))
		}
		if err := c.keep(e.ConversationID, stored, b); errors.Is(err, errTaken) {
			return misdelivered(err)
		} else if err != nil {
			return err
		}
		if ack.Record, err = c.recordOf(me, e.ConversationID, stored); err != nil {
			return err
		}
		b.put(keyAck(e.EntryID), ack)
		kept, _, err := c.stagedEntry(e.ConversationID, e.MessageID, b)
		if err != nil {
			return err
		}
		message.Expires = kept.Expires
		if kept.Effect || kept.Erased != "" {
			event.Type = "" // what it changes is announced
		}
	case e2ee.ClassSilent:
		if e.EntryID <= 0 {
			return misdelivered(errors.New("a silent message without an entry"))
		}
		b.put(keyPlace(e.ConversationID, e.MessageID), place{})
		b.put(keyAck(e.EntryID), ack)
		if err := c.takeSilent(e, me, content, b); err != nil {
			return err
		}
		event.Type = ""
	case e2ee.ClassEphemeral:
		event = ephemeralEvent(event)
	}
	b.delete(keyNotice(e.ConversationID, e.MessageID))
	if err := c.commit(b); err != nil {
		return err
	}
	if event.Type != "" {
		c.publish(event)
	}
	return nil
}

// outsideOf is what the server says of a message, in the terms of e2ee. It refuses what cannot be: a sender who is not
// a member, a device that does not exist, this device itself.
func outsideOf(e api.Entry, v conversation, me device) (e2ee.Outside, error) {
	classes := map[api.Class]e2ee.Class{
		api.ClassMessage: e2ee.ClassMessage, api.ClassSilent: e2ee.ClassSilent, api.ClassEphemeral: e2ee.ClassEphemeral,
	}
	switch {
	case e.SenderID != me.Account && e.SenderID != v.Peer:
		return e2ee.Outside{}, errors.New("the sender is not a member")
	case e.EnvelopeDevice < 1 || e.EnvelopeDevice > api.MaxWireDeviceID:
		return e2ee.Outside{}, errors.New("a device id that does not exist")
	case e.SenderID == me.Account && e.EnvelopeDevice == me.WireDevice:
		return e2ee.Outside{}, errors.New("an envelope of this device for itself")
	case len(e.Commitment) != api.CommitmentSize:
		return e2ee.Outside{}, fmt.Errorf("a commitment of %d bytes", len(e.Commitment))
	case len(e.Tag) != 0 && len(e.Tag) != api.TagSize:
		return e2ee.Outside{}, fmt.Errorf("a tag of %d bytes", len(e.Tag))
	}
	return e2ee.Outside{
		Conversation: e.ConversationID, MessageID: e.MessageID, Sender: e.SenderID, SenderDevice: uint32(e.SenderDevice),
		Class: classes[e.Class], Commitment: e2ee.Commitment(e.Commitment),
	}, nil
}

// decrypt returns the envelope of an entry if the device that made it is one that the sender's account vouches for. The
// advanced session and what it used up go into b. The caller holds c.mu.
func (c *Client) decrypt(e api.Entry, me device, asked map[api.AccountID]bool, b *batch) (e2ee.Envelope, error) {
	local, err := me.local()
	if err != nil {
		return e2ee.Envelope{}, err
	}
	session, err := c.session(e.SenderID, e.EnvelopeDevice)
	if err != nil {
		return e2ee.Envelope{}, err
	}
	if e.Type != int(e2ee.TypeMessage) && e.Type != int(e2ee.TypePreKey) {
		return e2ee.Envelope{}, unreadable(fmt.Errorf("envelope type %d", e.Type))
	}
	message := e2ee.Message{Type: uint8(e.Type), Bytes: e.Bytes}
	received, err := session.Decrypt(c.rand, local, address(e.SenderID, e.EnvelopeDevice), message, c.preKeySource())
	if CodeOf(err) == CodeStore {
		return e2ee.Envelope{}, err
	}
	if err != nil {
		return e2ee.Envelope{}, unreadable(err)
	}
	envelope, err := e2ee.ParseEnvelope(received.Plaintext)
	if err != nil {
		return envelope, unreadable(err)
	}
	if err := c.vouched(e, received, envelope.Pins, asked); err != nil {
		return envelope, err
	}
	for _, pin := range []struct {
		account api.AccountID
		version uint64
	}{{e.SenderID, envelope.Pins.SenderVersion}, {me.Account, envelope.Pins.RecipientVersion}} {
		if p, err := c.pin(pin.account); err != nil {
			return envelope, err
		} else if pin.version > p.Version && !asked[pin.account] {
			return envelope, errNewerLists{pin.account}
		}
	}
	b.putRaw(keySession(e.SenderID, e.EnvelopeDevice), session.Marshal())
	if received.Consumed != nil {
		return envelope, c.consume(*received.Consumed, b)
	}
	return envelope, nil
}

// vouched checks the identity key that authenticated a message against the sender's signed list, asking once for a
// newer one. The caller holds c.mu.
func (c *Client) vouched(e api.Entry, r e2ee.Received, pins e2ee.Pins, asked map[api.AccountID]bool) error {
	p, err := c.pin(e.SenderID)
	if err != nil {
		return err
	}
	ok, err := p.identity(e.EnvelopeDevice, r.RemoteIdentity, pins.SenderVersion)
	switch {
	case err != nil || ok:
		return err
	case !asked[e.SenderID]:
		return errNewerLists{e.SenderID}
	}
	err = fail(CodeListMissing, "A message came from a device that its account does not list. It is not shown.")
	c.alert(e.SenderID, err)
	return err
}

// checkPins compares the lists that a peer goes by with the pinned ones. The message itself is authentic; what does not
// fit is the server's doing and is announced. A device that goes by an older list of this account is sent the current
// one. The caller holds c.mu.
func (c *Client) checkPins(e api.Entry, me api.AccountID, pins e2ee.Pins, b *batch) error {
	check := func(a api.AccountID, version uint64, hash [32]byte) (pinned, error) {
		p, err := c.pin(a)
		switch own := p.hash(); {
		case err != nil || version < p.Version:
		case version > p.Version:
			c.alert(a, fail(CodeListMissing, "Somebody uses a newer list of devices than the server shows. Do not trust it."))
		case !bytes.Equal(own[:], hash[:]):
			c.alert(a, fail(CodeListFork, "The server shows different lists of devices to different people. Do not trust it."))
		}
		return p, err
	}
	if _, err := check(e.SenderID, pins.SenderVersion, pins.SenderHash); err != nil {
		return err
	}
	own, err := check(me, pins.RecipientVersion, pins.RecipientHash)
	if err != nil || pins.RecipientVersion >= own.Version || e.Class == api.ClassEphemeral {
		return err
	}
	to := api.DeviceRef{AccountID: e.SenderID, DeviceID: e.EnvelopeDevice}
	return c.tellList(b, e.ConversationID, to, own, pins.RecipientVersion)
}

// notice keeps, counts and announces what could not be read, once per message, and asks for it again. The entry stays
// unacknowledged. The next reading of the mailbox meets it again, and asks again when it is time.
func (c *Client) notice(e api.Entry, reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyNotice(e.ConversationID, e.MessageID)
	n, found, err := get[unread](c, key)
	if err != nil {
		return err
	}
	b := &batch{}
	if !found {
		n.Silent = e.Class == api.ClassSilent
		n.Notice = Notice{
			Conversation: e.ConversationID, MessageID: e.MessageID, Sender: e.SenderID, ServerTime: e.ServerTime,
			Code: CodeOf(reason),
		}
		c.log.Warn("a message could not be read", "code", n.Code, "err", reason)
		err := c.countIn(b, func(count *Counters) {
			if n.Code == CodeMisdelivery {
				count.Misdelivery++
			} else {
				count.Unreadable++
			}
		})
		if err != nil {
			return err
		}
	}
	if CodeOf(reason) == CodeUnreadable {
		if err := c.ask(e, &n, b); err != nil {
			return err
		}
	}
	if !found && e.Class == api.ClassMessage {
		b.events = append(b.events, Event{
			Type: EventNotice, Conversation: e.ConversationID, Account: e.SenderID, Notice: &n.Notice, Err: reason,
		})
	}
	return c.keepNotice(e, key, n, found, b)
}

// keepNotice commits a notice. What is silent and does not decrypt is nothing to wait for under this id: the sender
// makes it anew, if it still matters, so it leaves the mailbox. What the own devices tell each other does matter: it is
// asked for a few times first. The caller holds c.mu.
func (c *Client) keepNotice(e api.Entry, key []byte, n unread, found bool, b *batch) error {
	stays := e.ConversationID == selfConversation(e.SenderID) && n.Asked < retrySilent
	if n.Silent && n.Code == CodeUnreadable && e.EntryID > 0 && !stays {
		b.put(keyPlace(e.ConversationID, e.MessageID), place{})
		b.put(keyAck(e.EntryID), pendingAck{Entry: e.EntryID})
		b.delete(key)
		return c.commit(b)
	}
	if !found {
		all, err := c.store.Scan([]byte{prefixNotice}, nil, maxNotices)
		if err != nil {
			return storeError(err)
		}
		if len(all) >= maxNotices {
			return c.commit(b)
		}
	}
	if !found || n.Waiting {
		b.put(key, n)
	}
	return c.commit(b)
}
