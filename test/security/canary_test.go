// Package security_test tries what an attacker would try against the real program.
package security_test

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
	"sotto/internal/testenv"
)

const password = "canary-password-of-the-account"

// TestServerKeepsNoSecret lets two people talk and then looks for everything that must never be on the server, in every
// file and log line that it wrote: raw, in hexadecimal and in base64.
func TestServerKeepsNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := testenv.NewServe(binaries, filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{"password": []byte(password)}
	talk(t, server.URL, dir, secrets)
	for _, name := range []string{"alice", "bob"} {
		collect(t, server.URL, filepath.Join(dir, name+".db"), name, secrets)
	}
	if len(secrets) < 100 {
		t.Fatalf("only %d secrets to look for; most should be prekeys", len(secrets))
	}

	check := func(when string) {
		written := everything(t, server)
		for name, secret := range secrets {
			if where := find(written, secret); where != "" {
				t.Errorf("%s: %s is in %s", when, name, where)
			}
		}
		// What the server must know is found in the same way, or the search proves nothing.
		for _, known := range []string{"alice", "bob"} {
			if find(written, []byte(known)) == "" {
				t.Errorf("%s: the search does not even find the username %s", when, known)
			}
		}
	}
	check("while it runs")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	check("after it stopped")
}

// talk sends canary texts both ways and waits until they are read.
func talk(t *testing.T, url, dir string, secrets map[string][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	people := map[string]*client.Client{}
	for _, name := range []string{"alice", "bob"} {
		c := open(t, url, filepath.Join(dir, name+".db"))
		code, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: password, DeviceName: "laptop"})
		if err != nil {
			t.Fatal(err)
		}
		secrets["recovery code of "+name] = []byte(code)
		people[name] = c
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(running) }()
		defer func() {
			stop()
			if err := errors.Join(<-ended, c.Close()); err != nil {
				t.Error(err)
			}
		}()
	}
	for from, to := range map[string]string{"alice": "bob", "bob": "alice"} {
		v, err := people[from].Conversation(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		events := people[to].Events()
		text := "canary-plaintext from " + from + strings.Repeat(" and again canary-plaintext", 20)
		secrets["text of "+from] = []byte("canary-plaintext")
		if _, err := people[from].Send(ctx, v.ID, e2ee.TextBody(text)); err != nil {
			t.Fatal(err)
		}
		for arrived := false; !arrived; {
			select {
			case e := <-events.C:
				arrived = e.Type == client.EventMessage && e.Message.Text() == text
			case <-ctx.Done():
				t.Fatal("the text did not arrive")
			}
		}
		events.Close()
	}
}

func open(t *testing.T, url, path string) *client.Client {
	t.Helper()
	store, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(client.Options{Server: url, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// collect reads a device's own store for what only it may know, and derives what the password gives.
func collect(t *testing.T, url, path, name string, secrets map[string][]byte) {
	t.Helper()
	store, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var device struct {
		Account  api.AccountID `json:"account"`
		Identity []byte        `json:"identity"`
	}
	var login struct {
		Renewal []byte `json:"renewal"`
		Token   string `json:"token"`
	}
	var vault struct {
		Sealed []byte `json:"sealed"`
	}
	for key, into := range map[string]any{"sdevice": &device, "slogin": &login, "svault": &vault} {
		b, err := store.Get([]byte(key))
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	add := func(what string, secret []byte) {
		if len(secret) < 16 {
			t.Fatalf("%s of %s has only %d bytes", what, name, len(secret))
		}
		secrets[what+" of "+name] = secret
	}
	add("device identity key", device.Identity)
	add("renewal secret", login.Renewal)
	add("token", []byte(login.Token))

	mk := stretch(t, url, name)
	auth, kek := e2ee.SplitPassword([32]byte(mk))
	add("stretched password", mk)
	add("proof", []byte(auth))
	add("wrapping key", kek[:])
	bundle, _, err := e2ee.OpenBundle(vault.Sealed, device.Account, e2ee.SlotPassword, kek)
	if err != nil {
		t.Fatal(err)
	}
	add("account key", bundle.AccountKey[:])
	for _, k := range bundle.ArchiveKeys {
		add("archive key", k.Key[:])
	}
	collectPreKeys(t, store, add)
}

func collectPreKeys(t *testing.T, store client.Store, add func(string, []byte)) {
	t.Helper()
	oneTime, err := store.Scan([]byte("ko"), nil, client.MaxScan)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range oneTime {
		k, err := e2ee.ParsePreKey(it.Value)
		if err != nil {
			t.Fatal(err)
		}
		add(fmt.Sprint("one-time prekey ", k.ID), k.Pair.Private[:])
	}
	signed, err := store.Scan([]byte("ks"), nil, client.MaxScan)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range signed {
		k, err := e2ee.ParseSignedPreKey(it.Value)
		if err != nil {
			t.Fatal(err)
		}
		add(fmt.Sprint("signed prekey ", k.ID), k.Pair.Private[:])
	}
}

// stretch does what the client does with the password.
func stretch(t *testing.T, url, name string) []byte {
	t.Helper()
	body, err := json.Marshal(api.LoginStartRequest{Name: name, Methods: []string{api.MethodSplitPBKDF2}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(url+"/api/user/login/start", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var start api.LoginStartResponse
	if err := json.NewDecoder(res.Body).Decode(&start); err != nil {
		t.Fatal(err)
	}
	mk, err := pbkdf2.Key(sha256.New, password, start.Parameters.Salt, start.Parameters.Iterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	return mk
}

// everything is all that the server wrote, by where.
func everything(t *testing.T, server *testenv.Serve) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"the log": []byte(server.Log())}
	err := filepath.WalkDir(server.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[d.Name()], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4 {
		t.Fatalf("only %d places to look in", len(all))
	}
	return all
}

func find(written map[string][]byte, secret []byte) string {
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret)))}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// Within a longer value the secret may begin at any of three offsets; the characters at both ends then depend
		// on the neighbours and are cut off.
		for offset := range 3 {
			encoded := encoding.EncodeToString(append(make([]byte, offset), secret...))
			if first, last := (offset*8+5)/6, len(encoded)-1; last-first > 4 {
				forms = append(forms, []byte(encoded[first:last]))
			}
		}
	}
	for where, content := range written {
		for _, form := range forms {
			if bytes.Contains(content, form) {
				return where
			}
		}
	}
	return ""
}

// TestFindFindsEveryForm plants a secret in each form, next to other bytes.
func TestFindFindsEveryForm(t *testing.T) {
	secret := []byte("a secret of some length \x00\xff\xfe")
	for offset := range 5 {
		value := append(append(bytes.Repeat([]byte{7}, offset), secret...), 9, 9, 9, 9)
		for name, planted := range map[string]string{
			"raw": string(value), "hex": hex.EncodeToString(value), "HEX": strings.ToUpper(hex.EncodeToString(value)),
			"base64": base64.StdEncoding.EncodeToString(value), "base64url": base64.RawURLEncoding.EncodeToString(value),
		} {
			if find(map[string][]byte{"x": []byte("before" + planted + "after")}, secret) == "" {
				t.Errorf("%s at offset %d is not found", name, offset)
			}
		}
	}
	if find(map[string][]byte{"x": []byte("nothing of the kind")}, secret) != "" {
		t.Error("found where there is nothing")
	}
}
