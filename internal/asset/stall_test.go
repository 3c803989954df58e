package asset_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
	"sotto/internal/sqldb/sqldbtest"
)

// stuck is a backend that answers nothing, or nothing after the first bytes, until it is told to stop.
type stuck struct {
	asset.Backend
	after int // bytes; 0: not even the object is found
}

func (s stuck) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if s.after == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r, err := s.Backend.Open(ctx, name, offset, int64(s.after))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(r, untilDone{ctx}), r}, nil
}

// impatient is a backend that fails as one does that hangs until its time is over, and tells how long that would have been.
type impatient struct {
	asset.Backend
	within chan time.Duration
}

func (i impatient) Put(ctx context.Context, _ string, _ []byte) error { return i.wait(ctx) }
func (i impatient) Delete(ctx context.Context, _ string) error        { return i.wait(ctx) }

func (i impatient) wait(ctx context.Context) error {
	until, bounded := ctx.Deadline()
	if !bounded {
		i.within <- 0
		return errors.New("it would hang for ever")
	}
	i.within <- time.Until(until)
	return context.DeadlineExceeded
}

type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

// TestServeLostObject: an object that is gone is an error before anything is answered, for a range in a later part, too.
func TestServeLostObject(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(api.MaxAssetPart + 1000)
	w.upload(ada, content)
	for _, path := range w.objects() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, ranged := range []string{"", "bytes=5-10", "bytes=1048580-"} {
		answer, err := w.serve(w.sealed(content), http.MethodGet, http.Header{"Range": {ranged}})
		w.wantCode(err, api.CodeUnavailable)
		h := answer.Header()
		if answer.Body.Len() > 0 || answer.Flushed || h.Get("Content-Range")+h.Get("Content-Length")+h.Get("ETag")+h.Get("Accept-Ranges") != "" {
			t.Errorf("%q: %d bytes, %v", ranged, answer.Body.Len(), h)
		}
	}
	if !strings.Contains(w.logs.String(), "gave no object") {
		t.Error("the log does not say it")
	}
	if head, err := w.serve(w.sealed(content), http.MethodHead, http.Header{}); err != nil || head.Code != 200 {
		t.Errorf("asking without reading: %d %v", head.Code, err)
	}
}

// TestHangingBackend: whoever waits for a backend that answers nothing gets an error in time.
func TestHangingBackend(t *testing.T) {
	const within = 5 * 30 * time.Second
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(1000)
	w.upload(ada, content)
	for _, after := range []int{0, 100} {
		w.Store.Backend = stuck{w.Backend, after}
		blob := w.sealed(content)
		synctest.Test(t, func(t *testing.T) {
			read := make(chan error, 1)
			go func() {
				n, err := io.Copy(io.Discard, blob)
				if n != int64(after) {
					t.Errorf("%d bytes, want %d", n, after)
				}
				read <- err
			}()
			select {
			case err := <-read:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if after == 0 {
					w.wantCode(err, api.CodeUnavailable)
				}
			case <-time.After(within):
				t.Fatal("it waits for ever")
			}
			if err := blob.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHangingWrites: a write and a deletion end within the five minutes after which upkeep takes them for ended.
func TestHangingWrites(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	stored, open := assettest.Content(1000), assettest.Content(1000)
	w.upload(ada, stored)
	id := w.begin(ada, open).UploadID
	backend := impatient{w.Backend, make(chan time.Duration, 1)}
	w.Store.Backend = backend
	_, err := w.Append(t.Context(), ada, id, 0, open)
	w.wantCode(err, api.CodeUnavailable)
	if d := <-backend.within; d <= 0 || d > 5*time.Minute {
		t.Errorf("a write may take %v", d)
	}
	if a, err := w.Upload(t.Context(), ada, id); err != nil || a.Received != 0 {
		t.Errorf("the upload moved: %+v %v", a, err)
	}
	if err := w.Store.Delete(t.Context(), ada, sha256.Sum256(stored)); err != nil {
		t.Error(err)
	}
	if d := <-backend.within; d <= 0 || d > 5*time.Minute {
		t.Errorf("a deletion may take %v", d)
	}
	w.Store.Backend = w
	w.tidy()
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects", n)
	}
}

// attentive is a backend whose objects end with the context, as those of a network do.
type attentive struct{ asset.Backend }

func (a attentive) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := a.Backend.Open(ctx, name, offset, length)
	return attentiveReader{r, ctx}, err
}

type attentiveReader struct {
	io.ReadCloser
	ctx context.Context
}

func (a attentiveReader) Read(into []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	return a.ReadCloser.Read(into)
}

// TestPausedReader: only what the backend takes is bounded, not what its reader does in between.
func TestPausedReader(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(1000)
	w.upload(ada, content)
	w.Store.Backend = attentive{w.Backend}
	blob := w.sealed(content)
	synctest.Test(t, func(t *testing.T) {
		for range 10 {
			if _, err := io.CopyN(io.Discard, blob, 100); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
	})
	blob = w.sealed(content)
	synctest.Test(t, func(t *testing.T) {
		answer := pausing{httptest.NewRecorder()}
		if err := asset.Serve(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), blob); err != nil ||
			answer.Body.Len() != len(content) {
			t.Errorf("%d bytes, %v", answer.Body.Len(), err)
		}
	})
}

// pausing takes its time for the header.
type pausing struct{ *httptest.ResponseRecorder }

func (p pausing) WriteHeader(status int) {
	time.Sleep(time.Minute)
	p.ResponseRecorder.WriteHeader(status)
}

// pipes is a listener for one connection within this process, whose deadlines follow the test's clock.
type pipes struct{ server chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.server
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error { close(p.server); return nil }
func (pipes) Addr() net.Addr { return &net.UnixAddr{} }

// download serves the blob to a reader that takes 32 KiB, then waits. It returns what arrived and how long Serve took.
func download(t *testing.T, blob *asset.Blob, wait time.Duration) (got int64, served time.Duration) {
	t.Helper()
	start := time.Now()
	ended := make(chan time.Duration, 1)
	listener := pipes{make(chan net.Conn, 1)}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := asset.Serve(rw, r, blob); err != nil {
			t.Error(err)
		}
		ended <- time.Since(start)
	})}
	go func() { _ = server.Serve(listener) }()
	client, there := net.Pipe()
	listener.server <- there
	fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		res, err := http.ReadResponse(bufio.NewReaderSize(client, 1), nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		for err == nil {
			time.Sleep(wait)
			var n int64
			n, err = io.CopyN(io.Discard, res.Body, 32<<10)
			got += n
		}
	}()
	served = <-ended
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	time.Sleep(wait)
	synctest.Wait()
	return got, served
}

// TestSlowReaders: one that reads on gets everything, one that has stopped, or would take for ever, is let go.
func TestSlowReaders(t *testing.T) {
	sqldbtest.OnlySQLite(t)
	w := newWorld(t)
	content := assettest.Content(2 << 20)
	w.upload(ada, content)
	for name, c := range map[string]struct {
		wait   time.Duration // for each 32 KiB, of which there are 64
		whole  bool
		within time.Duration
	}{
		"slow":     {10 * time.Second, true, 15 * time.Minute},
		"stopped":  {24 * time.Hour, false, 5 * 30 * time.Second},
		"for ever": {25 * time.Second, false, 16 * time.Minute},
	} {
		blob := w.sealed(content)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, served := download(t, blob, c.wait)
				if (got == int64(len(content))) != c.whole || served > c.within {
					t.Errorf("%d of %d bytes, %v", got, len(content), served)
				}
			})
		})
	}
}
