package client_test

import (
	"crypto/rand"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/e2ee"
)

// signer is an account that signs device lists, honestly or not.
type signer struct {
	t    *testing.T
	id   [16]byte
	keys e2ee.KeyPair
	ids  map[uint32]e2ee.PublicKey // device identity keys
}

func newSigner(t *testing.T) *signer {
	s := &signer{t: t, ids: map[uint32]e2ee.PublicKey{}}
	s.keys = s.pair()
	if _, err := rand.Read(s.id[:]); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *signer) pair() e2ee.KeyPair {
	s.t.Helper()
	k, err := e2ee.NewKeyPair(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// list signs a version with the given devices; previous is the list it claims to follow.
func (s *signer) list(version uint64, previous *api.SignedList, devices ...uint32) api.SignedList {
	s.t.Helper()
	l := e2ee.DeviceList{Account: s.id, Version: version, Time: time.Now().UnixMilli(), AccountKey: s.keys.Public}
	if previous != nil {
		l.Previous = e2ee.SignedDeviceList{List: previous.List}.Hash()
	}
	for _, id := range devices {
		if _, ok := s.ids[id]; !ok {
			s.ids[id] = s.pair().Public
		}
		l.Devices = append(l.Devices, e2ee.ListedDevice{ID: id, RegistrationID: id, IdentityKey: s.ids[id]})
	}
	return s.sign(l)
}

func (s *signer) sign(l e2ee.DeviceList) api.SignedList {
	s.t.Helper()
	signed, err := l.Sign(rand.Reader, s.keys.Private)
	if err != nil {
		s.t.Fatal(err)
	}
	return api.SignedList{List: signed.List, Signature: signed.Signature}
}

// TestListRules: only a list that chains to the pinned one replaces it. Whatever is refused changes nothing.
func TestListRules(t *testing.T) {
	s := newSigner(t)
	one := s.list(1, nil, 1)
	two := s.list(2, &one, 1, 2)
	three := s.list(3, &two, 1)
	four := s.list(4, &three, 1, 3)
	fork := s.list(2, &one, 1, 2, 3)
	after := s.list(3, &fork, 1, 2, 3)
	reset := &signer{t: t, id: s.id, ids: s.ids}
	reset.keys = reset.pair()
	foreignKey := reset.list(3, &two, 1, 2)
	stranger := newSigner(t)
	forged := s.list(3, &two, 1, 2)
	forged.Signature = two.Signature
	broken := s.list(3, &two, 1)
	broken.List = append([]byte(nil), broken.List...)
	broken.List[len(broken.List)-1] ^= 1

	for _, tc := range []struct {
		name    string
		shown   []api.SignedList
		floor   uint64
		version uint64
		gap     bool
		code    string
	}{
		{name: "the same again", shown: []api.SignedList{two}, floor: 2, version: 2},
		{name: "nothing", floor: 2, version: 2},
		{name: "the next", shown: []api.SignedList{three}, floor: 2, version: 3},
		{name: "the chain", shown: []api.SignedList{three, four}, floor: 2, version: 4},
		{name: "the whole chain", shown: []api.SignedList{one, two, three, four}, floor: 0, version: 4},
		{name: "a late answer", shown: []api.SignedList{one}, floor: 1, version: 2},
		{name: "a skip", shown: []api.SignedList{four}, floor: 2, version: 2, gap: true},
		{name: "back", shown: []api.SignedList{one}, floor: 2, version: 2, code: client.CodeListBack},
		{name: "a fork", shown: []api.SignedList{fork}, floor: 2, version: 2, code: client.CodeListFork},
		{name: "after a fork", shown: []api.SignedList{after}, floor: 2, version: 2, code: client.CodeListFork},
		{name: "a fork with what follows", shown: []api.SignedList{fork, after}, floor: 2, version: 2, code: client.CodeListFork},
		{name: "another account key", shown: []api.SignedList{foreignKey}, floor: 2, version: 3}, // and a change to be shown
		{name: "another account key out of nowhere", shown: []api.SignedList{reset.list(2, &one, 1)}, floor: 2, version: 2, code: client.CodeListFork},
		{name: "another account key, going back", shown: []api.SignedList{reset.list(1, nil, 1)}, floor: 2, version: 2, code: client.CodeListBack},
		{name: "another account", shown: []api.SignedList{stranger.list(1, nil, 1)}, floor: 2, version: 2, code: client.CodeListForged},
		{name: "a foreign signature", shown: []api.SignedList{forged}, floor: 2, version: 2, code: client.CodeListForged},
		{name: "changed bytes", shown: []api.SignedList{broken}, floor: 2, version: 2, code: client.CodeListForged},
		{name: "good, then bad", shown: []api.SignedList{three, forged}, floor: 2, version: 2, code: client.CodeListForged},
		{name: "too many", shown: make([]api.SignedList, api.MaxListChain+1), floor: 2, version: 2, code: client.CodeServer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := client.Pinned{Account: s.id}
			if gap, err := p.Advance(api.AccountLists{Lists: []api.SignedList{one, two}}, 0); gap || err != nil {
				t.Fatalf("first contact: %v", err)
			}
			gap, err := p.Advance(api.AccountLists{Lists: tc.shown}, tc.floor)
			if gap != tc.gap || client.CodeOf(err) != tc.code || p.Version != tc.version {
				t.Errorf("version %d, gap %v, %v; want version %d, gap %v, code %q", p.Version, gap, err, tc.version, tc.gap, tc.code)
			}
		})
	}
}

// TestListFirstContact: the first list is taken as it is, whatever its version, but only with its signature.
func TestListFirstContact(t *testing.T) {
	s := newSigner(t)
	one := s.list(1, nil, 1)
	seven := s.list(7, &one, 1, 2)
	p := client.Pinned{Account: s.id}
	bad := seven
	bad.Signature = one.Signature
	if _, err := p.Advance(api.AccountLists{Lists: []api.SignedList{bad}}, 0); client.CodeOf(err) != client.CodeListForged || p.Version != 0 {
		t.Errorf("an unsigned list: version %d, %v", p.Version, err)
	}
	if _, err := p.Advance(api.AccountLists{Lists: []api.SignedList{seven}}, 0); err != nil || p.Version != 7 {
		t.Errorf("version %d, %v", p.Version, err)
	}
}

// TestFormerDevice: a removed device is believed for what it wrote before its removal, a listed one always, others
// never.
func TestFormerDevice(t *testing.T) {
	s := newSigner(t)
	one := s.list(1, nil, 1)
	two := s.list(2, &one, 1, 2)
	three := s.list(3, &two, 1)
	p := client.Pinned{Account: s.id}
	if _, err := p.Advance(api.AccountLists{Lists: []api.SignedList{one, two, three}}, 0); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		device  uint32
		key     e2ee.PublicKey
		version uint64
		want    bool
	}{
		{"listed", 1, s.ids[1], 3, true},
		{"listed, another key", 1, s.ids[2], 3, false},
		{"before the removal", 2, s.ids[2], 2, true},
		{"after the removal", 2, s.ids[2], 3, false},
		{"removed, another key", 2, s.ids[1], 2, false},
		{"never listed", 3, s.ids[2], 2, false},
	} {
		got, err := p.Vouches(api.WireDeviceID(tc.device), tc.key, tc.version)
		if err != nil || got != tc.want {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
}

// TestListStatus: the server's word about devices that are away counts with the newest list only.
func TestListStatus(t *testing.T) {
	s := newSigner(t)
	one := s.list(1, nil, 1)
	two := s.list(2, &one, 1, 2)
	away := []api.DeviceStatus{{DeviceID: 2, State: api.DeviceDormant}}
	p := client.Pinned{Account: s.id}
	steps := []struct {
		lists  []api.SignedList
		status []api.DeviceStatus
		want   int
	}{
		{[]api.SignedList{one, two}, away, 1},
		{[]api.SignedList{one}, nil, 1}, // a late answer
		{[]api.SignedList{two}, nil, 0},
		{[]api.SignedList{two}, away, 1},
	}
	for i, step := range steps {
		if _, err := p.Advance(api.AccountLists{Lists: step.lists, Status: step.status}, 0); err != nil {
			t.Fatal(err)
		}
		if len(p.Inactive) != step.want {
			t.Errorf("step %d: %d devices away, want %d", i, len(p.Inactive), step.want)
		}
	}
}
