package sqldb

import (
	"fmt"
	"reflect"
)

// Kinds of the columns of Columns.
const (
	blobs    = 'b'
	integers = 'i'
)

// Columns turns rows, given one after the other, into one array for each column: the arguments of a statement that is
// named sqlSomethingArrays and takes its rows from unnest. kinds has a letter a column: b for a byte string, i for an
// integer; nil stands for NULL. It panics when a value is of another kind, because statement and rows stand in one place.
func Columns(kinds string, rows []any) []any {
	n := len(rows) / len(kinds)
	args := make([]any, len(kinds))
	for c, kind := range kinds {
		switch kind {
		case blobs:
			column := make([][]byte, n)
			for r := range n {
				column[r] = blobOf(rows[r*len(kinds)+c])
			}
			args[c] = column
		case integers:
			column := make([]*int64, n)
			for r := range n {
				column[r] = integerOf(rows[r*len(kinds)+c])
			}
			args[c] = column
		default:
			panic(fmt.Sprintf("sqldb: kind %q of a column", kind))
		}
	}
	return args
}

func blobOf(value any) []byte {
	if value == nil {
		return nil
	}
	b := value.([]byte)
	if b == nil {
		return []byte{} // a nil slice is an empty value here and NULL to the driver
	}
	return b
}

func integerOf(value any) *int64 {
	if value == nil {
		return nil
	}
	v := reflect.ValueOf(value)
	var n int64
	if v.CanInt() {
		n = v.Int()
	} else {
		n = int64(v.Uint())
	}
	return &n
}
