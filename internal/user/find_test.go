package user_test

import (
	"net/http"
	"slices"
	"testing"

	"sotto/api"
)

// TestFind: names that begin with what was typed, in any case, in order and at most ten; never fewer than three letters,
// and not as often as it takes to list everybody.
func TestFind(t *testing.T) {
	w, alice, _ := newWorld(t)
	token := alice.devices[0].login.Token
	find := func(prefix string) []string {
		var answer api.FindAnswer
		w.must(http.MethodPost, "/api/user/find", token, api.FindRequest{Prefix: prefix}, &answer)
		var names []string
		for _, a := range answer.Accounts {
			names = append(names, a.Username)
		}
		return names
	}
	for prefix, want := range map[string][]string{"ali": {"alice"}, "ALICE": {"alice"}, "alicex": nil, "lic": nil, "a_i": nil} {
		if got := find(prefix); !slices.Equal(got, want) {
			t.Errorf("%q finds %q", prefix, got)
		}
	}
	for _, prefix := range []string{"", "al", "al%", "ali ce", "ALİ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		w.refused(api.CodeInvalid, http.MethodPost, "/api/user/find", token, api.FindRequest{Prefix: prefix})
	}
}
