package outbox_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/event"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

var series = sqldbtest.Series{Name: outbox.Series, Files: outbox.Migrations}

func makeEvent(t *testing.T, n byte) event.Event {
	t.Helper()
	e, err := event.New(api.EventID{15: n}, event.LoginEnded, api.AccountID{15: n}, time.UnixMilli(int64(n)),
		event.LoginEnd{LoginID: api.LoginID{15: n}, Until: int64(n)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func add(t *testing.T, db *sqldb.DB, events ...event.Event) {
	t.Helper()
	err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
		for _, e := range events {
			if err := outbox.Add(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *sqldb.DB, table string) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatements(t *testing.T) {
	sqldbtest.CheckStatements(t, ".", sqldbtest.Open(t, series), nil)
}

func TestEventExistsWithItsChangeOnly(t *testing.T) {
	db := sqldbtest.Open(t, series)
	undo := errors.New("undo")
	err := db.Tx(t.Context(), "change", func(tx *sqldb.Tx) error {
		if err := outbox.Add(t.Context(), tx, makeEvent(t, 1)); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) || count(t, db, "outbox") != 0 {
		t.Errorf("%v, %d rows of a change that was rolled back", err, count(t, db, "outbox"))
	}
	add(t, db, makeEvent(t, 1))
	if n := count(t, db, "outbox"); n != 1 {
		t.Errorf("%d rows after the commit", n)
	}
}

func TestAddRefusesWhatCannotBePublished(t *testing.T) {
	db := sqldbtest.Open(t, series)
	for name, spoil := range map[string]func(*event.Event){
		"no id":    func(e *event.Event) { e.ID = api.EventID{} },
		"no type":  func(e *event.Event) { e.Type = "" },
		"no JSON":  func(e *event.Event) { e.Body = []byte("{") },
		"too long": func(e *event.Event) { e.Body = []byte(`"` + strings.Repeat("x", event.MaxBody) + `"`) },
	} {
		e := makeEvent(t, 1)
		spoil(&e)
		err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error { return outbox.Add(t.Context(), tx, e) })
		if err == nil || count(t, db, "outbox") != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnce(t *testing.T) {
	db := sqldbtest.Open(t, series)
	once := func(consumer string, n byte, result error) (first bool) {
		err := db.Tx(t.Context(), "handle", func(tx *sqldb.Tx) (err error) {
			if first, err = outbox.Once(t.Context(), tx, consumer, makeEvent(t, n), time.UnixMilli(1)); err != nil {
				return err
			}
			return result
		})
		if !errors.Is(err, result) {
			t.Fatal(err)
		}
		return first
	}
	undo := errors.New("undo")
	for _, c := range []struct {
		doing    string
		consumer string
		event    byte
		result   error
		first    bool
	}{
		{"rolled back", "a", 1, undo, true},
		{"again after the rollback", "a", 1, nil, true},
		{"repeated", "a", 1, nil, false},
		{"another consumer", "b", 1, nil, true},
		{"another event", "a", 2, nil, true},
	} {
		if first := once(c.consumer, c.event, c.result); first != c.first {
			t.Errorf("%s: first is %t", c.doing, first)
		}
	}
}
