package asset_test

import (
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/internal/asset"
	"sotto/internal/asset/assettest"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
)

// held is one more replica. It stops where it looks at the clock for the n-th time, within a transaction, until goOn closes.
type held struct {
	*asset.Store
	reached, goOn chan struct{}
}

// What Append looks at the clock for.
const planning, placing = 1, 2

func (w *world) held(at int64) held {
	replica := *w.Store
	h := held{&replica, make(chan struct{}), make(chan struct{})}
	var looks atomic.Int64
	replica.Now = func() time.Time {
		if looks.Add(1) == at {
			close(h.reached)
			<-h.goOn
		}
		return w.clock()
	}
	return h
}

// answer is what Append returned.
type answer struct {
	api.Asset
	err error
}

func appendTo(t *testing.T, done chan<- answer, s *asset.Store, id api.UploadID, content []byte) {
	a, err := s.Append(t.Context(), ada, id, 0, content)
	done <- answer{a, err}
}

// untilOneWaits returns when a transaction waits for another one. When none does, because done has its answer, the test
// finds out by that.
func untilOneWaits[T any](w *world, waitedBefore int64, done chan T) {
	w.t.Helper()
	for deadline := time.Now().Add(25 * time.Second); len(done) == 0; time.Sleep(time.Millisecond) {
		if w.waiting() > waitedBefore {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal("it neither waits nor ends")
		}
	}
}

// waiting counts who waits for a lock now; on SQLite who has ever waited for the only connection that writes.
func (w *world) waiting() (n int64) {
	w.t.Helper()
	if sqldbtest.On(w.t) == sqldbtest.SQLite {
		return w.DB.Pools()[1].WaitCount
	}
	if err := w.DB.QueryRow(w.t.Context(), `SELECT COUNT(*) FROM pg_locks WHERE NOT granted`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestSamePartAtTwoReplicas: both have written the object. The second one finds it placed.
func TestSamePartAtTwoReplicas(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	first := w.held(placing)
	firstDone, secondDone := make(chan answer, 1), make(chan answer, 1)
	w.failing(func(string, string) error { // the second one has planned
		w.failing(nil)
		go appendTo(t, firstDone, first.Store, id, content)
		<-first.reached
		return nil
	})
	before := w.waiting()
	go appendTo(t, secondDone, w.Store, id, content)
	<-first.reached
	untilOneWaits(w, before, secondDone)
	close(first.goOn)
	for _, done := range []chan answer{firstDone, secondDone} {
		if a := <-done; a.err != nil || !a.Stored() {
			t.Error(a.Asset, a.err)
		}
	}
	if err := w.read(content); err != nil {
		t.Error(err)
	}
}

// TestOtherCutAtTwoReplicas: the second one looked before the first one placed its part. It writes nothing.
func TestOtherCutAtTwoReplicas(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(2 * api.MinAssetPart)
	id := w.begin(ada, content).UploadID
	first := w.held(placing)
	firstDone, secondDone := make(chan answer, 1), make(chan answer, 1)
	go appendTo(t, firstDone, first.Store, id, content[:api.MinAssetPart])
	<-first.reached
	before := w.waiting()
	go appendTo(t, secondDone, w.Store, id, content)
	untilOneWaits(w, before, secondDone)
	close(first.goOn)
	if a := <-firstDone; a.err != nil || a.Received != api.MinAssetPart {
		t.Error(a.Asset, a.err)
	}
	w.wantCode((<-secondDone).err, api.CodeConflict)
	if n := len(w.objects()); n != 1 {
		t.Errorf("%d objects", n)
	}
}

// TestMarkedBeforePlanned: what was marked for removal since Append looked gets no part, whose object would stay.
func TestMarkedBeforePlanned(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	done := make(chan answer, 1)
	w.change(func(exec func(string, ...any)) {
		exec(`UPDATE asset SET state = 'gone' WHERE id = $1`, id[:])
		before := w.waiting()
		go appendTo(t, done, w.Store, id, content)
		untilOneWaits(w, before, done)
	})
	w.wantCode((<-done).err, api.CodeNotFound)
	if n := len(w.objects()); n != 0 {
		t.Errorf("%d objects", n)
	}
	w.tidy()
	w.wantNothing()
}

// TestDeleteAtAnotherReplica: a deletion waits for a part that is being planned, so that it knows of its object.
func TestDeleteAtAnotherReplica(t *testing.T) {
	w := newWorld(t)
	content := assettest.Content(1000)
	id := w.begin(ada, content).UploadID
	uploading := w.held(planning)
	uploaded := make(chan answer, 1)
	go appendTo(t, uploaded, uploading.Store, id, content)
	<-uploading.reached
	before := w.waiting()
	deleted := make(chan error, 1)
	go func() { deleted <- w.Store.Delete(t.Context(), ada, sha256.Sum256(content)) }()
	untilOneWaits(w, before, deleted)
	close(uploading.goOn)
	if a := <-uploaded; a.err != nil && !errs.Is(a.err, api.CodeNotFound) { // whichever is first
		t.Error(a.err)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	w.pass(10 * time.Minute)
	w.tidy()
	w.wantNothing()
}

// TestRoomAtTwoReplicas: of two uploads that begin at once, for which there is no room together, the second one is refused.
func TestRoomAtTwoReplicas(t *testing.T) {
	w := newWorld(t)
	w.begin(ada, assettest.Content(10))
	other := api.UploadID{1}
	sum := sha256.Sum256(other[:])
	begun := make(chan error, 1)
	err := w.DB.Tx(t.Context(), "begin at another replica", func(tx *sqldb.Tx) error {
		err := tx.Lock(t.Context(), `SELECT account FROM asset_account WHERE account = $1 FOR NO KEY UPDATE`, ada[:])
		_, err2 := tx.Exec(t.Context(), `INSERT INTO asset (id, account, sha256, size, type, state, received, hash, changed_at)
			VALUES ($1, $2, $3, $4, '', 'open', 0, $3, 1)`, other[:], ada[:], sum[:], w.Quota-10)
		before := w.waiting()
		go func() {
			_, err := w.Begin(t.Context(), ada, request(assettest.Content(10)))
			begun <- err
		}()
		untilOneWaits(w, before, begun)
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.wantCode(<-begun, api.CodeQuota)
}
