package user_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/user"
)

func TestRestoredRaisesTheEpochAndVoidsPreKeys(t *testing.T) {
	w, alice, bob := newWorld(t)
	if epoch, err := user.ReadEpoch(t.Context(), w.db); err != nil || epoch != 1 {
		t.Fatal(epoch, err)
	}
	w.claim(bob.devices[0], alice)
	waiting := int64(w.count("SELECT count(*) FROM prekey WHERE claimed_at IS NULL"))
	at := time.Unix(1_800_000_000, 0)
	epoch, voided, err := user.Restored(t.Context(), w.db, at)
	if err != nil || epoch != 1_800_000_000 || voided != waiting || waiting == 0 {
		t.Fatal(epoch, voided, waiting, err)
	}
	// A clock that went back does not take an epoch twice.
	if epoch, voided, err = user.Restored(t.Context(), w.db, at.Add(-time.Hour)); err != nil || epoch != 1_800_000_001 || voided != 0 {
		t.Fatal(epoch, voided, err)
	}
	if low, err := w.service.PreKeysLow(t.Context()); err != nil || low != 2 {
		t.Errorf("%d devices, %v", low, err)
	}
	bundle := w.claim(bob.devices[0], alice)[0]
	if bundle.OneTimePreKey != nil || bundle.KyberPreKey.ID != bundle.LastResort.ID {
		t.Errorf("%+v", bundle)
	}
	// The device may not bring the same ids back, but fills up with new ones.
	var count api.PreKeyCount
	d := alice.devices[0]
	w.must(http.MethodPost, "/api/user/prekeys", d.login.Token, d.upload(2), &count)
	if count.OneTimePreKeys != 2 || count.KyberPreKeys != 2 {
		t.Errorf("%+v", count)
	}
	if low, err := w.service.PreKeysLow(t.Context()); err != nil || low != 1 {
		t.Errorf("%d devices, %v", low, err)
	}
}

// TestCheckAccountsFinds plants each fault; without one nothing is found.
func TestCheckAccountsFinds(t *testing.T) {
	for statement, want := range map[string]string{
		"SELECT 1":           "",
		"DELETE FROM bundle": "lacks",
		"UPDATE device_list SET signature = zeroblob(64)":                                                          "does not verify",
		"UPDATE device_list SET hash = zeroblob(32)":                                                               "another one's place",
		"UPDATE account SET list_version = 3":                                                                      "lacks",
		"UPDATE device_list SET version = 3 WHERE version = 2":                                                     "another one's place",
		"UPDATE device_list SET list = (SELECT list FROM device_list ORDER BY stored_at, account_id DESC LIMIT 1)": "verif",
	} {
		w, alice, _ := newWorld(t)
		if strings.Contains(statement, "version = 2") {
			w.addPast(alice)
		}
		text := statement
		if sqldbtest.On(t) == sqldbtest.Postgres {
			text = literals.Replace(text)
		}
		if _, err := w.exec(text); err != nil {
			t.Fatal(statement, err)
		}
		faults, err := user.CheckAccounts(t.Context(), w.db)
		if err != nil || (want == "") != (len(faults) == 0) || !strings.Contains(strings.Join(faults, "\n"), want) {
			t.Errorf("%s: %q, %v", statement, faults, err)
		}
	}
}

// addPast stores a second list without a device in it, so that no row depends on its version.
func (w *world) addPast(p *person) {
	w.t.Helper()
	l := p.list
	l.Version++
	l.Previous, l.Devices = p.signed.Hash(), nil
	signed := p.sign(l)
	hash := signed.Hash()
	if _, err := w.exec("INSERT INTO device_list (account_id, version, hash, list, signature, stored_at) VALUES ($1, 2, $2, $3, $4, 1)",
		p.id[:], hash[:], signed.List, signed.Signature); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.exec("UPDATE account SET list_version = 2 WHERE id = $1", p.id[:]); err != nil {
		w.t.Fatal(err)
	}
}
