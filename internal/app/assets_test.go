package app

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/internal/asset/assettest"
	"sotto/internal/asset/cloudinary"
	"sotto/internal/config"
)

// TestOpenAssets: the settings reach the store, and services that share one do not meet in it.
func TestOpenAssets(t *testing.T) {
	asked := make(chan *http.Request, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked <- r }))
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Config{
		AssetStore: "s3://bucket?region=north&endpoint=" + server.URL, AssetKey: "the-key", AssetSecret: "the-secret", CAFile: authority,
	}
	s3, err := openAssets(c, "chat")
	if err != nil {
		t.Fatal(err)
	}
	name := assettest.Name()
	if err := s3.Put(t.Context(), name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	r := <-asked
	if r.Method != http.MethodPut || r.URL.Path != "/bucket/sotto/chat/"+name {
		t.Errorf("%s %s", r.Method, r.URL.Path)
	}
	if a := r.Header.Get("Authorization"); !strings.Contains(a, "Credential=the-key/") || !strings.Contains(a, "/north/s3/") {
		t.Error(a)
	}
	c.AssetStore = "cloudinary://cloud"
	opened, err := openAssets(c, "notification")
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := opened.(*cloudinary.Cloudinary); !ok || at.Cloud != "cloud" || at.Prefix != "sotto/notification/" ||
		at.Key != "the-key" || at.Secret != "the-secret" || at.TLS == nil {
		t.Errorf("%T", opened)
	}
	c.AssetStore, c.DataDir = "disk", t.TempDir()
	disk, err := openAssets(c, "chat")
	if err == nil {
		err = disk.Put(t.Context(), name, []byte("x"))
	}
	if _, missing := os.Stat(filepath.Join(c.DataDir, "assets", "chat", filepath.FromSlash(name))); err != nil || missing != nil {
		t.Error(err, missing)
	}
}

// TestHealthOfLostFolder: people are told, and load balancers go on, because everything else works.
func TestHealthOfLostFolder(t *testing.T) {
	folder := t.TempDir()
	s, _ := wholeAt(t, folder)
	assets := filepath.Join(folder, "assets", "chat")
	if err := os.Rename(assets, assets+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(assets, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/health": "asset store: does not answer; what needs it waits\n", "/readyz": "ready\n"} {
		answer := httptest.NewRecorder()
		s.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), want) {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// TestOddAssetSettings are those that only the store itself can judge. No error repeats the secret.
func TestOddAssetSettings(t *testing.T) {
	for _, c := range []struct{ store, authorities, want string }{
		{"s3://bucket?endpoint=s3.example.org", "", "write it like https://s3.example.org"},
		{"s3://bucket?endpoint=ftp://s3.example.org", "", "write it like https://s3.example.org"},
		{"s3://bucket?endpoint=https://key:the-secret@s3.example.org", "", "write it like https://s3.example.org"},
		{"s3://bucket", "/nowhere/ca.pem", "SOTTO_CA_FILE"},
		{"cloudinary://not.a.cloud", "", "is not the name of a cloud"},
	} {
		_, err := openAssets(config.Config{AssetStore: c.store, AssetKey: "key", AssetSecret: "the-secret", CAFile: c.authorities}, "chat")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "the-secret") {
			t.Errorf("%s: %v", c.store, err)
		}
	}
	if _, err := openAssets(config.Config{AssetStore: "disk", DataDir: filepath.Join(os.DevNull, "x")}, "chat"); err == nil {
		t.Error("a folder that cannot be made")
	}
}
