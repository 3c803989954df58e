package wasm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"sotto/internal/testenv"
)

// policy is what the web client's pages will be served with. The core must not need more.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'"

// site is an origin: the test pages, the browser core, and the server's API behind them, as one address.
type site struct {
	*httptest.Server
	gate gate
}

// newSite serves api, the address of a server; empty for tests without one.
func newSite(t testing.TB, api string) *site {
	s := &site{}
	s.gate.cond.L = &s.gate.mu
	mux := http.NewServeMux()
	root := testenv.Root()
	for name, path := range map[string]string{
		"sotto.wasm":    filepath.Join(built, "sotto.wasm"),
		"idbstore.wasm": filepath.Join(built, "idbstore.wasm"),
		"wasm_exec.js":  filepath.Join(built, "wasm_exec.js"),
		"shim.js":       filepath.Join(root, "cmd/sotto-wasm/shim.js"),
		"worker.js":     filepath.Join(root, "cmd/sotto-wasm/worker.js"),
		"page.html":     "page.html",
		"page.js":       "page.js",
		"gotest.html":   "gotest.html",
		"gotest.js":     "gotest.js",
	} {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) {
			if name != "gotest.html" && name != "gotest.js" { // tests of the store look behind it with eval
				w.Header().Set("Content-Security-Policy", policy)
			}
			http.ServeFile(w, r, path)
		})
	}
	if api != "" {
		target, err := url.Parse(api)
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle("/api/", &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Host = r.In.Host // one origin for the browser, also in the eyes of the server
			},
			ModifyResponse: func(res *http.Response) error {
				if socket, ok := res.Body.(io.ReadWriteCloser); ok {
					res.Body = &gated{ReadWriteCloser: socket, gate: &s.gate}
				}
				return nil
			},
		})
	}
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// gate holds back everything that the server says over websockets while it is shut.
type gate struct {
	mu   sync.Mutex
	cond sync.Cond
	shut bool
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.cond.Broadcast()
}

func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.cond.Wait()
	}
}

type gated struct {
	io.ReadWriteCloser
	gate *gate
}

func (c *gated) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	c.gate.pass()
	return n, err
}

// tab is a page in the browser.
type tab struct {
	t  testing.TB
	id int64
}

var lastTab atomic.Int64

// open opens a page of the site in a tab of its own.
func (s *site) open(t testing.TB, page string) *tab {
	t.Helper()
	p := &tab{t: t, id: lastTab.Add(1)}
	p.do(map[string]any{"do": "open", "url": s.URL + "/" + page}, nil)
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = browser.do(map[string]any{"do": "close", "page": p.id}, nil) // the test may have closed it
		}
		if t.Failed() {
			t.Logf("the browser said:\n%s", browser.log.String())
		}
	})
	return p
}

func (p *tab) do(command map[string]any, value any) {
	p.t.Helper()
	command["page"] = p.id
	if err := browser.do(command, value); err != nil {
		p.t.Fatalf("%v in the browser: %v", command["do"], err)
	}
}

func (p *tab) close()  { p.do(map[string]any{"do": "close"}, nil) }
func (p *tab) reload() { p.do(map[string]any{"do": "reload"}, nil) }

// call calls a function of the page.
func (p *tab) call(value any, name string, args ...any) {
	p.t.Helper()
	p.do(map[string]any{"do": "call", "name": name, "args": append([]any{}, args...)}, value)
}

// answer is the core's answer to a request.
type answer struct {
	ID    int64           `json:"id"`
	OK    json.RawMessage `json:"ok"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// code is the code of a refusal, "" for success.
func (a answer) code() string {
	if a.Error == nil {
		return ""
	}
	return a.Error.Code
}

func (a answer) String() string {
	if a.Error != nil {
		return fmt.Sprintf("%s: %s", a.Error.Code, a.Error.Message)
	}
	return string(a.OK)
}

type args = map[string]any

// try makes a request of the core.
func (p *tab) try(operation string, a args) answer {
	p.t.Helper()
	var got answer
	p.call(&got, "request", operation, a)
	return got
}

// ask makes a request that must succeed.
func ask[T any](p *tab, operation string, a args) T {
	p.t.Helper()
	return settled[T](p, operation, p.try(operation, a))
}

func settled[T any](p *tab, operation string, got answer) (value T) {
	p.t.Helper()
	if got.Error != nil {
		p.t.Fatalf("%s: %v", operation, got)
	}
	if err := json.Unmarshal(got.OK, &value); err != nil {
		p.t.Fatalf("%s answered %s: %v", operation, got.OK, err)
	}
	return value
}

// begin makes a request whose answer is asked for later, with [tab.answer].
func (p *tab) begin(operation string, a args) (id int64) {
	p.t.Helper()
	p.call(&id, "begin", operation, a)
	return id
}

func (p *tab) answer(id int64) (got answer) {
	p.t.Helper()
	p.call(&got, "answer", id)
	return got
}

type nothing struct{}
