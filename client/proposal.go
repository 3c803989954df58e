package client

import (
	"bytes"
	"context"
	"slices"

	"sotto/api"
)

// maxProposals bounds the changes whose outcome is unknown; the oldest is forgotten.
const maxProposals = 4

// proposal is the next version of the key bundle, stored before the request with it leaves: when the answer is lost
// together with this process, the bundle that the server shows tells whether it was stored, and the new archive key is
// there.
type proposal struct {
	Vault vault           `json:"vault"`
	List  *api.SignedList `json:"list,omitempty"` // of the same change
}

// amendment is a change of the account that the server stores with the next bundle, in one transaction.
type amendment struct {
	proposal
	method, path string
	request      any
}

// amend opens the bundle with the password, lets change make the next version, and hands it to the server. When
// somebody else was faster it begins again. Afterwards this device has the new list, bundle and archive key.
func (c *Client) amend(
	ctx context.Context, password string, change func(o *opened, auth string) (amendment, error),
) (api.DevicesChange, error) {
	var key stretched
	for race := 1; ; race++ {
		o, err := c.unlock(ctx, password, &key)
		if err != nil {
			return api.DevicesChange{}, err
		}
		a, err := change(&o, key.auth)
		if err != nil {
			return api.DevicesChange{}, err
		}
		if err := c.propose(a.proposal); err != nil {
			return api.DevicesChange{}, err
		}
		token, err := c.token(ctx, "")
		if err != nil {
			return api.DevicesChange{}, err
		}
		var res api.DevicesChange
		err = c.insist(ctx, a.method, a.path, token, a.request, &res)
		switch CodeOf(err) {
		case api.CodeListVersion, api.CodeBundleVersion, api.CodeConflict:
			if race < maxRaces {
				continue
			}
		}
		if err != nil {
			return res, err
		}
		return res, c.accomplish(a.proposal)
	}
}

func (c *Client) propose(p proposal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, _, err := get[[]proposal](c, keyProposals)
	if err != nil {
		return err
	}
	all = append(all, p)
	b := &batch{}
	b.put(keyProposals, all[max(0, len(all)-maxProposals):])
	return c.commit(b)
}

// resume finds out what became of changes whose answers were lost.
func (c *Client) resume(ctx context.Context) error {
	c.mu.Lock()
	_, found, err := c.getRaw(keyProposals)
	c.mu.Unlock()
	if err != nil || !found {
		return err
	}
	var sealed api.Bundle
	if err := c.call(ctx, "GET", "/api/user/bundle", nil, &sealed); err != nil {
		return err
	}
	return c.settleProposals(sealed)
}

// settleProposals holds them against the bundle that the server has now.
func (c *Client) settleProposals(now api.Bundle) error {
	c.mu.Lock()
	all, found, err := get[[]proposal](c, keyProposals)
	c.mu.Unlock()
	if err != nil || !found {
		return err
	}
	for _, p := range all {
		if p.Vault.Version == now.Version && bytes.Equal(p.Vault.Sealed, now.Sealed) {
			return c.accomplish(p)
		}
	}
	// Those of later versions may still be on their way. Of the others nothing remains, or another device has built on it.
	late := slices.DeleteFunc(all, func(p proposal) bool { return p.Vault.Version <= now.Version })
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	if len(late) > 0 {
		b.put(keyProposals, late)
	} else {
		b.delete(keyProposals)
	}
	return c.commit(b)
}

// accomplish makes a stored change this device's own, and sends the new archive key to the account's other devices.
func (c *Client) accomplish(a proposal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	b := &batch{}
	b.put(keyVault, a.Vault)
	b.delete(keyProposals)
	if a.List != nil {
		p, err := c.pin(me.Account)
		if err != nil {
			return err
		}
		inactive := p.Inactive
		if err := p.step(signed(*a.List)); err != nil {
			return err
		}
		p.Inactive = inactive
		p.put(b)
		b.events = append(b.events, Event{Type: EventDevices, Account: me.Account})
	}
	if err := c.shareArchiveKeys(b, a.Vault); err != nil && CodeOf(err) != CodeQueueFull {
		return err
	}
	b.keys = true
	return c.commit(b)
}
