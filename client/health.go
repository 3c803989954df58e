package client

import (
	"context"
	"errors"
	"time"

	"sotto/api"
)

// Health is what a person, or a program that looks after one, should know about the own account.
type Health struct {
	Server           api.Info
	ClockAhead       time.Duration    // of this device's clock before the server's; negative when behind
	PreKeys          api.PreKeyCount  // one-time prekeys of this device that wait on the server
	Archive          api.ChatSettings // how much history the account keeps
	History          HistoryProgress  // how much of it is here
	Recovery         RecoveryState
	Devices          []Device
	Counters         Counters
	Unread           int  // messages that cannot be read at the moment
	Owed             int  // own messages that some account's devices have all lost
	Queue            int  // messages that wait to be sent
	Records          int  // archive records that wait for the server, up to MaxScan
	Stopped          int  // conversations in which nothing is sent until the user decides about an identity
	PasswordRequired bool // see [Client.PasswordRequired]
}

// Health asks the server and looks into the store.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	begin := c.now()
	if h.Server, err = c.Info(ctx); err != nil {
		return h, err
	}
	middle := begin.Add(c.now().Sub(begin) / 2)
	h.ClockAhead = middle.Sub(time.UnixMilli(h.Server.Time))
	if h.Devices, err = c.Devices(ctx); err != nil {
		return h, err
	}
	if err := c.call(ctx, "GET", "/api/user/prekeys", nil, &h.PreKeys); err != nil {
		return h, err
	}
	if err := c.call(ctx, "GET", "/api/chat/settings", nil, &h.Archive); err != nil {
		return h, err
	}
	notices, err := c.Notices()
	if err != nil {
		return h, err
	}
	for _, n := range notices {
		if n.Code != CodeIdentity {
			h.Unread++
		}
	}
	conversations, err := c.Conversations()
	if err != nil {
		return h, err
	}
	for _, v := range conversations {
		if v.Stopped {
			h.Stopped++
		}
	}
	var errs [6]error
	h.History, errs[0] = c.History()
	h.Recovery, errs[1] = c.RecoveryState()
	h.Counters, errs[2] = c.Counters()
	h.Owed, errs[3] = c.OwedMessages()
	h.Queue, errs[4] = c.Queue()
	h.PasswordRequired, errs[5] = c.PasswordRequired()
	c.mu.Lock()
	defer c.mu.Unlock()
	acks, err := c.store.Scan([]byte{prefixAck}, nil, MaxScan)
	h.Records = len(acks)
	return h, errors.Join(storeError(err), errors.Join(errs[:]...))
}
