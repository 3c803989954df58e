package security_test

import (
	"net/http"
	"testing"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/test/contract/rest"
)

// refused sends a request that has to be refused with code and to change nothing.
func refused(t *testing.T, what, code, method, path, token string, body any) {
	t.Helper()
	before := dump(t)
	answer := server.Do(t, rest.Request{Method: method, Path: path, Token: token, Body: rest.JSON(t, body)})
	if got := answer.Code(t); got != code {
		t.Errorf("%s: %q, want %s: %.300s", what, got, code, answer.Body)
	}
	if changed := difference(before, dump(t)); changed != "" {
		t.Errorf("%s: something was changed:\n%s", what, changed)
	}
}

// uploads are prekeys that do not fit the device: what is wrong with them, and the code.
func uploads(t *testing.T, d, other *rest.Device) map[string]func(u *api.PreKeyUpload) string {
	stale := func(by time.Duration) func(u *api.PreKeyUpload) string {
		return func(u *api.PreKeyUpload) string {
			u.Statement = d.State(t, *u, time.Now().Add(by).UnixMilli())
			return api.CodeInvalid
		}
	}
	return map[string]func(u *api.PreKeyUpload) string{
		"signed prekey's signature": func(u *api.PreKeyUpload) string {
			u.SignedPreKey.Signature[9] ^= 1
			return api.CodeSignature
		},
		"last resort's signature": func(u *api.PreKeyUpload) string {
			u.LastResort.Signature[9] ^= 1
			return api.CodeSignature
		},
		"Kyber prekey's signature": func(u *api.PreKeyUpload) string {
			u.KyberPreKeys[1].Signature[9] ^= 1
			return api.CodeSignature
		},
		"statement's signature": func(u *api.PreKeyUpload) string {
			u.Statement.Signature[9] ^= 1
			return api.CodeSignature
		},
		"no signature": func(u *api.PreKeyUpload) string {
			u.SignedPreKey.Signature = nil
			return api.CodeSignature
		},
		"another device's statement": func(u *api.PreKeyUpload) string {
			u.Statement = other.State(t, *u, 1)
			return api.CodeSignature
		},
		"statement of other keys": func(u *api.PreKeyUpload) string {
			u.Statement = d.State(t, d.Upload(t, 0), time.Now().UnixMilli())
			return api.CodeInvalid
		},
		"old statement":    stale(-31 * 24 * time.Hour),
		"future statement": stale(48 * time.Hour),
		"malformed key": func(u *api.PreKeyUpload) string {
			u.SignedPreKey.Key = u.SignedPreKey.Key[1:]
			return api.CodeInvalid
		},
		"malformed Kyber key": func(u *api.PreKeyUpload) string {
			u.LastResort.Key = u.LastResort.Key[1:]
			return api.CodeInvalid
		},
		"prekey id 0":    func(u *api.PreKeyUpload) string { u.OneTimePreKeys[0].ID = 0; return api.CodeInvalid },
		"prekey id 2^24": func(u *api.PreKeyUpload) string { u.OneTimePreKeys[0].ID = 1 << 24; return api.CodeInvalid },
		"the same id twice": func(u *api.PreKeyUpload) string {
			u.OneTimePreKeys[1].ID = u.OneTimePreKeys[0].ID
			return api.CodeInvalid
		},
		"too many": func(u *api.PreKeyUpload) string {
			for len(u.OneTimePreKeys) <= api.MaxOneTimePreKeys {
				k := u.OneTimePreKeys[0]
				k.ID = uint32(10_000 + len(u.OneTimePreKeys))
				u.OneTimePreKeys = append(u.OneTimePreKeys, k)
			}
			return api.CodeInvalid
		},
	}
}

