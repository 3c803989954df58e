package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
)

// Fault is what a test makes of one commit.
type Fault uint8

// Faults of a commit. The zero value commits as usual.
const (
	NoFault     Fault = iota
	FailLost          // the commit fails and nothing was stored; Tx returns ErrCommitUnknown
	FailStored        // everything was stored, then the commit reports a failure; Tx returns ErrCommitUnknown
	PanicLost         // the process "dies" before the commit: Tx panics with ErrInjected, nothing was stored
	PanicStored       // the process "dies" after the commit: Tx panics with ErrInjected, everything was stored
)

// ErrInjected is the cause of a failure that a test asked for.
var ErrInjected = errors.New("injected fault")

// faultHook is nil outside of tests.
type faultHook struct {
	commits    atomic.Pointer[func(tx string) Fault]
	statements atomic.Pointer[func(tx, statement string) bool]
}

// InjectCommitFaults is for tests of what happens around a commit: choose is asked at each commit, with the name of the
// transaction, and may be called from several goroutines. A nil choose ends it. No configuration reaches this.
func (db *DB) InjectCommitFaults(choose func(tx string) Fault) {
	if choose == nil {
		db.faults.commits.Store(nil)
		return
	}
	db.faults.commits.Store(&choose)
}

// InjectStatementFaults makes those statements of transactions fail that choose says, before they reach the engine.
// Otherwise it is like InjectCommitFaults.
func (db *DB) InjectStatementFaults(choose func(tx, statement string) bool) {
	if choose == nil {
		db.faults.statements.Store(nil)
		return
	}
	db.faults.statements.Store(&choose)
}

func (h *faultHook) commit(name string, tx *sql.Tx) error {
	choose := h.commits.Load()
	if choose == nil {
		return tx.Commit()
	}
	fault := (*choose)(name)
	if fault == FailLost || fault == PanicLost {
		if err := tx.Rollback(); err != nil {
			return err
		}
	} else if err := tx.Commit(); err != nil {
		return err
	}
	switch fault { //nolint:exhaustive // the others have happened by now
	case PanicLost, PanicStored:
		panic(ErrInjected)
	case FailLost, FailStored:
		return ErrInjected
	}
	return nil
}

// statement returns the context to run a statement with: one that has ended when it is to fail.
func (h *faultHook) statement(ctx context.Context, tx, statement string) context.Context {
	choose := h.statements.Load()
	if choose == nil || !(*choose)(tx, statement) {
		return ctx
	}
	ended, end := context.WithCancel(ctx)
	end()
	return ended
}
