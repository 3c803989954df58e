package client

import (
	"context"
	"errors"
	"slices"

	"sotto/api"
	"sotto/e2ee"
)

// ackBytes bounds the records of one acknowledgement, so that it stays below api.MaxSendBody in base64.
const ackBytes = 512 << 10

// pendingAck is an acknowledgement that the server has not confirmed yet. It is stored with the message, and goes out
// again after a crash.
type pendingAck struct {
	Entry  int64       `json:"entry"`
	Record *api.Record `json:"record,omitempty"`
	// The message, for another record when the server wants one.
	Conversation api.ConversationID `json:"conversation,omitzero"`
	ID           api.MessageID      `json:"id,omitzero"`
}

// sameMessage finds the record of a message that came in two entries: an acknowledgement has one record for each.
func (a pendingAck) sameMessage(r api.Record) bool {
	return r.ConversationID == a.Record.ConversationID && r.MessageID == a.Record.MessageID
}

// ackLoop sends stored acknowledgements in batches. What the server refuses waits for the next connection.
func (n *connection) ackLoop(ctx context.Context) error {
	for {
		from := []byte{prefixAck}
		for {
			req, next, err := n.c.nextAcks(from)
			if err != nil {
				return err
			}
			if len(req.Entries) == 0 {
				break
			}
			var res api.Acked
			if err := n.socket.request(ctx, api.EventAck, req, &res); err != nil {
				return err
			}
			if err := n.c.acknowledged(req, res); err != nil {
				return err
			}
			from = next
		}
		select {
		case <-n.acks:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nextAcks reads one batch of acknowledgements, and where the next one begins.
func (c *Client) nextAcks(from []byte) (req api.Ack, next []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, err := c.store.Scan([]byte{prefixAck}, from, api.MaxAckEntries)
	if err != nil {
		return req, nil, storeError(err)
	}
	b := &batch{}
	size := 0
	for _, it := range items {
		var a pendingAck
		if err := decode(it.Value, &a); err != nil {
			return req, nil, err
		}
		if err := c.renewRecord(it.Key, &a, b); err != nil {
			return req, nil, err
		}
		if a.Record != nil && !slices.ContainsFunc(req.Records, a.sameMessage) {
			size += len(a.Record.Sealed)
			if size > ackBytes && len(req.Entries) > 0 {
				break
			}
			req.Records = append(req.Records, *a.Record)
		}
		req.Entries = append(req.Entries, a.Entry)
		next = append(it.Key, 0)
	}
	return req, next, c.commit(b)
}

// renewRecord seals a record again whose archive epoch has ended meanwhile. The caller holds c.mu.
func (c *Client) renewRecord(key []byte, a *pendingAck, b *batch) error {
	if a.Record == nil {
		return nil
	}
	v, _, err := get[vault](c, keyVault)
	if err != nil {
		return err
	}
	newest, err := v.archiveKey()
	if err != nil || a.Record.KeyEpoch >= newest.Epoch {
		return err
	}
	r := a.Record
	old, err := c.archiveKeyOf(r.KeyEpoch)
	if errors.Is(err, errNoArchiveKey) {
		return nil
	}
	if err != nil {
		return err
	}
	me, err := c.device()
	if err != nil {
		return err
	}
	place := e2ee.RecordPlace{Account: me.Account, Conversation: r.ConversationID, MessageID: r.MessageID}
	record, err := e2ee.OpenArchive(old, place, r.Sealed)
	if err != nil {
		return storeError(err)
	}
	sealed, err := e2ee.SealArchive(c.rand, newest, place, record)
	if err != nil {
		return storeError(err)
	}
	r.KeyEpoch, r.Sealed = newest.Epoch, sealed
	b.put(key, *a)
	return nil
}

// acknowledged forgets what has left the mailbox.
func (c *Client) acknowledged(req api.Ack, res api.Acked) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := map[int64]bool{}
	for _, id := range req.Entries {
		sent[id] = true
	}
	b := &batch{}
	for _, id := range res.Removed {
		if sent[id] { // nothing else was asked
			b.delete(keyAck(id))
			delete(sent, id)
		}
	}
	again := false
	for _, r := range res.Refused {
		c.log.Warn("acknowledgement refused", "code", r.Code)
		if r.Code == api.CodeRecordRequired && sent[r.EntryID] {
			made, err := c.makeRecord(r.EntryID, b)
			if err != nil {
				return err
			}
			again = again || made
		}
		if r.Code == api.CodeArchiveEpoch {
			if err := c.askArchiveKeys(b); err != nil {
				return err
			}
		}
	}
	if err := c.commit(b); err != nil {
		return err
	}
	if again && c.conn != nil {
		signal(c.conn.acks)
	}
	return nil
}

// makeRecord gives an acknowledgement the record that the server misses: the account keeps history again, or the record of
// an own message has gone. It tells whether there is one now. The caller holds c.mu.
func (c *Client) makeRecord(id int64, b *batch) (bool, error) {
	b.set(keyChoice, api.ChatSettings{})
	a, found, err := get[pendingAck](c, keyAck(id))
	if err != nil || !found || a.Record != nil {
		return false, err
	}
	me, err := c.device()
	if err != nil {
		return false, err
	}
	e, found, err := c.logged(a.Conversation, a.ID)
	if err != nil || !found {
		return false, err
	}
	if a.Record, err = c.sealEntry(me, a.Conversation, e); err != nil || a.Record == nil {
		return true, err // sealed when the choice is forgotten
	}
	b.set(keyAck(id), a)
	return true, nil
}
