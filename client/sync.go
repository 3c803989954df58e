package client

import (
	"context"
	"errors"

	"sotto/api"
)

// findHoles asks, for every conversation in which positions are missing, what became of them.
func (n *connection) findHoles(ctx context.Context) error {
	return n.c.remoteConversations(ctx, func(res api.Conversation) error {
		v, err := n.c.learn(res)
		if err == nil {
			v, err = n.c.reposition(ctx, v, n.accepted.Epoch)
		}
		if err == nil {
			err = n.sync(ctx, v, res.LastSeq)
		}
		return passOver(err)
	})
}

// sync goes through the positions after v.Through up to last. It ends at one of which nobody knows yet where it will come
// from; the next look begins there.
func (n *connection) sync(ctx context.Context, v conversation, last uint64) error {
	through, missed := v.Through, false
	for through < last {
		have, err := n.c.held(v, through)
		if err != nil {
			return err
		}
		for have[through+1] {
			through++
		}
		if through >= last {
			break
		}
		var page api.SyncPage
		req := api.SyncRequest{ConversationID: v.ID, From: through + 1, Limit: api.MaxSyncPage}
		if err := n.socket.request(ctx, api.EventSync, req, &page); err != nil {
			return err
		}
		first := through + 1
		for _, item := range page.Items[:min(len(page.Items), int(min(last-through, api.MaxSyncPage)))] {
			if err := n.position(ctx, v, through+1, item); err != nil {
				return err
			}
			if !have[through+1] {
				lacks, unclear, err := n.c.lacks(v, through+1, item.Reason)
				if err != nil || unclear {
					return errors.Join(err, n.c.setThrough(v.ID, through, missed))
				}
				missed = missed || lacks
			}
			through++
		}
		if through = max(through, min(page.Through, last)); through < first {
			return serverError("an empty answer about position %d", first)
		}
	}
	return n.c.setThrough(v.ID, through, missed)
}

// position takes the server's answer about one seq.
func (n *connection) position(ctx context.Context, v conversation, seq uint64, item api.SyncItem) error {
	e := item.Entry
	switch {
	case item.Seq != seq:
		return n.c.hole(v, seq)
	case e != nil && e.ConversationID == v.ID && e.Seq == seq:
		return n.receive(ctx, *e)
	case item.Reason != "":
		return nil
	}
	return n.c.hole(v, seq)
}

// lacks tells whether a message that is not here has to come from the archive: it is from before this device's time, or
// this device has sent or acknowledged it, as the server says, and its store is an older copy of itself. It is unclear
// while the archive was never read to its end, while another device has yet to bring the record, and while the answer to
// an own send may be on its way.
func (c *Client) lacks(v conversation, seq uint64, reason api.Reason) (lacks, unclear bool, err error) {
	switch reason {
	case api.ReasonElsewhere:
		return false, true, nil
	case api.ReasonOwn:
		if unclear, err = c.underWay(v.ID); err != nil || unclear {
			return false, unclear, err
		}
		if have, err := c.held(v, seq-1); err != nil || have[seq] { // it has arrived between the two questions
			return false, false, err
		}
	case api.ReasonBefore, api.ReasonAcknowledged:
	default:
		return false, false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[archiveState](c, keyArchive)
	return true, s.ReadAt == 0, err
}

// underWay tells whether a try of a message of this conversation may have reached the server.
func (c *Client) underWay(id api.ConversationID) (bool, error) {
	page, err := c.queuePage(0, window) // no more than these can be
	for _, q := range page {
		if q.Conversation == id && q.Unknown {
			return true, nil
		}
	}
	return false, err
}

// held are the positions after through of which the messages are stored.
func (c *Client) held(v conversation, through uint64) (map[uint64]bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := map[uint64]bool{}
	var from []byte
	for {
		items, err := c.store.Scan(keyMessages(v.ID), from, MaxHistory)
		if err != nil {
			return nil, storeError(err)
		}
		for _, it := range items {
			at := positionOf(it.Key)
			if !v.known(at) {
				continue
			}
			if at.Seq <= through {
				items = nil // newest first: the rest is known
				break
			}
			have[at.Seq] = true
		}
		if len(items) < MaxHistory {
			break
		}
		from = append(items[len(items)-1].Key, 0)
	}
	return have, nil
}

// hole counts and announces a position without message and reason.
func (c *Client) hole(v conversation, seq uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.count(func(n *Counters) { n.Holes++ }); err != nil {
		return err
	}
	c.publish(Event{
		Type: EventAlert, Account: v.Peer, Conversation: v.ID,
		Err: fail(CodeHole, "The server has lost message %d of this conversation, or keeps it back.", seq),
	})
	return nil
}

// setThrough notes up to where nothing is missing but what the archive has: missed asks for a pass over it.
func (c *Client) setThrough(id api.ConversationID, through uint64, missed bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.storedConversation(id)
	if err != nil || v.Through >= through {
		return err
	}
	v.Through = through
	b := &batch{}
	b.put(keyConversation(id), v)
	if missed {
		if err := c.wantArchive(b); err != nil {
			return err
		}
	}
	return c.commit(b)
}