// TestBadRegistrations: nothing of an account is stored when any part of it is wrong.
func TestBadRegistrations(t *testing.T) {
	const path = "/api/user/register"
	other := rest.NewPerson(t, "keys-other")
	for what, edit := range map[string]func(p *rest.Person, r *api.RegisterRequest) string{
		"no account id": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.AccountID = api.AccountID{}
			return api.CodeInvalid
		},
		"bad name":      func(_ *rest.Person, r *api.RegisterRequest) string { r.Username = "a b"; return api.CodeInvalid },
		"reserved name": func(_ *rest.Person, r *api.RegisterRequest) string { r.Username = "Admin"; return api.CodeInvalid },
		"unknown method": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Method = api.MethodOPAQUE
			return api.CodeInvalid
		},
		"few iterations": func(_ *rest.Person, r *api.RegisterRequest) string { r.Iterations--; return api.CodeInvalid },
		"short salt":     func(_ *rest.Person, r *api.RegisterRequest) string { r.Salt = r.Salt[1:]; return api.CodeInvalid },
		"other salt":     func(_ *rest.Person, r *api.RegisterRequest) string { r.Salt[0] ^= 1; return api.CodeInvalid },
		"bad proof": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Auth = r.Auth[1:] + "!"
			return api.CodeInvalid
		},
		"no recovery": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.RecoveryVerifier = nil
			return api.CodeInvalid
		},
		"short renewal": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.RenewalHash = r.RenewalHash[1:]
			return api.CodeInvalid
		},
		"other's key": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.AccountKey = other.Key.Public[:]
			return api.CodeSignature
		},
		"malformed key": func(_ *rest.Person, r *api.RegisterRequest) string { r.AccountKey[0] = 9; return api.CodeInvalid },
		"list signature": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.List.Signature[9] ^= 1
			return api.CodeSignature
		},
		"list changed": func(p *rest.Person, r *api.RegisterRequest) string {
			l := p.List
			l.Time++
			r.List.List = p.Sign(t, l).List
			return api.CodeSignature
		},
		"malformed list": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.List.List = r.List.List[:9]
			return api.CodeInvalid
		},
		"other's account": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.AccountID = other.ID
			return api.CodeInvalid
		},
		"begins with version 2": func(p *rest.Person, r *api.RegisterRequest) string {
			r.List = api.SignedList(p.Sign(t, p.Next(p.NewDevice(t))))
			return api.CodeInvalid
		},
		"other number": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Device.WireDeviceID = 2
			return api.CodeInvalid
		},
		"no device id": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Device.DeviceID = api.DeviceID{}
			return api.CodeInvalid
		},
		"long device name": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Device.Name = string(make([]byte, 65))
			return api.CodeInvalid
		},
		"escape sequences": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Device.Name = "\x1b[2J"
			return api.CodeInvalid
		},
		"other's bundle": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Bundle = other.Seal(t, 1).Sealed
			return api.CodeInvalid
		},
		"bundle 2": func(p *rest.Person, r *api.RegisterRequest) string {
			r.Bundle = p.Seal(t, 2).Sealed
			return api.CodeInvalid
		},
		"cut bundle": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Bundle = r.Bundle[:20]
			return api.CodeInvalid
		},
		"large bundle": func(_ *rest.Person, r *api.RegisterRequest) string {
			r.Bundle = make([]byte, 65<<10)
			return api.CodeTooLarge
		},
	} {
		p := rest.NewPerson(t, "keys-new")
		r := p.Registration(t)
		code := edit(p, &r)
		refused(t, "register, "+what, code, http.MethodPost, path, "", r)
	}
	p := rest.NewPerson(t, "keys-new")
	for what, edit := range uploads(t, p.Devices[0], other.Devices[0]) {
		r := p.Registration(t)
		code := edit(&r.Device.PreKeys)
		refused(t, "register, "+what, code, http.MethodPost, path, "", r)
	}
}

