package contract_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sotto/test/contract"
)

// TestProxyBites answers wrongly in several ways; each must be found, or the end-to-end runs prove nothing.
func TestProxyBites(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		contentType string
		body        string
		finding     string // "" for none
	}{
		"good":            {200, "application/json", `{"server":"s","protocol":{"lowest":1,"highest":1},"epoch":1,"time":1,"limits":{}}`, ""},
		"good problem":    {503, "application/problem+json", `{"type":"about:blank","title":"t","status":503,"code":"unavailable"}`, ""},
		"field missing":   {200, "application/json", `{"server":"s","protocol":{"lowest":1,"highest":1},"limits":{}}`, "epoch"},
		"field too many":  {200, "application/json", `{"server":"s","protocol":{"lowest":1,"highest":1},"epoch":1,"time":1,"limits":{},"more":1}`, "more"},
		"wrong type":      {200, "application/json", `{"server":1,"protocol":{"lowest":1,"highest":1},"epoch":1,"time":1,"limits":{}}`, "server"},
		"plain error":     {500, "text/plain", `oops`, "outside the contract"},
		"unknown code":    {500, "application/problem+json", `{"type":"about:blank","title":"t","status":500,"code":"oops"}`, "code"},
		"empty where not": {204, "", ``, "outside the contract"},
	} {
		target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.contentType)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		p, err := contract.New(target.URL)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.Get(p.URL + "/api/info")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		found := strings.Join(p.Findings(), "\n")
		if (c.finding == "") != (found == "") || !strings.Contains(found, c.finding) {
			t.Errorf("%s: found %q, want %q", name, found, c.finding)
		}
		p.Close()
		target.Close()
	}
}

func TestProxyLosesAnswers(t *testing.T) {
	arrived := 0
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"server":"s","protocol":{"lowest":1,"highest":1},"epoch":1,"time":1,"limits":{}}`)
	}))
	defer target.Close()
	p, err := contract.New(target.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Lose(func(*http.Request) bool { return true })
	res, err := http.Get(p.URL + "/api/info")
	if err != nil {
		t.Fatal(err) // the proxy itself answers
	}
	_ = res.Body.Close()
	if res.StatusCode == http.StatusOK {
		t.Error("the answer got through")
	}
	if arrived != 1 {
		t.Errorf("%d requests arrived", arrived)
	}
}
