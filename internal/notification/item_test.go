package notification_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/hint"
	"sotto/internal/notification"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

func TestStatements(t *testing.T) {
	db := sqldbtest.Open(t,
		sqldbtest.Series{Name: notification.Series, Files: notification.Migrations},
		sqldbtest.Series{Name: outbox.Series, Files: outbox.Migrations})
	sqldbtest.CheckStatements(t, ".", db, map[string]string{
		"sqlCountJobs":   "an operator asks for the size of the whole queue",
		"sqlReleaseJobs": "once at the start, and the queue is short",
		"sqlTrimFailed":  "walks the index of failed jobs, whose number it bounds",
	})
}

// TestOneItemAConversation: what waits now replaces what waited before, whatever order the events come in.
func TestOneItemAConversation(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	talk, other := api.ConversationID{1}, api.ConversationID{2}
	early := w.event(event.MessageWaiting, a.Account, waiting(talk, 1))
	w.pass(time.Second)
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(other, 2)))
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 5)))
	w.happens(early) // overtaken
	page := w.list(a)
	if len(page.Notifications) != 2 || page.Unread != 2 || page.Notifications[0].Count != 5 || *page.Notifications[0].ConversationID != talk {
		t.Fatalf("%+v", page)
	}
	// Read ones stay, and what comes later is a new one at the top.
	if err := w.MarkRead(t.Context(), a, page.Notifications[0].ID); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(talk, 1)))
	if page = w.list(a); len(page.Notifications) != 3 || page.Unread != 2 || page.Notifications[0].Count != 1 || !page.Notifications[1].Read {
		t.Fatalf("%+v", page)
	}
	if others := w.list(w.newActor()); len(others.Notifications) != 0 || others.Unread != 0 {
		t.Errorf("another account sees %+v", others)
	}
}

// TestEventsAreHandledOnce: the same event again changes nothing, also when its commit had an unknown outcome.
func TestEventsAreHandledOnce(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	for name, fault := range map[string]sqldb.Fault{"lost": sqldb.FailLost, "stored": sqldb.FailStored, "none": sqldb.NoFault} {
		before := len(w.list(a).Notifications)
		e := w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotifySignedIn})
		w.db.InjectCommitFaults(func(string) sqldb.Fault { return fault })
		err := w.HandleEvent(t.Context(), e)
		w.db.InjectCommitFaults(nil)
		if (err == nil) != (fault == sqldb.NoFault) {
			t.Errorf("%s: %v", name, err)
		}
		for range 2 {
			w.happens(e)
		}
		if n := len(w.list(a).Notifications) - before; n != 1 {
			t.Errorf("%s: %d notifications of one event", name, n)
		}
	}
}

func TestPoisonIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	for _, body := range []string{`7`, `{"kind":7}`, `{"kind":""}`, `{"kind":"` + strings.Repeat("x", 33) + `"}`} {
		e := w.event(event.AccountNotice, a.Account, json.RawMessage(body))
		if err := w.HandleEvent(t.Context(), e); err == nil {
			t.Errorf("%s was taken", body)
		}
	}
	for _, body := range []string{`[]`, `{"conversations":[{"conversation_id":"x","count":1}]}`, `{"conversations":[{"conversation_id":"00000000-0000-0000-0000-000000000001","count":0}]}`} {
		e := w.event(event.MessageWaiting, a.Account, json.RawMessage(body))
		if err := w.HandleEvent(t.Context(), e); err == nil {
			t.Errorf("%s was taken", body)
		}
	}
	if page := w.list(a); len(page.Notifications) != 0 {
		t.Errorf("%+v is left", page)
	}
	if w.Refused.Load() == 0 {
		t.Error("nothing was counted")
	}
}

func TestListPagesAndBounds(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	const more = 5
	for i := range api.MaxNotifications + more {
		w.pass(time.Millisecond)
		w.happens(w.event(event.AccountNotice, a.Account, event.Notice{Kind: api.NotificationKind(fmt.Sprintf("k%d", i))}))
	}
	var all []api.Notification
	for before := int64(0); ; {
		page, err := w.List(t.Context(), a, before, 97)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Notifications...)
		if before = page.Next; before == 0 {
			break
		}
	}
	if len(all) != api.MaxNotifications {
		t.Fatalf("%d notifications are kept", len(all))
	}
	for i, n := range all {
		if want := api.NotificationKind(fmt.Sprintf("k%d", api.MaxNotifications+more-1-i)); n.Kind != want {
			t.Fatalf("at %d is %s, want %s", i, n.Kind, want)
		}
	}
	left, err := w.MarkThrough(t.Context(), a, api.ReadThrough{Through: all[10].ID})
	if err != nil || left.Unread != 10 {
		t.Errorf("%+v, %v", left, err)
	}
	if err := w.Delete(t.Context(), a, all[0].ID); err != nil {
		t.Fatal(err)
	}
	stranger := w.newActor()
	for name, err := range map[string]error{
		"delete again": w.Delete(t.Context(), a, all[0].ID), "delete another's": w.Delete(t.Context(), stranger, all[1].ID),
		"mark another's": w.MarkRead(t.Context(), stranger, all[1].ID),
	} {
		if err == nil {
			t.Errorf("%s succeeded", name)
		}
	}
	for _, limit := range []int{0, -1, api.MaxNotificationPage + 1} {
		if _, err := w.List(t.Context(), a, 0, limit); err == nil {
			t.Errorf("a page of %d", limit)
		}
	}
}

// TestSocketsAreTold: the hint is one that the chat service understands, and says nothing but the notification.
func TestSocketsAreTold(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	w.happens(w.event(event.MessageWaiting, a.Account, waiting(api.ConversationID{9}, 3)))
	if len(w.hints) != 1 {
		t.Fatalf("%d hints", len(w.hints))
	}
	var note hint.Note
	if err := json.Unmarshal([]byte(w.hints[0][hint.OriginSize:]), &note); err != nil {
		t.Fatal(err)
	}
	if n := note.Notification; n == nil || n.Count != 3 || n.ID == 0 || *n.ConversationID != (api.ConversationID{9}) {
		t.Errorf("%+v", note)
	}
}

func TestEndedLoginsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newActor()
	signed, _, err := w.signer.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Verify(t.Context(), signed); err != nil || got != a {
		t.Fatalf("%+v, %v", got, err)
	}
	w.happens(w.event(event.LoginEnded, a.Account, event.LoginEnd{LoginID: a.Login, Until: w.clock().Add(time.Hour).UnixMilli()}))
	if _, err := w.Verify(t.Context(), signed); err == nil {
		t.Error("the token of an ended login was accepted")
	}
}
