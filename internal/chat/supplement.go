package chat

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
)

// supplement is more envelopes for a message that is stored already.
type supplement struct {
	send    *send
	message *stored
	of      *supplied
	targets []target        // that are new to the message, withheld ones too
	entries []target        // that get an entry
	replace []*waitingEntry // undeciphered ones that leave for it
	settles []api.AccountID // that are not owed the message any more
}

// supplied is what a supplement needs to know of a stored message.
type supplied struct {
	senderDevice api.WireDeviceID
	shared       []byte
	waiting      map[int64]*waitingEnvelope // by device
	owed         map[api.AccountID]bool
	withheld     map[api.AccountID]bool
}

// waitingEnvelope is an entry that its device has not acknowledged.
type waitingEnvelope struct {
	waitingEntry
	bytes []byte
}

// supplement adds the envelopes that the message lacks: for active devices of the members that never had one, for those
// of an account that is owed it, and in place of an entry that waits with other bytes, which its device could not
// decrypt. What does not belong there is passed over, because the answer says which devices have an envelope.
func (b *sendBatch) supplement(sd *send, message *stored) {
	of := b.supplied[message.id]
	if of == nil {
		return
	}
	p := &plan{send: sd}
	if b.checkSender(p) != nil {
		return
	}
	b.match(p)
	s := &supplement{send: sd, message: message, of: of}
	for _, t := range p.targets {
		account, waits := t.device.account, of.waiting[t.device.id]
		had := message.has(t.device)
		switch {
		case t.envelope.Type == 0 && len(of.shared) == 0,
			had && waits == nil && !of.owed[account],
			waits != nil && (waits.id == 0 || bytes.Equal(waits.bytes, t.envelope.Bytes)):
			continue
		}
		if !had {
			s.targets = append(s.targets, t)
		}
		if of.withheld[account] || slices.Contains(p.withheld, account) {
			continue
		}
		if waits != nil {
			s.replace = append(s.replace, &waits.waitingEntry)
		}
		if of.owed[account] && !slices.Contains(s.settles, account) {
			s.settles = append(s.settles, account)
		}
		of.waiting[t.device.id] = &waitingEnvelope{bytes: t.envelope.Bytes}
		s.entries = append(s.entries, t)
	}
	if len(s.targets)+len(s.entries) == 0 {
		return
	}
	for _, account := range s.settles {
		delete(of.owed, account)
	}
	message.devices = append(slices.Clone(message.devices), packDevices(s.targets)...)
	for _, t := range s.targets {
		if !slices.Contains(message.sent.Devices, t.device.ref()) {
			message.sent.Devices = append(message.sent.Devices, t.device.ref())
		}
	}
	b.supplements = append(b.supplements, s)
}

// has tells whether this very device, and not one before it with the same number, ever had an envelope.
func (m *stored) has(d *device) (had bool) {
	unpackDevices(m.devices, func(ref api.DeviceRef, registration uint32) {
		had = had || ref == d.ref() && registration == d.registration
	})
	return had
}

func (s *supplement) entry(t target) api.Entry {
	sent := s.message.sent
	return api.Entry{
		ConversationID: sent.ConversationID, MessageID: sent.MessageID, Class: api.ClassMessage, Epoch: sent.Epoch, Seq: sent.Seq,
		ServerTime: sent.ServerTime, SenderID: s.message.sender, SenderDevice: s.of.senderDevice,
		EnvelopeDevice: s.send.actor.WireDevice, Type: t.envelope.Type, Bytes: t.envelope.Bytes, Shared: s.of.shared,
		Commitment: s.message.commitment, Tag: sent.Tag,
	}
}

const sqlUpdateDevices = `UPDATE message SET devices = $2 WHERE id = $1`

// prepareSupplements writes what a supplement changes beside its entries.
func (w *sendWriter) prepareSupplements(ctx context.Context) error {
	for _, s := range w.b.supplements {
		if _, err := w.tx.Exec(ctx, sqlUpdateDevices, s.message.id, s.message.devices); err != nil {
			return errs.Wrap("writing a supplement", err)
		}
		for _, e := range s.replace {
			if err := deleteEntries(ctx, w.tx, []int64{e.id}); err != nil {
				return err
			}
			if err := uncount(ctx, w.tx, map[int64]removed{e.device: {1, e.size}}); err != nil {
				return err
			}
		}
		for _, account := range s.settles {
			if err := deleteOwed(ctx, w.tx, s.message.id, account); err != nil {
				return err
			}
		}
		for _, t := range s.entries {
			w.entries = append(w.entries, newEntry{Entry: s.entry(t), device: t.device, message: s.message.id})
		}
		w.added += len(s.entries)
	}
	return nil
}

const (
	sqlReadSupplied         = `SELECT id, sender_device, shared FROM message WHERE class = 1 AND erased IS NULL AND id IN %s`
	sqlReadSuppliedWaiting  = `SELECT id, device, message, size, bytes FROM mailbox WHERE message IN %s`
	sqlReadSuppliedOwed     = `SELECT message, account FROM owed WHERE message IN %s`
	sqlReadSuppliedWithheld = `SELECT message, account FROM withheld WHERE message IN %s`
)

// loadSupplied reads more of the messages that are sent again.
func (b *sendBatch) loadSupplied(ctx context.Context, tx *sqldb.Tx, sends []send) error {
	b.supplied = make(map[int64]*supplied)
	var ids []int64
	for _, sd := range sends {
		if m := b.known[messageKey{sd.req.ConversationID, sd.req.MessageID}]; m != nil && !slices.Contains(ids, m.id) {
			ids = append(ids, m.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	read := func(statement string, row func(scan func(...any) error) error) error {
		rows, err := tx.Query(ctx, fmt.Sprintf(statement, sqldb.In(1, len(ids))), numberArgs(ids)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	return errs.Wrap("reading what is sent again", b.readSupplied(read))
}

// readSupplied runs its statements with read, which is for at most maxBatch messages.
func (b *sendBatch) readSupplied(read func(statement string, row func(scan func(...any) error) error) error) error {
	if err := read(sqlReadSupplied, func(scan func(...any) error) error {
		of := &supplied{
			waiting: make(map[int64]*waitingEnvelope), owed: make(map[api.AccountID]bool), withheld: make(map[api.AccountID]bool),
		}
		var id int64
		var device *uint32
		if err := scan(&id, &device, &of.shared); err != nil {
			return err
		}
		if device != nil {
			of.senderDevice = api.WireDeviceID(*device)
		}
		b.supplied[id] = of
		return nil
	}); err != nil {
		return err
	}
	if err := read(sqlReadSuppliedWaiting, func(scan func(...any) error) error {
		e := &waitingEnvelope{}
		if err := scan(&e.id, &e.device, &e.message, &e.size, &e.bytes); err != nil {
			return err
		}
		if of := b.supplied[e.message]; of != nil {
			of.waiting[e.device] = e
		}
		return nil
	}); err != nil {
		return err
	}
	for statement, set := range map[string]func(*supplied) map[api.AccountID]bool{
		sqlReadSuppliedOwed:     func(of *supplied) map[api.AccountID]bool { return of.owed },
		sqlReadSuppliedWithheld: func(of *supplied) map[api.AccountID]bool { return of.withheld },
	} {
		if err := read(statement, func(scan func(...any) error) error {
			var id int64
			var account api.AccountID
			if err := scan(&id, sqldb.Blob(account[:])); err != nil {
				return err
			}
			if of := b.supplied[id]; of != nil {
				set(of)[account] = true
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
