package security_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"sotto/api"
	"sotto/test/contract/rest"
)

// TestLostAssetFolder: while the folder is away what needs it says that it may be repeated, everything else goes on, and
// when it is back so does what needs it.
func TestLostAssetFolder(t *testing.T) {
	d := server.Register(t, "lost-folder").Devices[0]
	content, second, dropped := freshContent(100), freshContent(100), freshContent(100)
	path, droppedPath := store(t, d, content), store(t, d, dropped)
	folder := filepath.Join(process.DataDir, "assets", "chat")
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	back := func() error {
		_ = os.Remove(folder)
		return os.Rename(folder+"-away", folder)
	}
	t.Cleanup(func() { _ = back() }) // for the other tests, when this one ends early
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) rest.Answer {
		return server.Do(t, rest.Request{Method: method, Path: path, Token: d.Login.Token})
	}
	req, _ := announced(second)
	var begun api.Asset
	server.Call(t, http.MethodPost, assetsPath, d.Login.Token, req, &begun)
	part := patch(assetsPath+"/uploads/"+begun.UploadID.String()+"?offset=0", second)
	part.Token = d.Login.Token
	for name, answer := range map[string]rest.Answer{"download": ask(http.MethodGet, path), "upload": server.Do(t, part)} {
		if answer.Status != http.StatusServiceUnavailable || answer.Code(t) != api.CodeUnavailable || answer.Header.Get("Retry-After") == "" ||
			answer.Header.Get("ETag")+answer.Header.Get("Accept-Ranges") != "" || bytes.Contains(answer.Body, []byte("assets/")) {
			t.Errorf("%s: %d %v %s", name, answer.Status, answer.Header, answer.Body)
		}
	}
	if answer := ask(http.MethodDelete, droppedPath); answer.Status != http.StatusNoContent {
		t.Errorf("deleting: %d %s", answer.Status, answer.Body)
	}
	for _, path := range []string{"/healthz", "/readyz", assetsPath, "/api/user/me"} {
		if answer := ask(http.MethodGet, path); answer.Status != http.StatusOK {
			t.Errorf("%s: %d %s", path, answer.Status, answer.Body)
		}
	}
	other := server.Register(t, "lost-folder-other").Devices[0]
	server.Talk(t, d, other)
	if err := back(); err != nil {
		t.Fatal(err)
	}
	if answer := ask(http.MethodGet, path); answer.Status != http.StatusOK || !bytes.Equal(answer.Body, content) {
		t.Errorf("the folder is back: %d %s", answer.Status, answer.Body)
	}
	if answer := server.Do(t, part); answer.Status != http.StatusOK {
		t.Errorf("the folder is back: %d %s", answer.Status, answer.Body)
	}
	if answer := ask(http.MethodGet, droppedPath); answer.Status != http.StatusNotFound {
		t.Errorf("what was deleted meanwhile: %d", answer.Status)
	}
}
