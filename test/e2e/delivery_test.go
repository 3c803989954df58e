package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"sotto/api"
	"sotto/client"
)

// TestKilledBetweenAcknowledgementAndDelivery: what was acknowledged is on the disk, whoever was away gets it.
func TestKilledBetweenAcknowledgementAndDelivery(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "while you are here")
	bob.sees(v.ID, "them: while you are here")
	bob.stop()

	alice.say(v, true, numbered("while you are away", 20)...)
	if err := w.server.Kill9(); err != nil {
		t.Fatal(err)
	}
	alice.stop()
	w.up()

	want := []string{"them: while you are here"}
	for _, text := range numbered("while you are away", 20) {
		want = append(want, "them: "+text)
	}
	w.online("bob").sees(v.ID, want...)
}

// TestKilledWhileEverybodyTalks kills the server again and again under load; both clients stay up and resume.
func TestKilledWhileEverybodyTalks(t *testing.T) {
	const each = 30
	rounds := 5 * scale(t)
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "begin")
	bob.sees(v.ID, "them: begin")
	for range rounds {
		alice.say(v, false, numbered("alice", each)...)
		bob.say(v, false, numbered("bob", each)...)
		if err := w.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	total := 1 + 2*rounds*each
	seenByAlice, seenByBob := alice.has(v.ID, total), bob.has(v.ID, total)
	for i := range seenByAlice {
		if seenByAlice[i].ID != seenByBob[i].ID {
			t.Fatalf("at %d they see different messages", i)
		}
	}
}

// TestAnswerLostAndSendRepeated: the first answer never arrives, the same bytes go out again, one message results.
func TestAnswerLostAndSendRepeated(t *testing.T) {
	w := newWorld(t)
	wire := newWire(t, w.server.URL)
	alice, bob := w.onlineAt("alice", "alice", wire.url()), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "one")
	wire.loseAnswers()
	alice.say(v, false, "two", "three")
	bob.sees(v.ID, "them: one", "them: two", "them: three")
	if lost := wire.heal(); lost == 0 {
		t.Fatal("no answer was lost: the test proved nothing")
	}
	alice.sees(v.ID, "me: one", "me: two", "me: three")
	alice.say(v, true, "four")
	bob.sees(v.ID, "them: one", "them: two", "them: three", "them: four")
}

// TestDeviceAddedWhileSending: the sender does not know the new device, is refused, and repairs the send by itself.
func TestDeviceAddedWhileSending(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "to one device")
	bob.sees(v.ID, "them: to one device")
	alice.stop() // so that nothing tells her about the change

	second := w.signIn("bob", "bob2")
	alice = w.online("alice")
	alice.say(v, true, numbered("to two devices", 10)...)
	repaired, err := alice.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if repaired.Repairs == 0 {
		t.Error("no send was refused: the test proved nothing")
	}
	var both []string
	for _, text := range numbered("to two devices", 10) {
		both = append(both, "them: "+text)
	}
	all := append([]string{"them: to one device"}, both...)
	bob.sees(v.ID, all...)
	second.sees(v.ID, all...) // what was before it comes from the archive

	// What one device says, the other has, too.
	second.say(second.with("alice"), true, "from the second")
	bob.until(func() bool { return len(bob.history(v.ID)) == 12 })
	if last := bob.history(v.ID)[11]; !last.Own || last.Text() != "from the second" {
		t.Errorf("the first device has %+v", last)
	}
	third := w.signIn("bob", "bob3")
	alice.say(v, true, "to three devices")
	for _, p := range []*person{bob, second, third} {
		p.until(func() bool {
			h := p.history(v.ID)
			return len(h) > 0 && h[len(h)-1].Text() == "to three devices"
		})
	}
	devices, err := third.Devices(third.ctx())
	if err != nil || len(devices) != 3 {
		t.Errorf("%v, %v", devices, err)
	}
}

// signIn adds a device by password and brings it online.
func (w *world) signIn(name, state string) *person {
	w.t.Helper()
	c := w.onlineAt(name, state, w.server.URL)
	if err := c.Login(c.ctx(), client.LoginOptions{Username: name, Password: password, DeviceName: state}); err != nil {
		w.t.Fatal(err)
	}
	c.stop()
	return w.onlineAt(name, state, w.server.URL)
}

func TestWrongPasswordAndUnknownNameAnswerAlike(t *testing.T) {
	w := newWorld(t)
	c := w.onlineAt("eve", "eve", w.server.URL)
	var answers []string
	for _, name := range []string{"bob", "nobody-of-that-name"} {
		err := c.Login(c.ctx(), client.LoginOptions{Username: name, Password: "not the password at all", DeviceName: "eve's"})
		if client.CodeOf(err) != api.CodeWrongLogin {
			t.Fatalf("%s: %v", name, err)
		}
		answers = append(answers, err.Error())
	}
	if answers[0] != answers[1] {
		t.Errorf("%q tells names that exist from names that do not: %q", answers[0], answers[1])
	}
	if _, signedIn := c.Account(); signedIn {
		t.Error("signed in")
	}
}

func TestLogoutEndsTheDevice(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.online("alice"), w.online("bob")
	v := alice.with("bob")
	alice.say(v, true, "hello")
	bob.sees(v.ID, "them: hello")
	bob.stop()
	out, err := open(w.server.URL, w.dir+"/bob.db")
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Messages(v.ID, client.Position{}, 10); client.CodeOf(err) != client.CodeNotSignedIn {
		t.Errorf("the history is still there: %v", err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	// A sender is not held up by a device that signed out, and a new device takes over.
	alice.say(v, true, "are you there")
	again := w.signIn("bob", "bob")
	alice.say(v, true, "welcome back")
	again.until(func() bool {
		h := again.history(v.ID)
		return len(h) > 0 && h[len(h)-1].Text() == "welcome back"
	})
}

// TestLongAbsence: a mailbox of many large entries comes in pages that fit through one socket, however large they are.
func TestLongAbsence(t *testing.T) {
	const count = 400
	w := newWorld(t)
	alice := w.online("alice")
	v := alice.with("bob")
	texts := make([]string, count)
	for i := range texts {
		texts[i] = fmt.Sprintf("%04d %s", i, strings.Repeat("long ", 100*(i%40)))
	}
	alice.say(v, true, texts...)
	bob := w.online("bob")
	for i, m := range bob.has(v.ID, count) {
		if m.Text() != texts[i] {
			t.Fatalf("at %d bob has another text", i)
		}
	}
}
