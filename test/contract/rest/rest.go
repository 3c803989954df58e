// Package rest is a client made of api and e2ee alone, for tests against the real server. It has no queue, repairs
// nothing and has no opinion, so that it can say what no honest client would.
package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"sotto/api"
)

// maxAnswer is far above every answer of the server.
const maxAnswer = 8 << 20 // bytes

// Server is a server to talk to. It has to trust 127.0.0.1 as a proxy: each request names another client address, so that
// limits by address do not count all tests together.
type Server struct {
	URL string

	clients atomic.Uint32
}

// Request is one request as it goes out. The zero value of each field leaves it out.
type Request struct {
	Method, Path string
	Token        string // bearer
	Generation   uint64
	Body         []byte // JSON
	From         string // client address; a new one when empty
	Header       http.Header
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Address is a client address that nobody has used before.
func (s *Server) Address() string {
	n := s.clients.Add(1)
	return fmt.Sprintf("10.%d.%d.%d", n>>16&0xff, n>>8&0xff, n&0xff)
}

// Do sends a request. Only a server that does not answer fails the test.
func (s *Server) Do(t testing.TB, r Request) Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, s.URL+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	if r.Generation != 0 {
		req.Header.Set(api.HeaderGeneration, strconv.FormatUint(r.Generation, 10))
	}
	if r.From == "" {
		r.From = s.Address()
	}
	req.Header.Set("X-Forwarded-For", r.From)
	for name, values := range r.Header {
		req.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect, keeps no cookie
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return Answer{Status: res.StatusCode, Header: res.Header, Body: body}
}

// Problem reads the problem document of a refusal; it fails the test when there is none.
func (a Answer) Problem(t testing.TB) api.Problem {
	t.Helper()
	var p api.Problem
	err := json.Unmarshal(a.Body, &p)
	if err != nil || a.Status < 400 || p.Status != a.Status || p.Code == "" || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d without a problem document: %s", a.Status, a.Body)
	}
	return p
}

// Code is the code of a refusal, or "" for success.
func (a Answer) Code(t testing.TB) string {
	t.Helper()
	if a.Status < 300 {
		return ""
	}
	return a.Problem(t).Code
}

// Call sends body as JSON (nil for none) and decodes the answer into res (nil for none). A refusal fails the test.
func (s *Server) Call(t testing.TB, method, path, token string, body, res any) {
	t.Helper()
	s.mustDecode(t, Request{Method: method, Path: path, Token: token, Body: JSON(t, body)}, res)
}

// Write is Call for the writes of a connected device, which name its generation.
func (s *Server) Write(t testing.TB, d *Device, path string, body, res any) {
	t.Helper()
	s.mustDecode(t, Request{
		Method: http.MethodPost, Path: path, Token: d.Login.Token, Generation: d.Generation, Body: JSON(t, body),
	}, res)
}

func (s *Server) mustDecode(t testing.TB, r Request, res any) {
	t.Helper()
	a := s.Do(t, r)
	if a.Status >= 300 {
		t.Fatalf("%s %s: %d %s", r.Method, r.Path, a.Status, a.Body)
	}
	if res == nil {
		return
	}
	if err := json.Unmarshal(a.Body, res); err != nil {
		t.Fatalf("%s %s: %v: %s", r.Method, r.Path, err, a.Body)
	}
}

// JSON marshals a body; nil stays nil.
func JSON(t testing.TB, v any) []byte {
	t.Helper()
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
