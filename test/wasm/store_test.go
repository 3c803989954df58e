package wasm_test

import "testing"

// TestStore runs the tests of client/idbstore, with the conformance suite, inside the browser.
func TestStore(t *testing.T) {
	s := newSite(t, "")
	p := s.open(t, "gotest.html")
	var got struct {
		Code   int    `json:"code"`
		Output string `json:"output"`
	}
	p.call(&got, "gotest", "idbstore.wasm", []string{"-test.v", "-rapid.nofailfile"})
	if got.Code != 0 {
		t.Fatalf("exit code %d:\n%s", got.Code, got.Output)
	}
	t.Log(got.Output)
}
