package rest

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// Person is what only the owner of an account knows.
type Person struct {
	ID      api.AccountID
	Name    string
	Auth    string // the proof of the password
	Key     e2ee.KeyPair
	List    e2ee.DeviceList // the newest one that the server took
	Signed  e2ee.SignedDeviceList
	Version uint64 // of the bundle
	Devices []*Device

	kek, recovery [32]byte
	parameters    e2ee.PasswordParameters
}

// Device is one device with its keys.
type Device struct {
	Owner      *Person
	ID         api.DeviceID
	Listed     e2ee.ListedDevice
	Keys       e2ee.KeyPair
	Login      api.Login
	Renewal    [32]byte
	Generation uint64 // that the server accepted last

	nextKey   uint32
	statement int64 // time of the newest one
}

// Random fills an id or a key.
func Random[T ~[16]byte | ~[32]byte](t testing.TB) (id T) {
	t.Helper()
	b := make([]byte, len(id))
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		id[i] = b[i]
	}
	return id
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// NewPerson makes an account with one device that nobody has heard of yet.
func NewPerson(t testing.TB, name string) *Person {
	t.Helper()
	p := &Person{
		ID: Random[api.AccountID](t), Name: name, Version: 1, recovery: Random[[32]byte](t),
		parameters: must[e2ee.PasswordParameters](t)(e2ee.NewPasswordParameters(rand.Reader)),
		Key:        must[e2ee.KeyPair](t)(e2ee.NewKeyPair(rand.Reader)),
	}
	p.Auth, p.kek = e2ee.SplitPassword(Random[[32]byte](t)) // in place of PBKDF2's output
	d := p.NewDevice(t)
	p.Devices = []*Device{d}
	p.List = e2ee.DeviceList{
		Account: p.ID, Version: 1, Time: time.Now().UnixMilli(), AccountKey: p.Key.Public, Devices: []e2ee.ListedDevice{d.Listed},
	}
	p.Signed = p.Sign(t, p.List)
	return p
}

// NewDevice makes a device under the lowest free number. No list has it yet.
func (p *Person) NewDevice(t testing.TB) *Device {
	t.Helper()
	now := time.Now().UnixMilli()
	d := &Device{
		Owner: p, ID: Random[api.DeviceID](t), Keys: must[e2ee.KeyPair](t)(e2ee.NewKeyPair(rand.Reader)),
		Renewal: Random[[32]byte](t), nextKey: 1, statement: now,
	}
	id := p.List.FreeID()
	d.Listed = e2ee.ListedDevice{ID: id, RegistrationID: 4000 + id, IdentityKey: d.Keys.Public, AddedAt: now}
	return d
}

// Sign signs a list with the account key.
func (p *Person) Sign(t testing.TB, l e2ee.DeviceList) e2ee.SignedDeviceList {
	t.Helper()
	return must[e2ee.SignedDeviceList](t)(l.Sign(rand.Reader, p.Key.Private))
}

// Next is the list that follows the current one and adds d.
func (p *Person) Next(d *Device) e2ee.DeviceList {
	l := p.List
	l.Version++
	l.Previous = p.Signed.Hash()
	l.Devices = append(slices.Clone(l.Devices), d.Listed)
	return l
}

// Seal makes a key bundle of a version.
func (p *Person) Seal(t testing.TB, version uint64, more ...e2ee.Slot) api.Bundle {
	t.Helper()
	b := e2ee.Bundle{Account: p.ID, Version: version, AccountKey: p.Key.Private, ListVersion: p.List.Version, ListHash: p.Signed.Hash()}
	sealed := must[[]byte](t)(b.Seal(rand.Reader, append([]e2ee.Slot{
		{ID: 1, Type: e2ee.SlotPassword, Parameters: p.parameters.Marshal(), Wrapping: p.kek},
		{ID: 2, Type: e2ee.SlotRecovery, Wrapping: p.recovery},
	}, more...)))
	return api.Bundle{Version: version, Sealed: sealed}
}

