package security_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"sotto/api"
	"sotto/test/contract/rest"
)

// refusedTwice sends a request over REST and over the socket. Both are refused with code, in the same words, and change
// nothing.
func (w *target) refusedTwice(what, code, event string, generation uint64, body any) {
	w.t.Helper()
	argument := rest.JSON(w.t, body)
	r := rest.Request{
		Method: http.MethodPost, Path: "/api/chat/" + event, Token: w.mallory.Login.Token, Generation: generation, Body: argument,
	}
	switch ask := body.(type) {
	case api.MailboxRequest:
		r.Method, r.Body = http.MethodGet, nil
		r.Path += fmt.Sprintf("?after=%d&limit=%d", ask.After, ask.Limit)
	case api.SyncRequest:
		r.Method, r.Body = http.MethodGet, nil
		r.Path = fmt.Sprintf("/api/chat/conversations/%s/sync?from=%d&limit=%d", ask.ConversationID, ask.From, ask.Limit)
	}
	before := dump(w.t)
	if got := server.Do(w.t, r).Code(w.t); got != code {
		w.t.Errorf("%s, %s: %q, want %s", event, what, got, code)
		return
	}
	if generation == w.mallory.Generation {
		w.sameOnSocket(event, what, r, string(argument))
	}
	if changed := difference(before, dump(w.t)); changed != "" {
		w.t.Errorf("%s, %s: something was changed:\n%s", event, what, changed)
	}
}

