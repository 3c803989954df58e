// Package web serves the web client. Its parts: sdk (the browser core behind a typed API), app (the pages), and this
// package, which embeds what `make web` has built from them into dist. Built without Node there is nothing to embed, and
// [Client] says so.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// policy allows what the client needs and nothing else: its own scripts and the core, its own styles, pictures that it
// makes itself, its own server. Scripts enter the page only through the Trusted Types policy of the SDK.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
	"connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types sotto"

// permissions: the camera scans the safety number of somebody else, everything else is refused.
const permissions = "camera=(self), microphone=(), geolocation=(), payment=(), usb=(), serial=(), midi=(), display-capture=()"

const (
	forever  = "public, max-age=31536000, immutable" // the name changes with the content
	checked  = "no-cache"                            // asked for again each time; answered 304 by the tag
	index    = "index.html"
	core     = "core/"
	hashed   = "assets/"
	maxParts = 3 // parts of a page's path
)

// types of the files that the build writes. A wrong one would stop the browser: nosniff is set.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".wasm": "application/wasm", ".svg": "image/svg+xml", ".png": "image/png", ".txt": "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json", ".json": "application/json",
}

// file is one file in the two forms that browsers ask for.
type file struct{ brotli, gzip []byte }

// Site is the web client, complete in memory.
type Site struct {
	files map[string]file   // by name: "index.html"
	tags  map[string]string // entity tags
}

// Client is the web client that was built into this program, false when there is none.
func Client() (*Site, bool, error) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, false, err
	}
	return newSite(files)
}

// newSite reads name.br and name.gz of every file.
func newSite(files fs.FS) (*Site, bool, error) {
	s := &Site{files: map[string]file{}, tags: map[string]string{}}
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		name, isBrotli := strings.CutSuffix(p, ".br")
		if err != nil || d.IsDir() || !isBrotli {
			return err
		}
		var f file
		if f.brotli, err = fs.ReadFile(files, p); err != nil {
			return err
		}
		if f.gzip, err = fs.ReadFile(files, name+".gz"); err != nil {
			return err
		}
		sum := sha256.Sum256(f.brotli)
		s.files[name], s.tags[name] = f, hex.EncodeToString(sum[:16])
		return nil
	})
	_, built := s.files[index]
	return s, built && err == nil, err
}

// ServeHTTP answers with a file, or with the page for every path that is a place in it. A place that does not exist gets
// the page, too, which says so, with status 404.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "The web client is only read.", http.StatusMethodNotAllowed)
		return
	}
	name, status := strings.TrimPrefix(path.Clean(r.URL.Path), "/"), http.StatusOK
	if _, found := s.files[name]; !found {
		if path.Ext(name) != "" && !isPlace(name) || strings.HasPrefix(name, core) || strings.HasPrefix(name, hashed) {
			http.Error(w, "There is nothing here. Start at /", http.StatusNotFound)
			return
		}
		if !isPlace(name) {
			status = http.StatusNotFound
		}
		name = index
	}
	s.serve(w, r, name, status)
}

// isPlace knows the places of the page. Names of people may contain dots.
func isPlace(name string) bool {
	parts := strings.Split(name, "/")
	switch parts[0] {
	case "", "register", "sign-in", "restore", "new", "search":
		return len(parts) == 1
	case "c", "u":
		return len(parts) >= 2 && len(parts) <= maxParts
	case "settings":
		return len(parts) < maxParts
	}
	return false
}

func (s *Site) serve(w http.ResponseWriter, r *http.Request, name string, status int) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Permissions-Policy", permissions)
	h.Set("Content-Type", types[path.Ext(name)])
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", checked)
	if strings.HasPrefix(name, core) || strings.HasPrefix(name, hashed) {
		h.Set("Cache-Control", forever)
	}
	body, encoding := s.encoded(name, r.Header.Get("Accept-Encoding"))
	tag := `"` + s.tags[name] + "-" + encoding + `"`
	h.Set("Etag", tag)
	if status == http.StatusOK && strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if encoding != "identity" {
		h.Set("Content-Encoding", encoding)
	}
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the browser has gone away
	}
}

// encoded is a file in the best form that the browser takes. Hardly anybody needs it unpacked, so that form is not kept.
func (s *Site) encoded(name, accept string) ([]byte, string) {
	f := s.files[name]
	for _, part := range strings.Split(accept, ",") {
		if coding, quality, _ := strings.Cut(strings.TrimSpace(part), ";"); coding == "br" && strings.TrimSpace(quality) != "q=0" {
			return f.brotli, "br"
		}
	}
	if strings.Contains(accept, "gzip") {
		return f.gzip, "gzip"
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(f.gzip))
	if err != nil {
		return nil, "identity" // the build wrote no gzip: its test would have failed
	}
	body, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, "identity"
	}
	return body, "identity"
}
