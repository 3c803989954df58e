package user_test

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/user"
)

const (
	resetStartPath = "/api/user/reset/start"
	resetPath      = "/api/user/reset"
)

func (w *world) resetCode(name string) string {
	w.t.Helper()
	code, expires, err := user.NewResetCode(w.t.Context(), w.db, w.rand, w.clock.Now(), name)
	if err != nil || !expires.Equal(w.clock.Now().Add(24*time.Hour)) {
		w.t.Fatal(expires, err)
	}
	return code
}

// reset makes p a new identity after what the server says, and returns the request for it.
func (w *world) reset(p *person, code string) api.ResetRequest {
	w.t.Helper()
	var begin api.ResetStartResponse
	w.must(http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: code}, &begin)
	if begin.Lists.AccountID != p.id || begin.Lists.Username != p.name {
		w.t.Errorf("%+v", begin)
	}
	newest := e2ee.SignedDeviceList(begin.Lists.Lists[0])
	previous := must[e2ee.DeviceList](w.t)(newest.Parse())
	p.newSecrets()
	p.key = must[e2ee.KeyPair](w.t)(e2ee.NewKeyPair(p.rand))
	p.list, p.devices = e2ee.DeviceList{}, nil
	d := p.newDevice()
	p.list = e2ee.DeviceList{
		Account: p.id, Version: previous.Version + 1, Previous: newest.Hash(), Time: start.UnixMilli(),
		AccountKey: p.key.Public, Devices: []e2ee.ListedDevice{d.listed},
	}
	p.signed = p.sign(p.list)
	p.version = begin.BundleVersion + 1
	recovery, renewal := sha256.Sum256(p.recovery[:]), sha256.Sum256(d.renewal[:])
	return api.ResetRequest{
		Code: code, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:], Iterations: int(p.parameters.Iterations),
		Auth: p.auth, RecoveryVerifier: recovery[:], RenewalHash: renewal[:], AccountKey: p.key.Public[:],
		List: api.SignedList(p.signed), Device: d.registration(2),
		Bundle: api.Bundle{Version: p.version, Sealed: p.seal(p.version)},
	}
}

// TestResetKeepsTheIdAndNothingElse also repeats the request whose answer chat's silence cost.
func TestResetKeepsTheIdAndNothingElse(t *testing.T) {
	w, alice, bob := newWorld(t)
	second := w.addDevice(alice, 2)
	oldDevices, oldKey := slices.Clone(alice.devices), alice.key
	plain := w.plainLogin(alice)
	code := w.resetCode("Alice")
	body := marshal(t, w.reset(alice, code))
	w.chat.down = true
	var first, again api.Login
	if p := w.decode(w.send(http.MethodPost, resetPath, "", body), &first); p == nil || p.Code != api.CodeUnavailable {
		t.Fatalf("%+v", p)
	}
	w.chat.down = false
	before := w.dump()
	for _, login := range []*api.Login{&first, &again} {
		if p := w.decode(w.send(http.MethodPost, resetPath, "", body), login); p != nil {
			t.Fatalf("%+v", p)
		}
	}
	if first.LoginID != again.LoginID || first.AccountID != alice.id || first.WireDeviceID != 1 || w.dump() != before {
		t.Errorf("%+v, then %+v", first, again)
	}
	for _, d := range oldDevices {
		w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, d.login.Token, nil)
	}
	w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, plain, nil)
	if n := w.count("SELECT count(*) FROM prekey WHERE device_id IN ($1, $2)", oldDevices[0].id[:], second.id[:]); n != 0 {
		t.Errorf("%d prekeys of before", n)
	}
	if n := w.count("SELECT count(*) FROM outbox WHERE type = 'login.ended'"); n != 3 {
		t.Errorf("%d events of ended logins", n)
	}
	var res api.ListsResponse
	w.must(http.MethodPost, "/api/user/lists", bob.devices[0].login.Token,
		api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: alice.id}}}, &res)
	if lists := res.Accounts[0]; len(lists.Lists) != 3 || string(lists.AccountKey) == string(oldKey.Public[:]) {
		t.Errorf("%+v", lists)
	}
	if faults, err := user.CheckAccounts(t.Context(), w.db); err != nil || len(faults) != 0 {
		t.Error(faults, err)
	}
	// The bundle of before waits for its code, for 30 days.
	const kept = "SELECT count(*) FROM old_bundle WHERE account_id = $1 AND version = 2"
	w.clock.advance(29 * 24 * time.Hour)
	w.logIn(alice)
	if w.count(kept, alice.id[:]) != 1 {
		t.Error("the old bundle is gone")
	}
	w.clock.advance(2 * 24 * time.Hour)
	w.recover(alice)
	if w.count(kept, alice.id[:]) != 0 {
		t.Error("the old bundle is still there")
	}
}

