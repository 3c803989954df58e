//go:build js

package main

import (
	"context"

	"sotto/api"
	"sotto/client"
)

type addressArgs struct {
	Address  string `json:"address"`
	Password string `json:"password"`
}

type codeArgs struct {
	Code     string `json:"code"`
	Password string `json:"password"`
}

type passwordOnly struct {
	Password string `json:"password"`
}

type addressResult struct {
	Address string `json:"address"`
}

func email(ctx context.Context, c *client.Client, _ none) (addressResult, error) {
	address, err := c.Email(ctx)
	return addressResult{address}, err
}

func startEmail(ctx context.Context, c *client.Client, a addressArgs) (none, error) {
	return none{}, c.StartEmail(ctx, a.Address, a.Password)
}

func confirmEmail(ctx context.Context, c *client.Client, a codeArgs) (none, error) {
	return none{}, c.ConfirmEmail(ctx, a.Code, a.Password)
}

func removeEmail(ctx context.Context, c *client.Client, a passwordOnly) (none, error) {
	return none{}, c.RemoveEmail(ctx, a.Password)
}

type pageArgs struct {
	Before int64 `json:"before"`
	Limit  int   `json:"limit"`
}

type notificationArgs struct {
	ID int64 `json:"id"`
}

type conversationNotifications struct {
	Conversation api.ConversationID             `json:"conversation"`
	Set          *api.ConversationNotifications `json:"set,omitempty"`
}

type subscribeArgs struct {
	Subscription *api.PushSubscription `json:"subscription"`
}

func notifications(ctx context.Context, c *client.Client, a pageArgs) (api.Notifications, error) {
	return c.Notifications(ctx, a.Before, a.Limit)
}

func readNotifications(ctx context.Context, c *client.Client, a notificationArgs) (api.UnreadCount, error) {
	n, err := c.ReadNotifications(ctx, a.ID)
	return api.UnreadCount{Unread: n}, err
}

func readNotification(ctx context.Context, c *client.Client, a notificationArgs) (none, error) {
	return none{}, c.ReadNotification(ctx, a.ID)
}

func deleteNotification(ctx context.Context, c *client.Client, a notificationArgs) (none, error) {
	return none{}, c.DeleteNotification(ctx, a.ID)
}

func notificationSettings(ctx context.Context, c *client.Client, _ none) (api.NotificationSettings, error) {
	return c.NotificationSettings(ctx)
}

func setNotificationSettings(ctx context.Context, c *client.Client, a api.NotificationSettings) (none, error) {
	return none{}, c.SetNotificationSettings(ctx, a)
}

func conversationNotification(ctx context.Context, c *client.Client, a conversationNotifications) (api.ConversationNotifications, error) {
	return c.ConversationNotifications(ctx, a.Conversation)
}

func setConversationNotification(ctx context.Context, c *client.Client, a conversationNotifications) (none, error) {
	return none{}, c.SetConversationNotifications(ctx, a.Conversation, a.Set)
}

func pushState(ctx context.Context, c *client.Client, _ none) (api.PushState, error) {
	return c.PushState(ctx)
}

func subscribe(ctx context.Context, c *client.Client, a subscribeArgs) (none, error) {
	return none{}, c.Subscribe(ctx, a.Subscription)
}
