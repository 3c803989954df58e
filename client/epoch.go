package client

import (
	"context"

	"sotto/api"
)

// A server that was restored from a backup has forgotten what came after it and says so by a higher epoch
// (docs/protocol.md, section 12, point 8). Older versions are tolerated only together with that.

// serverState is what this device knows of the server's epoch.
type serverState struct {
	Epoch  uint64 `json:"epoch"`            // lists and bundle were given back in it, or nothing had to be
	Raised uint64 `json:"raised,omitempty"` // a higher one that was met, while that is not done
	// Introduced is the epoch in which this device has introduced itself again, or was definitely refused.
	Introduced uint64 `json:"introduced,omitempty"`
	Password   bool   `json:"password,omitempty"` // the user has to give the password once: GiveBack
}

func (s serverState) current() uint64 { return max(s.Epoch, s.Raised) }

// serverEpoch is the highest epoch met. The caller holds c.mu.
func (c *Client) serverEpoch() (uint64, error) {
	s, _, err := get[serverState](c, keyServer)
	return s.current(), err
}

func (c *Client) changeServer(change func(*serverState), more func(b *batch)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[serverState](c, keyServer)
	if err != nil {
		return err
	}
	change(&s)
	b := &batch{}
	b.put(keyServer, s)
	if more != nil {
		more(b)
	}
	return c.commit(b)
}

// meetEpoch takes note of the server's epoch before anything is done over a connection. With a higher one all
// acknowledgements that wait are dropped: their numbers may be those of other entries now, and what they were for is
// delivered again. A lower one is refused.
func (c *Client) meetEpoch(epoch uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[serverState](c, keyServer)
	if err != nil || epoch == s.current() {
		return err
	}
	if epoch < s.current() {
		me, err := c.device()
		if err != nil {
			return err
		}
		back := fail(CodeServerBack, "The server was set back to an earlier state without saying so, or it lies. Do not trust it.")
		c.alert(me.Account, back)
		return back
	}
	if epoch == 1 {
		s.Epoch = epoch
	} else {
		s.Raised = epoch
	}
	for {
		acks, err := c.store.Scan([]byte{prefixAck}, nil, wipePage)
		if err != nil {
			return storeError(err)
		}
		b := &batch{}
		for _, it := range acks {
			b.delete(it.Key)
		}
		if len(acks) < wipePage {
			b.put(keyServer, s)
			if v, found, err := get[vault](c, keyVault); err != nil {
				return err
			} else if found && v.Asked > 0 { // the server has forgotten it
				v.Asked = 0
				b.put(keyVault, v)
			}
		}
		if err := c.commit(b); err != nil || len(acks) < wipePage {
			return err
		}
	}
}

// raised tells whether an older version that the server shows is explained by a restore that this device has not dealt
// with yet.
func (c *Client) raised(ctx context.Context) (bool, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return false, err
	}
	if err := c.meetEpoch(info.Epoch); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[serverState](c, keyServer)
	return s.Raised != 0, err
}

// Info asks the server what it is. It needs no account.
func (c *Client) Info(ctx context.Context) (info api.Info, err error) {
	err = c.request(ctx, "GET", "/api/info", "", nil, &info)
	return info, err
}
