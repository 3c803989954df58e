package user_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sotto/api"
	"sotto/e2ee"
)

const (
	listsPath  = "/api/user/lists"
	lookupPath = "/api/user/lookup"
)

func TestListsGiveTheChainAfterAVersion(t *testing.T) {
	w, alice, bob := newWorld(t)
	chain := []api.SignedList{api.SignedList(alice.signed)}
	for range 2 {
		w.addDevice(alice, 0)
		chain = append(chain, api.SignedList(alice.signed))
	}
	token := bob.devices[0].login.Token
	for after, want := range [][]api.SignedList{chain, chain[1:], chain[2:], {}, {}} {
		var res api.ListsResponse
		w.must(http.MethodPost, listsPath, token, api.ListsRequest{Accounts: []api.ListsAfter{
			{AccountID: alice.id, After: uint64(after)}, {AccountID: api.AccountID{9}}, {AccountID: bob.id, After: 1 << 63},
		}}, &res)
		if len(res.Accounts) != 2 || len(res.Accounts[1].Lists) != 0 || res.Accounts[1].Username != "bob" {
			t.Fatalf("%+v", res)
		}
		if diff := cmp.Diff(want, res.Accounts[0].Lists); diff != "" {
			t.Errorf("after %d: %s", after, diff)
		}
	}
	previous := alice.list
	for i, l := range chain {
		list, err := e2ee.SignedDeviceList(l).Open(alice.key.Public)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := list.Follows(previous, e2ee.SignedDeviceList(chain[i-1]).Hash()); err != nil {
				t.Error(err)
			}
		}
		previous = list
	}
	for _, req := range []api.ListsRequest{
		{}, {Accounts: make([]api.ListsAfter, api.MaxListsAsked+1)},
		{Accounts: []api.ListsAfter{{AccountID: alice.id}, {AccountID: alice.id, After: 1}}},
	} {
		w.refused(api.CodeInvalid, http.MethodPost, listsPath, token, req)
	}
}

func TestLongChainsComeInParts(t *testing.T) {
	w, alice, _ := newWorld(t)
	// Rows past the service: that many real lists would take as many devices.
	for v := 2; v <= 1001; v++ {
		if _, err := w.exec("INSERT INTO device_list (account_id, version, hash, list, signature, stored_at) VALUES ($1, $2, $3, $3, $4, 1)",
			alice.id[:], v, make([]byte, 32), make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	}
	token := alice.devices[0].login.Token
	var res api.ListsResponse
	w.must(http.MethodPost, listsPath, token, api.ListsRequest{Accounts: []api.ListsAfter{{AccountID: alice.id, After: 3}}}, &res)
	if n := len(res.Accounts[0].Lists); n != api.MaxListChain {
		t.Errorf("%d lists in one answer", n)
	}
}

func TestAccountsForChat(t *testing.T) {
	w, alice, bob := newWorld(t)
	w.addDevice(bob, 0)
	got, err := w.service.Accounts(t.Context(), []api.AccountID{bob.id, {1}, alice.id})
	if err != nil {
		t.Fatal(err)
	}
	want := []api.AccountLists{
		{AccountID: bob.id, AccountKey: bob.key.Public[:], Lists: []api.SignedList{api.SignedList(bob.signed)}},
		{AccountID: alice.id, AccountKey: alice.key.Public[:], Lists: []api.SignedList{api.SignedList(alice.signed)}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if _, err := w.service.Accounts(t.Context(), make([]api.AccountID, 501)); err == nil {
		t.Error("an unbounded call went through")
	}
	keys, err := w.service.PublicKeys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
}

func TestLookup(t *testing.T) {
	w, alice, bob := newWorld(t)
	token := alice.devices[0].login.Token
	var found api.Account
	w.must(http.MethodPost, lookupPath, token, api.LookupRequest{Username: "BoB"}, &found)
	want := api.Account{AccountID: bob.id, Username: "bob", Lists: api.AccountLists{
		AccountID: bob.id, AccountKey: bob.key.Public[:], Lists: []api.SignedList{api.SignedList(bob.signed)},
	}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	for name, code := range map[string]string{
		"bo": api.CodeInvalid, "": api.CodeInvalid, "bob ": api.CodeInvalid, "b%b": api.CodeInvalid, "bobby": api.CodeNotFound, "b_b": api.CodeNotFound,
	} {
		w.refused(code, http.MethodPost, lookupPath, token, api.LookupRequest{Username: name})
	}
	var info api.Info
	w.must(http.MethodGet, "/api/info", "", nil, &info)
	if diff := cmp.Diff(api.Info{Server: "sottod test", Epoch: 7, Time: start.UnixMilli(), Protocol: api.ProtocolRange{Lowest: 1, Highest: 1}, Limits: api.Limits{Devices: 20}}, info); diff != "" {
		t.Error(diff)
	}
}