// TestBadSends: sends that break a rule of protocol.md, sections 4 and 5.
func TestBadSends(t *testing.T) {
	w := newTarget(t, "send")
	alien := rest.NewPerson(t, "send-alien")
	type edit func(s *api.Send)
	for what, c := range map[string]struct {
		code string
		edit edit
	}{
		"replayed id, other commitment": {api.CodeConflict, func(s *api.Send) {
			s.MessageID, s.Record.MessageID = w.first.MessageID, w.first.MessageID
		}},
		"foreign conversation": {api.CodeNotFound, func(s *api.Send) {
			s.ConversationID, s.Record = w.foreign, nil
		}},
		"unknown conversation": {api.CodeNotFound, func(s *api.Send) { s.ConversationID[3] ^= 1; s.Record = nil }},
		"no conversation":      {api.CodeInvalid, func(s *api.Send) { s.ConversationID = api.ConversationID{} }},
		"no message id":        {api.CodeInvalid, func(s *api.Send) { s.MessageID = api.MessageID{} }},
		"no class":             {api.CodeInvalid, func(s *api.Send) { s.Class = "" }},
		"unknown class":        {api.CodeInvalid, func(s *api.Send) { s.Class = "loud" }},
		"short commitment":     {api.CodeInvalid, func(s *api.Send) { s.Commitment = s.Commitment[1:] }},
		"no list versions":     {api.CodeInvalid, func(s *api.Send) { s.ListVersions = nil }},
		"one list version":     {api.CodeInvalid, func(s *api.Send) { s.ListVersions = s.ListVersions[:1] }},
		"list version 0":       {api.CodeInvalid, func(s *api.Send) { s.ListVersions[1].Version = 0 }},
		"version of a stranger": {api.CodeInvalid, func(s *api.Send) {
			s.ListVersions[1].AccountID = w.carol.Owner.ID
		}},
		"version of nobody":       {api.CodeInvalid, func(s *api.Send) { s.ListVersions[1].AccountID = alien.ID }},
		"version from the future": {api.CodeDeviceSet, func(s *api.Send) { s.ListVersions[1].Version = 1 << 40 }},
		"no envelopes":            {api.CodeDeviceSet, func(s *api.Send) { s.Envelopes = nil }},
		"own device":              {api.CodeDeviceSet, add(w.mallory)},
		"stranger's device":       {api.CodeDeviceSet, add(w.carol)},
		"nobody's device":         {api.CodeDeviceSet, add(alien.Devices[0])},
		"unknown device":          {api.CodeDeviceSet, func(s *api.Send) { s.Envelopes[0].DeviceID = 127 }},
		"other registration":      {api.CodeDeviceSet, func(s *api.Send) { s.Envelopes[0].RegistrationID++ }},
		"two envelopes":           {api.CodeInvalid, add(w.bob)},
		"device 0":                {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].DeviceID = 0 }},
		"device 128":              {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].DeviceID = 128 }},
		"registration 0":          {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].RegistrationID = 0 }},
		"registration 16384":      {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].RegistrationID = 16384 }},
		"sealed sender":           {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Type = api.EnvelopeSealed }},
		"unknown type":            {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Type = 5 }},
		"no ciphertext":           {api.CodeInvalid, func(s *api.Send) { s.Envelopes[0].Bytes = nil }},
		"shared without any": {api.CodeInvalid, func(s *api.Send) {
			s.Envelopes[0].Type, s.Envelopes[0].Bytes = 0, nil
		}},
		"large envelope": {api.CodeTooLarge, func(s *api.Send) {
			s.Envelopes[0].Bytes = make([]byte, api.MaxEnvelopeBytes+1)
		}},
		"large shared": {api.CodeTooLarge, func(s *api.Send) {
			s.Shared = make([]byte, api.MaxEnvelopeBytes+1)
		}},
		"too many envelopes": {api.CodeTooLarge, func(s *api.Send) {
			s.Envelopes = slices.Repeat(s.Envelopes, api.MaxEnvelopes+1)
		}},
		"no record":           {api.CodeRecordRequired, func(s *api.Send) { s.Record = nil }},
		"record of another":   {api.CodeInvalid, func(s *api.Send) { s.Record.MessageID = w.first.MessageID }},
		"foreign record":      {api.CodeInvalid, func(s *api.Send) { s.Record.ConversationID = w.foreign }},
		"empty record":        {api.CodeInvalid, func(s *api.Send) { s.Record.Sealed = nil }},
		"large record":        {api.CodeTooLarge, func(s *api.Send) { s.Record.Sealed = make([]byte, 97<<10) }},
		"record epoch 0":      {api.CodeInvalid, func(s *api.Send) { s.Record.KeyEpoch = 0 }},
		"record epoch ahead":  {api.CodeInvalid, func(s *api.Send) { s.Record.KeyEpoch = 1 << 30 }},
		"erased at half past": {api.CodeInvalid, func(s *api.Send) { s.EraseAfter = 1_800_000 }},
		"erased before 1970":  {api.CodeInvalid, func(s *api.Send) { s.EraseAfter = -3_600_000 }},
		"after itself":        {api.CodeInvalid, func(s *api.Send) { s.After = &s.MessageID }},
		"after the unknown":   {api.CodeOutOfOrder, func(s *api.Send) { s.After = &api.MessageID{1} }},
		"silent with record":  {api.CodeInvalid, func(s *api.Send) { s.Class = api.ClassSilent }},
		"silent to nobody": {api.CodeInvalid, func(s *api.Send) {
			s.Class, s.Record, s.Envelopes = api.ClassSilent, nil, nil
		}},
		"silent to stranger": {api.CodeDeviceSet, func(s *api.Send) {
			s.Class, s.Record, s.ListVersions = api.ClassSilent, nil, nil
			add(w.carol)(s)
		}},
		"ephemeral shared": {api.CodeInvalid, func(s *api.Send) {
			s.Class, s.Record, s.Shared = api.ClassEphemeral, nil, []byte{1}
		}},
		"large ephemeral": {api.CodeTooLarge, func(s *api.Send) {
			s.Class, s.Record, s.Envelopes[0].Bytes = api.ClassEphemeral, nil, make([]byte, 17<<10)
		}},
		"ephemeral elsewhere": {api.CodeNotFound, func(s *api.Send) {
			s.Class, s.Record, s.ConversationID = api.ClassEphemeral, nil, w.foreign
		}},
	} {
		send := w.mallory.Message(t, w.shared, w.mallory.Owner, w.bob.Owner)
		c.edit(&send)
		w.refusedTwice(what, c.code, api.EventSend, w.mallory.Generation, send)
	}

	stolen := w.first // bob repeats mallory's send as his own
	before := dump(t)
	if got := server.Do(t, rest.Request{
		Method: http.MethodPost, Path: "/api/chat/send", Token: w.bob.Login.Token, Generation: w.bob.Generation, Body: rest.JSON(t, stolen),
	}).Code(t); got != api.CodeConflict {
		t.Errorf("another sender's message id: %q", got)
	}
	good := w.mallory.Message(t, w.shared, w.mallory.Owner, w.bob.Owner)
	w.refusedTwice("generation of the past", api.CodeDeviceCloned, api.EventSend, w.mallory.Generation-1, good)
	w.refusedTwice("generation of the future", api.CodeInvalid, api.EventSend, w.mallory.Generation+1, good)
	if changed := difference(before, dump(t)); changed != "" {
		t.Errorf("something was changed:\n%s", changed)
	}
}

