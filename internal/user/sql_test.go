package user_test

import (
	"testing"

	"sotto/internal/sqldb/sqldbtest"
)

func TestStatements(t *testing.T) {
	sqldbtest.CheckStatements(t, ".", sqldbtest.Open(t, series...), map[string]string{
		"sqlVoidPreKeys":        "once after a restore",
		"sqlIncompleteAccounts": "sottod verify reads everything",
		"sqlReadAllLists":       "sottod verify reads everything",
	})
}

func TestTransactionsLockAccounts(t *testing.T) {
	sqldbtest.CheckTransactions(t, ".", map[string]string{
		"name":     "accountTx itself",
		"register": "there is no account yet; of two at once, one finds a key taken and runs again",
	})
}
