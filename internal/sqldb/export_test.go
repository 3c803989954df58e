package sqldb

import "database/sql"

// Writer lets tests reach the engine beside the API.
func (db *DB) Writer() *sql.DB { return db.writer }
