package app

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sotto/internal/broker"
	"sotto/internal/broker/brokertest"
	brokerlocal "sotto/internal/broker/local"
	"sotto/internal/config"
	"sotto/internal/event"
)

// TestPurgeQueueAsksFirst: what would be dropped is shown, and only yes drops it.
func TestPurgeQueueAsksFirst(t *testing.T) {
	c := config.Config{DataDir: t.TempDir()}
	s, _ := wholeAt(t, c.DataDir)
	b := brokerlocal.New(brokerlocal.Options{DB: s.chatDB, Now: time.Now})
	err := b.Subscribe(t.Context(), "chat", []event.Type{event.LoginEnded}, func(context.Context, event.Event) error {
		return errors.New("poison")
	})
	if err != nil {
		t.Fatal(err)
	}
	for range broker.MaxTries {
		_ = b.Publish(t.Context(), brokertest.Event(1)) // refused, and at last buried
	}
	for _, step := range []struct {
		answer string
		yes    bool
		fails  bool
		want   string
	}{
		{"no\n", false, false, "Nothing was dropped."},
		{"", false, true, "Nothing was dropped."},
		{"", true, false, "Dropped 1 entries."},
		{"", false, false, "chat.dead holds 0 entries."},
	} {
		var out bytes.Buffer
		err := PurgeQueue(t.Context(), c, "chat.dead", step.yes, strings.NewReader(step.answer), &out)
		if (err != nil) != step.fails || !strings.Contains(out.String(), step.want) {
			t.Errorf("answer %q: %v\n%s", step.answer, err, out.String())
		}
		if step.want == "Nothing was dropped." && !strings.Contains(out.String(), "login.ended") {
			t.Errorf("what would be dropped is not shown:\n%s", out.String())
		}
	}
}
