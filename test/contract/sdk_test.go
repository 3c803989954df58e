package contract_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
)

const password = "a sentence that nobody guesses, 42 times"

// TestClientsKeepTheContract sends the SDK and the command through the proxy: what they ask for is in the contract, and
// so is what they are answered.
func TestClientsKeepTheContract(t *testing.T) {
	proxy := start(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	alice := sdk(t, proxy.URL, filepath.Join(dir, "alice.db"))
	if _, err := alice.Register(ctx, client.RegisterOptions{Username: "alice", Password: password, DeviceName: "sdk"}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- alice.Run(running) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	sotto := func(state, stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(binaries, "sotto"),
			append([]string{"--state", filepath.Join(dir, state+".db"), "--server", proxy.URL}, args...)...)
		cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("sotto %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	sotto("bob", password+"\n", "register", "bob", "--password-stdin")
	events := alice.Events()
	defer events.Close()
	sotto("bob", "", "send", "alice", "hello from the command")
	for arrived := false; !arrived; {
		select {
		case e := <-events.C:
			arrived = e.Type == client.EventMessage && e.Message.Text() == "hello from the command"
		case <-ctx.Done():
			t.Fatal("the message did not arrive")
		}
	}
	v, err := alice.Conversation(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Send(ctx, v.ID, e2ee.TextBody("hello from the library")); err != nil {
		t.Fatal(err)
	}
	if out := sotto("bob", "", "listen", "--json", "--count=1"); !strings.Contains(out, "hello from the library") {
		t.Errorf("listen: %s", out)
	}
	sotto("bob2", password+"\n", "login", "bob", "--password-stdin")
	if out := sotto("bob2", "", "devices"); !strings.Contains(out, "this device") {
		t.Errorf("devices: %s", out)
	}
	sotto("bob", "", "safety", "alice")
	sotto("bob2", "", "logout", "--yes")
	err = sdk(t, proxy.URL, filepath.Join(dir, "eve.db")).Login(ctx, client.LoginOptions{
		Username: "bob", Password: "a wrong guess, quite long", DeviceName: "eve's",
	})
	if client.CodeOf(err) != api.CodeWrongLogin {
		t.Errorf("a wrong password: %v", err)
	}
	for _, finding := range proxy.Findings() {
		t.Error(finding)
	}
}

func sdk(t *testing.T, url, path string) *client.Client {
	t.Helper()
	store, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(client.Options{Server: url, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