// TestBadKeys: device lists that skip, fork or go back, prekeys whose signatures fail, key bundles that do not follow.
func TestBadKeys(t *testing.T) {
	p, other := server.Register(t, "keys-mallory"), server.Register(t, "keys-bob")
	server.AddDevice(t, p)
	d := p.Devices[0]
	plain := server.SignIn(t, p).Token
	const path = "/api/user/devices"
	list := func(change func(l *e2ee.DeviceList, d *rest.Device)) func(r *api.AddDeviceRequest, d *rest.Device) {
		return func(r *api.AddDeviceRequest, d *rest.Device) {
			l := p.Next(d)
			change(&l, d)
			r.List = api.SignedList(p.Sign(t, l))
		}
	}
	for what, c := range map[string]struct {
		code string
		edit func(r *api.AddDeviceRequest, d *rest.Device)
	}{
		"skips": {api.CodeListVersion, list(func(l *e2ee.DeviceList, _ *rest.Device) { l.Version++ })},
		"forks": {api.CodeListVersion, list(func(l *e2ee.DeviceList, _ *rest.Device) { l.Previous[0] ^= 1 })},
		"forks the newest": {api.CodeListVersion, list(func(l *e2ee.DeviceList, _ *rest.Device) {
			l.Version, l.Previous = 2, p.List.Previous
		})},
		"goes back": {api.CodeListVersion, list(func(l *e2ee.DeviceList, _ *rest.Device) {
			l.Version, l.Previous = 1, [32]byte{}
		})},
		"the newest again": {api.CodeListVersion, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.List = api.SignedList(p.Signed)
		}},
		"signature": {api.CodeSignature, func(r *api.AddDeviceRequest, _ *rest.Device) { r.List.Signature[9] ^= 1 }},
		"another's list": {api.CodeSignature, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.List = api.SignedList(other.Sign(t, other.Next(other.NewDevice(t))))
		}},
		"adds nothing": {api.CodeInvalid, list(func(l *e2ee.DeviceList, _ *rest.Device) {
			l.Devices = p.List.Devices
		})},
		"drops a device": {api.CodeInvalid, list(func(l *e2ee.DeviceList, _ *rest.Device) {
			l.Devices = l.Devices[1:]
		})},
		"swaps a device's key": {api.CodeInvalid, list(func(l *e2ee.DeviceList, d *rest.Device) {
			l.Devices[0].IdentityKey = d.Keys.Public
		})},
		"other number": {api.CodeInvalid, func(r *api.AddDeviceRequest, _ *rest.Device) { r.Device.WireDeviceID++ }},
		"bundle skips": {api.CodeBundleVersion, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.Bundle = p.Seal(t, p.Version+2)
		}},
		"bundle goes back": {api.CodeBundleVersion, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.Bundle = p.Seal(t, p.Version)
		}},
		"another's bundle": {api.CodeInvalid, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.Bundle = other.Seal(t, p.Version+1)
		}},
		"another's device id": {api.CodeExists, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.Device.DeviceID = other.Devices[0].ID
		}},
		"prekey signature": {api.CodeSignature, func(r *api.AddDeviceRequest, _ *rest.Device) {
			r.Device.PreKeys.LastResort.Signature[9] ^= 1
		}},
	} {
		fresh := p.NewDevice(t)
		r := p.Addition(t, fresh)
		c.edit(&r, fresh)
		refused(t, "add device, "+what, c.code, http.MethodPost, path, plain, r)
	}
	for what, edit := range uploads(t, d, other.Devices[0]) {
		up := d.Upload(t, 2)
		code := edit(&up)
		refused(t, "upload, "+what, code, http.MethodPost, "/api/user/prekeys", d.Login.Token, up)
	}
	server.Call(t, http.MethodPost, "/api/user/prekeys", d.Login.Token, d.Upload(t, 1), nil)
	back := d.Upload(t, 0)
	back.Statement = d.State(t, back, time.Now().Add(-time.Hour).UnixMilli())
	refused(t, "upload, a statement that goes back", api.CodeConflict, http.MethodPost, "/api/user/prekeys",
		d.Login.Token, back)

	const bundle = "/api/user/bundle"
	fork := p.Seal(t, p.Version)
	refused(t, "bundle, the same version with other bytes", api.CodeBundleVersion, http.MethodPut, bundle,
		d.Login.Token, fork)
	refused(t, "bundle, back", api.CodeBundleVersion, http.MethodPut, bundle, d.Login.Token, p.Seal(t, 1))
	refused(t, "bundle, skips", api.CodeBundleVersion, http.MethodPut, bundle, d.Login.Token, p.Seal(t, p.Version+2))
	fork.Version++
	refused(t, "bundle, outside and inside differ", api.CodeInvalid, http.MethodPut, bundle, d.Login.Token, fork)
	refused(t, "bundle, large", api.CodeTooLarge, http.MethodPut, bundle, d.Login.Token,
		api.Bundle{Version: p.Version + 1, Sealed: make([]byte, 65<<10)})
}

