package user_test

import (
	"crypto/sha256"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/user"
)

const (
	restoredStartPath  = "/api/user/restored/start"
	restoredDevicePath = "/api/user/restored/device"
	restoredListsPath  = "/api/user/restored/lists"
	restoredBundlePath = "/api/user/restored/bundle"
)

// backup copies the database; the result starts a server from it as after a restore.
func (w *world) backup() (restore func() *world) {
	w.t.Helper()
	backup := filepath.Join(w.t.TempDir(), "backup.db")
	if err := w.db.CopyTo(w.t.Context(), backup); err != nil {
		w.t.Fatal(err)
	}
	file, err := os.ReadFile(backup)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() *world {
		w.t.Helper()
		path := filepath.Join(w.t.TempDir(), "restored.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			w.t.Fatal(err)
		}
		restored := seededWorld(w.t, sqldbtest.OpenAt(w.t, path, series...), 99)
		restored.clock.advance(time.Minute)
		epoch, _, err := user.Restored(w.t.Context(), restored.db, restored.clock.Now())
		if err != nil {
			w.t.Fatal(err)
		}
		restored.epoch = epoch
		return restored
	}
}

// giveBack gives lists of p to the server, which has version afterwards.
func (w *world) giveBack(by *device, p *person, version uint64, lists ...api.SignedList) {
	w.t.Helper()
	var res api.RestoredVersions
	w.must(http.MethodPost, restoredListsPath, by.login.Token, api.RestoredLists{
		Accounts: []api.AccountChain{{AccountID: p.id, Lists: lists}},
	}, &res)
	if diff := cmp.Diff([]api.ListVersion{{AccountID: p.id, Version: version}}, res.Versions); diff != "" {
		w.t.Error(diff)
	}
}

// restoration introduces d again.
func (w *world) restoration(d *device, lists ...api.SignedList) api.RestoredDeviceRequest {
	w.t.Helper()
	var start api.RestoredStartResponse
	w.must(http.MethodPost, restoredStartPath, "", api.RestoredStartRequest{AccountID: d.owner.id}, &start)
	hash := sha256.Sum256(d.renewal[:])
	proof := append([]byte("sotto restored v1"+start.Attempt), hash[:]...)
	signature := must[e2ee.Signature](w.t)(d.keys.Private.Sign(d.owner.rand, proof))
	return api.RestoredDeviceRequest{
		Attempt: start.Attempt, Lists: lists, Device: d.registration(1), RenewalHash: hash[:], Signature: signature[:],
	}
}

func (p *person) forgotten() *api.RestoredAccount {
	p.t.Helper()
	recovery := sha256.Sum256(p.recovery[:])
	return &api.RestoredAccount{
		Username: p.name, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:], Iterations: int(p.parameters.Iterations),
		Auth: p.auth, RecoveryVerifier: recovery[:], Bundle: api.Bundle{Version: p.version, Sealed: p.seal(p.version)},
	}
}

// TestForgottenDevices: two devices were added and one was removed after the backup. Anybody who knows the lists gives
// them back; what was removed is cut off again, what was added counts as signed out until it has introduced itself.
func TestForgottenDevices(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	w, alice, bob := newWorld(t)
	removed := w.addDevice(alice, 1)
	restore := w.backup()
	chain := []api.SignedList{api.SignedList(alice.signed)}
	second := w.addDevice(alice, 1)
	chain = append(chain, api.SignedList(alice.signed))
	gone := alice.without(removed)
	alice.list = alice.listWithout(removed)
	alice.signed = e2ee.SignedDeviceList(gone)
	chain = append(chain, gone)

	w = restore()
	w.must(http.MethodGet, mePath, removed.login.Token, nil, &api.Me{})
	w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, second.login.Token, nil)
	w.giveBack(bob.devices[0], alice, 2, chain[0])
	w.giveBack(bob.devices[0], alice, 2, chain[2]) // what comes between is missing
	w.refused(api.CodeListVersion, http.MethodPost, restoredDevicePath, "", w.restoration(second, chain[2]))
	for range 2 {
		w.giveBack(bob.devices[0], alice, 4, chain...)
	}
	w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, removed.login.Token, nil)
	w.must(http.MethodGet, mePath, alice.devices[0].login.Token, nil, &api.Me{})
	away := []api.DeviceStatus{{DeviceID: api.WireDeviceID(second.listed.ID), State: api.DeviceSignedOut}}
	if last := w.chat.changed[len(w.chat.changed)-1]; !cmp.Equal(last.Status, away) || !cmp.Equal(last.Lists, []api.SignedList{gone}) {
		t.Errorf("%+v", last)
	}
	for range 2 { // an answer was lost
		w.must(http.MethodPost, restoredDevicePath, "", w.restoration(second, gone), &second.login)
		var me api.Me
		w.must(http.MethodGet, mePath, second.login.Token, nil, &me)
		if me.DeviceID == nil || *me.DeviceID != second.id || me.Username != "alice" {
			t.Errorf("%+v", me)
		}
	}
	if last := w.chat.changed[len(w.chat.changed)-1]; len(last.Status) != 0 {
		t.Errorf("%+v", last)
	}
	if faults, err := user.CheckAccounts(t.Context(), w.db); err != nil || len(faults) > 0 {
		t.Error(faults, err)
	}
	// The removed device does not come back, not even with the list that had it.
	w.refused(api.CodeDeviceGone, http.MethodPost, restoredDevicePath, "", w.restoration(removed, chain[0]))
}

