package sqldb

import (
	"database/sql"
	"errors"
	"sync/atomic"
)

// CommitFault is what a test makes of one commit.
type CommitFault uint8

// Commit faults. The zero value commits as usual.
const (
	NoFault     CommitFault = iota
	FailLost                // the commit fails and nothing was stored; Tx returns ErrCommitUnknown
	FailStored              // everything was stored, then the commit reports a failure; Tx returns ErrCommitUnknown
	PanicLost               // the process "dies" before the commit: Tx panics with ErrInjected, nothing was stored
	PanicStored             // the process "dies" after the commit: Tx panics with ErrInjected, everything was stored
)

// ErrInjected is the cause of a failure that a test asked for.
var ErrInjected = errors.New("injected fault")

// faultHook is nil outside of tests.
type faultHook struct {
	choose atomic.Pointer[func(tx string) CommitFault]
}

// InjectCommitFaults is for tests of what happens around a commit: choose is asked at each commit, with the name of the
// transaction, and may be called from several goroutines. A nil choose ends it. No configuration reaches this.
func (db *DB) InjectCommitFaults(choose func(tx string) CommitFault) {
	if choose == nil {
		db.faults.choose.Store(nil)
		return
	}
	db.faults.choose.Store(&choose)
}

func (h *faultHook) commit(name string, tx *sql.Tx) error {
	choose := h.choose.Load()
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
