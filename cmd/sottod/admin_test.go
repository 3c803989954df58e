package main_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sotto/api"
	"sotto/test/contract/rest"
)

// TestResetCodeWorksOnARunningServer makes two codes beside it: the second voids the first.
func TestResetCodeWorksOnARunningServer(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	fail(t, "there is no server's data", "admin", "reset", "--data-dir", data, "alice")
	s := serve(t, data)
	alice := s.Register(t, "alice")
	var codes []string
	for range 2 {
		code, _, _ := strings.Cut(succeed(t, "admin", "reset", "--data-dir", data, "Alice"), "\n")
		codes = append(codes, code)
	}
	fail(t, "nobody here is called bob", "admin", "reset", "--data-dir", data, "bob")
	const start = "/api/user/reset/start"
	void := s.Do(t, rest.Request{Method: http.MethodPost, Path: start, Body: rest.JSON(t, api.ResetStartRequest{Code: codes[0]})})
	if code := void.Code(t); code != api.CodeWrongLogin {
		t.Errorf("the first code: %q", code)
	}
	var res api.ResetStartResponse
	s.Call(t, http.MethodPost, start, "", api.ResetStartRequest{Code: codes[1]}, &res)
	if res.Lists.AccountID != alice.ID || res.Lists.Username != "alice" || res.BundleVersion != 1 {
		t.Errorf("%+v", res)
	}
}
