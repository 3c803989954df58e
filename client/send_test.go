package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// frame is a Socket.IO event that the client wrote, or a reply that it got.
type frame struct {
	id   string
	name string
	body json.RawMessage
}

// event splits "42<id>["name",{…}]"; false for anything else.
func event(text []byte) (f frame, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte("42"))
	if !ok {
		return f, false
	}
	i := bytes.IndexByte(rest, '[')
	if i < 0 {
		return f, false
	}
	var args []json.RawMessage
	if json.Unmarshal(rest[i:], &args) != nil || len(args) != 2 || json.Unmarshal(args[0], &f.name) != nil {
		return f, false
	}
	f.id, f.body = string(rest[:i]), args[1]
	return f, true
}

// replyTo tells whether a text from the server is the reply to the event with that id.
func replyTo(text []byte, id string) bool { return bytes.HasPrefix(text, []byte("43"+id+"[")) }

// loseReply breaks the connection instead of handing over the reply to the first send, and records the bytes of every
// send.
func (p *person) loseReply() (sends func() []string) {
	var all []string
	lost, wanted := false, ""
	p.net.set(func(n *network) {
		n.write = func(text []byte) error {
			if f, ok := event(text); ok && f.name == api.EventSend {
				p.net.set(func(*network) {
					all = append(all, string(f.body))
					wanted = f.id
				})
			}
			return nil
		}
		n.read = func(text []byte) ([]byte, error) {
			if !lost && wanted != "" && replyTo(text, wanted) {
				lost = true
				return nil, errBroken
			}
			return text, nil
		}
	})
	return func() []string {
		p.net.mu.Lock()
		defer p.net.mu.Unlock()
		return append([]string(nil), all...)
	}
}

// TestReplyLost: the send was stored, but its reply is lost. The same bytes go out again, and the message exists once.
func TestReplyLost(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	sends := ada.loseReply()
	ada.connect()
	bob.connect()
	ada.sent(ada.send(id, "once"))
	ada.sent(ada.send(id, "and then"))
	all := sends()
	if len(all) != 3 || all[0] != all[1] {
		t.Errorf("%d sends left; the second is the first again: %v", len(all), len(all) > 1 && all[0] == all[1])
	}
	for name, p := range map[string]*person{"ada": ada, "bob": bob} {
		if diff := cmp.Diff([]string{"once", "and then"}, p.reads(id, 2)); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
	}
}

// TestReplyLostAndRestart: the same with a new process in between.
func TestReplyLostAndRestart(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	sends := ada.loseReply()
	events := ada.Events()
	ada.connect()
	ada.send(id, "once")
	ada.event(events, client.EventDisconnected)
	events.Close()
	ada.reopen()
	ada.connect()
	ada.reads(id, 1)
	if all := sends(); len(all) < 2 || all[0] != all[len(all)-1] {
		t.Errorf("%d sends left, and the last is not the first", len(all))
	}
	bob.connect()
	ada.sent(ada.send(id, "and then"))
	if diff := cmp.Diff([]string{"once", "and then"}, bob.reads(id, 2)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
}

// TestDeviceAdded: a device was added that the sender does not know. The send is refused, repaired with one more
// envelope under the same message id and commitment, and every device reads the message.
func TestDeviceAdded(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	// ada does not hear of bob's new device, and only one send is in the air at a time.
	var tries []api.Send
	ada.net.set(func(n *network) {
		n.read = func(text []byte) ([]byte, error) {
			if bytes.HasPrefix(text, []byte(`42["`+api.EventLists+`"`)) {
				return []byte("2"), nil
			}
			return text, nil
		}
		n.write = func(text []byte) error {
			if f, ok := event(text); ok && f.name == api.EventSend {
				var s api.Send
				if err := json.Unmarshal(f.body, &s); err != nil {
					return err
				}
				ada.net.set(func(*network) { tries = append(tries, s) })
			}
			return nil
		}
	})
	ada.connect()
	ada.sent(ada.send(id, "to one device"))
	second := w.person("second")
	if err := second.Login(t.Context(), client.LoginOptions{Username: "bob", Password: password, DeviceName: "second"}); err != nil {
		t.Fatal(err)
	}
	ada.sent(ada.send(id, "to two devices"))
	bob.connect()
	second.connect()
	if diff := cmp.Diff([]string{"to one device", "to two devices"}, bob.reads(id, 2)); diff != "" {
		t.Errorf("bob reads (-want +got):\n%s", diff)
	}
	second.until("the message", func() bool { // and the other one, when the first device has archived it
		got := second.texts(id)
		return len(got) > 0 && got[len(got)-1] == "to two devices"
	})
	if n := ada.counters(); n.Repairs != 1 {
		t.Errorf("ada counts %+v", n)
	}
	if len(tries) != 3 {
		t.Fatalf("%d tries, want 3", len(tries))
	}
	refused, repaired := tries[1], tries[2]
	if refused.MessageID != repaired.MessageID || !bytes.Equal(refused.Commitment, repaired.Commitment) {
		t.Error("the repaired send is another message")
	}
	if len(refused.Envelopes) != 1 || len(repaired.Envelopes) != 2 {
		t.Fatalf("%d envelopes, then %d", len(refused.Envelopes), len(repaired.Envelopes))
	}
	if !bytes.Equal(refused.Envelopes[0].Bytes, repaired.Envelopes[0].Bytes) {
		t.Error("the envelope that was made already was made again")
	}
	// bob's answer reaches ada and his own other device.
	bob.sent(bob.send(id, "from the first"))
	second.reads(id, 2)
	second.sent(second.send(id, "from the second"))
	want := []string{"to one device", "to two devices", "from the first", "from the second"}
	for name, p := range map[string]*person{"ada": ada, "bob": bob} {
		if diff := cmp.Diff(want, p.reads(id, 4)); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
	}
}

// TestDeviceAddedUnderLoad: the device set changes while a window full of messages is in the air. All arrive in order.
func TestDeviceAddedUnderLoad(t *testing.T) {
	const n = 200
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.connect()
	bob.connect()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, text := range want {
			ada.send(id, text)
		}
	}()
	second := w.person("second")
	if err := second.Login(t.Context(), client.LoginOptions{Username: "bob", Password: password}); err != nil {
		t.Fatal(err)
	}
	<-done
	second.connect()
	ada.sent(ada.send(id, "last"))
	// The second device has from the archive what it has no envelope for.
	for name, p := range map[string]*person{"ada": ada, "bob": bob, "second": second} {
		if diff := cmp.Diff(append(want, "last"), p.reads(id, n+1)); diff != "" {
			t.Errorf("%s reads (-want +got):\n%s", name, diff)
		}
	}
}

