package user_test

import (
	"net/http"
	"testing"

	"sotto/api"
)

// FuzzRequests sends any body to any route that takes one, as a signed-in device. Whatever it is, the answer is a
// success or a problem document that does not blame the server, and what is refused changes nothing.
func FuzzRequests(f *testing.F) {
	paths := []string{registerPath, startPath, finishPath, renewPath, lookupPath, listsPath, devicesPath, preKeysPath, claimPath, bundlePath}
	w, alice, _ := newWorld(f)
	token := alice.devices[0].login.Token
	d := alice.newDevice()
	for i, seed := range []any{
		alice.registration(1),
		api.LoginStartRequest{Name: "alice", Methods: []string{api.MethodSplitPBKDF2}},
		api.LoginFinishRequest{Attempt: "AAAA", Proof: alice.auth, RenewalHash: make([]byte, 32), Device: d.proof("AAAA")},
		api.RenewRequest{Renewal: make([]byte, 32)},
		api.LookupRequest{Username: "bob"},
		api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: alice.id, After: 1}}},
		alice.addition(d, 1), d.upload(1),
		api.ClaimRequest{AccountID: alice.id, DeviceIDs: []api.WireDeviceID{1, 2}},
		api.Bundle{Version: 2, Sealed: alice.seal(2)},
	} {
		f.Add(byte(i), marshal(f, seed))
	}
	f.Fuzz(func(t *testing.T, route byte, body []byte) {
		w.t = t
		path := paths[int(route)%len(paths)]
		method := http.MethodPost
		if path == bundlePath {
			method = http.MethodPut
		}
		before := w.dump()
		rec := w.send(method, path, token, body)
		if p := w.decode(rec, &map[string]any{}); p == nil {
			return
		} else if p.Status >= http.StatusInternalServerError {
			t.Errorf("%s: %+v", path, p)
		}
		if w.dump() != before {
			t.Errorf("%s was refused with %s and changed the tables", path, rec.Body)
		}
	})
}
