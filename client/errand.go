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
	maxErrands   = 4_096               // that wait; one more is refused with CodeQueueFull
	errandPage   = 32                  // read at once
	errandKept   = 30 * 24 * time.Hour // as long as a mailbox keeps what is silent; then an errand is given up
	errandRounds = 2                   // of claiming prekeys; a device without any is left out
)

// slot tells errands apart that share an id, which is that of a message or of a conversation.
type slot byte

// Slots. In those of a conversation a later content takes the place of one that was not sent yet.
const (
	slotMessage    slot = 'm' // by message: a supplement
	slotRetry      slot = 'q' // by message: a request to send it again
	slotSilent     slot = 's' // by message: every content by itself
	slotReceipt    slot = 'r' // by conversation
	slotKeys       slot = 'k' // by conversation: archive keys for the own devices
	slotListUpdate slot = 'l' // by conversation
	slotProfile    slot = 'p' // by conversation
)

// errand is a send to named devices: a silent content, or the envelopes that a stored message lacks. Like a message in
// the queue it is stored before the first try, with the try before that leaves, and while the outcome of a try is
// unknown it is repeated byte for byte.
type errand struct {
	Conversation api.ConversationID `json:"conversation"`
	ID           api.MessageID      `json:"id"`
	Supplement   bool               `json:"supplement,omitempty"` // of message ID: content and key are read there
	Content      []byte             `json:"content,omitempty"`    // not padded
	Key          []byte             `json:"key,omitempty"`        // franking key
	Plain        []byte             `json:"plain,omitempty"`      // instead of them: a retry request in the clear
	Commitment   []byte             `json:"commitment,omitempty"` // of Plain
	To           []api.DeviceRef    `json:"to"`                   // that still lack it
	Patient      bool               `json:"patient,omitempty"`    // waits for devices that are signed out or dormant
	Since        int64              `json:"since"`
	NotBefore    int64              `json:"not_before,omitempty"` // of the next try
	Attempts     int                `json:"attempts,omitempty"`   // that were refused for now
	Try          *api.Send          `json:"try,omitempty"`
	Unknown      bool               `json:"unknown,omitempty"` // Try may have reached the server
	More         bool               `json:"more,omitempty"`    // devices of To came while Try was under way, and are next
	Again        []api.DeviceRef    `json:"again,omitempty"`   // asked while Try was under way, and need more than that
}

// addErrand puts an errand into its slot. Devices that wait for what is there get the later content instead; a
// supplement is for the devices of both. The caller holds c.mu.
func (c *Client) addErrand(b *batch, s slot, id [16]byte, e errand) error {
	key := keyErrand(s, id)
	old, found, err := staged[errand](c, b, key)
	if err != nil {
		return err
	}
	if found {
		if e.Supplement && old.Unknown {
			e.Try, e.Unknown, e.More, e.Again = old.Try, true, true, union(e.To, old.Again) // its bytes go out again first
		}
		e.To = union(e.To, old.To)
	} else {
		n, _, err := staged[int](c, b, keyErrands)
		if err != nil {
			return err
		}
		if n >= maxErrands {
			return fail(CodeQueueFull, "%d silent sends wait. Connect first.", n)
		}
		b.set(keyErrands, n+1)
	}
	if s == slotReceipt { // the latest one goes out a while after the first that it replaces
		if e.NotBefore = old.NotBefore; !found {
			e.NotBefore = c.millis() + receiptPause.Milliseconds()
		}
	}
	e.Since = c.millis()
	b.set(key, e)
	b.errands = true
	return nil
}

func union(a, b []api.DeviceRef) []api.DeviceRef {
	for _, d := range b {
		if !slices.Contains(a, d) {
			a = append(a, d)
		}
	}
	return a
}

// removeErrand ends an errand. The caller holds c.mu.
func (c *Client) removeErrand(b *batch, key []byte) error {
	n, _, err := staged[int](c, b, keyErrands)
	if err != nil {
		return err
	}
	b.set(keyErrands, n-1)
	b.delete(key)
	return nil
}

// errandRoom tells whether at least half of the room for errands is free.
func (c *Client) errandRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, _, err := get[int](c, keyErrands)
	return err == nil && n <= maxErrands/2
}

