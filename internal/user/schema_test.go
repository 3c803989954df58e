package user_test

import (
	"strings"
	"testing"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// TestSchemaRefuses writes past the service what it would never write: the tables are the last line of defence.
func TestSchemaRefuses(t *testing.T) {
	w, alice, bob := newWorld(t)
	unique := func(err error) bool { return sqldb.IsUnique(err) }
	for statement, broken := range map[string]func(error) bool{
		"UPDATE account SET id = x'00'":                                                  sqldb.IsCheck,
		"UPDATE account SET account_key = 'text'":                                        sqldb.IsCheck,
		"UPDATE account SET role = 'owner'":                                              sqldb.IsCheck,
		"UPDATE account SET list_version = 0":                                            sqldb.IsCheck,
		"UPDATE account SET recovery_verifier = NULL":                                    sqldb.IsCheck,
		"UPDATE login_name SET salt = NULL":                                              sqldb.IsCheck,
		"UPDATE login_name SET iterations = 599999":                                      sqldb.IsCheck,
		"UPDATE login_name SET verifier = x'00'":                                         sqldb.IsCheck,
		"UPDATE login_name SET name = 'same'":                                            unique,
		"UPDATE login_name SET account_id = zeroblob(16) WHERE name = 'bob'":             sqldb.IsForeignKey,
		"UPDATE device_list SET hash = x'00'":                                            sqldb.IsCheck,
		"UPDATE device SET wire_id = 128":                                                sqldb.IsCheck,
		"UPDATE device SET registration_id = 16384":                                      sqldb.IsCheck,
		"UPDATE device SET state = 'removed'":                                            sqldb.IsCheck,
		"UPDATE device SET state = 'lost'":                                               sqldb.IsCheck,
		"UPDATE device SET list_version = 2":                                             sqldb.IsForeignKey,
		"UPDATE device SET added_at = 'yesterday'":                                       sqldb.IsCheck,
		"UPDATE prekey SET public_key = NULL":                                            sqldb.IsCheck,
		"UPDATE prekey SET id = 16777216":                                                sqldb.IsCheck,
		"UPDATE prekey SET signature = NULL":                                             sqldb.IsCheck,
		"UPDATE prekey SET id = 1":                                                       unique,
		"UPDATE bundle SET sealed = x''":                                                 sqldb.IsCheck,
		"UPDATE login SET ended_at = 1":                                                  sqldb.IsCheck,
		"UPDATE login SET ended_at = 1, end_reason = 'tired'":                            sqldb.IsCheck,
		"UPDATE login SET device_id = (SELECT id FROM device ORDER BY added_at LIMIT 1)": unique,
		"DELETE FROM account":                                                            sqldb.IsForeignKey,
		"DELETE FROM device":                                                             sqldb.IsForeignKey,
	} {
		if sqldbtest.On(t) == sqldbtest.Postgres {
			statement = literals.Replace(statement)
		}
		if _, err := w.exec(statement); !broken(err) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	second := w.addDevice(alice, 0)
	for _, c := range []struct {
		statement string
		args      []any
	}{
		{"UPDATE device SET wire_id = 1 WHERE id = $1", []any{second.id[:]}},
		{"UPDATE device SET account_id = $2, list_version = 1 WHERE id = $1", []any{alice.devices[0].id[:], bob.id[:]}},
	} {
		if _, err := w.exec(c.statement, c.args...); !sqldb.IsUnique(err) {
			t.Errorf("two devices of one account under one number: %v", err)
		}
	}
}

// literals are what PostgreSQL writes for a blob.
var literals = strings.NewReplacer("x'00'", "'\\x00'::bytea", "x''", "''::bytea", "zeroblob(16)", "decode(repeat('00', 16), 'hex')",
	"zeroblob(32)", "decode(repeat('00', 32), 'hex')", "zeroblob(64)", "decode(repeat('00', 64), 'hex')")