func TestResetCodes(t *testing.T) {
	w, alice, bob := newWorld(t)
	if _, _, err := user.NewResetCode(t.Context(), w.db, w.rand, start, "nobody"); err == nil {
		t.Error("a code for nobody")
	}
	void := w.resetCode("alice")
	code := w.resetCode("alice")
	old := *alice
	for _, bad := range []string{"", "reset-", void, code + "A"} {
		w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: bad})
		w.refused(api.CodeWrongLogin, http.MethodPost, resetPath, "", api.ResetRequest{Code: bad})
	}
	good := w.reset(alice, code)
	for name, c := range map[string]struct {
		code  string
		spoil func(r *api.ResetRequest)
	}{
		"another method":  {api.CodeInvalid, func(r *api.ResetRequest) { r.Method = "none" }},
		"short verifier":  {api.CodeInvalid, func(r *api.ResetRequest) { r.RecoveryVerifier = nil }},
		"no account key":  {api.CodeInvalid, func(r *api.ResetRequest) { r.AccountKey = nil }},
		"key of another":  {api.CodeSignature, func(r *api.ResetRequest) { r.AccountKey = bob.key.Public[:] }},
		"forged list":     {api.CodeSignature, func(r *api.ResetRequest) { r.List.Signature = make([]byte, 64) }},
		"list that forks": {api.CodeListVersion, func(r *api.ResetRequest) { r.List = alice.forked() }},
		"the old key": {api.CodeInvalid, func(r *api.ResetRequest) {
			l := alice.list
			l.AccountKey = old.key.Public
			r.AccountKey, r.List = old.key.Public[:], api.SignedList(old.sign(l))
		}},
		"list of two":       {api.CodeInvalid, func(r *api.ResetRequest) { r.List = alice.listOfTwo() }},
		"bundle of another": {api.CodeInvalid, func(r *api.ResetRequest) { r.Bundle.Sealed = bob.seal(2) }},
		"first bundle":      {api.CodeBundleVersion, func(r *api.ResetRequest) { r.Bundle = api.Bundle{Version: 1, Sealed: alice.seal(1)} }},
		"device of another": {api.CodeSignature, func(r *api.ResetRequest) { r.Device = bob.devices[0].registration(0) }},
		"device id of old":  {api.CodeExists, func(r *api.ResetRequest) { r.Device.DeviceID = bob.devices[0].id }},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			req := good
			c.spoil(&req)
			w.refused(c.code, http.MethodPost, resetPath, "", req)
		})
	}
	w.t = t
	w.must(http.MethodPost, resetPath, "", good, &api.Login{})
	w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: code})
	other := good
	other.Device.Name = "other bytes"
	w.refused(api.CodeWrongLogin, http.MethodPost, resetPath, "", other)
	late := w.resetCode("bob")
	w.clock.advance(24*time.Hour + time.Second)
	w.refused(api.CodeWrongLogin, http.MethodPost, resetStartPath, "", api.ResetStartRequest{Code: late})
}

// forked is the list after the reset with another past.
func (p *person) forked() api.SignedList {
	l := p.list
	l.Previous = [32]byte{1}
	return api.SignedList(p.sign(l))
}

func (p *person) listOfTwo() api.SignedList {
	l := p.list
	more := l.Devices[0]
	more.ID = 2
	l.Devices = []e2ee.ListedDevice{l.Devices[0], more}
	return api.SignedList(p.sign(l))
}
