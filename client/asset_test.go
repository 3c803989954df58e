package client_test

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// file makes n bytes that do not compress.
func file(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = random.Read(b) // never fails
	return b
}

func (p *person) upload(f []byte) e2ee.Attachment {
	p.t.Helper()
	a, err := p.Upload(p.t.Context(), f)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// onParts is asked about every part of an upload, after the server has answered.
func (p *person) onParts(f func(part int) error) {
	parts := 0
	p.net.set(func(n *network) {
		n.response = func(r client.Request, _ *client.Response) error {
			if r.Method != "PATCH" {
				return nil
			}
			parts++
			return f(parts)
		}
	})
}

// TestAsset: what ada uploads bob reads, byte for byte, and the server has nothing of it in the clear. Uploading the same
// once more sends no part.
func TestAsset(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	f := append([]byte(strings.Repeat("in the clear ", 90_000)), file(1_000)...) // in two spans
	a := ada.upload(f)
	if got, err := bob.Download(t.Context(), a, a.Size); err != nil || !bytes.Equal(got, f) {
		t.Errorf("bob reads %d bytes, %v", len(got), err)
	}
	objects := 0
	err := filepath.WalkDir(filepath.Join(w.dir, "data", "assets"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		object, err := os.ReadFile(path)
		if objects++; bytes.Contains(object, []byte("in the clear")) {
			t.Errorf("the server has it in the clear: %s", d.Name())
		}
		return err
	})
	if err != nil || objects < 2 {
		t.Errorf("%d objects, %v", objects, err)
	}
	ada.onParts(func(part int) error {
		t.Errorf("part %d is sent again", part)
		return nil
	})
	if again := ada.upload(f); again.Hash != a.Hash || again.Key != a.Key {
		t.Error("another ciphertext of the same file")
	}
}

// TestAssetGoesOn: an upload that was cut in the middle, with the answer to its second part lost, goes on from there in
// another process, with the same ciphertext. One whose answer is lost on the way goes on by itself.
func TestAssetGoesOn(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	f := file(900_000) // four parts
	ctx, cancel := context.WithCancel(t.Context())
	ada.onParts(func(part int) error {
		if part == 2 {
			cancel()
			return errBroken
		}
		return nil
	})
	if _, err := ada.Upload(ctx, f); err == nil {
		t.Fatal("the upload was not cut")
	}
	ada.reopen()
	sent := 0
	ada.onParts(func(part int) error {
		sent = part
		if part == 1 {
			return errBroken
		}
		return nil
	})
	a := ada.upload(f)
	if sent != 2 { // of four, two were there
		t.Errorf("%d parts were sent after the cut", sent)
	}
	if got, err := bob.Download(t.Context(), a, a.Size); err != nil || !bytes.Equal(got, f) {
		t.Errorf("bob reads %d bytes, %v", len(got), err)
	}
}

// TestAssetIsNotTheServers: whatever a server shows in place of a file, nothing of it is used.
func TestAssetIsNotTheServers(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	a := ada.upload(file(1_500_000)) // in two spans
	var first []byte
	for name, lie := range map[string]func(span int, res *client.Response){
		"other bytes":       func(_ int, res *client.Response) { res.Body[5] ^= 1 },
		"a short part":      func(_ int, res *client.Response) { res.Body = res.Body[:len(res.Body)-1] },
		"a long part":       func(_ int, res *client.Response) { res.Body = append(res.Body, 0) },
		"nothing":           func(_ int, res *client.Response) { res.Body = nil },
		"the whole at once": func(_ int, res *client.Response) { res.Body = append(res.Body, res.Body...) },
		"the first part in place of the second": func(span int, res *client.Response) {
			if span == 1 {
				first = res.Body
			}
			res.Body = first
		},
	} {
		spans := 0
		ada.net.set(func(n *network) {
			n.response = func(r client.Request, res *client.Response) error {
				if r.Method == "GET" && strings.HasPrefix(r.URL, w.url+"/api/chat/assets/") {
					spans++
					lie(spans, res)
				}
				return nil
			}
		})
		if got, err := ada.Download(t.Context(), a, a.Size); client.CodeOf(err) != client.CodeAsset || got != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	ada.net.honest()
	if _, err := ada.Download(t.Context(), a, a.Size-1); client.CodeOf(err) != client.CodeAsset {
		t.Errorf("a file beyond the limit: %v", err)
	}
	a.Hash[0] ^= 1
	if _, err := ada.Download(t.Context(), a, a.Size); client.CodeOf(err) != api.CodeNotFound {
		t.Errorf("a file that there is not: %v", err)
	}
}

// TestAssetQuota: a full account is told so. What was uploaded and not used makes room after a day.
func TestAssetQuota(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	clock := &clock{}
	ada.reopenWith(client.Options{Now: clock.now})
	f := file(testQuota / 2)
	a := ada.upload(f)
	_, err := ada.Upload(t.Context(), file(testQuota/2+1))
	if client.CodeOf(err) != api.CodeQuota || !strings.Contains(err.Error(), "no room") {
		t.Fatalf("a full account: %v", err)
	}
	if err := ada.TidyAssets(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ada.Download(t.Context(), a, a.Size); err != nil {
		t.Errorf("what was uploaded a moment ago is gone: %v", err)
	}
	clock.pass(25 * time.Hour)
	if err := ada.TidyAssets(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ada.Download(t.Context(), a, a.Size); client.CodeOf(err) != api.CodeNotFound {
		t.Errorf("what was not used for a day: %v", err)
	}
	if again := ada.upload(f); again.Key == a.Key {
		t.Error("the key of what is gone is used again")
	}
}
