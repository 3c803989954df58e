package e2e_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/api"
	"sotto/client"
	"sotto/internal/testenv"
)

// TestProfileCommands is how somebody shows themselves from a terminal: name, status and picture are set one by one, the
// other side sees them, the picture only once the request is accepted, and each is taken away again. It is the same to the
// server over every topology, so it runs over the first.
func TestProfileCommands(t *testing.T) {
	if shape.Name != testenv.Shapes[0].Name {
		t.Log("covered by the first topology")
		return
	}
	w := newWorld(t)
	w.shows("alice", "Name:     none", "Status:   none", "Picture:  none", "Username: alice")
	w.does("alice", "", "profile", "name", "Alice Liddell")
	w.does("alice", "", "profile", "status", "down the rabbit hole\x1b[2J")
	file := filepath.Join(w.dir, "me.jpg")
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 800, 600)), nil); err != nil {
		t.Fatal(err)
	}
	note := "\xFF\xD8\xFF\xFE\x00\x0Ein Wonderland" // a comment
	if err := os.WriteFile(file, append([]byte(note), photo.Bytes()[2:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	w.does("alice", "", "profile", "picture", file)
	w.shows("alice", "Name:     Alice Liddell\n", "Status:   down the rabbit hole\uFFFD[2J\n", "Picture:  shown")

	w.fails(1, "at most 128 bytes, this one has 129", "alice", "", "profile", "name", strings.Repeat("x", 129))
	w.fails(1, "at most 512 bytes, this one has 514", "alice", "", "profile", "status", strings.Repeat("ä", 257))
	w.fails(1, "name a file, or say --remove", "alice", "", "profile", "picture")
	w.fails(1, "this is no JPEG, PNG or GIF", "alice", "", "profile", "picture", filepath.Join(w.dir, "alice.db"))
	w.fails(2, "", "alice", "", "profile", "name")
	w.shows("alice", "Name:     Alice Liddell\n", "Picture:  shown")
	if help := w.does("alice", "", "profile", "--help"); !strings.Contains(help, "safety numbers") || !strings.Contains(help, "profile status") {
		t.Errorf("the help teaches\n%s", help)
	}

	bob := w.online("bob")
	w.does("alice", "", "send", "bob", "curiouser")
	chatting := w.terminal("alice", "chat", "bob")
	id := bob.with("alice").ID
	alice := bob.seesProfile(id, "Alice Liddell", "down the rabbit hole\x1b[2J")
	if got, err := bob.Picture(t.Context(), alice.Peer); client.CodeOf(err) != api.CodeNotFound {
		t.Errorf("a stranger's picture has %d bytes, %v", len(got), err)
	}
	if err := bob.Accept(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	got, err := bob.Picture(t.Context(), alice.Peer)
	if err != nil || bytes.Contains(got, []byte("Wonderland")) {
		t.Fatalf("the picture is %q, %v", got, err)
	}
	if c, err := jpeg.DecodeConfig(bytes.NewReader(got)); err != nil || c.Width != 256 || c.Height != 256 {
		t.Errorf("the picture has %d × %d pixels, %v", c.Width, c.Height, err)
	}
	chatting.leaves()

	w.does("alice", "", "profile", "picture", "--remove")
	w.does("alice", "", "profile", "name", "")
	w.does("alice", "", "profile", "status", "")
	w.shows("alice", "Name:     none", "Status:   none", "Picture:  none")
	chatting = w.terminal("alice", "chat", "bob")
	bob.until(func() bool {
		v := bob.with("alice")
		return v.Profile == client.Profile{DisplayName: "alice"}
	})
	chatting.leaves()
}

// shows looks for lines in what `sotto profile` says.
func (w *world) shows(state string, want ...string) {
	w.t.Helper()
	out := w.does(state, "", "profile")
	for _, line := range want {
		if !strings.Contains(out, line) {
			w.t.Errorf("sotto profile does not say %q:\n%s", line, out)
		}
	}
}

// seesProfile waits until the other member of a conversation shows itself so.
func (p *person) seesProfile(id api.ConversationID, name, status string) (v client.Conversation) {
	p.t.Helper()
	p.until(func() bool {
		all, err := p.Conversations()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, v = range all {
			if v.ID == id {
				return v.Profile.DisplayName == name && v.Profile.Status == status
			}
		}
		return false
	})
	return v
}