// Registration is the request that makes the account.
func (p *Person) Registration(t testing.TB) api.RegisterRequest {
	t.Helper()
	d := p.Devices[0]
	recovery, renewal := sha256.Sum256(p.recovery[:]), sha256.Sum256(d.Renewal[:])
	return api.RegisterRequest{
		AccountID: p.ID, Username: p.Name, Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:],
		Iterations: int(p.parameters.Iterations), Auth: p.Auth, RecoveryVerifier: recovery[:], RenewalHash: renewal[:],
		AccountKey: p.Key.Public[:], List: api.SignedList(p.Signed), Device: d.Registration(t), Bundle: p.Seal(t, 1).Sealed,
	}
}

// Addition is the request that adds d to the account.
func (p *Person) Addition(t testing.TB, d *Device) api.AddDeviceRequest {
	t.Helper()
	return api.AddDeviceRequest{
		List: api.SignedList(p.Sign(t, p.Next(d))), Device: d.Registration(t), Bundle: p.Seal(t, p.Version+1),
	}
}

// RenewalHash is what the server may know of the renewal secret.
func (d *Device) RenewalHash() []byte {
	sum := sha256.Sum256(d.Renewal[:])
	return sum[:]
}

// Registration introduces the device with a few one-time prekeys.
func (d *Device) Registration(t testing.TB) api.DeviceRegistration {
	t.Helper()
	return api.DeviceRegistration{
		DeviceID: d.ID, WireDeviceID: api.WireDeviceID(d.Listed.ID), Name: "laptop", PreKeys: d.Upload(t, 2),
	}
}

// Upload makes new prekeys: n one-time ones of each sort, and a statement that is newer than the last.
func (d *Device) Upload(t testing.TB, n int) api.PreKeyUpload {
	t.Helper()
	signed := must[e2ee.SignedPreKey](t)(e2ee.NewSignedPreKey(rand.Reader, d.Keys, d.takeID()))
	up := api.PreKeyUpload{
		SignedPreKey:   api.SignedKey{ID: signed.ID, Key: signed.Pair.Public[:], Signature: signed.Signature[:]},
		LastResort:     d.kyber(t),
		OneTimePreKeys: []api.OneTimeKey{}, KyberPreKeys: []api.SignedKey{},
	}
	for range n {
		k := must[e2ee.PreKey](t)(e2ee.NewPreKey(rand.Reader, d.takeID()))
		up.OneTimePreKeys = append(up.OneTimePreKeys, api.OneTimeKey{ID: k.ID, Key: k.Pair.Public[:]})
		up.KyberPreKeys = append(up.KyberPreKeys, d.kyber(t))
	}
	d.statement++
	up.Statement = d.State(t, up, d.statement)
	return up
}

func (d *Device) takeID() uint32 {
	d.nextKey++
	return d.nextKey - 1
}

func (d *Device) kyber(t testing.TB) api.SignedKey {
	t.Helper()
	k := must[e2ee.KyberPreKey](t)(e2ee.NewKyberPreKey(rand.Reader, d.Keys, d.takeID(), false))
	return api.SignedKey{ID: k.ID, Key: k.Pair.Public, Signature: k.Signature[:]}
}

// State signs a statement about an upload, dated at (milliseconds).
func (d *Device) State(t testing.TB, up api.PreKeyUpload, at int64) api.SignedStatement {
	t.Helper()
	s := e2ee.PreKeyStatement{
		Account: d.Owner.ID, Device: d.Listed.ID, RegistrationID: d.Listed.RegistrationID,
		SignedPreKeyID: up.SignedPreKey.ID, SignedPreKeyHash: e2ee.PreKeyHash(up.SignedPreKey.Key),
		LastResortID: up.LastResort.ID, LastResortHash: e2ee.PreKeyHash(up.LastResort.Key), Time: at,
	}
	return api.SignedStatement(must[e2ee.SignedStatement](t)(s.Sign(rand.Reader, d.Keys.Private)))
}

// Prove is the device's part of signing in again.
func (d *Device) Prove(t testing.TB, attempt string) *api.DeviceProof {
	t.Helper()
	sig := must[e2ee.Signature](t)(d.Keys.Private.Sign(rand.Reader, []byte("sotto login v1"+attempt)))
	return &api.DeviceProof{DeviceID: d.ID, Signature: sig[:]}
}
