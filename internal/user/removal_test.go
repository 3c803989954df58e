package user_test

import (
	"crypto/sha256"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/e2ee"
)

func removePath(d *device) string { return devicesPath + "/" + d.id.String() + "/remove" }

// removal is the request that removes d.
func (p *person) removal(d *device) api.RemoveDeviceRequest {
	p.t.Helper()
	return api.RemoveDeviceRequest{
		Proof: p.auth, List: p.without(d), Bundle: api.Bundle{Version: p.version + 1, Sealed: p.seal(p.version + 1)},
	}
}

func TestRemovedDeviceIsCutOff(t *testing.T) {
	for _, down := range []bool{false, true} {
		w, alice, bob := newWorld(t)
		second := w.addDevice(alice, 3)
		renewal := sha256.Sum256(second.renewal[:])
		if _, err := w.exec("UPDATE login SET renewal_hash = $1 WHERE id = $2", renewal[:], second.login.LoginID[:]); err != nil {
			t.Fatal(err)
		}
		w.chat.down = down
		req := alice.removal(second)
		token := alice.devices[0].login.Token
		var change, again api.DevicesChange
		w.must(http.MethodPost, removePath(second), token, req, &change)
		if change.Pending != down {
			t.Errorf("chat down %v: %+v", down, change)
		}
		before := w.dump()
		w.chat.down = false
		w.must(http.MethodPost, removePath(second), token, req, &again)
		if again.Pending || w.dump() != before {
			t.Errorf("the same again: %+v", again)
		}
		w.refused(api.CodeUnauthenticated, http.MethodGet, mePath, second.login.Token, nil)
		renew := api.RenewRequest{LoginID: second.login.LoginID, Renewal: second.renewal[:]}
		w.refused(api.CodeDeviceGone, http.MethodPost, renewPath, "", renew)
		renew.Renewal = make([]byte, api.VerifierSize)
		w.refused(api.CodeUnauthenticated, http.MethodPost, renewPath, "", renew)
		if n := w.count("SELECT count(*) FROM prekey WHERE device_id = $1", second.id[:]); n != 0 {
			t.Errorf("%d prekeys are left", n)
		}
		if n := w.count("SELECT count(*) FROM outbox WHERE type = 'login.ended'"); n != 1 {
			t.Errorf("%d events of ended logins", n)
		}
		told := w.chat.changed[len(w.chat.changed)-1]
		if diff := cmp.Diff([]api.SignedList{req.List}, told.Lists); diff != "" {
			t.Error(diff)
		}
		var claim api.ClaimResponse
		w.must(http.MethodPost, claimPath, bob.devices[0].login.Token, api.ClaimRequest{AccountID: alice.id}, &claim)
		if len(claim.Bundles) != 1 {
			t.Errorf("%d bundles", len(claim.Bundles))
		}
		// Its number is free again, its device id is not.
		alice.list, alice.signed = alice.listWithout(second), e2ee.SignedDeviceList(req.List)
		alice.version++
		alice.devices = alice.devices[:1]
		reused := alice.newDevice()
		reused.id = second.id
		w.refused(api.CodeExists, http.MethodPost, devicesPath, w.plainLogin(alice), alice.addition(reused, 0))
		if third := w.addDevice(alice, 0); third.listed.ID != second.listed.ID {
			t.Errorf("number %d", third.listed.ID)
		}
	}
}

// listWithout is what without signs.
func (p *person) listWithout(d *device) e2ee.DeviceList {
	p.t.Helper()
	return must[e2ee.DeviceList](p.t)(e2ee.SignedDeviceList(p.without(d)).Parse())
}

// TestDeviceRemovesItself also from a login that has none, which is how somebody with too many gets in.
func TestDeviceRemovesItself(t *testing.T) {
	w, alice, _ := newWorld(t)
	own := alice.devices[0]
	req := alice.removal(own)
	w.must(http.MethodPost, removePath(own), own.login.Token, req, &api.DevicesChange{})
	w.refused(api.CodeUnauthenticated, http.MethodPost, removePath(own), own.login.Token, req)
	alice.list, alice.signed = alice.listWithout(own), e2ee.SignedDeviceList(req.List)
	alice.version++
	only := w.addDevice(alice, 1)
	w.must(http.MethodPost, removePath(only), w.plainLogin(alice), alice.removal(only), &api.DevicesChange{})
}

