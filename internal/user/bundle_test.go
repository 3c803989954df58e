package user_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
)

const bundlePath = "/api/user/bundle"

func TestBundleIsComparedAndSwapped(t *testing.T) {
	w, alice, bob := newWorld(t)
	token := alice.devices[0].login.Token
	second := api.Bundle{Version: 2, Sealed: alice.seal(2)}
	for range 2 { // the same bytes again succeed
		w.must(http.MethodPut, bundlePath, token, second, nil)
	}
	var got api.Bundle
	w.must(http.MethodGet, bundlePath, w.plainLogin(alice), nil, &got)
	if diff := cmp.Diff(second, got); diff != "" {
		t.Error(diff)
	}
	for name, b := range map[string]api.Bundle{
		"skips": {Version: 4, Sealed: alice.seal(4)}, "goes back": {Version: 1, Sealed: alice.seal(1)}, "again": {Version: 2, Sealed: alice.seal(2)},
		"highest": {Version: 1<<64 - 1, Sealed: alice.seal(1<<64 - 1)},
	} {
		p := w.refused(api.CodeBundleVersion, http.MethodPut, bundlePath, token, b)
		var current api.Bundle
		unmarshal(t, p.Details, &current)
		if diff := cmp.Diff(second, current); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, b := range []api.Bundle{
		{}, {Version: 3}, {Version: 3, Sealed: bob.seal(3)}, {Version: 3, Sealed: alice.seal(4)}, {Version: 3, Sealed: append(alice.seal(3), 0)},
	} {
		w.refused(api.CodeInvalid, http.MethodPut, bundlePath, token, b)
	}
}

func TestOneOfManyWritesTheNextBundle(t *testing.T) {
	w, alice, _ := newWorld(t)
	codes := make([]int, 4)
	var wg sync.WaitGroup
	for i := range codes {
		body := marshal(t, api.Bundle{Version: 2, Sealed: alice.seal(2)})
		wg.Go(func() { codes[i] = w.send(http.MethodPut, bundlePath, alice.devices[0].login.Token, body).Code })
	}
	wg.Wait()
	won := 0
	for _, code := range codes {
		if code == http.StatusNoContent {
			won++
		} else if code != http.StatusConflict {
			t.Errorf("status %d", code)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won", won)
	}
}
