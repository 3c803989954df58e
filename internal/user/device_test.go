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

const devicesPath = "/api/user/devices"

// addition is the request that adds d after the person's current list and bundle.
func (p *person) addition(d *device, oneTime int) api.AddDeviceRequest {
	p.t.Helper()
	return api.AddDeviceRequest{
		List: api.SignedList(p.sign(p.nextList(d))), Device: d.registration(oneTime),
		Bundle: api.Bundle{Version: p.version + 1, Sealed: p.seal(p.version + 1)},
	}
}

// added makes the addition the person's current state.
func (p *person) added(d *device, req api.AddDeviceRequest, login api.Login) {
	p.list = p.nextList(d)
	p.signed = e2ee.SignedDeviceList(req.List)
	p.version++
	d.login = login
}

// plainLogin makes a login without a device past the service, to save a bcrypt.
func (w *world) plainLogin(p *person) string {
	w.t.Helper()
	var id api.LoginID
	fill(w.t, w.rand, id[:])
	if _, err := w.exec("INSERT INTO login (id, account_id, renewal_hash, created_at, renewed_at) VALUES ($1, $2, $3, $4, $4)",
		id[:], p.id[:], make([]byte, 32), start.UnixMilli()); err != nil {
		w.t.Fatal(err)
	}
	return w.sign(p.id, id)
}

func (w *world) addDevice(p *person, oneTime int) *device {
	w.t.Helper()
	d := p.newDevice()
	req := p.addition(d, oneTime)
	var login api.Login
	w.must(http.MethodPost, devicesPath, w.plainLogin(p), req, &login)
	p.added(d, req, login)
	return d
}

func TestSecondAndThirdDeviceByPassword(t *testing.T) {
	w, alice, bob := newWorld(t)
	for n := range 2 {
		login := w.logIn(alice)
		d := alice.newDevice()
		req := alice.addition(d, 1)
		var added api.Login
		w.must(http.MethodPost, devicesPath, login.Token, req, &added)
		if added.LoginID != login.LoginID || *added.DeviceID != d.id || added.WireDeviceID != api.WireDeviceID(n+2) || added.Username != "alice" {
			t.Errorf("%+v", added)
		}
		alice.added(d, req, added)
		told := w.chat.changed[len(w.chat.changed)-1]
		if diff := cmp.Diff([]api.SignedList{req.List}, told.Lists); diff != "" {
			t.Error(diff)
		}
	}
	var devices api.Devices
	w.must(http.MethodGet, devicesPath, alice.devices[2].login.Token, nil, &devices)
	if len(devices.Devices) != 3 || !devices.Devices[2].Current || devices.Devices[0].Current {
		t.Errorf("%+v", devices)
	}
	var claim api.ClaimResponse
	w.must(http.MethodPost, claimPath, bob.devices[0].login.Token, api.ClaimRequest{AccountID: alice.id}, &claim)
	if len(claim.Bundles) != 3 {
		t.Errorf("%d bundles", len(claim.Bundles))
	}
	var bundle api.Bundle
	w.must(http.MethodGet, "/api/user/bundle", alice.devices[0].login.Token, nil, &bundle)
	if bundle.Version != 3 {
		t.Errorf("bundle version %d", bundle.Version)
	}
	if n := w.count("SELECT count(*) FROM outbox WHERE type = 'devices.changed' AND account = $1", alice.id[:]); n != 3 {
		t.Errorf("%d events of changed devices", n)
	}
}

func TestAddedDeviceAnswersTheSameBytesWithTheFirstAnswer(t *testing.T) {
	w, alice, bob := newWorld(t)
	d := alice.newDevice()
	body := marshal(t, alice.addition(d, 1))
	plain := w.plainLogin(alice)
	w.chat.down = true
	var first, again api.Login
	if p := w.decode(w.send(http.MethodPost, devicesPath, plain, body), &first); p == nil || p.Code != api.CodeUnavailable {
		t.Fatalf("%+v", p)
	}
	w.chat.down = false
	before := w.dump()
	for range 2 {
		if p := w.decode(w.send(http.MethodPost, devicesPath, plain, body), &again); p != nil {
			t.Fatalf("%+v", p)
		}
	}
	if *again.DeviceID != d.id || again.WireDeviceID != 2 || w.dump() != before || len(w.chat.changed) != 2 {
		t.Errorf("%+v, chat was told %d times", again, len(w.chat.changed))
	}
	// A login has one device; the bytes of somebody else prove nothing.
	other := alice.newDevice()
	w.refused(api.CodeConflict, http.MethodPost, devicesPath, again.Token, alice.addition(other, 0))
	w.refused(api.CodeConflict, http.MethodPost, devicesPath, plain, alice.addition(other, 0))
	if p := w.decode(w.send(http.MethodPost, devicesPath, w.plainLogin(bob), body), &again); p == nil || p.Code != api.CodeSignature {
		t.Errorf("the same bytes from bob: %+v", p)
	}
}

func TestDevicesAddedAtTheSameTime(t *testing.T) {
	w, alice, _ := newWorld(t)
	var tokens []string
	var bodies [][]byte
	first := alice.devices
	for range 4 {
		alice.devices = first
		bodies = append(bodies, marshal(t, alice.addition(alice.newDevice(), 1)))
		tokens = append(tokens, w.plainLogin(alice))
	}
	problems := make([]*api.Problem, len(bodies))
	var wg sync.WaitGroup
	for i := range bodies {
		wg.Go(func() {
			problems[i] = w.decode(w.send(http.MethodPost, devicesPath, tokens[i], bodies[i]), &api.Login{})
		})
	}
	wg.Wait()
	lost := slices.DeleteFunc(problems, func(p *api.Problem) bool { return p == nil })
	if len(lost) != 3 {
		t.Fatalf("%d additions lost, want 3", len(lost))
	}
	for _, p := range lost {
		if p.Code != api.CodeListVersion || len(p.Details) == 0 {
			t.Errorf("%+v", p)
		}
	}
	if n := w.count("SELECT count(*) FROM device WHERE account_id = $1", alice.id[:]); n != 2 {
		t.Errorf("%d devices", n)
	}
}

