package chat

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

func stateOf(name string, version uint64, sealed string) api.State {
	return api.State{Name: name, Version: version, KeyEpoch: 1, Sealed: []byte(sealed)}
}

// TestStateSwap: of two devices that change the same version one is refused and told what is stored.
func TestStateSwap(t *testing.T) {
	r := newRig(t)
	anna := r.person(2)
	one, other := anna.devices[0], anna.devices[1]
	put := func(d *phone, st api.State) error { return r.s.PutState(t.Context(), d.actor(), st) }
	for _, st := range []api.State{stateOf("peer/ben", 1, "a"), stateOf("peer/ben", 2, "b"), stateOf("profile", 1, "c")} {
		for range 2 { // the first answer may be lost
			if err := put(one, st); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := r.dump()
	err := put(other, stateOf("peer/ben", 2, "x"))
	wantCode(t, err, api.CodeConflict)
	want := stateOf("peer/ben", 2, "b")
	if diff := cmp.Diff(&want, errs.As(err).Details); diff != "" {
		t.Error(diff)
	}
	for name, tc := range map[string]struct {
		state api.State
		code  string
	}{
		"a version skipped":     {stateOf("peer/ben", 4, "x"), api.CodeConflict},
		"no first version":      {stateOf("read/carl", 2, "x"), api.CodeConflict},
		"version 0":             {stateOf("read/carl", 0, "x"), api.CodeInvalid},
		"no name":               {stateOf("", 1, "x"), api.CodeInvalid},
		"a long name":           {stateOf(strings.Repeat("x", api.MaxStateName+1), 1, "x"), api.CodeInvalid},
		"a name of other runes": {stateOf("Peer ben", 1, "x"), api.CodeInvalid},
		"nothing sealed":        {stateOf("read/carl", 1, ""), api.CodeInvalid},
		"too large":             {stateOf("read/carl", 1, strings.Repeat("x", api.MaxStateBytes+1)), api.CodeTooLarge},
		"no epoch":              {api.State{Name: "x", Version: 1, Sealed: []byte{1}}, api.CodeInvalid},
	} {
		if err := put(other, tc.state); code(err) != tc.code {
			t.Errorf("%s: %v, want code %s", name, err, tc.code)
		}
	}
	if diff := cmp.Diff(before, r.dump()); diff != "" {
		t.Error(diff)
	}
	_, err = r.s.State(t.Context(), other.actor(), "read/carl")
	wantCode(t, err, api.CodeNotFound)
	_, err = r.s.State(t.Context(), r.person(1).devices[0].actor(), "peer/ben")
	wantCode(t, err, api.CodeNotFound)
	newer := stateOf("peer/ben", 3, "d")
	newer.KeyEpoch = 2
	if err := put(other, newer); err != nil {
		t.Fatal(err)
	}
	if got, err := r.s.State(t.Context(), one.actor(), "peer/ben"); err != nil || !cmp.Equal(got, newer) {
		t.Errorf("%+v, %v", got, err)
	}
	err = put(one, stateOf("profile", 2, "x"))
	wantCode(t, err, api.CodeArchiveEpoch)
	if diff := cmp.Diff(api.ArchiveEpochDetails{KeyEpoch: 2}, errs.As(err).Details); diff != "" {
		t.Error(diff)
	}
}

// TestStatePages: by name, bounded in number and size; the number of all is bounded, too.
func TestStatePages(t *testing.T) {
	r := newRig(t)
	anna := r.person(1)
	from := anna.devices[0]
	var want []string
	for i := range 15 {
		name := "read/" + string(rune('a'+i))
		want = append(want, name)
		if err := r.s.PutState(t.Context(), from.actor(), stateOf(name, 1, strings.Repeat("x", api.MaxStateBytes))); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{1, 4, api.MaxStatePage} {
		var got []string
		for after := ""; ; {
			page, err := r.s.States(t.Context(), from.actor(), after, 0, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.States)*api.MaxStateBytes > api.MaxStatePageSize {
				t.Errorf("%d large pieces in a page", len(page.States))
			}
			for _, st := range page.States {
				got = append(got, st.Name)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d: %s", limit, diff)
		}
	}
	for _, limit := range []int{0, api.MaxStatePage + 1} {
		_, err := r.s.States(t.Context(), from.actor(), "", 0, limit)
		wantCode(t, err, api.CodeInvalid)
	}
	var rest []any
	for i := range api.MaxStates - len(want) {
		rest = append(rest, anna.id[:], []byte(fmt.Sprintf("n/%d", i)), 1, 1, []byte{1}, 1)
	}
	if err := r.db.Tx(t.Context(), "test", func(tx *sqldb.Tx) error {
		for row := range slices.Chunk(rest, 6) {
			if _, err := tx.Exec(t.Context(), "INSERT INTO account_state (account, name, version, key_epoch, sealed, changed_at) VALUES "+sqldb.Values(1, 1, 6), row...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.s.PutState(t.Context(), from.actor(), stateOf("one.more", 1, "x")), api.CodeTooLarge)
	if err := r.s.PutState(t.Context(), from.actor(), stateOf(want[0], 2, "x")); err != nil {
		t.Errorf("a change among the most there may be: %v", err)
	}
}

// TestStatesSince: a device that comes back asks only for what was changed meanwhile.
func TestStatesSince(t *testing.T) {
	r := newRig(t)
	from := r.person(1).devices[0]
	put := func(name string, version uint64) {
		t.Helper()
		if err := r.s.PutState(t.Context(), from.actor(), stateOf(name, version, "x")); err != nil {
			t.Fatal(err)
		}
	}
	put("a", 1)
	put("b", 1)
	r.clock.Add(1_000)
	since := r.now().UnixMilli()
	put("c", 1)
	put("a", 2)
	for at, want := range map[int64]int{0: 3, since: 2, since + 1: 0} {
		page, err := r.s.States(t.Context(), from.actor(), "", at, api.MaxStatePage)
		if err != nil || len(page.States) != want {
			t.Errorf("since %d: %d pieces, want %d, %v", at, len(page.States), want, err)
		}
	}
}

// TestStateIsTold to the other sockets of the account.
func TestStateIsTold(t *testing.T) {
	r := running(t)
	anna := r.person(2)
	one, _ := anna.devices[0].socket(t)
	other, _ := anna.devices[1].socket(t)
	first, second := stateOf("profile", 1, "a"), stateOf("profile", 2, "b")
	if err := r.s.PutState(t.Context(), anna.devices[0].actor(), first); err != nil {
		t.Fatal(err)
	}
	if err := r.s.PutState(t.Context(), anna.devices[1].actor(), second); err != nil {
		t.Fatal(err)
	}
	for version, w := range map[uint64]*wire{1: other, 2: one} {
		var told api.StateVersion
		w.event(api.EventState, &told)
		if diff := cmp.Diff(api.StateVersion{Name: "profile", Version: version}, told); diff != "" {
			t.Error(diff)
		}
	}
}
