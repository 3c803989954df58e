package sqldb

import "fmt"

// Blob scans a column into an array given as a slice of it. NULL leaves the array as it is.
type Blob []byte

// Scan is for database/sql. The schema fixes the length of every column that is read this way.
func (b Blob) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		return nil
	case []byte:
		if len(v) == len(b) {
			copy(b, v)
			return nil
		}
	}
	return fmt.Errorf("a column of type %T does not fit %d bytes", src, len(b))
}
