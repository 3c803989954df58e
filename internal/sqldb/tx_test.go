package sqldb_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

func TestTxSeesItsOwnChangesAndOthersSeeThemAfterTheCommit(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(t.Context(), insertNote, noteID(1), nil, "one", int64(1)); err != nil {
			return err
		}
		if got := titles(t, tx); len(got) != 1 {
			t.Errorf("within: %v", got)
		}
		if got := titles(t, db); len(got) != 0 {
			t.Errorf("outside, before the commit: %v", got)
		}
		return nil
	})
	if got := titles(t, db); err != nil || len(got) != 1 {
		t.Errorf("after: %v, %v", got, err)
	}
}

func TestTxRollsBackOnErrorPanicAndEndOfContext(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	mine := errors.New("mine")
	ctx, cancel := context.WithCancel(t.Context())
	for name, end := range map[string]func() error{
		"error":   func() error { return mine },
		"panic":   func() error { panic(mine) },
		"context": func() error { cancel(); return nil },
	} {
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = p.(error)
				}
			}()
			return db.Tx(ctx, "add", func(tx *sqldb.Tx) error {
				if _, err := tx.Exec(t.Context(), insertNote, noteID(1), nil, "one", int64(1)); err != nil {
					return err
				}
				return end()
			})
		}()
		if !errors.Is(err, mine) && !errors.Is(err, context.Canceled) || errors.Is(err, sqldb.ErrCommitUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if got := titles(t, db); len(got) != 0 {
			t.Errorf("%s: left %v behind", name, got)
		}
	}
	if err := addNote(t, db, 1, nil, "one"); err != nil {
		t.Errorf("the writer was not freed: %v", err)
	}
}

func TestCommitFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault  sqldb.Fault
		stored bool
		dies   bool
	}{
		"failed and lost":   {sqldb.FailLost, false, false},
		"failed and stored": {sqldb.FailStored, true, false},
		"died before":       {sqldb.PanicLost, false, true},
		"died after":        {sqldb.PanicStored, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			db := sqldbtest.Open(t, notes)
			commits := 0
			db.InjectCommitFaults(func(tx string) sqldb.Fault {
				if commits++; tx != "add" {
					t.Errorf("asked about %q", tx)
				}
				return c.fault
			})
			var died any
			err := func() error {
				defer func() { died = recover() }()
				return addNote(t, db, 1, nil, "one")
			}()
			if c.dies != (died == sqldb.ErrInjected) || !c.dies && !errors.Is(err, sqldb.ErrCommitUnknown) { //nolint:errorlint // the very value that was thrown
				t.Errorf("died with %v, failed with %v", died, err)
			}
			if got := titles(t, db); (len(got) == 1) != c.stored {
				t.Errorf("stored: %v", got)
			}
			if commits != 1 {
				t.Errorf("a commit of unknown outcome was run %d times", commits)
			}
			db.InjectCommitFaults(nil)
			if err := addNote(t, db, 2, nil, "two"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// busyError comes from the engine: it is what a second process meets that does not wait for the first one's lock.
func busyError(t *testing.T) error {
	t.Helper()
	if sqldbtest.On(t) == sqldbtest.Postgres {
		_, err := sqldbtest.Open(t).Writer().Exec("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$")
		return err
	}
	path := filepath.Join(t.TempDir(), "busy.db")
	first, second := sqldbtest.OpenAt(t, path, notes), sqldbtest.OpenAt(t, path)
	if _, err := second.Writer().Exec("PRAGMA busy_timeout = 0"); err != nil {
		t.Fatal(err)
	}
	var busy error
	if err := first.Tx(t.Context(), "hold", func(*sqldb.Tx) error {
		_, busy = second.Writer().Exec("DELETE FROM note")
		return nil
	}); err != nil || busy == nil {
		t.Fatal("no lock was met")
	}
	return busy
}

func TestBusyRunsAgainAndIsBounded(t *testing.T) {
	busy := busyError(t)
	if !sqldb.IsBusy(busy) || sqldb.IsUnique(busy) {
		t.Fatalf("%v is not busy", busy)
	}
	synctest.Test(t, func(t *testing.T) {
		db := sqldbtest.Open(t, notes)
		for _, failures := range []int{0, 1, 4, 5, 100} {
			runs := 0
			err := db.Tx(t.Context(), "busy", func(tx *sqldb.Tx) error {
				if runs++; runs <= failures {
					return busy
				}
				return nil
			})
			if want := min(failures+1, 5); runs != want || (err == nil) != (failures < 5) || err != nil && !sqldb.IsBusy(err) {
				t.Errorf("%d failures: %d runs, %v", failures, runs, err)
			}
		}
	})
}

func TestOtherErrorsAreNotRunAgain(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	runs := 0
	err := db.Tx(t.Context(), "add", func(tx *sqldb.Tx) error {
		runs++
		_, err := tx.Exec(t.Context(), "INSERT INTO note (id) VALUES ($1)", noteID(1))
		return err
	})
	if runs != 1 || !sqldb.IsCheck(err) {
		t.Errorf("%d runs, %v", runs, err)
	}
}

func TestWaitingForTheWriterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := sqldbtest.Options()
		options.MaxWriters = 1
		db, err := sqldb.Open(t.Context(), sqldbtest.URL(t), options)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		var holder sync.WaitGroup
		holder.Go(func() {
			if err := db.Tx(t.Context(), "hold", func(*sqldb.Tx) error { <-release; return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		started := time.Now()
		err = addNote(t, db, 1, nil, "one")
		if !sqldb.IsBusy(err) || time.Since(started) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(started), err)
		}
		close(release)
		holder.Wait()
		if err := addNote(t, db, 1, nil, "one"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestManyWritersLoseNothing(t *testing.T) {
	db := sqldbtest.Open(t, notes)
	if err := addNote(t, db, 1, nil, "the row that all lock"); err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := db.Tx(t.Context(), "count", func(tx *sqldb.Tx) error {
					if err := tx.Lock(t.Context(), "SELECT id FROM note WHERE id = $1 FOR NO KEY UPDATE", noteID(1)); err != nil {
						return err
					}
					var n int64
					if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM counter").Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(t.Context(), "INSERT INTO counter (id, name) VALUES ($1, 'n')", n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM counter").Scan(&n); err != nil || n != writers*each {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestSlowLogHoldsNoArguments(t *testing.T) {
	var log bytes.Buffer
	options := sqldbtest.Options()
	options.Logger, options.SlowQuery = slog.New(slog.NewTextHandler(&log, nil)), 1
	db, err := sqldb.Open(t.Context(), sqldbtest.URL(t), options)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), notes.Name, notes.Files); err != nil {
		t.Fatal(err)
	}
	if err := addNote(t, db, 1, nil, "canary"); err != nil {
		t.Fatal(err)
	}
	if got := titles(t, db); len(got) != 1 {
		t.Fatal(got)
	}
	var n int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM note WHERE title = $1", "canary").Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	for _, want := range []string{
		`name=sqldb_test.titles statement="SELECT title FROM note ORDER BY at, id" rows=1`,
		`name=sqldb_test.TestSlowLogHoldsNoArguments statement="SELECT count(*) FROM note WHERE title = $1" rows=1`,
		`statement="INSERT INTO note (id, parent, title, at) VALUES ($1, $2, $3, $4)" rows=1`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if !strings.Contains(log.String(), "INSERT INTO note") || !strings.Contains(log.String(), "tx=add") ||
		strings.Contains(log.String(), "canary") {
		t.Errorf("log:\n%s", log.String())
	}
}
