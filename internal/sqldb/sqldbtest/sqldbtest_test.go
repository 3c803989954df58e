package sqldbtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sotto/internal/sqldb/sqldbtest"
)

var items = sqldbtest.Series{Name: "items", Files: fstest.MapFS{
	"0001_item.sql": {Data: []byte("CREATE TABLE item (id $int PRIMARY KEY, name TEXT NOT NULL) $strict")},
}}

// reports keeps what a check would have failed with.
type reports struct {
	testing.TB
	lines []string
}

func (r *reports) Helper() {}

func (r *reports) Errorf(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func TestCheckStatementsPassesGoodOnes(t *testing.T) {
	sqldbtest.CheckStatements(t, "testdata/good", sqldbtest.Open(t, items), nil)
}

func TestCheckStatementsReportsBadOnes(t *testing.T) {
	r := &reports{TB: t}
	sqldbtest.CheckStatements(r, "testdata/bad", sqldbtest.Open(t, items), map[string]string{
		"sqlAllowed": "needs every row",
		"sqlFine":    "an excuse that is not needed",
		"sqlGone":    "a statement that is not there",
	})
	slices.Sort(r.lines)
	want := []string{"sqlGone is on", "sqlPercent: ", "sqlScan reads a whole", "sqlTypo: "}
	if sqldbtest.On(t) == sqldbtest.SQLite {
		want = append([]string{"sqlFine reads no"}, want...)
	}
	if len(r.lines) != len(want) {
		t.Fatalf("reported %q", r.lines)
	}
	for i, prefix := range want {
		if !strings.HasPrefix(r.lines[i], prefix) {
			t.Errorf("reported %q, want %s…", r.lines[i], prefix)
		}
	}
	empty := &reports{TB: t}
	sqldbtest.CheckStatements(empty, t.TempDir(), sqldbtest.Open(t, items), nil)
	if len(empty.lines) != 1 {
		t.Errorf("a folder without statements: %q", empty.lines)
	}
}