// TestRefusedForGood: a message that the server will never take is set aside with its reason; the next one goes
// through.
func TestRefusedForGood(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	id := ada.talk("bob")
	ada.net.set(func(n *network) {
		refuse := ""
		n.write = func(text []byte) error {
			if f, ok := event(text); ok && f.name == api.EventSend && refuse == "" {
				ada.net.set(func(*network) { refuse = f.id })
			}
			return nil
		}
		n.read = func(text []byte) ([]byte, error) {
			if refuse != "" && replyTo(text, refuse) {
				return []byte("43" + refuse + `[{"error":{"type":"about:blank","title":"x","status":422,"code":"invalid","detail":"No."}}]`), nil
			}
			return text, nil
		}
	})
	events := ada.Events()
	defer events.Close()
	bad := ada.send(id, "bad")
	good := ada.send(id, "good")
	ada.connect()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := ada.WaitSent(ctx, bad); client.CodeOf(err) != api.CodeInvalid {
		t.Errorf("the refused message: %v", err)
	}
	ada.sent(good)
	if _, err := ada.WaitSent(ctx, bad); client.CodeOf(err) != api.CodeInvalid {
		t.Errorf("the refused message later: %v", err)
	}
	page, err := ada.Messages(id, client.Position{}, 10)
	if err != nil || len(page) == 0 || page[len(page)-1].State != client.StateFailed || page[len(page)-1].FailedCode != api.CodeInvalid {
		t.Errorf("the history ends with %+v, %v", page, err)
	}
	bob.connect()
	bob.until("the good message", func() bool {
		texts := bob.texts(id)
		return len(texts) > 0 && texts[len(texts)-1] == "good"
	})
}

// TestSendBounds: what cannot be sent is refused at once and leaves nothing behind.
func TestSendBounds(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	id := ada.talk("bob")
	for name, body := range map[string]e2ee.Body{
		"empty":     e2ee.TextBody(""),
		"too long":  e2ee.TextBody(strings.Repeat("x", e2ee.MaxText+1)),
		"not UTF-8": e2ee.TextBody("\xff"),
		"no body":   {},
	} {
		if _, err := ada.Send(t.Context(), id, body); client.CodeOf(err) != client.CodeArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ada.Send(t.Context(), api.ConversationID{1}, e2ee.TextBody("x")); client.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an unknown conversation: %v", err)
	}
	if n, err := ada.Queue(); err != nil || n != 0 {
		t.Errorf("%d messages in the queue, %v", n, err)
	}
	ada.connect()
	longest := strings.Repeat("y", e2ee.MaxText)
	if at := ada.sent(ada.send(id, longest)); at.Seq != 1 {
		t.Errorf("the longest text is at %+v", at)
	}
}

// TestQueueFull: the queue has a bound and says so.
func TestQueueFull(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	id := ada.talk("bob")
	if err := ada.FillQueue(client.MaxQueue); err != nil {
		t.Fatal(err)
	}
	if _, err := ada.Send(t.Context(), id, e2ee.TextBody("one more")); client.CodeOf(err) != client.CodeQueueFull {
		t.Errorf("one more than the queue holds: %v", err)
	}
}
