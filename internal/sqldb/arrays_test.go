package sqldb_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

func TestColumns(t *testing.T) {
	type number uint8
	five, six := int64(5), int64(6)
	want := []any{[][]byte{{1}, nil, {}}, []*int64{&five, &six, nil}}
	if diff := cmp.Diff(want, sqldb.Columns("bi", []any{[]byte{1}, 5, nil, number(6), []byte(nil), nil})); diff != "" {
		t.Error(diff)
	}
	for name, fn := range map[string]func(){
		"another kind of column": func() { sqldb.Columns("x", []any{1}) },
		"a text for a blob":      func() { sqldb.Columns("b", []any{"x"}) },
		"a text for a number":    func() { sqldb.Columns("i", []any{"x"}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

// TestArraysKeepTheOrder: rows from arrays get their numbers in the order of the arrays, which mailboxes rely on.
func TestArraysKeepTheOrder(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	if sqldbtest.On(t) == sqldbtest.SQLite {
		return // has no such statements
	}
	var rows []any
	for i := range 500 {
		rows = append(rows, []byte{byte(i >> 8), byte(i)})
	}
	if err := db.Tx(t.Context(), "fill", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO counter (name) SELECT encode(n, 'hex') FROM unnest($1::bytea[]) AS u (n)", sqldb.Columns("b", rows)...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var disorder int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM counter a JOIN counter b ON b.id = a.id + 1 WHERE b.name <= a.name").Scan(&disorder); err != nil || disorder != 0 {
		t.Errorf("%d out of order, %v", disorder, err)
	}
}
