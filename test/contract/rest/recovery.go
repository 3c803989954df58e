package rest

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"

	"sotto/api"
	"sotto/e2ee"
)

// Recover signs in with the recovery code: the token is good only for setting a new password.
func (s *Server) Recover(t testing.TB, p *Person) (login api.Login) {
	t.Helper()
	var start api.RecoveryStartResponse
	s.Call(t, http.MethodPost, "/api/user/recovery/start", "", api.RecoveryStartRequest{Name: p.Name}, &start)
	renewal := Random[[32]byte](t)
	s.Call(t, http.MethodPost, "/api/user/recovery/finish", "", api.RecoveryFinishRequest{
		Attempt: start.Attempt, RecoveryAuth: p.recovery[:], RenewalHash: renewal[:],
	}, &login)
	return login
}

// NewPassword makes new secrets and the request that sets them. proof is the auth of the password before, if it counts.
func (p *Person) NewPassword(t testing.TB, proof string) api.PasswordRequest {
	t.Helper()
	p.Auth, p.kek = e2ee.SplitPassword(Random[[32]byte](t))
	p.recovery = Random[[32]byte](t)
	p.parameters = must[e2ee.PasswordParameters](t)(e2ee.NewPasswordParameters(rand.Reader))
	p.Version++
	recovery := sha256.Sum256(p.recovery[:])
	return api.PasswordRequest{
		Proof: proof, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:], Iterations: int(p.parameters.Iterations),
		Auth: p.Auth, RecoveryVerifier: recovery[:], Bundle: p.Seal(t, p.Version),
	}
}

// Copy is for requests that are refused: what they change of the person is lost.
func (p *Person) Copy() *Person {
	c := *p
	c.Devices = slices.Clone(p.Devices)
	return &c
}

// Email is the request that makes an address one to sign in with; its bundle is sealed with the slot for it.
func (p *Person) Email(t testing.TB, code string) api.EmailRequest {
	t.Helper()
	auth, kek := e2ee.SplitPassword(Random[[32]byte](t))
	parameters := must[e2ee.PasswordParameters](t)(e2ee.NewPasswordParameters(rand.Reader))
	p.Version++
	return api.EmailRequest{
		Code: code, Proof: p.Auth, Method: api.MethodSplitPBKDF2, Salt: parameters.Salt[:], Iterations: int(parameters.Iterations),
		Auth:   auth,
		Bundle: p.Seal(t, p.Version, e2ee.Slot{ID: 3, Type: e2ee.SlotEmail, Parameters: parameters.Marshal(), Wrapping: kek}),
	}
}

// EmailRemoval is the request that takes the address away.
func (p *Person) EmailRemoval(t testing.TB) api.EmailRemoval {
	t.Helper()
	p.Version++
	return api.EmailRemoval{Proof: p.Auth, Bundle: p.Seal(t, p.Version)}
}

// Removal is the request that removes d, and makes the list without it the person's newest.
func (p *Person) Removal(t testing.TB, d *Device) api.RemoveDeviceRequest {
	t.Helper()
	l := p.List
	l.Version++
	l.Previous = p.Signed.Hash()
	l.Devices = slices.DeleteFunc(slices.Clone(l.Devices), func(e e2ee.ListedDevice) bool { return e.ID == d.Listed.ID })
	p.List, p.Signed = l, p.Sign(t, l)
	p.Devices = slices.DeleteFunc(p.Devices, func(e *Device) bool { return e == d })
	p.Version++
	return api.RemoveDeviceRequest{Proof: p.Auth, List: api.SignedList(p.Signed), Bundle: p.Seal(t, p.Version)}
}

// Chain is the person's newest list as it is given back after a restore.
func (p *Person) Chain() api.RestoredLists {
	return api.RestoredLists{Accounts: []api.AccountChain{{AccountID: p.ID, Lists: []api.SignedList{api.SignedList(p.Signed)}}}}
}

// Restored introduces the device again, with an attempt that no server has made.
func (d *Device) Restored(t testing.TB) api.RestoredDeviceRequest {
	t.Helper()
	hash := sha256.Sum256(d.Renewal[:])
	signature := must[e2ee.Signature](t)(d.Keys.Private.Sign(rand.Reader, append([]byte("sotto restored v1x"), hash[:]...)))
	return api.RestoredDeviceRequest{
		Attempt: "x", Lists: d.Owner.Chain().Accounts[0].Lists, Device: d.Registration(t), RenewalHash: hash[:], Signature: signature[:],
	}
}
