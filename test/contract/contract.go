// Package contract is a proxy between clients and a server that holds every answer, and every request that the server
// accepted, against api/openapi.yaml. It can also lose answers on purpose: the request arrives, the client never learns.
package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"sotto/api"
	"sotto/internal/testenv"
)

// Proxy stands before one server. Its URL takes the place of the server's.
type Proxy struct {
	*httptest.Server
	router routers.Router
	doc    *openapi3.T

	mu       sync.Mutex
	findings []string
	answered map[string]int // successful answers by operation id
	lose     func(*http.Request) bool
}

// pages lets the validator, whose decoders are global, take pages and pictures as they are.
var pages = sync.OnceFunc(func() {
	for _, typ := range []string{"text/html", "image/png"} {
		openapi3filter.RegisterBodyDecoder(typ, openapi3filter.FileBodyDecoder)
	}
})

// New starts a proxy to target, which may not be up yet.
func New(target string) (*Proxy, error) {
	pages()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(testenv.Root(), "api", "openapi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("the contract itself: %w", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("routes of the contract: %w", err)
	}
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &Proxy{router: router, doc: doc, answered: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // the server is killed on purpose
	proxy.ModifyResponse = p.check
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, api.SocketPath) && r.Body != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
		}
		proxy.ServeHTTP(w, r)
	}))
	return p, nil
}

type bodyKey struct{}

// Lose makes the proxy drop the answers for which lose returns true, after the server gave them. nil ends it.
func (p *Proxy) Lose(lose func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = lose
}

// Findings lists every way in which the server broke the contract.
func (p *Proxy) Findings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.findings...)
}

// Unanswered lists the operations of the contract that never succeeded.
func (p *Proxy) Unanswered() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, path := range p.doc.Paths.InMatchingOrder() {
		for _, op := range p.doc.Paths.Value(path).Operations() {
			if p.answered[op.OperationID] == 0 {
				out = append(out, op.OperationID)
			}
		}
	}
	return out
}

var errLost = errors.New("answer lost on purpose")

// check sees every answer on its way back.
func (p *Proxy) check(res *http.Response) error {
	r := res.Request
	if !strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, api.SocketPath) {
		return nil
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	p.hold(r, res, body)
	p.mu.Lock()
	lose := p.lose
	p.mu.Unlock()
	if lose != nil && lose(r) {
		return errLost
	}
	return nil
}

func (p *Proxy) hold(r *http.Request, res *http.Response, body []byte) {
	route, params, err := p.router.FindRoute(&http.Request{Method: r.Method, URL: &url.URL{Path: r.URL.Path}, Header: r.Header})
	if err != nil {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			p.find("%s %s answered %d, but is not in the contract", r.Method, r.URL.Path, res.StatusCode)
		}
		return
	}
	request := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if sent, ok := r.Context().Value(bodyKey{}).([]byte); ok && res.StatusCode < 300 {
		clone := r.Clone(r.Context())
		clone.Body = io.NopCloser(bytes.NewReader(sent))
		request.Request = clone
		if err := openapi3filter.ValidateRequest(r.Context(), request); err != nil {
			p.find("%s %s accepted a request outside the contract: %v", r.Method, r.URL.Path, err)
		}
	}
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: res.StatusCode, Header: res.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	response.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), response); err != nil {
		p.find("%s %s answered %d outside the contract: %v", r.Method, r.URL.Path, res.StatusCode, err)
	}
	if res.StatusCode < 300 {
		p.mu.Lock()
		p.answered[route.Operation.OperationID]++
		p.mu.Unlock()
	}
}

func (p *Proxy) find(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.findings = append(p.findings, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, "contract: "+format+"\n", args...)
}