// TestForgottenDeviceIsRemoved: a device that is only in the lists, and lost, can be removed.
func TestForgottenDeviceIsRemoved(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	w, alice, bob := newWorld(t)
	restore := w.backup()
	lost := w.addDevice(alice, 1)
	two := api.SignedList(alice.signed)
	w = restore()
	w.giveBack(bob.devices[0], alice, 2, two)
	old := alice.auth
	alice.version = 1
	alice.newSecrets()
	req := alice.change(old)
	list := alice.without(lost)
	req.List = &list
	w.must(http.MethodPut, passwordPath, alice.devices[0].login.Token, req, &api.DevicesChange{})
	if last := w.chat.changed[len(w.chat.changed)-1]; len(last.Status) != 0 || !cmp.Equal(last.Lists, []api.SignedList{list}) {
		t.Errorf("%+v", last)
	}
}

// TestForgottenLogin: a device that signed in again after the backup is signed in by what it is; one that was signed out
// before is not.
func TestForgottenLogin(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	w, alice, _ := newWorld(t)
	second := w.addDevice(alice, 1)
	w.must(http.MethodPost, "/api/user/logout", second.login.Token, nil, nil)
	w = w.backup()()
	first := alice.devices[0]
	w.must(http.MethodPost, restoredDevicePath, "", w.restoration(first, api.SignedList(alice.signed)), &first.login)
	w.must(http.MethodGet, mePath, first.login.Token, nil, &api.Me{})
	w.refused(api.CodeUnauthenticated, http.MethodPost, restoredDevicePath, "", w.restoration(second, api.SignedList(alice.signed)))
}

// TestForgottenAccount: the account was made after the backup. Its first device that knows the password brings it back
// with the same keys, name, password and recovery code; its second needs no password any more.
func TestForgottenAccount(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	w, _, bob := newWorld(t)
	restore := w.backup()
	carol := newPerson(t, w.rand, "carol")
	w.must(http.MethodPost, "/api/user/register", "", carol.registration(1), &carol.devices[0].login)
	second := w.addDevice(carol, 1)
	newest := api.SignedList(carol.signed)

	w = restore()
	w.refused(api.CodeNotFound, http.MethodPost, restoredDevicePath, "", w.restoration(second, newest))
	req := w.restoration(second, newest) // it knows no list before
	req.Account = carol.forgotten()
	taken := *req.Account
	taken.Username = "bob"
	bad := req
	bad.Account = &taken
	w.refused(api.CodeExists, http.MethodPost, restoredDevicePath, "", bad)
	w.must(http.MethodPost, restoredDevicePath, "", req, &second.login)
	first := carol.devices[0]
	w.must(http.MethodPost, restoredDevicePath, "", w.restoration(first, newest), &first.login)
	login := w.logIn(carol)
	if login.Bundle.Version != 2 || login.AccountID != carol.id || !cmp.Equal(login.Lists.Lists, []api.SignedList{newest}) {
		t.Errorf("%+v", login)
	}
	w.recover(carol)
	if faults, err := user.CheckAccounts(t.Context(), w.db); err != nil || len(faults) > 0 {
		t.Error(faults, err)
	}
	if len(w.claim(bob.devices[0], carol)) != 2 {
		t.Error("not every device has prekeys")
	}
}

