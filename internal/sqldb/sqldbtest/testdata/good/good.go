// Package good holds statements that pass.
package good

const (
	columns  = "SELECT id, name"
	sqlByID  = columns + ` FROM item WHERE id = $1`
	sqlByIDs = columns + " FROM item WHERE name = $1 AND id IN %s"
	sqlAdd   = `
INSERT INTO item (id, name) VALUES %s ON CONFLICT (id) DO NOTHING`
	notAStatement = 3
	sqlite        = "not a statement either"
)
