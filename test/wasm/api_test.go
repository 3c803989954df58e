package wasm_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestMalformed: what is not a request of the documented form gets an error and changes nothing.
func TestMalformed(t *testing.T) {
	t.Parallel()
	p := newSite(t, "").open(t, "page.html")
	for name, message := range map[string]any{
		"text instead of bytes": map[string]any{"id": 1, "do": "account"},
		"number":                7,
		"null":                  nil,
		"nothing":               "",
		"not JSON":              "{",
		"not an object":         "[1]",
		"no id":                 `{"do":"account"}`,
		"id zero":               `{"id":0,"do":"account"}`,
		"negative id":           `{"id":-1,"do":"account"}`,
		"broken id":             `{"id":1.5,"do":"account"}`,
		"huge id":               `{"id":9007199254740992,"do":"account"}`,
		"unknown field":         `{"id":1,"do":"account","more":1}`,
		"something follows":     `{"id":1,"do":"account"}{}`,
		"over the bound":        `{"id":1,"do":"account","args":{}` + strings.Repeat(" ", 1<<20) + `}`,
	} {
		var got answer
		if p.call(&got, "raw", message); got.ID != 0 || got.code() != "argument" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for i, tc := range []struct{ name, rest, code string }{
		{"unknown operation", `"do":"format"`, "argument"},
		{"no operation", `"args":{}`, "argument"},
		{"before open", `"do":"account"`, "not_open"},
		{"unknown argument", `"do":"open","args":{"server":"http://127.0.0.1","databse":"x"}`, "argument"},
		{"argument of another type", `"do":"open","args":{"server":1}`, "argument"},
		{"arguments are no object", `"do":"open","args":[]`, "argument"},
		{"not a server", `"do":"open","args":{"server":"ftp://x","database":"x"}`, "argument"},
		{"not the name of a database", `"do":"open","args":{"server":"http://127.0.0.1","database":"a/b"}`, "argument"},
		{"nothing to cancel", `"do":"cancel","args":{"request":4}`, "not_found"},
		{"close before open", `"do":"close"`, "not_open"},
	} {
		var got answer
		id := 1000 + i
		p.call(&got, "rawWithID", id, fmt.Sprintf(`{"id":%d,%s}`, id, tc.rest))
		if got.code() != tc.code {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.code)
		}
	}

	open := args{"server": "http://127.0.0.1:1", "database": "x"}
	if got := ask[accountAnswer](p, "open", open); got.Account != nil {
		t.Errorf("after all this %+v is signed in", got)
	}
	for _, tc := range []struct {
		do   string
		args args
		code string
	}{
		{"open", open, "open"},
		{"conversations", nil, "not_signed_in"},
		{"send", args{"conversation": "x", "text": "t"}, "argument"},
		{"send", args{"conversation": "00000000-0000-0000-0000-000000000001"}, "argument"},
		{"register", args{"username": "erin", "password": "short", "device_name": ""}, "password"},
		{"register", args{"username": "erin", "password": password, "device_name": ""}, "network"},
		{"run", nil, "not_signed_in"},
	} {
		if got := p.try(tc.do, tc.args); got.code() != tc.code {
			t.Errorf("%s %v: %v, want %s", tc.do, tc.args, got, tc.code)
		}
	}
	first := p.begin("events", nil)
	if got := p.try("events", nil); got.code() != "running" {
		t.Errorf("a second request for events: %v", got)
	}
	var twice answer
	p.call(&twice, "raw", fmt.Sprintf(`{"id":%d,"do":"account"}`, first))
	if twice.code() != "argument" {
		t.Errorf("an id that is in use: %+v", twice)
	}
	ask[nothing](p, "close", nil)
	if got := p.answer(first); got.code() != "canceled" {
		t.Errorf("close left a request with %v", got)
	}
}

// TestTooMany: what a page asks for beyond the bound is refused, and only that.
func TestTooMany(t *testing.T) {
	t.Parallel()
	const bound, more = 256, 3
	server := newServer(t)
	s := newSite(t, server.URL)
	p := s.open(t, "page.html")
	s.registerOnly(p, "grace")
	self := ask[conversationAnswer](p, "conversation", args{"username": "grace"})
	sent := ask[sendAnswer](p, "send", args{"conversation": self.ID, "text": "waits"}) // nothing runs
	var ids []int64
	for range bound + more {
		ids = append(ids, p.begin("waitSent", args{"message_id": sent.MessageID}))
	}
	for _, id := range ids[bound:] {
		if got := p.answer(id); got.code() != "limited" {
			t.Errorf("a request over the bound: %v", got)
		}
	}
	if got := p.try("cancel", args{"request": ids[0]}); got.code() != "limited" {
		t.Errorf("cancel is a request as well, and got %v", got)
	}
}

// TestStorageFull: the browser has no room left. The client says so and stops writing.
func TestStorageFull(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := newSite(t, server.URL)
	p := s.open(t, "page.html")
	p.do(map[string]any{"do": "quota", "bytes": 2 << 20}, nil)
	s.registerOnly(p, "frank")
	self := ask[conversationAnswer](p, "conversation", args{"username": "frank"})
	message := args{"conversation": self.ID, "text": strings.Repeat("x", 30_000)}
	var got answer
	for range 200 { // several times the room; nothing runs, so all of it stays in the queue
		if got = p.try("send", message); got.Error != nil {
			break
		}
	}
	if got.code() != "store_full" {
		t.Fatalf("writing without room: %v", got)
	}
	if got := p.try("send", args{"conversation": self.ID, "text": "x"}); got.code() != "store_full" {
		t.Errorf("after that: %v", got)
	}
}
