package asset

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/httpx"
)

const (
	serveWithin = 5 * time.Minute // the whole answer, for a reader of 50 KB/s
	octets      = "application/octet-stream"
)

// Serve answers with a blob, or with the range of it that was asked for. What it answers with never changes and is never
// a page: it is not to be shown within the origin, whatever is in it.
func Serve(w http.ResponseWriter, r *http.Request, b *Blob) {
	// An answer that nobody reads would hold the part open. Where there is no deadline to set, as in tests, none is needed.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(serveWithin))
	h := w.Header()
	h.Set("Content-Type", cmp.Or(b.Type, octets))
	h.Set("Content-Disposition", "attachment")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+b.Name+`"`)
	scope := "private"
	if b.Type != "" {
		scope = "public"
		h.Set("Cross-Origin-Resource-Policy", "cross-origin") // mail programs within browsers show it
	}
	h.Set("Cache-Control", scope+", max-age=31536000, immutable")
	if strings.Contains(r.Header.Get("Range"), ",") {
		r = r.Clone(r.Context())
		r.Header.Del("Range") // several ranges at once are answered with everything
	}
	http.ServeContent(&rangeWriter{ResponseWriter: w, size: b.Size}, r, "", time.Time{}, b)
}

// rangeWriter gives an answer that http.ServeContent refuses the form of all others.
type rangeWriter struct {
	http.ResponseWriter
	size    int64
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.refused = true
	h := w.Header()
	h.Del("Content-Length")
	h.Del("ETag")
	httpx.WriteJSON(w.ResponseWriter, status, "application/problem+json", api.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: api.CodeInvalid,
		Detail: fmt.Sprintf("The asset has %d bytes; this range cannot be read.", w.size),
	})
}

func (w *rangeWriter) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *rangeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