func TestBadDeviceListsChangeNothing(t *testing.T) {
	w, alice, bob := newWorld(t)
	w.addDevice(alice, 0)
	d := alice.newDevice()
	good := alice.addition(d, 1)
	sign := func(change func(l *e2ee.DeviceList)) func(r *api.AddDeviceRequest) {
		return func(r *api.AddDeviceRequest) {
			l := alice.nextList(d)
			change(&l)
			r.List = api.SignedList(alice.sign(l))
		}
	}
	for name, bad := range map[string]struct {
		code   string
		change func(r *api.AddDeviceRequest)
	}{
		"skips":              {api.CodeListVersion, sign(func(l *e2ee.DeviceList) { l.Version++ })},
		"forks":              {api.CodeListVersion, sign(func(l *e2ee.DeviceList) { l.Previous[0] ^= 1 })},
		"another version 2":  {api.CodeListVersion, sign(func(l *e2ee.DeviceList) { l.Version-- })},
		"goes back":          {api.CodeListVersion, sign(func(l *e2ee.DeviceList) { l.Version, l.Previous = 1, [32]byte{} })},
		"current again":      {api.CodeListVersion, func(r *api.AddDeviceRequest) { r.List = api.SignedList(alice.signed) }},
		"signature":          {api.CodeSignature, func(r *api.AddDeviceRequest) { r.List.Signature = flip(r.List.Signature) }},
		"signed by bob":      {api.CodeSignature, func(r *api.AddDeviceRequest) { r.List = api.SignedList(bob.signed) }},
		"for bob":            {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Account = bob.id })},
		"adds nothing":       {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices = l.Devices[:2] })},
		"removes one":        {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices = l.Devices[1:] })},
		"changes another":    {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices[0].Capabilities = 1 })},
		"not the lowest":     {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices[2].ID = 4 })},
		"adds two":           {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { e := d.listed; e.ID = 9; l.Devices = append(l.Devices, e) })},
		"identity key":       {api.CodeSignature, sign(func(l *e2ee.DeviceList) { l.Devices[2].IdentityKey = bob.key.Public })},
		"registration id":    {api.CodeInvalid, sign(func(l *e2ee.DeviceList) { l.Devices[2].RegistrationID++ })},
		"no list":            {api.CodeInvalid, func(r *api.AddDeviceRequest) { r.List = api.SignedList{} }},
		"wire device id":     {api.CodeInvalid, func(r *api.AddDeviceRequest) { r.Device.WireDeviceID = 4 }},
		"taken device id":    {api.CodeExists, func(r *api.AddDeviceRequest) { r.Device.DeviceID = bob.devices[0].id }},
		"bundle skips":       {api.CodeBundleVersion, func(r *api.AddDeviceRequest) { r.Bundle = api.Bundle{Version: 4, Sealed: alice.seal(4)} }},
		"bundle again":       {api.CodeBundleVersion, func(r *api.AddDeviceRequest) { r.Bundle = api.Bundle{Version: 2, Sealed: alice.seal(2)} }},
		"bundle of bob":      {api.CodeInvalid, func(r *api.AddDeviceRequest) { r.Bundle = api.Bundle{Version: 3, Sealed: bob.seal(3)} }},
		"bundle version":     {api.CodeInvalid, func(r *api.AddDeviceRequest) { r.Bundle.Version = 4 }},
		"prekey signature":   {api.CodeSignature, func(r *api.AddDeviceRequest) { r.Device.PreKeys.SignedPreKey.Signature = make([]byte, 64) }},
		"statement replaced": {api.CodeSignature, func(r *api.AddDeviceRequest) { r.Device.PreKeys.Statement = bob.devices[0].state(r.Device.PreKeys) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			req := good
			bad.change(&req)
			p := w.refused(bad.code, http.MethodPost, devicesPath, w.plainLogin(alice), req)
			if hasDetails := len(p.Details) > 0; hasDetails != (bad.code == api.CodeListVersion || bad.code == api.CodeBundleVersion) {
				t.Errorf("details %s", p.Details)
			}
		})
	}
	w.must(http.MethodPost, devicesPath, w.plainLogin(alice), good, &api.Login{})
}

func TestAnAccountHasAtMostTwentyDevices(t *testing.T) {
	w, alice, _ := newWorld(t)
	for range api.MaxDevices - 1 {
		w.addDevice(alice, 0)
	}
	if n := w.count("SELECT count(*) FROM device WHERE account_id = $1", alice.id[:]); n != api.MaxDevices {
		t.Fatalf("%d devices", n)
	}
	// The twenty-first could not even be signed; what comes closest replaces the last one.
	d := &device{owner: alice, nextID: 1, seen: start.UnixMilli(), keys: alice.devices[3].keys, listed: alice.devices[3].listed}
	fill(t, w.rand, d.id[:])
	l := alice.list
	l.Version, l.Previous = l.Version+1, alice.signed.Hash()
	w.refused(api.CodeConflict, http.MethodPost, devicesPath, w.plainLogin(alice), api.AddDeviceRequest{
		List: api.SignedList(alice.sign(l)), Device: d.registration(0), Bundle: api.Bundle{Version: 21, Sealed: alice.seal(21)},
	})
}
