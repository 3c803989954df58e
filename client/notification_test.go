package client_test

import (
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
)

// TestNotifications: one is marked, all up to one are, and one is taken away; what is not there is said.
func TestNotifications(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	if _, err := ada.ChangePassword(t.Context(), client.PasswordOptions{Password: password, NewPassword: newPassword}); err != nil {
		t.Fatal(err)
	}
	var page api.Notifications
	for deadline := time.Now().Add(patience); len(page.Notifications) < 2; time.Sleep(20 * time.Millisecond) {
		var err error
		if page, err = ada.Notifications(t.Context(), 0, 10); err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", page, err)
		}
	}
	newest, oldest := page.Notifications[0].ID, page.Notifications[1].ID
	if err := ada.ReadNotification(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	if page, err := ada.Notifications(t.Context(), 0, 10); err != nil || page.Unread != 1 || !page.Notifications[0].Read || page.Notifications[1].Read {
		t.Errorf("one was marked: %+v, %v", page, err)
	}
	if left, err := ada.ReadNotifications(t.Context(), newest); err != nil || left != 0 {
		t.Errorf("all were marked: %d are left, %v", left, err)
	}
	if err := ada.DeleteNotification(t.Context(), oldest); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"marking": ada.ReadNotification(t.Context(), oldest), "deleting": ada.DeleteNotification(t.Context(), oldest),
	} {
		if client.CodeOf(err) != api.CodeNotFound {
			t.Errorf("%s what is not there: %v", name, err)
		}
	}
	if page, err := ada.Notifications(t.Context(), 0, 10); err != nil || len(page.Notifications) != 1 {
		t.Errorf("one was deleted: %+v, %v", page, err)
	}
}
