package security_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"sotto/api"
	"sotto/test/contract/rest"
)

const assetsPath = "/api/chat/assets"

// announced is what begins the upload of a content.
func announced(content []byte) (req api.BeginAsset, path string) {
	sum := sha256.Sum256(content)
	return api.BeginAsset{SHA256: sum[:], Size: int64(len(content))}, assetsPath + "/" + hex.EncodeToString(sum[:])
}

func patch(path string, content []byte) rest.Request {
	return rest.Request{
		Method: http.MethodPatch, Path: path, Body: content, Header: http.Header{"Content-Type": {"application/octet-stream"}},
	}
}

func freshContent(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return b
}

// store uploads a small asset for the device and returns its path.
func store(t *testing.T, d *rest.Device, content []byte) (path string) {
	t.Helper()
	req, path := announced(content)
	var a api.Asset
	server.Call(t, http.MethodPost, assetsPath, d.Login.Token, req, &a)
	r := patch(assetsPath+"/uploads/"+a.UploadID.String()+"?offset=0", content)
	r.Token = d.Login.Token
	if answer := server.Do(t, r); answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	return path
}

// assetRows are the operations of assets. A stored one is for whoever knows its name; uploads are their account's.
func (c *cast) assetRows() []row {
	same := func(r rest.Request) func(*role) rest.Request { return func(*role) rest.Request { return r } }
	get := func(path string) func(*role) rest.Request {
		return same(rest.Request{Method: http.MethodGet, Path: path})
	}
	del := func(path string) func(*role) rest.Request {
		return same(rest.Request{Method: http.MethodDelete, Path: path})
	}
	req, _ := announced(freshContent(10))
	known := store(c.t, c.carol, freshContent(10))
	_, unknown := announced(freshContent(10))
	open := freshContent(10)
	begun, openPath := announced(open)
	var a api.Asset
	server.Call(c.t, http.MethodPost, assetsPath, c.carol.Login.Token, begun, &a)
	rows := []row{
		{"assets", "", get(assetsPath), withDevice(ok, ok, ok)},
		{"beginAsset", "", same(rest.Request{Method: http.MethodPost, Path: assetsPath, Body: rest.JSON(c.t, req)}), withDevice(ok, ok, ok)},
		{"asset", "known name", get(known), withDevice(ok, ok, ok)},
		{"asset", "random", get(unknown), withDevice(notFound, notFound, notFound)},
		{"asset", "foreign", get(openPath), withDevice(notFound, notFound, notFound)}, // not whole yet
		{"asset", "malformed", get(assetsPath + "/" + strings.ToUpper(known[len(assetsPath)+1:])), withDevice(notFound, notFound, notFound)},
		{"deleteAsset", "foreign", del(known), withDevice(done, done, done)},
		{"deleteAsset", "random", del(unknown), withDevice(done, done, done)},
		{"asset", "after foreign deletions", get(known), withDevice(ok, ok, ok)},
	}
	for object, id := range map[string]api.UploadID{"foreign": a.UploadID, "random": rest.Random[api.UploadID](c.t)} {
		path := assetsPath + "/uploads/" + id.String()
		rows = append(rows,
			row{"upload", object, get(path), withDevice(notFound, notFound, notFound)},
			row{"appendAsset", object, same(patch(path+"?offset=0", open)), withDevice(notFound, notFound, notFound)})
	}
	return rows
}

// validAssets are the requests with a JSON body of the same operations; see valid.
func (w *target) validAssets(into map[string]rest.Request) {
	req, _ := announced(freshContent(10))
	into["beginAsset"] = rest.Request{Method: http.MethodPost, Path: assetsPath, Token: w.mallory.Login.Token, Body: rest.JSON(w.t, req)}
}

// TestBadParts: what is no part of the upload is refused and changes nothing, and the upload goes on.
func TestBadParts(t *testing.T) {
	d := server.Register(t, "bad-parts").Devices[0]
	content := freshContent(api.MinAssetPart + 100)
	req, _ := announced(content)
	var a api.Asset
	server.Call(t, http.MethodPost, assetsPath, d.Login.Token, req, &a)
	path := assetsPath + "/uploads/" + a.UploadID.String()
	before := dump(t)
	for name, c := range map[string]struct {
		query, contentType string
		content            []byte
		code               string
	}{
		"no offset":         {"", "application/octet-stream", content, api.CodeInvalid},
		"offset is text":    {"?offset=x", "application/octet-stream", content, api.CodeInvalid},
		"offset negative":   {"?offset=-1", "application/octet-stream", content, api.CodeInvalid},
		"offset is huge":    {"?offset=99999999999999999999", "application/octet-stream", content, api.CodeInvalid},
		"offset beyond":     {"?offset=9223372036854775807", "application/octet-stream", content, api.CodeConflict},
		"offset too high":   {"?offset=1", "application/octet-stream", content, api.CodeConflict},
		"nothing":           {"?offset=0", "application/octet-stream", []byte{}, api.CodeInvalid},
		"too small":         {"?offset=0", "application/octet-stream", content[:100], api.CodeInvalid},
		"more than is left": {"?offset=0", "application/octet-stream", append(content[:len(content):len(content)], 1), api.CodeInvalid},
		"oversize":          {"?offset=0", "application/octet-stream", make([]byte, api.MaxAssetPart+1), api.CodeTooLarge},
		"JSON":              {"?offset=0", "application/json", []byte("{}"), api.CodeInvalid},
		"form":              {"?offset=0", "multipart/form-data; boundary=x", content, api.CodeInvalid},
	} {
		r := patch(path+c.query, c.content)
		r.Token, r.Header = d.Login.Token, http.Header{"Content-Type": {c.contentType}}
		if got := server.Do(t, r).Code(t); got != c.code {
			t.Errorf("%s: %q, want %s", name, got, c.code)
		}
	}
	if changed := difference(before, dump(t)); changed != "" {
		t.Errorf("something was changed:\n%s", changed)
	}
	r := patch(path+"?offset=0", content)
	r.Token = d.Login.Token
	if answer := server.Do(t, r); answer.Status != http.StatusOK {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

// TestAssetsAreInert: a browser that is led to an asset gets a download, whatever is in it, and never a page.
func TestAssetsAreInert(t *testing.T) {
	d := server.Register(t, "inert").Devices[0]
	path := store(t, d, []byte("<html><script>alert(document.domain)</script></html>"))
	answer := server.Do(t, rest.Request{Method: http.MethodGet, Path: path, Token: d.Login.Token})
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !bytes.HasPrefix(answer.Body, []byte("<html>")) {
		t.Errorf("%s", answer.Body)
	}
}
