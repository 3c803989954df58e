package chat

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/event"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
)

// account is this service's copy of an account.
type account struct {
	id           api.AccountID
	key          e2ee.PublicKey
	version      uint64
	hash         [32]byte
	list         api.SignedList
	keepsArchive bool
	archiveEpoch uint64
}

// DevicesChanged takes over the newest device list of an account, and which of its devices are signed out. The version
// decides, so that calls and events may be repeated and arrive in any order. When it returns, new devices are part of
// the device set of every send, and removed ones have lost their mailbox.
func (s *Service) DevicesChanged(ctx context.Context, lists api.AccountLists) error {
	change, err := openLists(lists)
	if err != nil {
		return err
	}
	if err := s.tx(ctx, "devices changed", func(tx *sqldb.Tx) error {
		return s.changeDevices(ctx, tx, change)
	}); err != nil {
		return errs.Wrap("recording a device list", err)
	}
	s.devicesChanged(ctx, change)
	return nil
}

// HandleEvent is the handler of chat's queue for devices.changed and login.ended. The call by which the user service
// says the same has usually come before. A failure while the database is away says nothing about the event.
func (s *Service) HandleEvent(ctx context.Context, e event.Event) error {
	err := s.takeEvent(ctx, e)
	if err != nil && s.DB.Ping(ctx) != nil {
		return errUnknownOutcome.Because(err)
	}
	return err
}

func (s *Service) takeEvent(ctx context.Context, e event.Event) error {
	switch e.Type { //nolint:exhaustive // not for this service
	case event.DevicesChanged:
		return s.handleDevicesChanged(ctx, e)
	case event.LoginEnded:
		var end event.LoginEnd
		if err := e.Decode(&end); err != nil {
			return err
		}
		if err := s.once(ctx, e, func(tx *sqldb.Tx) error {
			return insertEnded(ctx, tx, e.Account, end.LoginID, end.Until)
		}); err != nil {
			return err
		}
		s.loginEnded(ctx, e.Account, end.LoginID)
	}
	return nil
}

// handleDevicesChanged trusts the list of an event, because its version decides, but not the status of the devices in an
// event that is not newer than the copy: it may have been overtaken. The user service says what is true now.
func (s *Service) handleDevicesChanged(ctx context.Context, e event.Event) error {
	var lists api.AccountLists
	if err := e.Decode(&lists); err != nil {
		return err
	}
	change, err := openLists(lists)
	if err != nil {
		return err
	}
	known, err := readAccounts(ctx, s.DB, []api.AccountID{change.list.Account})
	if err != nil {
		return err
	}
	if a := known[change.list.Account]; a != nil && a.version >= change.list.Version {
		if change, err = s.askLists(ctx, change.list.Account); err != nil {
			return err
		}
	}
	if err := s.once(ctx, e, func(tx *sqldb.Tx) error { return s.changeDevices(ctx, tx, change) }); err != nil {
		return err
	}
	s.devicesChanged(ctx, change)
	return nil
}

// once runs fn in the transaction that also remembers the event, unless it is remembered already.
func (s *Service) once(ctx context.Context, e event.Event, fn func(*sqldb.Tx) error) error {
	return s.tx(ctx, "event", func(tx *sqldb.Tx) error {
		first, err := outbox.Once(ctx, tx, Series, e, s.Now())
		if err == nil && !first {
			s.Logger.DebugContext(ctx, "an event came again", slog.String("event", e.ID.String()))
		}
		if err != nil || !first {
			return err
		}
		return fn(tx)
	})
}

// refreshAccount asks the user service for an account that is unknown here or was named with a newer version.
func (s *Service) refreshAccount(ctx context.Context, id api.AccountID) error {
	change, err := s.askLists(ctx, id)
	if err != nil {
		return err
	}
	if err := s.tx(ctx, "devices changed", func(tx *sqldb.Tx) error {
		return s.changeDevices(ctx, tx, change)
	}); err != nil {
		return errs.Wrap("recording a device list", err)
	}
	s.devicesChanged(ctx, change)
	return nil
}

func (s *Service) askLists(ctx context.Context, id api.AccountID) (*listChange, error) {
	found, err := s.Users.Accounts(ctx, []api.AccountID{id})
	if err != nil {
		return nil, errs.New(errs.Unavailable, api.CodeUnavailable, "The device lists cannot be asked for at the moment. Try again.").
			WithRetryAfter(busyRetryAfter).Because(err)
	}
	for _, lists := range found {
		if lists.AccountID == id {
			return openLists(lists)
		}
	}
	return nil, errs.NotFoundf("There is no such account.")
}

// listChange is a verified AccountLists.
type listChange struct {
	lists     api.AccountLists
	signed    api.SignedList // the newest
	list      e2ee.DeviceList
	hash      [32]byte
	signedOut map[api.WireDeviceID]bool
	// Set by changeDevices, on each run anew: what to tell after the commit.
	removed []int64 // device numbers
	owed    []owing
	newer   bool
}

// openLists verifies the newest list. The chain before it is the user service's to check at upload and every client's
// again: here an event may overtake another, so that a gap is no fault.
func openLists(lists api.AccountLists) (*listChange, error) {
	if len(lists.Lists) == 0 {
		return nil, errs.Invalidf("There is no device list.")
	}
	newest := lists.Lists[len(lists.Lists)-1]
	key, err := e2ee.ParsePublicKey(lists.AccountKey)
	if err != nil {
		return nil, errs.Invalidf("The account key cannot be read.").Because(err)
	}
	list, err := e2ee.SignedDeviceList{List: newest.List, Signature: newest.Signature}.Open(key)
	if err != nil {
		return nil, errs.New(errs.Invalid, api.CodeSignature, "The device list does not verify.").Because(err)
	}
	if list.Account != [16]byte(lists.AccountID) {
		return nil, errs.Invalidf("The device list is another account's.")
	}
	c := &listChange{
		lists: lists, signed: newest, list: list, hash: sha256.Sum256(newest.List),
		signedOut: make(map[api.WireDeviceID]bool),
	}
	for _, status := range lists.Status {
		c.signedOut[status.DeviceID] = status.State == api.DeviceSignedOut
	}
	return c, nil
}

