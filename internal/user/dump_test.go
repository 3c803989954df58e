package user_test

import (
	"fmt"
	"strings"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// dump writes every row of every table, so that two dumps are equal exactly when nothing changed.
func (w *world) dump() string {
	w.t.Helper()
	list := "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
	if sqldbtest.On(w.t) == sqldbtest.Postgres {
		list = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
	}
	names, err := w.db.Query(w.t.Context(), list)
	if err != nil {
		w.t.Fatal(err)
	}
	var tables []string
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := names.Err(); err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for _, table := range tables {
		w.dumpTable(&b, table)
	}
	return b.String()
}

func (w *world) dumpTable(b *strings.Builder, table string) {
	w.t.Helper()
	place := "rowid"
	if sqldbtest.On(w.t) == sqldbtest.Postgres {
		place = "ctid"
	}
	rows, err := w.db.Query(w.t.Context(), "SELECT * FROM "+table+" ORDER BY "+place)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		w.t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(b, "%s: %x\n", table, values)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
}

// count is the number of rows that a query counts.
func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(w.t.Context(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// exec changes rows past the service.
func (w *world) exec(statement string, args ...any) (n int64, err error) {
	w.t.Helper()
	err = w.db.Tx(w.t.Context(), "test", func(tx *sqldb.Tx) error {
		res, err := tx.Exec(w.t.Context(), statement, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}
