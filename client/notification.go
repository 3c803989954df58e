package client

import (
	"context"
	"strconv"

	"sotto/api"
)

const notificationsPath = "/api/notifications"

// Notifications lists a page of what the account should learn of, newest first; before 0 begins. Live ones come as
// [EventNotification].
func (c *Client) Notifications(ctx context.Context, before int64, limit int) (page api.Notifications, err error) {
	query := "?before=" + strconv.FormatInt(before, 10) + "&limit=" + strconv.Itoa(limit)
	err = c.call(ctx, "GET", notificationsPath+query, nil, &page)
	return page, err
}

// ReadNotifications marks every notification up to one as read, and returns how many are left.
func (c *Client) ReadNotifications(ctx context.Context, through int64) (unread int, err error) {
	var left api.UnreadCount
	err = c.call(ctx, "POST", notificationsPath+"/read", api.ReadThrough{Through: through}, &left)
	return left.Unread, err
}

// ReadNotification marks one notification as read.
func (c *Client) ReadNotification(ctx context.Context, id int64) error {
	return c.call(ctx, "POST", itemPath(id)+"/read", nil, nil)
}

// DeleteNotification takes one off the list.
func (c *Client) DeleteNotification(ctx context.Context, id int64) error {
	return c.call(ctx, "DELETE", itemPath(id), nil, nil)
}

func itemPath(id int64) string { return notificationsPath + "/item/" + strconv.FormatInt(id, 10) }

// NotificationSettings are how the account is notified.
func (c *Client) NotificationSettings(ctx context.Context) (set api.NotificationSettings, err error) {
	err = c.call(ctx, "GET", notificationsPath+"/settings", nil, &set)
	return set, err
}

// SetNotificationSettings replaces them.
func (c *Client) SetNotificationSettings(ctx context.Context, set api.NotificationSettings) error {
	return c.call(ctx, "PUT", notificationsPath+"/settings", set, nil)
}

// ConversationNotifications are what applies to one conversation.
func (c *Client) ConversationNotifications(ctx context.Context, id api.ConversationID) (own api.ConversationNotifications, err error) {
	err = c.call(ctx, "GET", notificationsPath+"/settings/"+id.String(), nil, &own)
	return own, err
}

// SetConversationNotifications lets a conversation differ from the account; nil follows the account again.
func (c *Client) SetConversationNotifications(ctx context.Context, id api.ConversationID, own *api.ConversationNotifications) error {
	path := notificationsPath + "/settings/" + id.String()
	if own == nil {
		return c.call(ctx, "DELETE", path, nil, nil)
	}
	return c.call(ctx, "PUT", path, own, nil)
}

// PushState tells the key that the server pushes with, and whether this device is subscribed.
func (c *Client) PushState(ctx context.Context) (state api.PushState, err error) {
	err = c.call(ctx, "GET", notificationsPath+"/push", nil, &state)
	return state, err
}

// Subscribe lets the server push to this device through its push service; nil ends that. A sign-in subscribes anew.
func (c *Client) Subscribe(ctx context.Context, sub *api.PushSubscription) error {
	if sub == nil {
		return c.call(ctx, "DELETE", notificationsPath+"/push", nil, nil)
	}
	return c.call(ctx, "PUT", notificationsPath+"/push", sub, nil)
}
