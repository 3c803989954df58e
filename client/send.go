package client

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

const (
	window      = 32 // sends in flight over one connection
	queuePage   = 64 // queue entries read at once
	maxRounds   = 4  // of claiming prekeys before one try
	holdPatient = 1  // refusals of a conversation in a row that are repaired at once; then the pauses grow
)

// sender is the state of the goroutine that empties the queue over one connection. The queue itself is in the store.
type sender struct {
	n      *connection
	next   uint64                        // entries below were looked at
	flying map[uint64]api.ConversationID // waiting for their replies
	holds  map[api.ConversationID]*hold  // conversations in which something has to wait
	landed chan landing
}

// hold keeps a conversation's messages back, so that their order is kept while one of them waits for another try.
type hold struct {
	until    time.Time // zero: released, and remembered for its attempts
	attempts int
}

func (h *hold) active() bool { return h != nil && !h.until.IsZero() }

// landing is what became of one flight.
type landing struct {
	number       uint64
	conversation api.ConversationID
	err          error
}

func newSender(n *connection) sender {
	return sender{
		n: n, flying: map[uint64]api.ConversationID{}, holds: map[api.ConversationID]*hold{}, landed: make(chan landing, window),
	}
}

// sendLoop puts the queue on the wire, oldest first, up to window at once. Within a conversation a send names the one
// before it, so that the server keeps the order even when one is refused.
func (n *connection) sendLoop(ctx context.Context) error {
	if err := n.afterReconciling(ctx); err != nil {
		return err
	}
	s := &n.sender
	for {
		wait, err := s.fill(ctx)
		if err != nil {
			return err
		}
		var due <-chan time.Time
		if wait >= 0 {
			due = time.After(wait)
		}
		select {
		case <-n.send:
		case <-n.again:
			s.restart()
		case l := <-s.landed:
			if err := s.land(l); err != nil {
				return err
			}
		case <-due:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill starts what may start. It returns how long until a held conversation may go on, -1 when none is held.
func (s *sender) fill(ctx context.Context) (time.Duration, error) {
	wait := s.release()
	// The first page has what fits into the window; further ones look for conversations that are not held back.
	for limit := window - len(s.flying); len(s.flying) < window; limit = queuePage {
		page, err := s.n.c.queuePage(s.next, limit)
		if err != nil {
			return wait, err
		}
		for _, q := range page {
			if len(s.flying) >= window {
				return wait, nil
			}
			s.next = q.Number + 1
			if _, flying := s.flying[q.Number]; flying || s.holds[q.Conversation].active() {
				continue
			}
			if err := s.start(ctx, q); err != nil {
				return wait, err
			}
			if h := s.holds[q.Conversation]; h.active() {
				wait = shorter(wait, time.Until(h.until))
			}
		}
		if len(page) < limit {
			return wait, nil
		}
	}
	return wait, nil
}

// restart ends all holds and reads the queue from its beginning.
func (s *sender) restart() {
	s.next = 0
	for _, h := range s.holds {
		if h.active() {
			h.until = time.Now()
		}
	}
}

func shorter(a, b time.Duration) time.Duration {
	if a < 0 {
		return max(b, 0)
	}
	return min(a, max(b, 0))
}

// release ends the holds whose time has come and whose flights have landed; the queue is then read from its beginning.
func (s *sender) release() time.Duration {
	wait := time.Duration(-1)
	for id, h := range s.holds {
		if !h.active() {
			continue
		}
		flying := false
		for _, other := range s.flying {
			flying = flying || other == id
		}
		left := time.Until(h.until)
		switch {
		case flying: // its landing wakes the loop
		case left <= 0:
			h.until, s.next = time.Time{}, 0
		default:
			wait = shorter(wait, left)
		}
	}
	return wait
}

// start makes a try and puts it on the wire. What cannot be made now holds its conversation back.
func (s *sender) start(ctx context.Context, q queued) error {
	try, err := s.n.c.prepare(ctx, q.Number)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if CodeOf(err) == CodeIdentity { // held until the user decides
			if err := s.n.c.refuseWaiting(q.Conversation, err); err != nil {
				return err
			}
		}
		return s.land(landing{number: q.Number, conversation: q.Conversation, err: err})
	}
	if try == nil { // settled meanwhile
		return nil
	}
	s.flying[q.Number] = q.Conversation
	reply := s.n.socket.emit(api.EventSend, try)
	s.n.flights.Go(func() { // ends with the connection at the latest
		var sent api.Sent
		err := s.n.socket.await(ctx, reply, &sent)
		if err == nil {
			err = s.n.c.stored(q.Number, sent)
		} else {
			err = s.n.c.refused(ctx, q.Number, err)
		}
		s.landed <- landing{number: q.Number, conversation: q.Conversation, err: err} // has room for all that fly
	})
	return nil
}

// land takes a flight down. An error that no other try can mend ends the connection.
func (s *sender) land(l landing) error {
	delete(s.flying, l.number)
	if l.err == nil {
		delete(s.holds, l.conversation)
		return nil
	}
	if final(l.err) || CodeOf(l.err) == CodeNetwork || CodeOf(l.err) == "" {
		return l.err
	}
	h := s.holds[l.conversation]
	if h == nil {
		h = &hold{}
		s.holds[l.conversation] = h
	}
	if h.active() { // a follower of the one that holds
		return nil
	}
	pause := time.Duration(1)
	if h.attempts++; h.attempts > holdPatient {
		var err error
		if pause, err = s.n.c.backoff(h.attempts - holdPatient); err != nil {
			return err
		}
	}
	if e, ok := errors.AsType[*Error](l.err); ok {
		pause = max(pause, e.RetryAfter)
	}
	h.until = time.Now().Add(pause)
	return nil
}

// queuePage reads the queue from a number on.
func (c *Client) queuePage(from uint64, limit int) ([]queued, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixQueue}, keyQueueEntry(from), limit)
	if err != nil {
		return nil, storeError(err)
	}
	page := make([]queued, len(items))
	for i, it := range items {
		if err := decode(it.Value, &page[i]); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// prepare returns the bytes of the next try, nil when the entry is gone. While the outcome of a try is unknown they are
// that try's. Otherwise envelopes are made for every device of every member: sessions, envelopes and the try are stored
// in one Apply before the try leaves, so that no key is ever used for two plaintexts.
func (c *Client) prepare(ctx context.Context, number uint64) (*api.Send, error) {
	bundles := map[api.DeviceRef]e2ee.PreKeyBundle{}
	for range maxRounds {
		try, need, err := c.encrypt(number, bundles)
		if err != nil || need == nil {
			return try, err
		}
		for account, devices := range need {
			if devices == nil {
				err = c.fetchLists(ctx, account)
			} else {
				err = c.claimInto(ctx, account, devices, bundles)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return nil, serverError("no prekeys for a device that the server reports as active")
}

// claimInto claims prekeys. A device for which there are none is left out until the server says otherwise.
func (c *Client) claimInto(
	ctx context.Context, a api.AccountID, devices []api.WireDeviceID, bundles map[api.DeviceRef]e2ee.PreKeyBundle,
) error {
	claimed, err := c.claim(ctx, a, devices)
	if err != nil {
		return err
	}
	for id, bundle := range claimed {
		bundles[api.DeviceRef{AccountID: a, DeviceID: id}] = bundle
	}
	return nil
}

// encrypt makes the try of a queue entry, or says which accounts' prekeys it needs first (nil devices: their list).
func (c *Client) encrypt(number uint64, bundles map[api.DeviceRef]e2ee.PreKeyBundle) (
	*api.Send, map[api.AccountID][]api.WireDeviceID, error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return nil, nil, err
	}
	q, found, err := get[queued](c, keyQueueEntry(number))
	if err != nil || !found {
		return nil, nil, err
	}
	if q.Unknown {
		return q.Try, nil, nil
	}
	v, err := c.storedConversation(q.Conversation)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{c: c, me: me, bundles: bundles, b: &batch{}, need: map[api.AccountID][]api.WireDeviceID{}}
	if w.local, err = me.local(); err != nil {
		return nil, nil, err
	}
	try, err := w.try(q, v)
	if err != nil || len(w.need) > 0 {
		return nil, w.need, err
	}
	if try.After, err = c.predecessor(q); err != nil {
		return nil, nil, err
	}
	q.Try, q.Unknown = try, true
	w.b.put(keyQueueEntry(number), q)
	return try, nil, c.commit(w.b)
}

// predecessor finds the message that q follows, if that is not stored yet. Messages that failed for good are passed
// over. The caller holds c.mu.
func (c *Client) predecessor(q queued) (*api.MessageID, error) {
	for previous := q.Previous; previous != nil; {
		p, found, err := c.place(q.Conversation, *previous)
		switch {
		case err != nil || !found || p.Queue == 0:
			return nil, err
		case p.Failed == "":
			return previous, nil
		}
		failed, _, err := get[queued](c, keyFailure(q.Conversation, p.Queue))
		if err != nil {
			return nil, err
		}
		previous = failed.Previous
	}
	return nil, nil
}

// stored moves an acknowledged message from the queue to its position in the history.
func (c *Client) stored(number uint64, sent api.Sent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	q, found, err := get[queued](c, keyQueueEntry(number))
	if err != nil || !found {
		return err
	}
	position := Position{Epoch: sent.Epoch, Seq: sent.Seq}
	if sent.ConversationID != q.Conversation || sent.MessageID != q.ID || sent.Epoch == 0 || sent.Seq == 0 {
		return serverError("the acknowledgement of another message")
	}
	content, err := e2ee.ParseContent(q.Content)
	if err != nil {
		return storeError(err)
	}
	e := entry{
		ID: q.ID, Position: position, Sender: me.Account, SenderDevice: api.WireDeviceID(content.SenderDevice),
		ServerTime: sent.ServerTime, Content: q.Content, Key: q.Key, Tag: sent.Tag, Delivered: c.early[q.ID],
	}
	delete(c.early, q.ID)
	b := &batch{}
	if q.Again {
		return c.storedAgain(q, e, b)
	}
	if err := c.keep(q.Conversation, e, b); err != nil {
		if errors.Is(err, errTaken) {
			return serverError("acknowledgement: %w", err)
		}
		return err
	}
	if err := c.dequeue(number, b); err != nil {
		return err
	}
	if err := c.supplementLacking(b, q.Conversation, sent); err != nil {
		return err
	}
	if err := c.answered(q.Conversation, b); err != nil {
		return err
	}
	if err := c.commit(b); err != nil {
		return err
	}
	m, err := e.message(q.Conversation, me.Account)
	if err != nil {
		return err
	}
	m.Expires = expires(content, e.ServerTime)
	c.publish(Event{Type: EventSent, Conversation: q.Conversation, Message: &m})
	c.settled(q.ID, sentResult{position: position})
	return nil
}

// storedAgain gives a message of the history the position that the server has for it now. The caller holds c.mu.
func (c *Client) storedAgain(q queued, e entry, b *batch) error {
	p, found, err := c.place(q.Conversation, q.ID)
	if err != nil {
		return err
	}
	if err := c.dequeue(q.Number, b); err != nil {
		return err
	}
	if found {
		p.Queue = 0
		b.put(keyPlace(q.Conversation, q.ID), p)
		if p.Position != e.Position { // otherwise the server knew it, or another device was faster
			if err := c.adoptPosition(q.Conversation, p, e, b); err != nil {
				return err
			}
		}
	}
	if err := c.commit(b); err != nil {
		return err
	}
	c.settled(q.ID, sentResult{position: e.Position})
	return nil
}

// dequeue takes an entry out of the queue. The caller holds c.mu.
func (c *Client) dequeue(number uint64, b *batch) error {
	s, _, err := get[queueState](c, keyQueue)
	if err != nil {
		return err
	}
	s.Waiting--
	b.delete(keyQueueEntry(number))
	b.put(keyQueue, s)
	return nil
}

// refused takes note of a try that was not stored. The error it returns holds the conversation back, or ends the
// connection; nil when nothing keeps the next message.
func (c *Client) refused(ctx context.Context, number uint64, reason error) error {
	e, ok := errors.AsType[*Error](reason)
	if !ok || e.Problem == nil {
		return reason // no reply: the outcome is unknown, the same bytes go out over the next connection
	}
	switch e.Code {
	case api.CodeUnauthenticated, api.CodeDeviceCloned, api.CodeDeviceGone, api.CodeUpgradeRequired:
		if err := c.clearUnknown(number, false); err != nil {
			return err
		}
		if e.Code == api.CodeUnauthenticated { // the next connection renews the token
			return networkError("send", reason)
		}
		return reason
	case api.CodeDeviceSet:
		if err := c.repair(ctx, number, *e.Problem); err != nil {
			return err
		}
		return reason
	case api.CodeOutOfOrder, api.CodeLimited, api.CodeArchiveEpoch: // the next try has a record under the newest key
		if err := c.clearUnknown(number, false); err != nil {
			return err
		}
		if e.Code == api.CodeArchiveEpoch {
			return errors.Join(reason, c.lackArchiveKey())
		}
		return reason
	case api.CodeRecordRequired: // another device has chosen to keep history again
		if err := c.forgetChoice(); err != nil {
			return err
		}
		return errors.Join(reason, c.clearUnknown(number, false))
	case api.CodeInvalid, api.CodeForbidden, api.CodeNotFound, api.CodeConflict, api.CodeTooLarge:
		return c.failed(number, e)
	}
	return reason // unavailable, internal, or a code of a later server: the outcome counts as unknown
}

// clearUnknown notes that a try was definitely not stored.
func (c *Client) clearUnknown(number uint64, repaired bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, found, err := get[queued](c, keyQueueEntry(number))
	if err != nil || !found {
		return err
	}
	q.Unknown = false
	b := &batch{}
	b.put(keyQueueEntry(number), q)
	if err := c.commit(b); err != nil || !repaired {
		return err
	}
	return c.count(func(n *Counters) { n.Repairs++ })
}

// repair takes the server's word about device sets as far as signed lists bear it out. The next try makes the missing
// envelopes under the same message id and commitment, and leaves out devices that are gone.
func (c *Client) repair(ctx context.Context, number uint64, p api.Problem) error {
	var details api.DeviceSetDetails
	if err := json.Unmarshal(p.Details, &details); err != nil {
		return serverError("details of a refused device set: %w", err)
	}
	c.mu.Lock()
	q, found, err := get[queued](c, keyQueueEntry(number))
	c.mu.Unlock()
	if err != nil || !found || q.Try == nil {
		return err
	}
	if err := c.adopt(ctx, details, q.Try.ListVersions); err != nil {
		return err
	}
	return c.clearUnknown(number, true)
}

// adopt takes the device sets by which a send was refused that was made for these list versions.
func (c *Client) adopt(ctx context.Context, details api.DeviceSetDetails, asked []api.ListVersion) error {
	for _, lists := range details.Lists {
		i := slices.IndexFunc(asked, func(v api.ListVersion) bool { return v.AccountID == lists.AccountID })
		if i < 0 {
			return serverError("device lists of an account that the message was not addressed to")
		}
		if err := c.accept(ctx, lists, asked[i].Version, ""); err != nil {
			return err
		}
	}
	if err := c.setActive(details.Missing, true); err != nil {
		return err
	}
	return c.setActive(details.Extra, false)
}

// setActive records which listed devices are part of the current set. It adds none: only listed devices ever get
// envelopes.
func (c *Client) setActive(devices []api.DeviceRef, active bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := map[api.AccountID]pinned{}
	for _, d := range devices[:min(len(devices), api.MaxEnvelopes)] {
		p, ok := changed[d.AccountID]
		if !ok {
			var err error
			if p, err = c.pin(d.AccountID); err != nil {
				return err
			}
		}
		p.Inactive = slices.DeleteFunc(slices.Clone(p.Inactive), func(id api.WireDeviceID) bool { return id == d.DeviceID })
		if p.Version == 0 {
			continue
		}
		list, err := p.open()
		if err != nil {
			return err
		}
		if _, listed := list.Device(uint32(d.DeviceID)); listed && !active {
			p.Inactive = append(p.Inactive, d.DeviceID)
		}
		changed[d.AccountID] = p
	}
	b := &batch{}
	for a, p := range changed {
		b.put(keyList(a), p) // the list itself is the same
	}
	return c.commit(b)
}

// failed sets a message aside that the server will never take. The others go on.
func (c *Client) failed(number uint64, reason *Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	q, found, err := get[queued](c, keyQueueEntry(number))
	if err != nil || !found {
		return err
	}
	q.Failed, q.Try, q.Unknown = reason.Code, nil, false
	b := &batch{}
	if q.Again { // it stays in the history of those who have it
		p, _, err := c.place(q.Conversation, q.ID)
		if err != nil {
			return err
		}
		p.Queue = 0
		b.put(keyPlace(q.Conversation, q.ID), p)
		if err := c.dequeue(number, b); err != nil {
			return err
		}
		return c.commit(b)
	}
	if err := c.dequeue(number, b); err != nil {
		return err
	}
	b.put(keyFailure(q.Conversation, number), q)
	b.put(keyPlace(q.Conversation, q.ID), place{Queue: number, Failed: reason.Code})
	if err := c.commit(b); err != nil {
		return err
	}
	m, err := q.message(me.Account)
	if err != nil {
		return err
	}
	c.publish(Event{Type: EventFailed, Conversation: q.Conversation, Message: &m, Err: reason})
	c.settled(q.ID, sentResult{err: reason})
	return nil
}
