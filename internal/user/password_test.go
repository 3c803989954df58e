package user_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
)

// without is p's next list, without d.
func (p *person) without(d *device) api.SignedList {
	p.t.Helper()
	l := p.list
	l.Version++
	l.Previous = p.signed.Hash()
	l.Devices = slices.DeleteFunc(slices.Clone(l.Devices), func(e e2ee.ListedDevice) bool { return e.ID == d.listed.ID })
	return api.SignedList(p.sign(l))
}

func TestChangePassword(t *testing.T) {
	w, alice, _ := newWorld(t)
	second := w.addDevice(alice, 1)
	old := alice.auth
	recovery := alice.recovery
	alice.newSecrets()
	alice.recovery = recovery
	req := alice.change(old)
	req.RecoveryVerifier = nil // the code stays
	var change api.DevicesChange
	w.must(http.MethodPut, passwordPath, alice.devices[0].login.Token, req, &change)
	if change.Pending {
		t.Error("pending")
	}
	// Others stay signed in, the old password opens nothing, the new one and the code do.
	w.must(http.MethodGet, mePath, second.login.Token, nil, &api.Me{})
	w.refused(api.CodeWrongLogin, http.MethodPost, finishPath, "", api.LoginFinishRequest{
		Attempt: w.loginStart("alice").Attempt, Proof: old, RenewalHash: make([]byte, 32),
	})
	if login := w.logIn(alice); login.Bundle.Version != req.Bundle.Version {
		t.Errorf("bundle version %d", login.Bundle.Version)
	}
	if diff := cmp.Diff(req.Salt, w.loginStart("alice").Parameters.Salt); diff != "" {
		t.Error(diff)
	}
	w.recover(alice)
}

// TestChangePasswordSignsOutAndRemoves does everything at once, with chat up and down.
func TestChangePasswordSignsOutAndRemoves(t *testing.T) {
	for _, down := range []bool{false, true} {
		w, alice, _ := newWorld(t)
		stolen, third := w.addDevice(alice, 2), w.addDevice(alice, 2)
		plain := w.plainLogin(alice)
		w.chat.down = down
		w.chat.changed = nil
		old := alice.auth
		alice.newSecrets()
		req := alice.change(old)
		list := alice.without(stolen)
		req.List, req.SignOutOthers = &list, true
		var change api.DevicesChange
		token := alice.devices[0].login.Token
		w.must(http.MethodPut, passwordPath, token, req, &change)
		if change.Pending != down {
			t.Errorf("chat down %v: %+v", down, change)
		}
		for _, other := range []string{stolen.login.Token, third.login.Token, plain} {
			w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, other, nil)
		}
		w.must(http.MethodGet, mePath, token, nil, &api.Me{})
		var devices api.Devices
		w.must(http.MethodGet, devicesPath, token, nil, &devices)
		if len(devices.Devices) != 2 {
			t.Errorf("%+v", devices)
		}
		if n := w.count("SELECT count(*) FROM outbox WHERE type = 'login.ended'"); n != 3 {
			t.Errorf("%d events of ended logins", n)
		}
		if n := w.count("SELECT count(*) FROM prekey WHERE device_id = $1", stolen.id[:]); n != 0 {
			t.Errorf("%d prekeys of the removed device", n)
		}
		if down {
			continue
		}
		told := w.chat.changed[len(w.chat.changed)-1]
		want := api.AccountLists{
			AccountID: alice.id, AccountKey: alice.key.Public[:], Lists: []api.SignedList{list}, StatusVersion: 1,
			Status: []api.DeviceStatus{{DeviceID: api.WireDeviceID(third.listed.ID), State: api.DeviceSignedOut}},
		}
		if diff := cmp.Diff(want, told); diff != "" || len(w.chat.ended) != 3 {
			t.Errorf("%s, ended %v", diff, w.chat.ended)
		}
	}
}

