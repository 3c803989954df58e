package user

import (
	"context"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const sqlReadMe = `
SELECT n.name, a.created_at, coalesce(e.name, '') FROM account a
JOIN login_name n ON n.account_id = a.id AND n.kind = 'username'
LEFT JOIN login_name e ON e.account_id = a.id AND e.kind = 'email'
WHERE a.id = $1`

func readMe(ctx context.Context, q sqldb.Querier, id api.AccountID) (api.Me, error) {
	me := api.Me{AccountID: id}
	err := q.QueryRow(ctx, sqlReadMe, id[:]).Scan(&me.Username, &me.CreatedAt, &me.Email)
	return me, err
}

const sqlReadAccountByUsername = `
SELECT account_id FROM login_name WHERE kind = 'username' AND name = $1`

func readAccountByUsername(ctx context.Context, q sqldb.Querier, name string) (id api.AccountID, err error) {
	err = q.QueryRow(ctx, sqlReadAccountByUsername, name).Scan(sqldb.Blob(id[:]))
	return id, err
}

const sqlReadUsernames = `
SELECT account_id, name FROM login_name WHERE kind = 'username' AND substr(name, 1, $2) = $1 ORDER BY name LIMIT $3`

// readUsernames walks through the index of names until it has found enough. A range would depend on the collation.
func readUsernames(ctx context.Context, q sqldb.Querier, prefix string) ([]api.FoundAccount, error) {
	found, err := readAll(ctx, q, func(a *api.FoundAccount) []any { return []any{sqldb.Blob(a.AccountID[:]), &a.Username} },
		sqlReadUsernames, prefix, len(prefix), api.MaxFound)
	if found == nil {
		found = []api.FoundAccount{}
	}
	return found, err
}

const sqlHasAccounts = `SELECT EXISTS (SELECT 1 FROM account WHERE id > $1)`

// HasAccounts tells whether anybody ever registered.
func HasAccounts(ctx context.Context, db *sqldb.DB) (some bool, err error) {
	err = db.QueryRow(ctx, sqlHasAccounts, make([]byte, 16)).Scan(&some)
	return some, errs.Wrap("looking for accounts", err)
}
