package chaos_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/internal/testenv"
)

// assetPart is what TestKillAssets uploads at once, in bytes.
const assetPart = api.MinAssetPart

// overHTTP is a client's network that remembers its token. Nothing here needs a socket.
type overHTTP struct {
	mu    sync.Mutex
	token string
}

func (n *overHTTP) Do(ctx context.Context, r client.Request) (client.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return client.Response{}, err
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	if t := req.Header.Get("Authorization"); t != "" {
		n.mu.Lock()
		n.token = t
		n.mu.Unlock()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return client.Response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return client.Response{Status: res.StatusCode, Body: body}, err
}

func (n *overHTTP) Dial(context.Context, string) (client.Conn, error) {
	return nil, errors.New("no socket")
}
func (n *overHTTP) Close() {}

// assets is somebody who uploads to a server that is killed.
type assets struct {
	t      *testing.T
	server *testenv.Serve
	net    *overHTTP
	c      *client.Client
	parts  int // that the server has answered
}

func newAssets(t *testing.T) *assets {
	t.Helper()
	dir := t.TempDir()
	server, err := testenv.NewServe(binaries, filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	server.CleanUp(t)
	a := &assets{t: t, server: server, net: &overHTTP{}}
	a.up()
	store, err := sqlitestore.Open(filepath.Join(dir, "ada"))
	if err != nil {
		t.Fatal(err)
	}
	if a.c, err = client.Open(client.Options{Server: server.URL, Store: store, Network: a.net}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.c.Close() })
	if _, err := a.c.Register(t.Context(), client.RegisterOptions{Username: "ada", Password: password, DeviceName: "first"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.c.HistoryChoice(t.Context()); err != nil { // the token is known now
		t.Fatal(err)
	}
	return a
}

func (a *assets) up() {
	a.t.Helper()
	if err := a.server.Up(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// armed starts the server again so that it dies at a point.
func (a *assets) armed(point string) {
	a.t.Helper()
	if err := a.server.Kill9(); err != nil {
		a.t.Fatal(err)
	}
	a.server.Env = []string{"FAULTPOINT=" + point}
	a.up()
	a.server.Env = nil
}

// dead waits for the end that was armed, and starts the server again.
func (a *assets) dead() {
	a.t.Helper()
	for deadline := time.Now().Add(pointWait); a.server.Running(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatal("the point was not reached")
		}
	}
	a.up()
}

// ask makes a request of the account. The error is that of the network; what the server refuses ends the test.
func (a *assets) ask(method, path string, body []byte, typ string) (int, []byte, error) {
	res, err := a.net.Do(a.t.Context(), client.Request{
		Method: method, URL: a.server.URL + path, Body: body,
		Header: map[string]string{"Authorization": a.net.token, "Content-Type": typ},
	})
	return res.Status, res.Body, err
}

func (a *assets) begin(content []byte) api.Asset {
	a.t.Helper()
	sum := sha256.Sum256(content)
	body, err := json.Marshal(api.BeginAsset{SHA256: sum[:], Size: int64(len(content))})
	if err != nil {
		a.t.Fatal(err)
	}
	status, answer, err := a.ask("POST", "/api/chat/assets", body, "application/json")
	var now api.Asset
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(answer, &now)
	}
	if err != nil || status != http.StatusOK {
		a.t.Fatalf("beginning: %d %s, %v", status, answer, err)
	}
	return now
}

// upload sends what is missing, until all is there or the network fails.
func (a *assets) upload(content []byte) error {
	a.t.Helper()
	for now := a.begin(content); !now.Stored(); {
		path := fmt.Sprintf("/api/chat/assets/uploads/%s?offset=%d", now.UploadID, now.Received)
		status, answer, err := a.ask("PATCH", path, content[now.Received:min(now.Received+assetPart, now.Size)], "application/octet-stream")
		if err != nil {
			return err
		}
		if status != http.StatusOK || json.Unmarshal(answer, &now) != nil {
			a.t.Fatalf("a part: %d %s", status, answer)
		}
		a.parts++
	}
	return nil
}

func pathOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "/api/chat/assets/" + hex.EncodeToString(sum[:])
}

func (a *assets) objects() (n int) {
	a.t.Helper()
	err := filepath.WalkDir(filepath.Join(a.server.DataDir, "assets"), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // never fails
	return b
}

// TestKillAssets: a server that dies in the middle of an upload goes on with it, no part is sent twice but the one that was
// under way, and the whole reads back; one that dies in a removal finishes it at its next start and leaves no object
// behind; and a picture whose upload is cut by that reaches the profile all the same.
func TestKillAssets(t *testing.T) {
	a := newAssets(t)
	content := random(5*assetPart - 100)
	a.armed("asset part written:3")
	if err := a.upload(content); err == nil {
		t.Fatal("the upload was not cut")
	}
	a.dead()
	if at := a.begin(content).Received; at != 2*assetPart {
		t.Errorf("the upload goes on at %d", at)
	}
	if err := a.upload(content); err != nil || a.parts != 5 {
		t.Errorf("%d parts were answered, %v", a.parts, err)
	}
	if status, got, err := a.ask("GET", pathOf(content), nil, ""); err != nil || status != http.StatusOK || !bytes.Equal(got, content) {
		t.Errorf("read back: %d, %d bytes, %v", status, len(got), err)
	}
	if n := a.objects(); n != 5 {
		t.Errorf("%d objects", n)
	}
	// In this order: a server that starts finishes a removal and may so pass the point "asset objects deleted" by itself.
	for _, point := range []string{"asset objects deleted", "asset marked"} {
		a.armed(point)
		if err := a.upload(content); err != nil { // the second time it is gone
			t.Fatal(err)
		}
		if status, _, err := a.ask("DELETE", pathOf(content), nil, ""); err == nil {
			t.Fatalf("%s: the removal was not cut: %d", point, status)
		}
		a.dead()
		if status, _, err := a.ask("GET", pathOf(content), nil, ""); err != nil || status != http.StatusNotFound {
			t.Errorf("%s: what was removed is answered with %d, %v", point, status, err)
		}
		for deadline := time.Now().Add(pointWait); a.objects() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d objects are left behind", point, a.objects())
			}
		}
	}
	a.picture()
}

// picture sets one while the server dies. The client repeats by itself; the server may take longer.
func (a *assets) picture() {
	a.t.Helper()
	var file bytes.Buffer
	if err := jpeg.Encode(&file, image.NewGray(image.Rect(0, 0, 256, 256)), nil); err != nil {
		a.t.Fatal(err)
	}
	a.armed("asset part written")
	set := make(chan error, 1)
	go func() {
		err := a.c.SetPicture(a.t.Context(), file.Bytes())
		for client.CodeOf(err) == client.CodeNetwork {
			err = a.c.SetPicture(a.t.Context(), file.Bytes())
		}
		set <- err
	}()
	a.dead()
	if err := <-set; err != nil {
		a.t.Fatal(err)
	}
	me, _ := a.c.Account()
	if got, err := a.c.Picture(a.t.Context(), me.ID); err != nil || !bytes.Equal(got, file.Bytes()) {
		a.t.Errorf("the picture has %d bytes, %v", len(got), err)
	}
	if n := a.objects(); n != 1 {
		a.t.Errorf("%d objects of one picture", n)
	}
}
