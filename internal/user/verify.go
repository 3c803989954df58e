package user

import (
	"context"
	"fmt"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/sqldb"
)

const sqlIncompleteAccounts = `
SELECT a.id FROM account a WHERE NOT EXISTS (SELECT 1 FROM bundle b WHERE b.account_id = a.id)
	OR NOT EXISTS (SELECT 1 FROM login_name n WHERE n.account_id = a.id)
	OR a.list_version <> (SELECT max(version) FROM device_list l WHERE l.account_id = a.id)
	OR a.list_version <> (SELECT count(*) + min(version) - 1 FROM device_list l WHERE l.account_id = a.id)`

const sqlReadAllLists = `
SELECT account_id, version, hash, list, signature FROM device_list ORDER BY account_id, version`

// CheckAccounts reads every account and returns what this service would never store, a line each: accounts without
// bundle or name, chains of device lists with holes, lists that do not verify.
func CheckAccounts(ctx context.Context, q sqldb.Querier) (faults []string, err error) {
	incomplete, err := readAll(ctx, q, func(id *api.AccountID) []any { return []any{sqldb.Blob(id[:])} }, sqlIncompleteAccounts)
	if err != nil {
		return nil, err
	}
	for _, id := range incomplete {
		faults = append(faults, fmt.Sprintf("account %s lacks a key bundle, a name or a device list", id))
	}
	rows, err := q.Query(ctx, sqlReadAllLists)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var before storedList
	for rows.Next() {
		var l storedList
		err := rows.Scan(sqldb.Blob(l.account[:]), &l.version, sqldb.Blob(l.hash[:]), &l.signed.List, &l.signed.Signature)
		if err != nil {
			return nil, err
		}
		if fault := l.check(before); fault != "" {
			faults = append(faults, fmt.Sprintf("device list %d of account %s %s", l.version, l.account, fault))
		}
		before = l
	}
	return faults, rows.Err()
}

type storedList struct {
	account api.AccountID
	version uint64
	hash    [32]byte
	signed  e2ee.SignedDeviceList
}

// check returns what is wrong with l, which is stored after before.
func (l storedList) check(before storedList) string {
	list, err := l.signed.Parse()
	switch {
	case err != nil:
		return "does not verify"
	case list.Account != l.account || list.Version != l.version || l.signed.Hash() != l.hash:
		return "is stored in another one's place"
	case before.account == l.account && list.Previous != before.hash:
		return "does not follow the one before it"
	}
	return ""
}
