// Package bad holds statements that must be reported.
package bad

const (
	sqlTypo    = `SELECT nam FROM item WHERE id = $1`
	sqlScan    = `SELECT id FROM item WHERE name = $1`
	sqlPercent = `SELECT id FROM item WHERE id = %d`
	sqlFine    = `SELECT id FROM item WHERE id = $1`
	sqlAllowed = `SELECT count(*) FROM item`
)
