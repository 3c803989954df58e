package client

import (
	"sotto/api"
)

// Items that belong to one device and mean nothing to its successor. What is not named here stays: the history, the
// conversations, the pinned lists of peers, the queue.
var ofOneDevice = []byte{prefixSession, prefixPreKey, prefixKyberUsed, prefixAck, prefixNotice, prefixErrand, prefixRetries, prefixTold}

// carryOver takes what an earlier device of the same account has left in the store over to the new one. It can be cut
// short anywhere and begun again: first of all the old device becomes unusable, and the new one is written by the
// caller at the end. The caller holds c.mu.
//
// The queue keeps message ids, contents and commitments, under the number of the device that wrote them. If that
// device, or a copy of it, has sent such a message already, the server recognises it; so it is there once in any case.
func (c *Client) carryOver(old device) error {
	old.Ended = api.CodeDeviceGone
	b := &batch{}
	b.put(keyDevice, old)
	for _, key := range [][]byte{keyLogin, keyGeneration, keyPreKeys, keyProposals, keyErrands, keyArchive, keyStateSync} {
		b.delete(key)
	}
	if err := c.commit(b); err != nil {
		return err
	}
	for _, prefix := range ofOneDevice {
		if err := c.eachPage([]byte{prefix}, func(items []Item, b *batch) error {
			for _, it := range items {
				b.delete(it.Key)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := c.eachPage([]byte{prefixQueue}, rewrite(func(q *queued) { q.Try, q.Unknown = nil, false })); err != nil {
		return err
	}
	return c.eachPage([]byte{prefixConversation}, rewrite(func(v *conversation) { v.Sent = 0 }))
}

// eachPage changes the items of a prefix, a page in one batch. The caller holds c.mu.
func (c *Client) eachPage(prefix []byte, change func(items []Item, b *batch) error) error {
	var from []byte
	for {
		items, err := c.store.Scan(prefix, from, wipePage)
		if err != nil {
			return storeError(err)
		}
		b := &batch{}
		if err := change(items, b); err != nil {
			return err
		}
		if err := c.commit(b); err != nil || len(items) < wipePage {
			return err
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// rewrite changes every item of a page.
func rewrite[T any](change func(*T)) func(items []Item, b *batch) error {
	return func(items []Item, b *batch) error {
		for _, it := range items {
			var v T
			if err := decode(it.Value, &v); err != nil {
				return err
			}
			change(&v)
			b.put(it.Key, v)
		}
		return nil
	}
}
