package client

import (
	"context"

	"sotto/api"
)

// Presence tells of every contact whether it is connected and when it was last. Contacts are the accounts with which a
// conversation was accepted on both sides; of others, and of those that have blocked this account, nothing is told.
func (c *Client) Presence(ctx context.Context) ([]api.Presence, error) {
	var res api.PresenceAnswer
	err := c.call(ctx, "GET", "/api/chat/presence", nil, &res)
	return res.Presence, err
}

// FindUsers lists up to api.MaxFound usernames that begin like this, in their order; prefix has at least
// api.MinUsername characters. Errors: api.CodeInvalid, api.CodeLimited.
func (c *Client) FindUsers(ctx context.Context, prefix string) ([]api.FoundAccount, error) {
	var res api.FindAnswer
	err := c.call(ctx, "POST", "/api/user/find", api.FindRequest{Prefix: prefix}, &res)
	return res.Accounts, err
}