// TestBadQuestions: requests about other accounts.
func TestBadQuestions(t *testing.T) {
	d, other := server.Register(t, "asks-mallory").Devices[0], server.Register(t, "asks-bob")
	wrongProof := api.LoginFinishRequest{
		Attempt: server.Start(t, other.Name).Attempt, Proof: d.Owner.Auth, RenewalHash: make([]byte, 32),
	}
	wrongDevice := api.LoginFinishRequest{
		Attempt: server.Start(t, d.Owner.Name).Attempt, Proof: d.Owner.Auth, RenewalHash: make([]byte, 32),
	}
	wrongDevice.Device = d.Prove(t, "another attempt")
	foreignDevice := wrongDevice
	foreignDevice.Device = other.Devices[0].Prove(t, wrongDevice.Attempt)
	var accounts []api.ListsAfter
	for range api.MaxListsAsked + 1 {
		accounts = append(accounts, api.ListsAfter{AccountID: rest.Random[api.AccountID](t)})
	}
	post, me := http.MethodPost, d.Login.Token
	claim := func(ids ...api.WireDeviceID) api.ClaimRequest {
		return api.ClaimRequest{AccountID: other.ID, DeviceIDs: ids}
	}
	for _, c := range []struct {
		what, code, method, path, token string
		body                            any
	}{
		{"login with another's proof", api.CodeWrongLogin, post, "/api/user/login/finish", "", wrongProof},
		{"login with a bad device proof", api.CodeSignature, post, "/api/user/login/finish", "", wrongDevice},
		{"login with another's device", api.CodeDeviceGone, post, "/api/user/login/finish", "", foreignDevice},
		{"renewal of another's login", api.CodeUnauthenticated, post, "/api/user/login/renew", "",
			api.RenewRequest{LoginID: other.Devices[0].Login.LoginID, Renewal: d.Renewal[:]}},
		{"short renewal secret", api.CodeInvalid, post, "/api/user/login/renew", "",
			api.RenewRequest{LoginID: d.Login.LoginID, Renewal: d.Renewal[1:]}},
		{"a name that cannot be", api.CodeInvalid, post, "/api/user/lookup", me, api.LookupRequest{Username: "%' OR 1=1 --"}},
		{"lists of nobody", api.CodeInvalid, post, "/api/user/lists", me, api.ListsRequest{Accounts: []api.ListsAfter{}}},
		{"too many lists", api.CodeInvalid, post, "/api/user/lists", me, api.ListsRequest{Accounts: accounts}},
		{"one account twice", api.CodeInvalid, post, "/api/user/lists", me,
			api.ListsRequest{Accounts: []api.ListsAfter{accounts[0], accounts[0]}}},
		{"device 0", api.CodeInvalid, post, "/api/user/prekeys/claim", me, claim(0)},
		{"device 128", api.CodeInvalid, post, "/api/user/prekeys/claim", me, claim(128)},
		{"a device twice", api.CodeInvalid, post, "/api/user/prekeys/claim", me, claim(1, 1)},
		{"a group", api.CodeInvalid, post, "/api/chat/conversations", me,
			api.OpenConversationRequest{Kind: "group", Peer: &other.ID}},
		{"nobody as peer", api.CodeInvalid, post, "/api/chat/conversations", me,
			api.OpenConversationRequest{Kind: api.KindDirect}},
		{"notes with a peer", api.CodeInvalid, post, "/api/chat/conversations", me,
			api.OpenConversationRequest{Kind: api.KindSelf, Peer: &other.ID}},
		{"generation 0", api.CodeInvalid, post, "/api/chat/connection", me, api.ConnectionRequest{}},
		{"generation beyond numbers", api.CodeInvalid, post, "/api/chat/connection", me,
			api.ConnectionRequest{Generation: 1<<53 + 1}},
		{"a cursor from elsewhere", api.CodeInvalid, http.MethodGet, "/api/chat/conversations?cursor=x", me, nil},
		{"limit 0", api.CodeInvalid, http.MethodGet, "/api/chat/mailbox?limit=0", me, nil},
		{"limit 1e3", api.CodeInvalid, http.MethodGet, "/api/chat/mailbox?limit=1e3", me, nil},
	} {
		refused(t, c.what, c.code, c.method, c.path, c.token, c.body)
	}
	server.Connect(t, d)
	refused(t, "the same generation again", api.CodeDeviceCloned, post, "/api/chat/connection", me,
		api.ConnectionRequest{Generation: d.Generation})
	id := server.Talk(t, d, other.Devices[0])
	refused(t, "a state that nobody may choose", api.CodeInvalid, http.MethodPut,
		"/api/chat/conversations/"+id.String()+"/state", me, api.MemberStateRequest{State: api.MemberRequested})
	var self api.Conversation
	server.Call(t, post, "/api/chat/conversations", me, api.OpenConversationRequest{Kind: api.KindSelf}, &self)
	refused(t, "notes that are blocked", api.CodeInvalid, http.MethodPut,
		"/api/chat/conversations/"+self.ConversationID.String()+"/state", me, api.MemberStateRequest{State: api.MemberBlocked})
}
