package web

import (
	"bytes"
	"compress/gzip"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// gz is a file as the build writes it; the brotli form is only passed on, so any bytes stand for it.
func gz(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testSite(t *testing.T) *Site {
	t.Helper()
	files := fstest.MapFS{"placeholder.txt": {Data: []byte("tracked")}}
	for _, name := range []string{"index.html", "assets/index-1.js", "core/1/sotto.wasm", "sw.js"} {
		files[name+".br"] = &fstest.MapFile{Data: []byte("brotli of " + name)}
		files[name+".gz"] = &fstest.MapFile{Data: gz(t, "text of "+name)}
	}
	s, built, err := newSite(files)
	if err != nil || !built {
		t.Fatal(built, err)
	}
	return s
}

func TestSite(t *testing.T) {
	s := testSite(t)
	for path, want := range map[string]struct {
		status      int
		body, cache string
		contentType string
	}{
		"/":                        {200, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/c/8a0f":                  {200, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/u/jane.doe":              {200, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/settings/devices":        {200, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/nowhere":                 {404, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/c/a/b/c":                 {404, "brotli of index.html", checked, "text/html; charset=utf-8"},
		"/assets/index-1.js":       {200, "brotli of assets/index-1.js", forever, "text/javascript; charset=utf-8"},
		"/core/1/sotto.wasm":       {200, "brotli of core/1/sotto.wasm", forever, "application/wasm"},
		"/sw.js":                   {200, "brotli of sw.js", checked, "text/javascript; charset=utf-8"},
		"/assets/index-2.js":       {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
		"/core/2/sotto.wasm":       {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
		"/favicon.ico":             {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
		"/placeholder.txt":         {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
		"/../web.go":               {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
		"/assets/../index.html.br": {404, "There is nothing here. Start at /\n", "", "text/plain; charset=utf-8"},
	} {
		r := httptest.NewRequest("GET", "http://chat.example.org/", nil)
		r.URL.Path = path
		r.Header.Set("Accept-Encoding", "gzip, deflate, br")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		got := w.Result()
		if w.Code != want.status || w.Body.String() != want.body || got.Header.Get("Content-Type") != want.contentType ||
			got.Header.Get("Cache-Control") != want.cache {
			t.Errorf("%s: %d %q, %v", path, w.Code, w.Body, got.Header)
		}
		if csp := got.Header.Get("Content-Security-Policy"); want.cache != "" && !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s has the policy %q", path, csp)
		}
	}
}

func TestSiteEncodings(t *testing.T) {
	s := testSite(t)
	for accept, want := range map[string]string{
		"br": "br", "gzip, br;q=1": "br", "gzip, br;q=0": "gzip", "gzip": "gzip", "": "identity", "deflate": "identity",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		got := w.Header().Get("Content-Encoding")
		if got == "" {
			got = "identity"
		}
		if got != want || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q gets %s", accept, got)
		}
		if want == "identity" && w.Body.String() != "text of index.html" {
			t.Errorf("unpacked: %q", w.Body)
		}

		again := httptest.NewRequest("GET", "/", nil)
		again.Header.Set("Accept-Encoding", accept)
		again.Header.Set("If-None-Match", w.Header().Get("Etag"))
		w = httptest.NewRecorder()
		s.ServeHTTP(w, again)
		if w.Code != 304 || w.Body.Len() != 0 {
			t.Errorf("%q asked again: %d", accept, w.Code)
		}
	}
}

func TestSiteIsOnlyRead(t *testing.T) {
	s := testSite(t)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", w.Code)
	}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("HEAD", "/", nil))
	if w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
}

// TestNotBuilt: what a checkout holds without a build is no client.
func TestNotBuilt(t *testing.T) {
	if _, built, err := newSite(fstest.MapFS{"placeholder.txt": {Data: []byte("tracked")}}); err != nil || built {
		t.Error(built, err)
	}
}
