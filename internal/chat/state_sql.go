package chat

import (
	"context"
	"errors"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

const sqlReadStates = `
SELECT name, version, key_epoch, sealed FROM account_state WHERE account = $1 AND name > $2 AND changed_at >= $3
ORDER BY name LIMIT $4`

func readStates(ctx context.Context, q sqldb.Querier, id api.AccountID, after string, since int64, limit int) (api.States, error) {
	page := api.States{States: []api.State{}}
	rows, err := q.Query(ctx, sqlReadStates, id[:], []byte(after), since, limit+1)
	if err != nil {
		return page, errs.Wrap("reading account state", err)
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		var st api.State
		if err := rows.Scan(&st.Name, &st.Version, &st.KeyEpoch, &st.Sealed); err != nil {
			return page, errs.Wrap("reading account state", err)
		}
		size += len(st.Sealed) + stateOverhead
		if n := len(page.States); n == limit || n > 0 && size > api.MaxStatePageSize {
			page.Next = page.States[n-1].Name
			return page, nil
		}
		page.States = append(page.States, st)
	}
	return page, errs.Wrap("reading account state", rows.Err())
}

const sqlReadState = `SELECT name, version, key_epoch, sealed FROM account_state WHERE account = $1 AND name = $2`

// readState returns nil when there is none.
func readState(ctx context.Context, q sqldb.Querier, id api.AccountID, name string) (*api.State, error) {
	st := &api.State{}
	err := q.QueryRow(ctx, sqlReadState, id[:], []byte(name)).Scan(&st.Name, &st.Version, &st.KeyEpoch, &st.Sealed)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	return st, errs.Wrap("reading account state", err)
}

const sqlCountStates = `SELECT COUNT(*) FROM account_state WHERE account = $1`

func countStates(ctx context.Context, tx *sqldb.Tx, id api.AccountID) (n int, err error) {
	err = tx.QueryRow(ctx, sqlCountStates, id[:]).Scan(&n)
	return n, errs.Wrap("counting account state", err)
}

const sqlUpsertState = `
INSERT INTO account_state (account, name, version, key_epoch, sealed, changed_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account, name) DO UPDATE SET
	version = excluded.version, key_epoch = excluded.key_epoch, sealed = excluded.sealed, changed_at = excluded.changed_at`

func upsertState(ctx context.Context, tx *sqldb.Tx, id api.AccountID, st api.State, now int64) error {
	_, err := tx.Exec(ctx, sqlUpsertState, id[:], []byte(st.Name), st.Version, st.KeyEpoch, st.Sealed, now)
	return errs.Wrap("writing account state", err)
}
