package asset

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sotto/api"
	"sotto/internal/httpx"
)

const (
	writeWithin = 30 * time.Second // 32 KiB of the answer; whoever does not read is let go
	serveWithin = 15 * time.Minute // the whole answer, for a reader of 20 KB/s
	octets      = "application/octet-stream"
)

// Serve answers with a blob, or with the range of it that was asked for. What it answers with never changes and is never
// a page: it is not to be shown within the origin, whatever is in it. An error means that nothing was answered yet.
func Serve(w http.ResponseWriter, r *http.Request, b *Blob) error {
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
	answer := &writer{ResponseWriter: w, blob: b, head: r.Method == http.MethodHead, until: time.Now().Add(serveWithin)}
	http.ServeContent(answer, r, "", time.Time{}, b)
	return answer.err
}

// ServeNamed answers with the asset that the path names, {sha256}; open is Store.Sealed or Store.Public.
func ServeNamed(w http.ResponseWriter, r *http.Request, open func(context.Context, [32]byte) (*Blob, error)) error {
	sum, err := ParseName(r.PathValue("sha256"))
	if err != nil {
		return err
	}
	blob, err := open(r.Context(), sum)
	if err != nil {
		return err
	}
	defer blob.Close() //nolint:errcheck // it was read
	return Serve(w, r, blob)
}

// writer gives an answer that http.ServeContent refuses the form of all others, opens the first part before it says that
// all is well, and bounds the time for an answer that nobody reads.
type writer struct {
	http.ResponseWriter
	blob    *Blob
	head    bool
	until   time.Time
	refused bool
	err     error
}

func (w *writer) WriteHeader(status int) {
	if status < http.StatusMultipleChoices && !w.head {
		if w.err = w.blob.open(); w.err != nil {
			w.withdraw()
			w.Header().Del("Content-Range")
			return
		}
	}
	if status < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.withdraw()
	httpx.WriteJSON(w.ResponseWriter, status, "application/problem+json", api.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: api.CodeInvalid,
		Detail: fmt.Sprintf("The asset has %d bytes; this range cannot be read.", w.blob.Size),
	})
}

// withdraw takes back what was said of the blob: something else is answered.
func (w *writer) withdraw() {
	w.refused = true
	for _, name := range []string{"Accept-Ranges", "Content-Length", "ETag"} {
		w.Header().Del(name)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	deadline := time.Now().Add(writeWithin)
	if deadline.After(w.until) {
		deadline = w.until
	}
	// Where there is no deadline to set, as in tests without a connection, none is needed.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
	return w.ResponseWriter.Write(b)
}
