package sqldb

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxIn bounds the values of one In list: beyond it, callers work in slices of this size.
const MaxIn = 500

// In writes the list "($first,$first+1,…)" of n placeholders for a statement that holds %s after IN. It panics when n
// is not 1 to MaxIn, because the caller had to bound the list and to treat the empty one.
func In(first, n int) string {
	if n < 1 || n > MaxIn {
		panic(fmt.Sprintf("sqldb: list of %d placeholders, want 1 to %d", n, MaxIn))
	}
	var b strings.Builder
	for i := range n {
		b.WriteString(",$")
		b.WriteString(strconv.Itoa(first + i))
	}
	return "(" + b.String()[1:] + ")"
}

// MaxValues bounds the placeholders of one Values list.
const MaxValues = 4000

// Values writes rows lists of columns placeholders each, "($first,…),(…)", for an INSERT that holds %s after VALUES. It
// panics outside of 1 to MaxValues placeholders.
func Values(first, rows, columns int) string {
	if rows < 1 || columns < 1 || rows*columns > MaxValues {
		panic(fmt.Sprintf("sqldb: %d rows of %d placeholders, want 1 to %d in all", rows, columns, MaxValues))
	}
	var b strings.Builder
	for r := range rows {
		for c := range columns {
			if c == 0 {
				b.WriteString(",($")
			} else {
				b.WriteString(",$")
			}
			b.WriteString(strconv.Itoa(first + r*columns + c))
		}
		b.WriteString(")")
	}
	return b.String()[1:]
}
