package rest

import (
	"crypto/sha256"
	"net/http"
	"testing"

	"sotto/api"
)

// Register makes the account; its first device is signed in afterwards.
func (s *Server) Register(t testing.TB, name string) *Person {
	t.Helper()
	p := NewPerson(t, name)
	s.Call(t, http.MethodPost, "/api/user/register", "", p.Registration(t), &p.Devices[0].Login)
	return p
}

// Start asks how to prove a password.
func (s *Server) Start(t testing.TB, name string) (start api.LoginStartResponse) {
	t.Helper()
	s.Call(t, http.MethodPost, "/api/user/login/start", "", api.LoginStartRequest{
		Name: name, Methods: []string{api.MethodSplitPBKDF2},
	}, &start)
	return start
}

// SignIn makes a login without a device.
func (s *Server) SignIn(t testing.TB, p *Person) (login api.Login) {
	t.Helper()
	renewal := Random[[32]byte](t)
	hash := sha256.Sum256(renewal[:])
	s.Call(t, http.MethodPost, "/api/user/login/finish", "", api.LoginFinishRequest{
		Attempt: s.Start(t, p.Name).Attempt, Proof: p.Auth, RenewalHash: hash[:],
	}, &login)
	return login
}

// SignInDevice makes a new login for a device that the account lists.
func (s *Server) SignInDevice(t testing.TB, d *Device) {
	t.Helper()
	attempt := s.Start(t, d.Owner.Name).Attempt
	s.Call(t, http.MethodPost, "/api/user/login/finish", "", api.LoginFinishRequest{
		Attempt: attempt, Proof: d.Owner.Auth, RenewalHash: d.RenewalHash(), Device: d.Prove(t, attempt),
	}, &d.Login)
}

// Added takes over that the server accepted an Addition.
func (p *Person) Added(req api.AddDeviceRequest, d *Device) {
	p.List = p.Next(d)
	p.Signed.List, p.Signed.Signature = req.List.List, req.List.Signature
	p.Version = req.Bundle.Version
	p.Devices = append(p.Devices, d)
}

// AddDevice signs in without a device and adds one.
func (s *Server) AddDevice(t testing.TB, p *Person) *Device {
	t.Helper()
	d := p.NewDevice(t)
	req := p.Addition(t, d)
	s.Call(t, http.MethodPost, "/api/user/devices", s.SignIn(t, p).Token, req, &d.Login)
	p.Added(req, d)
	return d
}

// Connect raises the device's generation over REST.
func (s *Server) Connect(t testing.TB, d *Device) (c api.Connection) {
	t.Helper()
	s.Call(t, http.MethodPost, "/api/chat/connection", d.Login.Token,
		api.ConnectionRequest{Generation: d.Generation + 1}, &c)
	d.Generation++
	return c
}

// Talk opens the conversation of two people and accepts it for the other one.
func (s *Server) Talk(t testing.TB, one, other *Device) api.ConversationID {
	t.Helper()
	var c api.Conversation
	s.Call(t, http.MethodPost, "/api/chat/conversations", one.Login.Token,
		api.OpenConversationRequest{Kind: api.KindDirect, Peer: &other.Owner.ID}, &c)
	s.Call(t, http.MethodPut, "/api/chat/conversations/"+c.ConversationID.String()+"/state", other.Login.Token,
		api.MemberStateRequest{State: api.MemberAccepted}, &c)
	return c.ConversationID
}

// Message makes a correct send of class message from d to every device of the members. The ciphertexts are stand-ins:
// the server cannot tell.
func (d *Device) Message(t testing.TB, conversation api.ConversationID, members ...*Person) api.Send {
	t.Helper()
	commitment := Random[[32]byte](t)
	send := api.Send{
		ConversationID: conversation, MessageID: Random[api.MessageID](t), Class: api.ClassMessage,
		Commitment: commitment[:], Envelopes: []api.Envelope{},
	}
	record := RecordOf(conversation, send.MessageID)
	send.Record = &record
	for _, p := range members {
		send.ListVersions = append(send.ListVersions, api.ListVersion{AccountID: p.ID, Version: p.List.Version})
		for _, to := range p.Devices {
			if to != d {
				send.Envelopes = append(send.Envelopes, to.Envelope())
			}
		}
	}
	return send
}

// Silent makes a correct send of class silent to some devices.
func (d *Device) Silent(t testing.TB, conversation api.ConversationID, to ...*Device) api.Send {
	t.Helper()
	send := d.Message(t, conversation)
	send.Class, send.Record = api.ClassSilent, nil
	for _, device := range to {
		send.Envelopes = append(send.Envelopes, device.Envelope())
	}
	return send
}

// Envelope is for the device.
func (d *Device) Envelope() api.Envelope {
	return api.Envelope{
		AccountID: d.Owner.ID, DeviceID: api.WireDeviceID(d.Listed.ID), RegistrationID: d.Listed.RegistrationID,
		Type: api.EnvelopeWhisper, Bytes: []byte("stands for a ciphertext"),
	}
}

// RecordOf is an archive record of a message.
func RecordOf(conversation api.ConversationID, message api.MessageID) api.Record {
	return api.Record{ConversationID: conversation, MessageID: message, KeyEpoch: 1, Sealed: []byte("stands for a sealed record")}
}