func TestRemoveDeviceRefuses(t *testing.T) {
	w, alice, bob := newWorld(t)
	second := w.addDevice(alice, 1)
	token := alice.devices[0].login.Token
	good := alice.removal(second)
	all := alice.list
	all.Version++
	all.Previous, all.Devices = alice.signed.Hash(), nil
	changed := alice.listWithout(second)
	changed.Devices[0].RegistrationID++
	more := alice.nextList(alice.newDevice())
	for name, c := range map[string]struct {
		code  string
		spoil func(r *api.RemoveDeviceRequest)
	}{
		"wrong password":     {api.CodeWrongLogin, func(r *api.RemoveDeviceRequest) { r.Proof = bob.auth }},
		"no password":        {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.Proof = "" }},
		"no list":            {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList{} }},
		"list of another":    {api.CodeSignature, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList(bob.signed) }},
		"forged list":        {api.CodeSignature, func(r *api.RemoveDeviceRequest) { r.List.Signature = make([]byte, 64) }},
		"the stored list":    {api.CodeListVersion, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList(alice.signed) }},
		"another device":     {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.List = alice.without(alice.devices[0]) }},
		"all devices":        {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList(alice.sign(all)) }},
		"a changed one":      {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList(alice.sign(changed)) }},
		"one more":           {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.List = api.SignedList(alice.sign(more)) }},
		"bundle of another":  {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.Bundle.Sealed = bob.seal(r.Bundle.Version) }},
		"bundle that stays":  {api.CodeBundleVersion, func(r *api.RemoveDeviceRequest) { r.Bundle = api.Bundle{Version: 2, Sealed: alice.seal(2)} }},
		"bundle without any": {api.CodeInvalid, func(r *api.RemoveDeviceRequest) { r.Bundle = api.Bundle{} }},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			req := good
			c.spoil(&req)
			w.refused(c.code, http.MethodPost, removePath(second), token, req)
		})
	}
	w.t = t
	for _, path := range []string{removePath(bob.devices[0]), devicesPath + "/nonsense/remove"} {
		w.refused(api.CodeNotFound, http.MethodPost, path, token, good)
	}
	w.refused(api.CodeNotFound, http.MethodPost, removePath(second), bob.devices[0].login.Token, good)
	w.must(http.MethodPost, removePath(second), token, good, &api.DevicesChange{})
	w.refused(api.CodeNotFound, http.MethodPost, removePath(second), token, api.RemoveDeviceRequest{List: alice.without(alice.devices[0])})
}

func TestRenameDevice(t *testing.T) {
	w, alice, bob := newWorld(t)
	path := devicesPath + "/" + alice.devices[0].id.String()
	token := alice.devices[0].login.Token
	for range 2 {
		w.must(http.MethodPatch, path, token, api.RenameDeviceRequest{Name: "Küche"}, nil)
	}
	var devices api.Devices
	w.must(http.MethodGet, devicesPath, token, nil, &devices)
	if devices.Devices[0].Name != "Küche" {
		t.Errorf("%+v", devices)
	}
	for _, name := range []string{"", "a\nb", string(make([]byte, 65))} {
		w.refused(api.CodeInvalid, http.MethodPatch, path, token, api.RenameDeviceRequest{Name: name})
	}
	for _, other := range []string{devicesPath + "/" + bob.devices[0].id.String(), devicesPath + "/x"} {
		w.refused(api.CodeNotFound, http.MethodPatch, other, token, api.RenameDeviceRequest{Name: "mine"})
	}
}

// TestStatusHasAnOrder: between two answers about the same list the one with more changes of status is the later one.
func TestStatusHasAnOrder(t *testing.T) {
	w, alice, _ := newWorld(t)
	d := alice.devices[0]
	w.must(http.MethodPost, logoutPath, d.login.Token, nil, nil)
	w.must(http.MethodPost, finishPath, "", w.finish(alice, d), &api.Login{})
	var versions []uint64
	for _, told := range w.chat.changed {
		versions = append(versions, told.StatusVersion)
	}
	if diff := cmp.Diff([]uint64{1, 2}, versions); diff != "" {
		t.Error(diff)
	}
}
