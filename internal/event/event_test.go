package event_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/event"
)

func TestJSON(t *testing.T) {
	body := event.LoginEnd{LoginID: api.LoginID{15: 3}, Until: 99}
	e, err := event.New(api.EventID{15: 1}, event.LoginEnded, api.AccountID{15: 2}, time.UnixMilli(1234), body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"00000000-0000-0000-0000-000000000001","type":"login.ended",` +
		`"account_id":"00000000-0000-0000-0000-000000000002","time":1234,` +
		`"body":{"login_id":"00000000-0000-0000-0000-000000000003","until":99}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	var back event.Event
	var got event.LoginEnd
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Decode(&got); err != nil || got != body || cmp.Diff(e, back) != "" {
		t.Errorf("%v, %+v, %s", err, got, cmp.Diff(e, back))
	}
}

func TestDecodeIgnoresWhatANewerServiceAdds(t *testing.T) {
	e := event.Event{Type: event.LoginEnded, Body: []byte(`{"until":5,"reason":"new"}`)}
	var got event.LoginEnd
	if err := e.Decode(&got); err != nil || got.Until != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	e.Body = []byte(`{"until":"five"}`)
	if err := e.Decode(&got); err == nil || !strings.Contains(err.Error(), "login.ended") {
		t.Errorf("a wrong type: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		id   api.EventID
		typ  event.Type
		body any
	}{
		"no id":         {api.EventID{}, event.LoginEnded, 1},
		"no type":       {api.EventID{1}, "", 1},
		"too large":     {api.EventID{1}, event.LoginEnded, strings.Repeat("x", event.MaxBody)},
		"not JSON able": {api.EventID{1}, event.LoginEnded, make(chan int)},
	} {
		if _, err := event.New(c.id, c.typ, api.AccountID{}, time.UnixMilli(0), c.body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
