package contract_test

import (
	"net/http"

	"sotto/api"
	"sotto/test/contract/rest"
)

// recovery loses a device and the password of somebody who is in no other step: removal, the code, a change, a new name.
func (s *script) recovery() {
	d := s.Register(s, "erin").Devices[0]
	p := d.Owner
	path := "/api/user/devices/" + d.ID.String()
	s.Call(s, http.MethodPatch, path, d.Login.Token, api.RenameDeviceRequest{Name: "old laptop"}, nil)
	login := s.Recover(s, p)
	s.refused(api.CodeForbidden, http.MethodGet, "/api/user/bundle", login.Token, nil)
	s.Call(s, http.MethodPut, "/api/user/password", login.Token, p.NewPassword(s, ""), &api.DevicesChange{})
	old := p.Auth
	change := p.NewPassword(s, old)
	change.SignOutOthers = true
	s.Call(s, http.MethodPut, "/api/user/password", d.Login.Token, change, &api.DevicesChange{})
	s.refused(api.CodeUnauthenticated, http.MethodGet, "/api/user/bundle", login.Token, nil)
	s.SignInDevice(s, d)
	removal := p.Removal(s, d)
	remove := rest.Request{Method: http.MethodPost, Path: path + "/remove", Token: d.Login.Token, Body: rest.JSON(s, removal)}
	bad := removal
	bad.Proof = old
	s.refused(api.CodeWrongLogin, remove.Method, remove.Path, remove.Token, bad)
	s.Call(s, remove.Method, remove.Path, remove.Token, removal, &api.DevicesChange{})
	s.do(api.CodeUnauthenticated, remove)
}
