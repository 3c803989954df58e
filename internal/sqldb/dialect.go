package sqldb

import (
	"context"
	"errors"
	"strings"
)

// dialect is everything that differs between engines once a database is open. Another engine is another value of it and
// another branch in Open.
type dialect struct {
	// arrays tells that a statement takes a list as one argument, and that sending fewer statements is what counts.
	arrays bool
	// oneWriter tells that write transactions run one after the other, so that rows need not be locked.
	oneWriter bool
	// types replaces the type tokens of a migration.
	types *strings.Replacer
	// classify sorts the driver's errors.
	classify func(error) errorClass
	// scans lists the steps of the plan of a statement, prepared with n arguments, that read a whole table.
	scans func(ctx context.Context, db *DB, statement string, n int) ([]string, error)
	// begun tells whether anything was ever migrated by a program that knows of compatible steps.
	begun func(ctx context.Context, db *DB) (bool, error)
	// prepare makes the place for the tables of a service before the first step. It may run any number of times.
	prepare func(ctx context.Context, db *DB) error
	// addCompatible adds the column to a table that is older than it.
	addCompatible func(ctx context.Context, tx *Tx) error
	// lock makes other processes that migrate wait for the end of tx.
	lock func(ctx context.Context, tx *Tx) error
	// grant lets the service use the tables that a step made.
	grant func(ctx context.Context, tx *Tx) error
}

type errorClass uint8

const (
	classOther errorClass = iota
	classUnique
	classForeignKey
	classCheck // CHECK, NOT NULL or a value of another type
	classBusy  // lock not available or serialization failure: nothing was changed, the same transaction may run again
	classAway  // the server is not there, or has no room; outside of a commit nothing was changed
)

// classify needs no DB, because the drivers' error types do not overlap.
func classify(err error) errorClass {
	if err == nil {
		return classOther
	}
	if errors.Is(err, ErrOvertaken) {
		return classBusy
	}
	if class := sqliteDialect.classify(err); class != classOther {
		return class
	}
	return classifyPostgres(err)
}

// IsUnique tells that a statement broke a primary key or a unique index.
func IsUnique(err error) bool { return classify(err) == classUnique }

// IsForeignKey tells that a statement or a commit named a row that does not exist.
func IsForeignKey(err error) bool { return classify(err) == classForeignKey }

// IsCheck tells that a value broke a CHECK, a NOT NULL or the type of its column.
func IsCheck(err error) bool { return classify(err) == classCheck }

// IsBusy tells that the database was locked, had other transactions to do for too long, or did not answer. Unless the
// error is ErrCommitUnknown too, nothing was changed; the same may be asked again later.
func IsBusy(err error) bool {
	class := classify(err)
	return class == classBusy || class == classAway || errors.Is(err, errWriterWait)
}
