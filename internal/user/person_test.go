package user_test

import (
	"crypto/sha256"
	"io"
	"testing"

	"sotto/api"
	"sotto/e2ee"
)

// person is a client's side of an account: everything that only its owner knows.
type person struct {
	t    testing.TB
	rand io.Reader

	id         api.AccountID
	name       string
	auth       string
	kek        [32]byte
	recovery   [32]byte
	parameters e2ee.PasswordParameters
	key        e2ee.KeyPair
	list       e2ee.DeviceList
	signed     e2ee.SignedDeviceList
	version    uint64 // of the bundle
	devices    []*device
	email      *emailLogin // nil without
}

// device is one device of a person with its keys.
type device struct {
	owner   *person
	id      api.DeviceID
	listed  e2ee.ListedDevice
	keys    e2ee.KeyPair
	nextID  uint32
	renewal [32]byte
	login   api.Login
	seen    int64 // time of the newest statement
}

func fill(t testing.TB, rand io.Reader, b []byte) {
	t.Helper()
	if _, err := io.ReadFull(rand, b); err != nil {
		t.Fatal(err)
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newPerson(t testing.TB, rand io.Reader, name string) *person {
	t.Helper()
	p := &person{t: t, rand: rand, name: name, version: 1}
	fill(t, rand, p.id[:])
	var mk [32]byte // what PBKDF2 would give
	fill(t, rand, mk[:])
	p.auth, p.kek = e2ee.SplitPassword(mk)
	fill(t, rand, p.recovery[:])
	p.parameters = must[e2ee.PasswordParameters](t)(e2ee.NewPasswordParameters(rand))
	p.key = must[e2ee.KeyPair](t)(e2ee.NewKeyPair(rand))
	d := p.newDevice()
	p.list = e2ee.DeviceList{
		Account: p.id, Version: 1, Time: start.UnixMilli(), AccountKey: p.key.Public, Devices: []e2ee.ListedDevice{d.listed},
	}
	p.signed = p.sign(p.list)
	return p
}

// newDevice makes a device under the lowest free number. It is in no list yet.
func (p *person) newDevice() *device {
	p.t.Helper()
	d := &device{owner: p, nextID: 1, seen: start.UnixMilli()}
	fill(p.t, p.rand, d.id[:])
	fill(p.t, p.rand, d.renewal[:])
	d.keys = must[e2ee.KeyPair](p.t)(e2ee.NewKeyPair(p.rand))
	id := p.list.FreeID()
	d.listed = e2ee.ListedDevice{ID: id, RegistrationID: 1000 + id, IdentityKey: d.keys.Public, AddedAt: start.UnixMilli()}
	p.devices = append(p.devices, d)
	return d
}

func (p *person) sign(l e2ee.DeviceList) e2ee.SignedDeviceList {
	p.t.Helper()
	return must[e2ee.SignedDeviceList](p.t)(l.Sign(p.rand, p.key.Private))
}

// nextList is the list that adds d, not yet the person's current one.
func (p *person) nextList(d *device) e2ee.DeviceList {
	l := p.list
	l.Version++
	l.Previous = p.signed.Hash()
	l.Devices = append(append([]e2ee.ListedDevice(nil), l.Devices...), d.listed)
	return l
}

func (p *person) seal(version uint64) []byte {
	p.t.Helper()
	b := e2ee.Bundle{Account: p.id, Version: version, AccountKey: p.key.Private, ListVersion: p.list.Version, ListHash: p.signed.Hash()}
	recovery := sha256.Sum256(p.recovery[:])
	slots := []e2ee.Slot{
		{ID: 1, Type: e2ee.SlotPassword, Parameters: p.parameters.Marshal(), Wrapping: p.kek},
		{ID: 2, Type: e2ee.SlotRecovery, Parameters: recovery[:], Wrapping: p.recovery},
	}
	if p.email != nil {
		slots = append(slots, e2ee.Slot{ID: 3, Type: e2ee.SlotEmail, Parameters: p.email.parameters.Marshal(), Wrapping: p.email.kek})
	}
	return must[[]byte](p.t)(b.Seal(p.rand, slots))
}

// emailLogin is the password under another salt.
type emailLogin struct {
	parameters e2ee.PasswordParameters
	auth       string
	kek        [32]byte
}

func (p *person) newEmailLogin() *emailLogin {
	p.t.Helper()
	var mk [32]byte
	fill(p.t, p.rand, mk[:])
	e := &emailLogin{parameters: must[e2ee.PasswordParameters](p.t)(e2ee.NewPasswordParameters(p.rand))}
	e.auth, e.kek = e2ee.SplitPassword(mk)
	return e
}

func (p *person) registration(oneTime int) api.RegisterRequest {
	p.t.Helper()
	d := p.devices[0]
	recovery, renewal := sha256.Sum256(p.recovery[:]), sha256.Sum256(d.renewal[:])
	return api.RegisterRequest{
		AccountID: p.id, Username: p.name, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:],
		Iterations: int(p.parameters.Iterations), Auth: p.auth, RecoveryVerifier: recovery[:], RenewalHash: renewal[:],
		AccountKey: p.key.Public[:], List: api.SignedList(p.signed), Device: d.registration(oneTime), Bundle: p.seal(1),
	}
}

func (d *device) registration(oneTime int) api.DeviceRegistration {
	return api.DeviceRegistration{
		DeviceID: d.id, WireDeviceID: api.WireDeviceID(d.listed.ID), Name: "laptop", PreKeys: d.upload(oneTime),
	}
}

// upload makes fresh prekeys: n one-time ones of each sort.
func (d *device) upload(n int) api.PreKeyUpload {
	t, rand := d.owner.t, d.owner.rand
	t.Helper()
	signed := must[e2ee.SignedPreKey](t)(e2ee.NewSignedPreKey(rand, d.keys, d.take()))
	last := d.kyber()
	up := api.PreKeyUpload{
		SignedPreKey: api.SignedKey{ID: signed.ID, Key: signed.Pair.Public[:], Signature: signed.Signature[:]},
		LastResort:   last, OneTimePreKeys: []api.OneTimeKey{}, KyberPreKeys: []api.SignedKey{},
	}
	for range n {
		k := must[e2ee.PreKey](t)(e2ee.NewPreKey(rand, d.take()))
		up.OneTimePreKeys = append(up.OneTimePreKeys, api.OneTimeKey{ID: k.ID, Key: k.Pair.Public[:]})
		up.KyberPreKeys = append(up.KyberPreKeys, d.kyber())
	}
	d.seen++
	up.Statement = d.state(up)
	return up
}

func (d *device) take() uint32 {
	d.nextID++
	return d.nextID - 1
}

func (d *device) kyber() api.SignedKey {
	t := d.owner.t
	t.Helper()
	k := must[e2ee.KyberPreKey](t)(e2ee.NewKyberPreKey(d.owner.rand, d.keys, d.take(), false))
	return api.SignedKey{ID: k.ID, Key: k.Pair.Public, Signature: k.Signature[:]}
}

// state signs a statement about the upload, dated d.seen.
func (d *device) state(up api.PreKeyUpload) api.SignedStatement {
	t := d.owner.t
	t.Helper()
	s := e2ee.PreKeyStatement{
		Account: d.owner.id, Device: d.listed.ID, RegistrationID: d.listed.RegistrationID,
		SignedPreKeyID: up.SignedPreKey.ID, SignedPreKeyHash: e2ee.PreKeyHash(up.SignedPreKey.Key),
		LastResortID: up.LastResort.ID, LastResortHash: e2ee.PreKeyHash(up.LastResort.Key), Time: d.seen,
	}
	return api.SignedStatement(must[e2ee.SignedStatement](t)(s.Sign(d.owner.rand, d.keys.Private)))
}