// errandLoop puts errands on the wire, one after the other. What is refused for now waits without holding up the
// others.
func (n *connection) errandLoop(ctx context.Context) error {
	if err := n.afterReconciling(ctx); err != nil {
		return err
	}
	for {
		wait, err := n.runErrands(ctx)
		if err != nil {
			return err
		}
		if n.owedLater.Load() && n.c.errandRoom() {
			n.owedLater.Store(false)
			signal(n.owed)
		}
		var due <-chan time.Time
		if wait >= 0 {
			due = time.After(wait)
		}
		select {
		case <-n.errands:
		case <-due:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// runErrands makes one pass. It returns how long until a waiting errand is due, -1 when none waits.
func (n *connection) runErrands(ctx context.Context) (time.Duration, error) {
	wait := time.Duration(-1)
	from := []byte{prefixErrand}
	for {
		n.c.mu.Lock()
		page, err := n.c.store.Scan([]byte{prefixErrand}, from, errandPage)
		n.c.mu.Unlock()
		if err != nil {
			return wait, storeError(err)
		}
		for _, it := range page {
			var e errand
			if err := decode(it.Value, &e); err != nil {
				return wait, err
			}
			if left := time.Duration(e.NotBefore-n.c.millis()) * time.Millisecond; left > 0 {
				wait = shorter(wait, left)
				continue
			}
			if err := n.runErrand(ctx, it.Key); err != nil {
				return wait, err
			}
		}
		if len(page) < errandPage {
			return wait, nil
		}
		from = append(page[len(page)-1].Key, 0)
	}
}

// runErrand makes one try. The error is that of the connection or the store.
func (n *connection) runErrand(ctx context.Context, key []byte) error {
	c := n.c
	try, err := c.prepareErrand(ctx, key)
	if err == nil && try == nil {
		return nil
	}
	if err == nil {
		var sent api.Sent
		if err = n.socket.request(ctx, api.EventSend, try, &sent); err == nil {
			n.owedLater.Store(n.owedLater.Load() || try.Class == api.ClassMessage && c.hasOwed())
			return c.ranErrand(key, try)
		}
		err = c.errandRefused(ctx, key, try, err)
	}
	if err == nil {
		signal(n.errands)
		return nil
	}
	if ctx.Err() != nil || final(err) || CodeOf(err) == CodeNetwork || CodeOf(err) == "" {
		return err
	}
	return c.postponeErrand(key, err)
}

// prepareErrand returns the bytes of the next try, nil when there is nothing to send. As for a message, sessions and
// try are stored in one Apply before the try leaves.
func (c *Client) prepareErrand(ctx context.Context, key []byte) (*api.Send, error) {
	if err := c.openOwn(ctx, key); err != nil {
		return nil, err
	}
	bundles := map[api.DeviceRef]e2ee.PreKeyBundle{}
	asked := map[api.DeviceRef]bool{} // for prekeys
	for round := 0; ; round++ {
		try, need, err := c.encryptErrand(key, bundles, asked, round == errandRounds)
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
			for _, d := range devices {
				asked[api.DeviceRef{AccountID: account, DeviceID: d}] = true
			}
		}
	}
}

// openOwn makes sure that the server has the conversation with oneself, if the errand is in that: what the own devices
// tell each other goes there.
func (c *Client) openOwn(ctx context.Context, key []byte) error {
	c.mu.Lock()
	me, err := c.device()
	if err != nil {
		c.mu.Unlock()
		return err
	}
	e, found, err := get[errand](c, key)
	if err == nil && found {
		_, found, err = get[conversation](c, keyConversation(e.Conversation))
	}
	c.mu.Unlock()
	if err == nil && e.Patient { // a device that it waits for may be back
		err = passOver(c.fetchLists(ctx, me.Account))
	}
	if err != nil || found || e.Conversation != selfConversation(me.Account) {
		return err
	}
	var res api.Conversation
	if err := c.call(ctx, "POST", "/api/chat/conversations", api.OpenConversationRequest{Kind: api.KindSelf}, &res); err != nil {
		return err
	}
	_, err = c.learn(res)
	return err
}

// selfConversation is where the devices of an account talk among themselves.
func selfConversation(a api.AccountID) api.ConversationID { return e2ee.DirectConversation(a, a) }

// encryptErrand makes the try of an errand, or says which accounts' prekeys it needs first. In the last round devices
// without prekeys are passed over; those that came so late that nobody has asked for theirs are next.
func (c *Client) encryptErrand(
	key []byte, bundles map[api.DeviceRef]e2ee.PreKeyBundle, asked map[api.DeviceRef]bool, last bool,
) (*api.Send, map[api.AccountID][]api.WireDeviceID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return nil, nil, err
	}
	e, found, err := get[errand](c, key)
	if err != nil || !found {
		return nil, nil, err
	}
	if e.Unknown {
		return e.Try, nil, nil
	}
	w := &writer{c: c, me: me, bundles: bundles, b: &batch{}, need: map[api.AccountID][]api.WireDeviceID{}}
	if w.local, err = me.local(); err != nil {
		return nil, nil, err
	}
	try, err := w.errand(&e)
	if err != nil {
		return nil, nil, err
	}
	if len(w.need) > 0 && !last {
		return nil, w.need, nil
	}
	expired := c.millis()-e.Since > errandKept.Milliseconds()
	switch {
	case len(e.To) == 0 || expired:
		b := &batch{}
		if err := c.removeErrand(b, key); err != nil {
			return nil, nil, err
		}
		return nil, nil, c.commit(b)
	case len(try.Envelopes) == 0:
		return nil, nil, fail(CodePreKeys, "The devices of a silent send cannot be reached at the moment.")
	}
	e.Try, e.Unknown = try, true
	for account, devices := range w.need {
		for _, d := range devices {
			e.More = e.More || !asked[api.DeviceRef{AccountID: account, DeviceID: d}]
		}
	}
	w.b.put(key, e)
	return try, nil, c.commit(w.b)
}

// errand makes the envelopes of a try. Devices that are not listed any more leave e.To, and so do those that are signed
// out or dormant unless the errand is patient.
func (w *writer) errand(e *errand) (*api.Send, error) {
	try := &api.Send{
		ConversationID: e.Conversation, MessageID: e.ID, Class: api.ClassSilent, Commitment: e.Commitment,
		Envelopes: []api.Envelope{},
	}
	content, key := e.Content, e2ee.FrankingKey{}
	copy(key[:], e.Key)
	if e.Supplement {
		try.Class = api.ClassMessage
		stored, found, err := w.c.logged(e.Conversation, e.ID)
		if err != nil {
			return nil, err
		}
		if !found {
			e.To = nil
			return try, nil
		}
		content, key = stored.Content, e2ee.FrankingKey(stored.Key)
	}
	var padded []byte
	if e.Plain == nil {
		var err error
		if padded, err = e2ee.Pad(content); err != nil {
			return nil, storeError(err)
		}
		commitment := e2ee.Commit(key, padded)
		try.Commitment = commitment[:]
	}
	own, err := w.c.pin(w.me.Account)
	if err != nil {
		return nil, err
	}
	var stay []api.DeviceRef
	for _, ref := range e.To {
		p, err := w.c.pin(ref.AccountID)
		if err != nil {
			return nil, err
		}
		if p.Version == 0 {
			w.need[ref.AccountID], stay = nil, append(stay, ref)
			continue
		}
		if err := w.c.mayWrite(p); err != nil {
			return nil, err
		}
		stays, err := w.named(try, e, own, p, ref, key, padded)
		if err != nil {
			return nil, err
		}
		if stays {
			stay = append(stay, ref)
		}
	}
	e.To = stay
	return try, nil
}

// named adds the envelope for one device, and tells whether the errand is still for that device.
func (w *writer) named(try *api.Send, e *errand, own, p pinned, ref api.DeviceRef, key e2ee.FrankingKey, padded []byte) (bool, error) {
	list, err := p.open()
	if err != nil {
		return false, err
	}
	d, listed := list.Device(uint32(ref.DeviceID))
	if !listed || ref == w.me.ref() {
		return false, nil
	}
	if slices.Contains(p.Inactive, ref.DeviceID) {
		return e.Patient, nil
	}
	m := e2ee.Message{Type: e2ee.TypePlaintext, Bytes: e.Plain}
	if e.Plain == nil {
		plain, err := w.plaintext(own, p, key, padded)
		if err != nil {
			return false, err
		}
		m, err = w.envelope(ref.AccountID, d, plain)
		if errors.Is(err, errNoSession) {
			w.need[ref.AccountID] = append(w.need[ref.AccountID], ref.DeviceID)
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	version := api.ListVersion{AccountID: p.Account, Version: p.Version}
	if !slices.Contains(try.ListVersions, version) {
		try.ListVersions = append(try.ListVersions, version)
	}
	try.Envelopes = append(try.Envelopes, api.Envelope{
		AccountID: ref.AccountID, DeviceID: ref.DeviceID, RegistrationID: d.RegistrationID, Type: int(m.Type), Bytes: m.Bytes,
	})
	return true, nil
}

// ranErrand takes the devices of a stored try off the errand, which may have got another content or more devices
// meanwhile.
func (c *Client) ranErrand(key []byte, try *api.Send) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found, err := get[errand](c, key)
	if err != nil || !found || e.ID != try.MessageID {
		return err
	}
	e.To = slices.DeleteFunc(slices.Clone(e.To), func(ref api.DeviceRef) bool {
		return slices.ContainsFunc(try.Envelopes, func(v api.Envelope) bool {
			return v.AccountID == ref.AccountID && v.DeviceID == ref.DeviceID
		})
	})
	e.To = union(e.To, e.Again)
	e.Try, e.Unknown, e.Attempts, e.Again = nil, false, 0, nil
	b := &batch{}
	if try.Class == api.ClassSilent {
		b.put(keyPlace(e.Conversation, e.ID), place{Sent: true}) // the log for retry requests
	}
	if len(e.To) == 0 {
		err = c.removeErrand(b, key)
	} else {
		if try.Class == api.ClassSilent {
			err = c.renew(&e)
		}
		if !e.More {
			e.NotBefore = c.millis() + errandLater.Milliseconds()
		}
		b.errands, e.More = e.More, false
		b.put(key, e)
	}
	if err == nil && e.Supplement {
		err = c.countIn(b, func(n *Counters) { n.Supplements += int64(len(try.Envelopes)) })
	}
	if err != nil {
		return err
	}
	return c.commit(b)
}

// renew gives a silent content another id, for the devices that it did not reach yet: the server stores what has an id
// once.
func (c *Client) renew(e *errand) error {
	if err := c.random(e.ID[:]); err != nil || e.Plain != nil {
		return err
	}
	content, err := e2ee.ParseContent(e.Content)
	if err != nil {
		return storeError(err)
	}
	content.MessageID = e.ID
	e.Content = content.Marshal()
	return nil
}

// errandLater is when an errand looks again for devices that it could not reach.
const errandLater = 10 * time.Minute

// errandRefused takes note of a try that was not stored. nil asks for another try at once; other errors than those of
// the connection postpone it.
func (c *Client) errandRefused(ctx context.Context, key []byte, try *api.Send, reason error) error {
	refusal, ok := errors.AsType[*Error](reason)
	if !ok || refusal.Problem == nil {
		return reason
	}
	switch refusal.Code {
	case api.CodeUnauthenticated:
		return errors.Join(networkError("send", reason), c.untried(key, try))
	case api.CodeDeviceCloned, api.CodeDeviceGone, api.CodeUpgradeRequired, api.CodeLimited, api.CodeOutOfOrder:
		return errors.Join(reason, c.untried(key, try))
	case api.CodeDeviceSet:
		var details api.DeviceSetDetails
		if err := json.Unmarshal(refusal.Problem.Details, &details); err != nil {
			return serverError("details of a refused device set: %w", err)
		}
		if try.Class == api.ClassMessage {
			break // the server does not know the message
		}
		if err := c.adopt(ctx, details, try.ListVersions); err != nil {
			return err
		}
		return c.untried(key, try)
	case api.CodeNotFound, api.CodeInvalid, api.CodeForbidden, api.CodeConflict, api.CodeTooLarge:
	default:
		return reason // the outcome counts as unknown
	}
	c.log.Warn("a silent send was refused for good", "code", refusal.Code)
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found, err := get[errand](c, key)
	if err != nil || !found || e.ID != try.MessageID {
		return err
	}
	b := &batch{}
	if err := c.removeErrand(b, key); err != nil {
		return err
	}
	return c.commit(b)
}

// untried notes that a try was definitely not stored.
func (c *Client) untried(key []byte, try *api.Send) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found, err := get[errand](c, key)
	if err != nil || !found || e.ID != try.MessageID {
		return err
	}
	e.Try, e.Unknown, e.Again = nil, false, nil
	b := &batch{}
	b.put(key, e)
	return c.commit(b)
}

// postponeErrand lets an errand wait, longer each time.
func (c *Client) postponeErrand(key []byte, reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found, err := get[errand](c, key)
	if err != nil || !found {
		return err
	}
	e.Attempts++
	pause, err := c.backoff(e.Attempts)
	if err != nil {
		return err
	}
	if r, ok := errors.AsType[*Error](reason); ok {
		pause = max(pause, r.RetryAfter)
	}
	if e.Attempts > errandPatient {
		pause = errandLater
	}
	e.NotBefore = c.millis() + max(pause, time.Millisecond).Milliseconds()
	c.log.Info("a silent send waits", "code", CodeOf(reason))
	b := &batch{}
	b.put(key, e)
	return c.commit(b)
}

const errandPatient = 8 // refusals in a row before the pauses are those of errandLater
