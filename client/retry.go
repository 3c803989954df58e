package client

import (
	"errors"
	"slices"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

const (
	maxRetries  = 5 // of one device that are acted on in an hour
	retryWindow = time.Hour
	retryWidely = 3  // requests to the device that made the envelope, before all of its account are asked; none if it is gone
	retrySilent = 2  // requests for what the own devices tell each other, before it is given up
	retryRange  = 64 // messages that one request brings again: the one that it names and those after it
)

// retryPauses lie between the requests for one message; the last one is repeated for as long as the entry is there.
var retryPauses = []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

// ask adds to b a request to send a message again that did not decrypt, unless it is too early for the next one. The
// requests take turns: inside the session, which shows who asks, and in the clear, which reaches a device also when the
// session is broken on its side. One inside makes a session when there is none. The caller holds c.mu.
func (c *Client) ask(e api.Entry, n *unread, b *batch) error {
	if c.millis() < n.Next {
		return nil
	}
	failed := e2ee.Message{Type: uint8(e.Type), Bytes: e.Bytes}
	request, err := e2ee.NewDecryptionErrorMessage(failed, uint64(e.ServerTime), uint32(e.EnvelopeDevice))
	if err != nil || request.RatchetKey == nil {
		return nil //nolint:nilerr // not an envelope at all: there is nothing to name in a request
	}
	session, err := c.session(e.SenderID, e.EnvelopeDevice)
	if err != nil {
		return err
	}
	to := []api.DeviceRef{{AccountID: e.SenderID, DeviceID: e.EnvelopeDevice}}
	about := conversationDevice{e.ConversationID, to[0]}
	if c.now().Sub(c.asked[about]) < retryPauses[0] {
		// The answer to the last request brings what was sent after it, too.
		n.Waiting = true
		return nil
	}
	_, listed, err := c.listed(e.SenderID, e.EnvelopeDevice)
	if err != nil {
		return err
	}
	plain := listed && session.Usable(c.now()) == (n.Asked%2 == 1)
	if !plain && (!listed || n.Asked >= retryWidely) {
		if to, err = c.devicesOf(e.SenderID); err != nil {
			return err
		}
	}
	if plain {
		err = c.askPlainly(e, request, to, b)
	} else {
		body := e2ee.RetryRequestBody(e2ee.RetryRequest{
			Conversation: e.ConversationID, MessageID: e.MessageID, Error: request.Marshal(),
		})
		err = c.queueSilent(b, slotRetry, e.ConversationID, body, to)
	}
	if CodeOf(err) == CodeQueueFull {
		return nil // the next reading of the mailbox asks
	}
	if err != nil {
		return err
	}
	c.asked[about] = c.now()
	n.Next = c.millis() + retryPauses[min(n.Asked, len(retryPauses)-1)].Milliseconds()
	n.Waiting = true
	n.Asked++
	return c.countIn(b, func(count *Counters) { count.RetriesSent++ })
}

// conversationDevice is what one request speaks for.
type conversationDevice struct {
	conversation api.ConversationID
	device       api.DeviceRef
}

// askPlainly makes the request in the clear. It has no content, and so nothing to commit to: its commitment names the
// message that is asked for. The caller holds c.mu.
func (c *Client) askPlainly(e api.Entry, request e2ee.DecryptionErrorMessage, to []api.DeviceRef, b *batch) error {
	errand := errand{
		Conversation: e.ConversationID, Plain: e2ee.NewPlaintextContent(request).Bytes,
		Commitment: append(slices.Clone(e.MessageID[:]), make([]byte, api.CommitmentSize-len(e.MessageID))...), To: to,
	}
	if err := c.random(errand.ID[:]); err != nil {
		return err
	}
	return c.addErrand(b, slotRetry, e.MessageID, errand)
}

// retry is a request to send a message again.
type retry struct {
	from         api.DeviceRef
	conversation api.ConversationID
	id           api.MessageID
	failed       e2ee.DecryptionErrorMessage
	vouched      bool // it came inside a session with the device that asks
}

// takePlain takes an entry with a request in the clear. The caller holds c.mu.
func (c *Client) takePlain(e api.Entry, me device, asked map[api.AccountID]bool, b *batch) error {
	if e.Class != api.ClassSilent || e.EntryID <= 0 {
		return misdelivered(errors.New("a retry request of another class"))
	}
	if _, listed, err := c.listed(e.SenderID, e.EnvelopeDevice); err != nil {
		return err
	} else if !listed && !asked[e.SenderID] {
		return errNewerLists{e.SenderID}
	}
	b.put(keyPlace(e.ConversationID, e.MessageID), place{})
	b.put(keyAck(e.EntryID), pendingAck{Entry: e.EntryID})
	r := retry{
		from: api.DeviceRef{AccountID: e.SenderID, DeviceID: e.EnvelopeDevice}, conversation: e.ConversationID,
		id: api.MessageID(e.Commitment[:16]),
	}
	failed, err := e2ee.ParsePlaintextContent(e.Bytes)
	if err != nil {
		err = c.ignoreRetry("malformed", b)
	} else {
		r.failed = failed
		err = c.answerRetry(r, me, b)
	}
	if err != nil {
		return err
	}
	return c.commit(b)
}

// takeRetry takes a request that came inside a session. The caller holds c.mu.
func (c *Client) takeRetry(from api.DeviceRef, me device, content e2ee.Content, b *batch) error {
	request, err := content.Body.RetryRequest()
	if err != nil || request.Conversation != content.Conversation {
		return c.ignoreRetry("malformed", b)
	}
	failed, err := e2ee.ParseDecryptionErrorMessage(request.Error)
	if err != nil {
		return c.ignoreRetry("malformed", b)
	}
	return c.answerRetry(retry{
		from: from, conversation: request.Conversation, id: request.MessageID, failed: failed, vouched: true,
	}, me, b)
}

func (c *Client) ignoreRetry(reason string, b *batch) error {
	c.log.Info("a retry request was ignored", "reason", reason)
	return c.countIn(b, func(n *Counters) { n.RetriesIgnored++ })
}

// answerRetry acts on a request, under the rules of protocol.md section 12.7; one that breaks a rule is counted and
// changes nothing. What it adds to b goes out after the commit: the message for the device that asks, under a new
// session if the broken one is still the current one. The caller holds c.mu.
func (c *Client) answerRetry(r retry, me device, b *batch) error {
	at, found, err := c.place(r.conversation, r.id)
	if err != nil {
		return err
	}
	message, logged, err := c.logged(r.conversation, r.id)
	if err != nil {
		return err
	}
	if !found || !at.Sent && (!logged || message.Sender != me.Account) {
		return c.ignoreRetry("not in the log", b)
	}
	if _, listed, err := c.listed(r.from.AccountID, r.from.DeviceID); err != nil {
		return err
	} else if !listed {
		return c.ignoreRetry("not listed", b)
	}
	session, err := c.session(r.from.AccountID, r.from.DeviceID)
	if err != nil {
		return err
	}
	named := api.WireDeviceID(r.failed.Device) == me.WireDevice && r.failed.RatchetKey != nil
	if !r.vouched && (!named || !session.KnowsRatchetKey(*r.failed.RatchetKey)) {
		return c.ignoreRetry("another ratchet key", b)
	}
	if ok, err := c.countRetry(r.from, b); err != nil || !ok {
		return err
	}
	if !r.vouched && session.SentWith(*r.failed.RatchetKey) {
		session.ArchiveCurrent()
		b.putRaw(keySession(r.from.AccountID, r.from.DeviceID), session.Marshal())
		if err := c.countIn(b, func(n *Counters) { n.SessionRepairs++ }); err != nil {
			return err
		}
	}
	if err := c.countIn(b, func(n *Counters) { n.RetriesAnswered++ }); err != nil {
		return err
	}
	if at.Sent {
		err = c.remakeSilent(r, me, b)
	} else {
		err = c.supplementFrom(b, me, r.conversation, message, r.from)
	}
	if CodeOf(err) == CodeQueueFull {
		return nil // it asks again
	}
	return err
}

// countRetry bounds what is acted on, by device and hour. The caller holds c.mu.
func (c *Client) countRetry(from api.DeviceRef, b *batch) (bool, error) {
	times, _, err := staged[[]int64](c, b, keyRetries(from))
	if err != nil {
		return false, err
	}
	now := c.millis()
	times = slices.DeleteFunc(times, func(t int64) bool { return t > now || now-t >= retryWindow.Milliseconds() })
	if len(times) >= maxRetries {
		return false, c.ignoreRetry("too many", b)
	}
	b.set(keyRetries(from), append(times, now))
	return true, nil
}

// remakeSilent is for a silent content that a device could not decrypt. What it said is outdated or said again where it
// matters, but archive keys are sent anew. What the device needs is a session that works, and then what waits for this
// device's own requests may be asked for again. The caller holds c.mu.
func (c *Client) remakeSilent(r retry, me device, b *batch) error {
	if r.from.AccountID == me.Account && r.conversation == selfConversation(me.Account) {
		v, _, err := get[vault](c, keyVault)
		if err != nil {
			return err
		}
		if err := c.shareArchiveKeys(b, v); err != nil {
			return err
		}
	}
	if r.vouched {
		return nil
	}
	all, err := c.store.Scan([]byte{prefixNotice}, nil, maxNotices)
	if err != nil {
		return storeError(err)
	}
	for _, it := range all {
		var n unread
		if err := decode(it.Value, &n); err != nil {
			return err
		}
		if n.Waiting && n.Sender == r.from.AccountID {
			n.Next = 0
			b.set(it.Key, n)
		}
	}
	delete(c.asked, conversationDevice{r.conversation, r.from})
	b.reread = true
	return c.queueSilent(b, slotSilent, r.conversation, e2ee.Body{Kind: e2ee.BodySessionRepair}, []api.DeviceRef{r.from})
}
