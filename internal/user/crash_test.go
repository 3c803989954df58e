package user_test

import (
	"net/http"
	"testing"

	"sotto/api"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// change is one request that leaves events, and what must be there once it is stored.
type change struct {
	tx     string // its transaction
	events int
	again  int // status of the same request once more after it was stored
	send   func() int
}

// changes makes every request that leaves events, ready to be sent more than once.
func changes(w *world, alice, bob *person) map[string]change {
	carol := marshal(w.t, newPerson(w.t, w.rand, "carol").registration(1))
	addition := marshal(w.t, alice.addition(alice.newDevice(), 1))
	plain := w.plainLogin(alice)
	second := w.addDevice(bob, 1)
	removal := marshal(w.t, bob.removal(second))
	proof := alice.auth
	alice.newSecrets()
	password := alice.change(proof)
	password.SignOutOthers = true
	newPassword := marshal(w.t, password)
	alice.auth = proof
	signIn := marshal(w.t, w.finish(alice, alice.devices[0]))
	status := func(path, bearer string, body []byte) func() int {
		return func() int { return w.send(http.MethodPost, path, bearer, body).Code }
	}
	token := bob.devices[0].login.Token
	return map[string]change{
		"register":   {"register", 2, http.StatusOK, status(registerPath, "", carol)},
		"add device": {"add device", 2, http.StatusOK, status(devicesPath, plain, addition)},
		"log out":    {"logout", 2, http.StatusUnauthorized, status(logoutPath, alice.devices[0].login.Token, nil)},
		"sign in":    {"login", 2, http.StatusOK, status(finishPath, "", signIn)},
		"remove":     {"remove device", 3, http.StatusOK, status(removePath(second), token, removal)},
		"password": {"password", 2, http.StatusOK, func() int { // the plain login ends
			return w.send(http.MethodPut, passwordPath, alice.devices[0].login.Token, newPassword).Code
		}},
	}
}

func (w *world) injectAtCommit(tx string, fault sqldb.Fault) {
	w.db.InjectCommitFaults(func(name string) sqldb.Fault {
		if name == tx {
			return fault
		}
		return sqldb.NoFault
	})
}

const countEvents = "SELECT count(*) FROM outbox"

// TestCommitThatFailsLeavesAllOrNothing fails the commit before and after it was stored. Change and events are there
// together or not at all, and the same request again comes to the answer that it would have got.
func TestCommitThatFailsLeavesAllOrNothing(t *testing.T) {
	for _, name := range []string{"register", "add device", "log out", "sign in", "remove", "password"} {
		t.Run(name, func(t *testing.T) {
			w, alice, bob := newWorld(t)
			c := changes(w, alice, bob)[name]
			before, events := w.dump(), w.count(countEvents)
			w.injectAtCommit(c.tx, sqldb.FailLost)
			if code := c.send(); code != http.StatusServiceUnavailable {
				t.Errorf("a lost commit was answered with %d", code)
			}
			if w.dump() != before {
				t.Error("a lost commit changed the tables")
			}
			w.injectAtCommit(c.tx, sqldb.FailStored)
			if code := c.send(); code != http.StatusServiceUnavailable {
				t.Errorf("a commit of unknown outcome was answered with %d", code)
			}
			if n := w.count(countEvents) - events; n != c.events || w.dump() == before {
				t.Errorf("%d events, want %d", n, c.events)
			}
			w.db.InjectCommitFaults(nil)
			if code := c.send(); code != c.again {
				t.Errorf("the request once more: %d, want %d", code, c.again)
			}
		})
	}
}

// TestEventsAreInTheSameTransaction refuses the outbox row: then nothing else may be stored either.
func TestEventsAreInTheSameTransaction(t *testing.T) {
	sqldbtest.OnlySQLite(t) // the trigger
	w, alice, bob := newWorld(t)
	all := changes(w, alice, bob)
	w.chat.changed = nil
	if _, err := w.exec("CREATE TRIGGER no_events BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
		t.Fatal(err)
	}
	before := w.dump()
	for name, c := range all {
		if code := c.send(); code != http.StatusInternalServerError {
			t.Errorf("%s without its event: status %d", name, code)
		}
		if w.dump() != before {
			t.Fatalf("%s changed the tables without its event", name)
		}
	}
	if len(w.chat.changed)+len(w.chat.ended) != 0 {
		t.Error("chat was told of what is not stored")
	}
}

func TestClaimOfUnknownOutcomeLosesPreKeysAndRepeatsNone(t *testing.T) {
	w, alice, bob := newWorld(t)
	w.injectAtCommit("claim prekeys", sqldb.FailStored)
	p := w.call(http.MethodPost, claimPath, alice.devices[0].login.Token, api.ClaimRequest{AccountID: bob.id}, &api.ClaimResponse{})
	if p == nil || p.Code != api.CodeUnavailable {
		t.Fatalf("%+v", p)
	}
	w.db.InjectCommitFaults(nil)
	var lost uint32
	if err := w.db.QueryRow(t.Context(), "SELECT id FROM prekey WHERE sort = 'ec' AND claimed_at IS NOT NULL").Scan(&lost); err != nil {
		t.Fatal(err)
	}
	for range oneTime {
		if k := w.claim(alice.devices[0], bob)[0].OneTimePreKey; k != nil && k.ID == lost {
			t.Error("a prekey that may have been handed out came out again")
		}
	}
}