func TestChangePasswordRefuses(t *testing.T) {
	w, alice, bob := newWorld(t)
	second := w.addDevice(alice, 0)
	token := alice.devices[0].login.Token
	old, oldParameters := alice.auth, alice.parameters
	oldBundle := alice.seal(alice.version + 1) // has a slot for the old parameters
	alice.newSecrets()
	good := alice.change(old)
	gone := alice.without(second)
	same := api.SignedList(alice.signed)
	for name, c := range map[string]struct {
		code  string
		spoil func(r *api.PasswordRequest)
	}{
		"wrong proof":               {api.CodeWrongLogin, func(r *api.PasswordRequest) { r.Proof = alice.auth }},
		"no proof":                  {api.CodeInvalid, func(r *api.PasswordRequest) { r.Proof = "" }},
		"another method":            {api.CodeInvalid, func(r *api.PasswordRequest) { r.Method = api.MethodOPAQUE }},
		"short salt":                {api.CodeInvalid, func(r *api.PasswordRequest) { r.Salt = r.Salt[:15] }},
		"slot of another salt":      {api.CodeInvalid, func(r *api.PasswordRequest) { r.Salt = make([]byte, 16) }},
		"few iterations":            {api.CodeInvalid, func(r *api.PasswordRequest) { r.Iterations = 599_999 }},
		"bad auth":                  {api.CodeInvalid, func(r *api.PasswordRequest) { r.Auth = r.Auth[1:] }},
		"short verifier":            {api.CodeInvalid, func(r *api.PasswordRequest) { r.RecoveryVerifier = make([]byte, 31) }},
		"bundle of another":         {api.CodeInvalid, func(r *api.PasswordRequest) { r.Bundle.Sealed = bob.seal(r.Bundle.Version) }},
		"bundle skips":              {api.CodeBundleVersion, func(r *api.PasswordRequest) { r.Bundle.Version++; r.Bundle.Sealed = alice.seal(r.Bundle.Version) }},
		"bundle of other bytes":     {api.CodeInvalid, func(r *api.PasswordRequest) { r.Bundle.Sealed = append([]byte(nil), r.Bundle.Sealed[1:]...) }},
		"list that removes nothing": {api.CodeListVersion, func(r *api.PasswordRequest) { r.List = &same }},
		"list of a stranger":        {api.CodeSignature, func(r *api.PasswordRequest) { l := gone; l.Signature = make([]byte, 64); r.List = &l }},
		"the old salt": {api.CodeInvalid, func(r *api.PasswordRequest) {
			r.Salt, r.Bundle.Sealed = oldParameters.Salt[:], oldBundle
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			req := good
			c.spoil(&req)
			w.refused(c.code, http.MethodPut, passwordPath, token, req)
		})
	}
	w.t = t
	w.refused(api.CodeUnauthenticated, http.MethodPut, passwordPath, "", good)
	w.refused(api.CodeUnauthenticated, http.MethodPut, passwordPath, "nonsense", good)
	w.refused(api.CodeWrongLogin, http.MethodPut, passwordPath, bob.devices[0].login.Token, bobs(bob, good))
	w.limits.closed["login by account"] = true
	w.refused(api.CodeLimited, http.MethodPut, passwordPath, token, good)
}

// bobs is another account's change with alice's proof.
func bobs(bob *person, alices api.PasswordRequest) api.PasswordRequest {
	bob.newSecrets()
	return bob.change(alices.Proof)
}

// TestOneOfManyChangesThePassword lets several devices change it at once, each with a password of its own.
func TestOneOfManyChangesThePassword(t *testing.T) {
	w, alice, _ := newWorld(t)
	old, version := alice.auth, alice.version
	type try struct {
		auth string
		body []byte
		code int
	}
	tries := make([]try, 3)
	for i := range tries {
		alice.newSecrets()
		alice.version = version
		tries[i] = try{auth: alice.auth, body: marshal(t, alice.change(old))}
	}
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() {
			tries[i].code = w.send(http.MethodPut, passwordPath, alice.devices[0].login.Token, tries[i].body).Code
		})
	}
	wg.Wait()
	won := 0
	for _, try := range tries {
		alice.auth = try.auth
		p := w.call(http.MethodPost, finishPath, "", w.finish(alice, nil), &api.Login{})
		switch try.code {
		case http.StatusOK:
			won++
			if p != nil {
				t.Errorf("the winner's password: %+v", p)
			}
		case http.StatusConflict, http.StatusForbidden: // forbidden: its proof came after the winner's commit
			if p == nil || p.Code != api.CodeWrongLogin {
				t.Errorf("a loser's password: %+v", p)
			}
		default:
			t.Errorf("status %d", try.code)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}
