package client

import (
	"context"

	"sotto/api"
)

// HistoryChoice asks what the account keeps in the archive.
func (c *Client) HistoryChoice(ctx context.Context) (api.ChatSettings, error) {
	var set api.ChatSettings
	if err := c.call(ctx, "GET", "/api/chat/settings", nil, &set); err != nil {
		return set, err
	}
	return set, c.rememberChoice(set)
}

// KeepHistory chooses what the account keeps in the archive: everything, the messages of the last days, or nothing. What
// it does not keep the server erases within the hour; what is on devices stays there.
func (c *Client) KeepHistory(ctx context.Context, set api.ChatSettings) error {
	var now api.ChatSettings
	if err := c.call(ctx, "PUT", "/api/chat/settings", set, &now); err != nil {
		return err
	}
	return c.rememberChoice(now)
}

// rememberChoice notes whether messages get records.
func (c *Client) rememberChoice(set api.ChatSettings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.device(); err != nil {
		return err
	}
	b := &batch{}
	b.put(keyChoice, set)
	return c.commit(b)
}

// forgetChoice makes records again, until the server is asked.
func (c *Client) forgetChoice() error { return c.rememberChoice(api.ChatSettings{}) }

// StoredHistory asks how many records the account's archive has.
func (c *Client) StoredHistory(ctx context.Context) (int, error) {
	var page api.ArchivePage
	err := c.call(ctx, "GET", "/api/chat/archive?limit=1", nil, &page)
	return page.Count, err
}
