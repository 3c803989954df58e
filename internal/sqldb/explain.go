package sqldb

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

var placeholder = regexp.MustCompile(`\$([0-9]+)`)

// Scans prepares a statement and returns the steps of its plan that read a whole table. It runs nothing. It is the
// engine's half of sqldbtest.CheckStatements.
func (db *DB) Scans(ctx context.Context, statement string) ([]string, error) {
	scans, err := db.dialect.scans(ctx, db, statement, countPlaceholders(statement))
	if err != nil {
		return nil, fmt.Errorf("explaining a statement: %w", err)
	}
	return scans, nil
}

// countPlaceholders returns the highest number of a placeholder, which may repeat and come in any order.
func countPlaceholders(statement string) int {
	highest := 0
	for _, m := range placeholder.FindAllStringSubmatch(statement, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			highest = max(highest, n)
		}
	}
	return highest
}
