package app

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"sotto/internal/config"
	"sotto/internal/sqldb"
	"sotto/internal/user"
)

// Verify reads the data of a stopped or running server and prints a line for each fault. It changes nothing.
func Verify(ctx context.Context, c config.Config, out io.Writer) error {
	var all []string
	for _, service := range databases {
		faults, err := verifyDatabase(ctx, c, service, out)
		if err != nil {
			return err
		}
		for _, fault := range faults {
			fmt.Fprintf(out, "%s: %s\n", service, fault)
		}
		if len(faults) == 0 {
			fmt.Fprintf(out, "%s: ok\n", service)
		}
		all = append(all, faults...)
	}
	if !assetsOnDisk(c) {
		fmt.Fprintf(out, "assets: in %s, not looked at\n", c.AssetStore)
	}
	return faultsError(all)
}

func faultsError(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d faults in the data, the first: %s; restore a backup", len(faults), faults[0])
}

func verifyDatabase(ctx context.Context, c config.Config, service string, out io.Writer) (faults []string, err error) {
	db, err := openExisting(ctx, c, service)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if faults, err = db.Check(ctx); err != nil || len(faults) > 0 {
		return faults, err // what is damaged below makes no sense above
	}
	switch service {
	case "user":
		faults, err = user.CheckAccounts(ctx, db)
	case "chat":
		faults, err = checkConversations(ctx, db)
	}
	if err != nil || !hasAssets(service) || !assetsOnDisk(c) {
		return faults, err
	}
	lost, err := checkAssets(ctx, c, service, db, out)
	return append(faults, lost...), err
}

const (
	sqlSparseConversations = `
SELECT c.id FROM conversation c
WHERE c.last_seq <> (SELECT count(*) FROM message m WHERE m.conversation = c.id AND m.seq IS NOT NULL)
	OR c.last_seq <> coalesce((SELECT max(m.seq) FROM message m WHERE m.conversation = c.id), 0)`
	sqlMiscountedMailboxes = `
SELECT d.id FROM device d
WHERE d.entries <> (SELECT count(*) FROM mailbox b WHERE b.device = d.id)
	OR d.bytes <> (SELECT coalesce(sum(b.size), 0) FROM mailbox b WHERE b.device = d.id)`
)

// checkConversations reads every conversation and mailbox and returns what the chat service would never store: a seq
// that is missing, a mailbox whose size is not what its device's row says.
func checkConversations(ctx context.Context, db *sqldb.DB) (faults []string, err error) {
	for _, check := range []struct{ statement, fault string }{
		{sqlSparseConversations, "conversation %s does not hold every seq up to its last one"},
		{sqlMiscountedMailboxes, "the mailbox of device %s holds another number of entries or bytes than is written"},
	} {
		names, err := readNames(ctx, db, check.statement)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			faults = append(faults, strings.Replace(check.fault, "%s", name, 1))
		}
	}
	return faults, nil
}

func readNames(ctx context.Context, db *sqldb.DB, statement string) (names []string, err error) {
	rows, err := db.Query(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("checking conversations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name any
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("checking conversations: %w", err)
		}
		if id, ok := name.([]byte); ok {
			name = hex.EncodeToString(id)
		}
		names = append(names, fmt.Sprint(name))
	}
	return names, rows.Err()
}