// TestForgottenBundle: a newer bundle jumps over the versions between. The password of its slot becomes that of the
// login, once; from then on the bundle is compared and swapped as always.
func TestForgottenBundle(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the copy of a file
	w, alice, _ := newWorld(t)
	restore := w.backup()
	w = restore()
	token := alice.devices[0].login.Token
	put := func(b api.RestoredBundle) { t.Helper(); w.must(http.MethodPut, restoredBundlePath, token, b, nil) }
	refused := func(code string, b api.RestoredBundle) {
		t.Helper()
		w.refused(code, http.MethodPut, restoredBundlePath, token, b)
	}
	same := api.RestoredBundle{Bundle: api.Bundle{Version: 4, Sealed: alice.seal(4)}}
	refused(api.CodeBundleVersion, api.RestoredBundle{Bundle: api.Bundle{Version: 1, Sealed: alice.seal(1)}})
	for range 2 {
		put(same)
	}
	refused(api.CodeBundleVersion, api.RestoredBundle{Bundle: api.Bundle{Version: 5, Sealed: alice.seal(5)}})

	w = restore() // and now with another password and code
	alice.newSecrets()
	newer := api.RestoredBundle{Bundle: api.Bundle{Version: 6, Sealed: alice.seal(6)}}
	refused(api.CodePasswordRequired, newer)
	p := api.RestoredPassword{
		Method: api.MethodSplitPBKDF2, Salt: alice.parameters.Salt[:], Iterations: int(alice.parameters.Iterations), Auth: alice.auth,
	}
	wrong := p
	wrong.Salt = make([]byte, api.SaltSize)
	newer.Password = &wrong
	refused(api.CodeInvalid, newer)
	newer.Password = &p
	put(newer)
	if login := w.logIn(alice); login.Bundle.Version != 6 {
		t.Errorf("%+v", login.Bundle)
	}
	w.recover(alice)
}

// TestNothingToGiveBack: a server that was never restored takes nothing, and no server takes what is not signed.
func TestNothingToGiveBack(t *testing.T) {
	w, alice, bob := newWorld(t)
	token := bob.devices[0].login.Token
	list := api.SignedList(alice.signed)
	one := func(l ...api.SignedList) api.RestoredLists {
		return api.RestoredLists{Accounts: []api.AccountChain{{AccountID: alice.id, Lists: l}}}
	}
	unsigned := list
	unsigned.Signature = make([]byte, 64)
	for code, reqs := range map[string][]api.RestoredLists{
		api.CodeInvalid: {
			{}, one(), one(api.SignedList{List: []byte{1}, Signature: list.Signature}), one(list, list), one(api.SignedList(bob.signed)),
			one(make([]api.SignedList, api.MaxListsGivenBack+1)...), {Accounts: make([]api.AccountChain, api.MaxAccountsGivenBack+1)},
		},
		api.CodeSignature: {one(unsigned)},
	} {
		for _, req := range reqs {
			w.refused(code, http.MethodPost, restoredListsPath, token, req)
		}
	}
	// Another account key, a fork: the server keeps what it has.
	mallory := *alice
	mallory.key = must[e2ee.KeyPair](t)(e2ee.NewKeyPair(w.rand))
	l := alice.nextList(alice.newDevice())
	l.AccountKey = mallory.key.Public
	w.giveBack(bob.devices[0], alice, 1, api.SignedList(mallory.sign(l)))
	l = alice.list
	l.Time++
	w.giveBack(bob.devices[0], alice, 1, api.SignedList(alice.sign(l)))

	d := alice.devices[0]
	for code, spoil := range map[string][]func(r *api.RestoredDeviceRequest){
		api.CodeInvalid: {
			func(r *api.RestoredDeviceRequest) { r.Attempt = "x" }, func(r *api.RestoredDeviceRequest) { r.Lists = nil },
			func(r *api.RestoredDeviceRequest) { r.Device.WireDeviceID = 2 }, func(r *api.RestoredDeviceRequest) { r.RenewalHash = nil },
			func(r *api.RestoredDeviceRequest) { r.Attempt = w.loginStart("alice").Attempt },
		},
		api.CodeSignature: {
			func(r *api.RestoredDeviceRequest) { r.Signature = nil },
			func(r *api.RestoredDeviceRequest) { r.RenewalHash = make([]byte, 32) },
			func(r *api.RestoredDeviceRequest) { r.Lists = []api.SignedList{unsigned} },
		},
	} {
		for i, f := range spoil {
			req := w.restoration(d, list)
			f(&req)
			if w.refused(code, http.MethodPost, restoredDevicePath, "", req); t.Failed() {
				t.Fatal(i)
			}
		}
	}
	w.epoch = 1
	w.refused(api.CodeForbidden, http.MethodPost, restoredListsPath, token, one(list))
	w.refused(api.CodeForbidden, http.MethodPost, restoredStartPath, "", api.RestoredStartRequest{AccountID: alice.id})
	w.refused(api.CodeForbidden, http.MethodPost, restoredDevicePath, "", api.RestoredDeviceRequest{})
	w.refused(api.CodeForbidden, http.MethodPut, restoredBundlePath, token, api.RestoredBundle{})
}