func add(d *rest.Device) func(*api.Send) {
	return func(s *api.Send) { s.Envelopes = append(s.Envelopes, d.Envelope()) }
}

// TestBadReads: acknowledgements and readings that break a rule.
func TestBadReads(t *testing.T) {
	w := newTarget(t, "read")
	server.Write(t, w.bob, "/api/chat/send", w.bob.Message(t, w.shared, w.bob.Owner, w.mallory.Owner), nil)
	own := rest.RecordOf(w.shared, w.first.MessageID)
	many := make([]int64, api.MaxAckEntries+1)
	for i := range many {
		many[i] = int64(i + 1)
	}
	future, foreign, large := own, rest.RecordOf(w.foreign, w.first.MessageID), own
	future.KeyEpoch = 1 << 30
	large.Sealed = bytes.Repeat([]byte{1}, 97<<10)
	for what, c := range map[string]struct {
		code string
		ack  api.Ack
	}{
		"nothing":        {api.CodeInvalid, api.Ack{}},
		"no entry":       {api.CodeInvalid, api.Ack{Entries: []int64{0}}},
		"negative entry": {api.CodeInvalid, api.Ack{Entries: []int64{-1}}},
		"the same twice": {api.CodeInvalid, api.Ack{Entries: []int64{5, 5}}},
		"too many":       {api.CodeInvalid, api.Ack{Entries: many}},
		"too many records": {api.CodeInvalid, api.Ack{Entries: []int64{1 << 40},
			Records: slices.Repeat([]api.Record{own}, 257)}},
		"foreign record":     {api.CodeNotFound, api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{foreign}}},
		"good and foreign":   {api.CodeNotFound, api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{own, foreign}}},
		"large record":       {api.CodeTooLarge, api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{large}}},
		"record epoch ahead": {api.CodeInvalid, api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{future}}},
		"record of no epoch": {api.CodeInvalid, api.Ack{Entries: []int64{1 << 40}, Records: []api.Record{{
			ConversationID: w.shared, MessageID: w.first.MessageID, Sealed: []byte{1},
		}}}},
	} {
		w.refusedTwice(what, c.code, api.EventAck, w.mallory.Generation, c.ack)
	}
	for _, c := range []api.MailboxRequest{{Limit: 0}, {Limit: 257}, {Limit: -1}, {Limit: 1, After: -1}} {
		w.refusedTwice(fmt.Sprintf("%+v", c), api.CodeInvalid, api.EventMailbox, w.mallory.Generation, c)
	}
	for _, c := range []api.SyncRequest{
		{ConversationID: w.shared, From: 0, Limit: 1}, {ConversationID: w.shared, From: 1, Limit: 0},
		{ConversationID: w.shared, From: 1, Limit: 257}, {ConversationID: w.shared, From: 1 << 60, Limit: 1},
	} {
		w.refusedTwice(fmt.Sprintf("%+v", c), api.CodeInvalid, api.EventSync, w.mallory.Generation, c)
	}
	w.refusedTwice("foreign", api.CodeNotFound, api.EventSync, w.mallory.Generation,
		api.SyncRequest{ConversationID: w.foreign, From: 1, Limit: 1})

	// Entries of others read like entries that are gone, and stay. So do own ones without a record.
	before := dump(t)
	for id := range int64(20) {
		var acked api.Acked
		server.Write(t, w.mallory, "/api/chat/ack", api.Ack{Entries: []int64{id + 1}}, &acked)
	}
	if changed := difference(before, dump(t)); changed != "" {
		t.Errorf("entries without records or of others: something was changed:\n%s", changed)
	}
	for _, event := range []string{"", "unknown", "Send", "message", "ready"} {
		reply, err := w.socket.Ask(event, "{}")
		if err != nil || reply.Error == nil || reply.Error.Code != api.CodeInvalid {
			t.Errorf("event %q: %+v, %v", event, reply, err)
		}
	}
	for _, arguments := range []string{"", "{},{}", "null", `{"after":0,"limit":1},1`} {
		reply, err := w.socket.Ask(api.EventMailbox, arguments)
		if err != nil || reply.Error == nil || reply.Error.Code != api.CodeInvalid {
			t.Errorf("arguments %q: %+v, %v", arguments, reply, err)
		}
	}
}
