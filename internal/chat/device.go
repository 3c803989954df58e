package chat

import (
	"context"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// States of a device, as in api.DeviceStatus. Only active devices are part of the device set.
const (
	stateActive    = "active"
	stateSignedOut = api.DeviceSignedOut // the user service said so
	stateDormant   = api.DeviceDormant   // its mailbox was emptied without an acknowledgement
	stateRemoved   = "removed"           // left the device list for ever
)

// device is a device of a list. Its number id is never used again, unlike its wire id.
type device struct {
	id           int64
	account      api.AccountID
	wire         api.WireDeviceID
	registration uint32
	identity     e2ee.PublicKey
	token        api.DeviceID // zero until it connected for the first time
	state        string
	generation   uint64
	entries      int // in its mailbox
	bytes        int
	seen         int64 // last contact, to the day
}

func (d *device) ref() api.DeviceRef { return api.DeviceRef{AccountID: d.account, DeviceID: d.wire} }

var (
	errDeviceGone = errs.New(errs.Forbidden, api.CodeDeviceGone,
		"This device is not in the account's device list any more. Sign in as a new device.")
	errDeviceCloned = errs.New(errs.Conflict, api.CodeDeviceCloned,
		"This device's generation was overtaken by a copy of it. Sign in as a new device.")
	errNotConnected = errs.Invalidf("This generation was not accepted yet. Ask for a connection with it first.")
)

// seenEvery is how exactly the last contact of a device is known.
const seenEvery = 24 * hour

const maxGeneration = 1 << 53 // what every JSON reader keeps exactly

// Connect accepts a generation that is higher than every one before. A device that was signed out or dormant is part of
// the device set again from here on; what was stored meanwhile it reads from the archive.
func (s *Service) Connect(ctx context.Context, actor token.Actor, req api.ConnectionRequest) (api.Connection, error) {
	d, returned, err := s.connect(ctx, actor, req.Generation)
	if err != nil {
		return api.Connection{}, err
	}
	return s.connection(ctx, d, returned)
}

// connection is the answer to an accepted generation.
func (s *Service) connection(ctx context.Context, d *device, returned bool) (api.Connection, error) {
	owed, err := countOwedBy(ctx, s.DB, d.account)
	return api.Connection{
		Epoch: s.Epoch(), Generation: d.generation, ServerTime: s.nowMillis(), Waiting: d.entries, Owed: owed, Returned: returned,
	}, err
}

// connect tells whether the device has returned to the device set by it.
func (s *Service) connect(ctx context.Context, actor token.Actor, generation uint64) (d *device, returned bool, err error) {
	if err := s.allow(ctx, limitConnect, actor); err != nil {
		return nil, false, err
	}
	if generation < 1 || generation > maxGeneration {
		return nil, false, errs.Invalidf("A generation is a number from 1 on.")
	}
	if _, err := s.actorDevice(ctx, actor); err != nil {
		return nil, false, err
	}
	if err := s.accountsTx(ctx, []api.AccountID{actor.Account}, "connect", func(tx *sqldb.Tx) (err error) {
		if d, err = deviceOf(ctx, tx, actor); err != nil {
			return err
		}
		// An equal generation was used by somebody: a device raises its own before each try, also after a lost answer.
		if generation <= d.generation {
			return errDeviceCloned
		}
		d.generation = generation
		now := s.nowMillis()
		returned = d.state != stateActive
		if err := updateConnected(ctx, tx, d, actor.Device, now); err != nil || !returned {
			return err
		}
		d.state = stateActive
		return activateDevice(ctx, tx, d, now)
	}); err != nil {
		return nil, false, errs.Wrap("accepting a generation", err)
	}
	s.hub.supersede(ctx, d.account, d.id, generation)
	if returned {
		s.remindOwed(ctx, d.account)
	}
	return d, returned, nil
}

// actorDevice finds the actor's device, asking the user service for a list that has not been handed over yet.
func (s *Service) actorDevice(ctx context.Context, actor token.Actor) (*device, error) {
	d, err := deviceOf(ctx, s.DB, actor)
	if err == nil || !errs.Is(err, api.CodeDeviceGone) {
		return d, err
	}
	if err := s.refreshAccount(ctx, actor.Account); err != nil {
		if errs.Is(err, api.CodeNotFound) {
			return nil, errDeviceGone
		}
		return nil, err
	}
	return deviceOf(ctx, s.DB, actor)
}

// deviceOf reads the actor's device. A wire id is used again after a removal, so the token's own device id has to be the
// one that connected first.
func deviceOf(ctx context.Context, q sqldb.Querier, actor token.Actor) (*device, error) {
	d, err := readDevice(ctx, q, actor.Account, actor.WireDevice)
	if err != nil {
		return nil, err
	}
	if d == nil || !d.token.IsZero() && d.token != actor.Device {
		return nil, errDeviceGone
	}
	return d, nil
}

// checkGeneration holds a write against the device as it is inside the transaction.
func (d *device) checkGeneration(generation uint64) error {
	switch {
	case d == nil || d.state == stateRemoved:
		return errDeviceGone
	case generation < d.generation:
		return errDeviceCloned
	case generation > d.generation:
		return errNotConnected
	}
	return nil
}

// emptyMailbox takes everything from a device that will not acknowledge it. What no other device of the account has
// acknowledged or will get becomes owed.
func emptyMailbox(ctx context.Context, tx *sqldb.Tx, d *device, now int64) ([]owing, error) {
	owed, err := insertOwed(ctx, tx, d, now)
	if err != nil {
		return nil, err
	}
	return owed, deleteMailbox(ctx, tx, d.id)
}

// makeDormant takes a device out of the device set until it connects again.
func makeDormant(ctx context.Context, tx *sqldb.Tx, d *device, now int64) ([]owing, error) {
	owed, err := emptyMailbox(ctx, tx, d, now)
	if err != nil {
		return nil, err
	}
	return owed, setDeviceState(ctx, tx, d.id, stateDormant, now)
}

// removeDevice ends a device. Its row stays, because messages and mailboxes name its number.
func removeDevice(ctx context.Context, tx *sqldb.Tx, d *device, now, until int64) ([]owing, error) {
	owed, err := emptyMailbox(ctx, tx, d, now)
	if err != nil {
		return nil, err
	}
	if err := setDeviceState(ctx, tx, d.id, stateRemoved, now); err != nil {
		return nil, err
	}
	return owed, insertRemoved(ctx, tx, d.id, until)
}

// activateDevice makes a device part of the device set, from the next seq of every conversation on.
func activateDevice(ctx context.Context, tx *sqldb.Tx, d *device, now int64) error {
	if err := setDeviceState(ctx, tx, d.id, stateActive, now); err != nil {
		return err
	}
	return insertStarts(ctx, tx, d.id, d.account)
}