var errListFork = errors.New("device list does not follow the stored one")

// changeDevices brings the copy of the list and the devices up to c, unless the copy is newer. Within tx the account's
// row is locked: a send sees all of the change or nothing.
func (s *Service) changeDevices(ctx context.Context, tx *sqldb.Tx, c *listChange) error {
	c.removed, c.owed, c.newer = nil, nil, false
	id := api.AccountID(c.list.Account)
	if err := lockAccounts(ctx, tx, []api.AccountID{id}); err != nil {
		return err
	}
	known, err := readAccounts(ctx, tx, []api.AccountID{id})
	if err != nil {
		return err
	}
	old := known[id]
	switch {
	case old != nil && c.list.Version < old.version:
		return nil
	case old != nil && c.list.Version == old.version && c.hash != old.hash,
		old != nil && c.list.Version == old.version+1 && c.list.Previous != old.hash:
		return errs.New(errs.Conflict, api.CodeListVersion, "The device list does not follow the one before it.").
			WithDetails(api.ListDetails{Current: old.lists(nil)}).Because(errListFork)
	}
	if old != nil && c.list.AccountKey != old.key {
		if err := s.checkReset(ctx, tx, c); err != nil {
			return err
		}
	}
	c.newer = old == nil || c.list.Version > old.version
	switch {
	case old == nil:
		err = insertAccount(ctx, tx, c)
	case c.newer:
		err = updateAccount(ctx, tx, c)
	}
	if err != nil {
		return err
	}
	return s.syncDevices(ctx, tx, c)
}

// checkReset allows another account key only to a reset, which leaves no device of before.
func (s *Service) checkReset(ctx context.Context, tx *sqldb.Tx, c *listChange) error {
	have, err := readDevicesOf(ctx, tx, []api.AccountID{api.AccountID(c.list.Account)})
	if err != nil {
		return err
	}
	for _, d := range have {
		if slices.ContainsFunc(c.list.Devices, func(l e2ee.ListedDevice) bool { return l.IdentityKey == d.identity }) {
			return errs.New(errs.Conflict, api.CodeListVersion, "A device list under another account key keeps a device.").
				Because(errListFork)
		}
	}
	return nil
}

// syncDevices makes the device rows match the list: gone ones lose their mailbox, new ones and returning ones start
// behind what is stored.
func (s *Service) syncDevices(ctx context.Context, tx *sqldb.Tx, c *listChange) error {
	id, now := api.AccountID(c.list.Account), s.nowMillis()
	have, err := readDevicesOf(ctx, tx, []api.AccountID{id})
	if err != nil {
		return err
	}
	for _, d := range have {
		listed, ok := c.list.Device(uint32(d.wire))
		if ok && listed.RegistrationID == d.registration && listed.IdentityKey == d.identity {
			continue
		}
		c.removed = append(c.removed, d.id)
		owed, err := removeDevice(ctx, tx, d, now, s.Now().Add(tokenOutlives).UnixMilli())
		if err != nil {
			return err
		}
		c.owed = append(c.owed, owed...)
	}
	if len(c.removed) > 0 {
		if err := endArchiveEpoch(ctx, tx, id); err != nil {
			return err
		}
	}
	for _, listed := range c.list.Devices {
		wire := api.WireDeviceID(listed.ID)
		i := slices.IndexFunc(have, func(d *device) bool { return d.wire == wire && !slices.Contains(c.removed, d.id) })
		switch {
		case i < 0:
			err = insertDevice(ctx, tx, id, listed, c.signedOut[wire], now)
		case c.signedOut[wire] && have[i].state == stateActive:
			err = setDeviceState(ctx, tx, have[i].id, stateSignedOut, now)
		case !c.signedOut[wire] && have[i].state == stateSignedOut:
			err = activateDevice(ctx, tx, have[i], now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// devicesChanged follows the commit: sockets of removed devices end, and everyone who shares a conversation learns of a
// newer version.
func (s *Service) devicesChanged(ctx context.Context, c *listChange) {
	id := api.AccountID(c.list.Account)
	if len(c.removed) > 0 {
		s.hub.cutDevices(c.removed, errDeviceGone)
		s.hub.tell(ctx, id, note{Revoked: true})
	}
	s.tellOwed(ctx, c.owed)
	if !c.newer {
		return
	}
	s.remindOwed(ctx, id)
	peers, err := readPeers(ctx, s.DB, id)
	if err != nil {
		// They learn of it by the next refused send.
		s.Logger.WarnContext(ctx, "peers were not told of a device list", slog.Any("err", err))
	}
	for _, peer := range append(peers, id) {
		s.hub.tell(ctx, peer, note{Lists: &api.ListVersion{AccountID: id, Version: c.list.Version}})
	}
}

// lists is what a refused sender needs to know of an account.
func (a *account) lists(devices []*device) api.AccountLists {
	l := api.AccountLists{AccountID: a.id, AccountKey: a.key[:], Lists: []api.SignedList{a.list}}
	for _, d := range devices {
		if d.account == a.id && d.state != stateActive {
			l.Status = append(l.Status, api.DeviceStatus{DeviceID: d.wire, State: d.state})
		}
	}
	return l
}
