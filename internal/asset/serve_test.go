package asset_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
	"sotto/internal/sqldb/sqldbtest"
)

func (w *world) sealed(content []byte) *asset.Blob {
	w.t.Helper()
	b, err := w.Sealed(w.t.Context(), sha256.Sum256(content))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) serve(blob *asset.Blob, method string, header http.Header) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequestWithContext(w.t.Context(), method, "/", nil)
	r.Header = header
	answer := httptest.NewRecorder()
	err := asset.Serve(answer, r, blob)
	return answer, err
}

func (w *world) get(blob *asset.Blob, header http.Header) *httptest.ResponseRecorder {
	w.t.Helper()
	answer, err := w.serve(blob, http.MethodGet, header)
	if err != nil {
		w.t.Error(err)
	}
	return answer
}

func TestServeRanges(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(api.MaxAssetPart + 1000)
	w.upload(ada, content)
	sum := sha256.Sum256(content)
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	size := strconv.Itoa(len(content))
	for name, c := range map[string]struct {
		header map[string]string
		status int
		want   []byte
		rangeW string
	}{
		"all":             {nil, 200, content, ""},
		"first":           {map[string]string{"Range": "bytes=0-0"}, 206, content[:1], "bytes 0-0/" + size},
		"over parts":      {map[string]string{"Range": "bytes=1048570-1048585"}, 206, content[1048570:1048586], "bytes 1048570-1048585/" + size},
		"open end":        {map[string]string{"Range": "bytes=1049000-"}, 206, content[1049000:], "bytes 1049000-1049575/" + size},
		"last":            {map[string]string{"Range": "bytes=-5"}, 206, content[len(content)-5:], "bytes 1049571-1049575/" + size},
		"several":         {map[string]string{"Range": "bytes=0-1,5-6"}, 200, content, ""},
		"if range":        {map[string]string{"Range": "bytes=0-9", "If-Range": etag}, 206, content[:10], "bytes 0-9/" + size},
		"if range of old": {map[string]string{"Range": "bytes=0-9", "If-Range": `"x"`}, 200, content, ""},
		"known":           {map[string]string{"If-None-Match": etag}, 304, nil, ""},
	} {
		blob := w.sealed(content)
		header := http.Header{}
		for k, v := range c.header {
			header.Set(k, v)
		}
		answer := w.get(blob, header)
		if answer.Code != c.status || !bytes.Equal(answer.Body.Bytes(), c.want) || answer.Header().Get("Content-Range") != c.rangeW {
			t.Errorf("%s: %d, %d bytes, %v", name, answer.Code, answer.Body.Len(), answer.Header())
		}
		if err := blob.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestServeIsInert: whatever is in an asset, no browser takes it for a page of this server.
func TestServeIsInert(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := []byte("<html><script>alert(1)</script>")
	w.upload(ada, content)
	if _, err := w.Publish(t.Context(), "image/png", content); err != nil {
		t.Fatal(err)
	}
	sealed := w.sealed(content)
	public, err := w.Public(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		blob               *asset.Blob
		typ, cache, policy string
	}{
		{sealed, "application/octet-stream", "private, max-age=31536000, immutable", ""},
		{public, "image/png", "public, max-age=31536000, immutable", "cross-origin"},
	} {
		h := w.get(c.blob, http.Header{}).Header()
		for name, want := range map[string]string{
			"Content-Type": c.typ, "Cache-Control": c.cache, "Cross-Origin-Resource-Policy": c.policy,
			"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; sandbox",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, h.Get(name), want)
			}
		}
	}
}

func TestServeRefusesRanges(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(100)
	w.upload(ada, content)
	answer := w.get(w.sealed(content), http.Header{"Range": {"bytes=100-"}})
	var p api.Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil || answer.Code != 416 || p.Status != 416 || p.Code != api.CodeInvalid ||
		answer.Header().Get("Content-Range") != "bytes */100" || answer.Header().Get("Content-Type") != "application/problem+json" ||
		answer.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", answer.Code, answer.Body, answer.Header())
	}
}
