package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"sotto/internal/sqldb"
)

// leaseTime is how long a holder may be silent before another takes over. Clocks of replicas that differ by less only
// delay or hasten the change of holder; what makes it safe is the fence.
const leaseTime = 10 * time.Second

// leaseFresh is how much of leaseTime is left when a holder need not extend it before it starts. One stretch of work
// takes less.
const leaseFresh = 8 * time.Second

// ErrLeaseLost means that another holder took the lease: what was to be written under it must not be written.
var ErrLeaseLost = errors.New("lease lost")

// Lease is the right of one process among many to do one kind of work. Its fence grows with each change of holder, so a
// holder that slept past its time is recognised when it wakes up. It belongs to one goroutine.
type Lease struct {
	name   string
	log    *slog.Logger
	holder [16]byte
	fence  int64     // as of the last Take
	until  time.Time // as of the last Take or Keep, thus what this process believes
}

// NewLease makes a lease that is not held, of the work with this name in the service's database.
func NewLease(name string, random io.Reader, log *slog.Logger) (*Lease, error) {
	l := &Lease{name: name, log: log}
	if _, err := io.ReadFull(random, l.holder[:]); err != nil {
		return nil, fmt.Errorf("making the holder id of %s: %w", name, err)
	}
	return l, nil
}

const sqlTakeLease = `
INSERT INTO lease (name, holder, fence, until) VALUES ($1, $2, 1, $3)
ON CONFLICT (name) DO UPDATE SET
	fence = lease.fence + CASE WHEN lease.holder = excluded.holder THEN 0 ELSE 1 END,
	holder = excluded.holder,
	until = excluded.until
WHERE lease.holder = excluded.holder OR lease.until <= $4
RETURNING fence`

// Take takes a lease that is free or expired, or keeps one that is held. It writes nothing while the lease is fresh.
func (l *Lease) Take(ctx context.Context, db *sqldb.DB, now time.Time) (held bool, err error) {
	if l.until.Sub(now) >= leaseFresh {
		return true, nil
	}
	until, fence := now.Add(leaseTime), l.fence
	err = db.Tx(ctx, "take lease", func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, sqlTakeLease, l.name, l.holder[:], until.UnixMilli(), now.UnixMilli()).Scan(&l.fence)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if l.fence > 1 && l.fence != fence {
		l.log.DebugContext(ctx, "took over a lease", slog.String("lease", l.name), slog.Int64("fence", l.fence))
	}
	l.until = until
	return true, nil
}

const sqlKeepLease = `UPDATE lease SET until = $4 WHERE name = $1 AND holder = $2 AND fence = $3`

// Keep extends the lease within tx, or fails with ErrLeaseLost. From here to the end of tx nobody else can take it,
// because the row is locked.
func (l *Lease) Keep(ctx context.Context, tx *sqldb.Tx, now time.Time) error {
	until := now.Add(leaseTime)
	res, err := tx.Exec(ctx, sqlKeepLease, l.name, l.holder[:], l.fence, until.UnixMilli())
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		l.until = time.Time{}
		return ErrLeaseLost
	}
	// If tx does not commit, until is too late by what this stretch of work took. The fence makes that harmless.
	l.until = until
	return nil
}

const sqlReleaseLease = `UPDATE lease SET until = 0 WHERE name = $1 AND holder = $2 AND fence = $3`

// Release lets another process take over at once. When it fails, the lease expires.
func (l *Lease) Release(ctx context.Context, db *sqldb.DB) error {
	if l.until.IsZero() {
		return nil
	}
	l.until = time.Time{}
	return db.Tx(ctx, "release lease", func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, sqlReleaseLease, l.name, l.holder[:], l.fence)
		return err
	})
}
