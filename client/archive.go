package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sotto/api"
	"sotto/e2ee"
)

// The archive is read in passes, newest first, a page at a time. A page's messages and where the pass stands are stored in
// one Apply, so that a pass goes on after a crash where it was. A new device reads everything. One that was out of the
// device set reads as far back as a record may have come meanwhile. After that, and less and less often, at last once a
// day, every device looks at what is newest: messages that only another device had an envelope for.
const (
	archiveEvery  = 24 * time.Hour
	archiveSoon   = time.Minute             // the first look after a pass over everything; the pauses grow with the time since then
	archiveLook   = time.Hour               // pause after something went wrong
	archiveBehind = 60 * 24 * time.Hour     // a device may bring a record this long after the message, and not much longer
	archiveGrowth = 10 * api.MaxMailboxPage // records by which an archive may grow while it is read
	archivePasses = 8                       // without a pause
	archiveShort  = 3                       // passes in a row that end before the number of records that was told
)

// archiveState says how far this device has read the archive. Times are the server's, in milliseconds.
type archiveState struct {
	Active bool           `json:"active"`          // a pass is under way:
	Full   bool           `json:"full"`            // down to Floor; else to the first page in which nothing is new
	Floor  int64          `json:"floor"`           // messages older than this are known
	Cursor string         `json:"cursor"`          // of the next page
	First  *api.MessageID `json:"first,omitempty"` // of the page before
	Done   int            `json:"done"`            // records that were read
	Of     int            `json:"of"`              // records that there are
	Begun  int64          `json:"begun"`

	Short  int    `json:"short,omitempty"`  // passes in a row that ended too early
	ReadAt int64  `json:"totalat"`          // when the last pass over everything began; 0: none has ended
	LookAt int64  `json:"look_at"`          // when the last pass began
	Wanted bool   `json:"wanted,omitempty"` // one more is needed
	Locked bool   `json:"locked,omitempty"` // some records are under an archive key that is not here yet
	Epoch  uint64 `json:"epoch"`            // of the server
}

// HistoryProgress says how far the restoring of the history is.
type HistoryProgress struct {
	Done     int  // records that were read
	Of       int  // records that there are
	Complete bool // everything is here
}

func (s archiveState) progress() HistoryProgress {
	return HistoryProgress{Done: s.Done, Of: max(s.Of, s.Done), Complete: s.ReadAt != 0 && !s.Active && !s.Locked}
}

// History tells how much of the archive is here.
func (c *Client) History() (HistoryProgress, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[archiveState](c, keyArchive)
	return s.progress(), err
}

// wantArchive asks, in b, for one more pass over what a device may have missed. The caller holds c.mu.
func (c *Client) wantArchive(b *batch) error {
	s, _, err := staged[archiveState](c, b, keyArchive)
	if err != nil {
		return err
	}
	s.Wanted = true
	b.set(keyArchive, s)
	if c.conn != nil {
		signal(c.conn.history) // waits for c.mu, and so for the caller's commit
	}
	return nil
}

// archiveLoop reads the archive whenever that is due.
func (n *connection) archiveLoop(ctx context.Context) error {
	asked := false // once for each connection
	for {
		again := archiveSoon
		var err error
		if !asked {
			_, err = n.c.HistoryChoice(ctx)
			asked = err == nil
		}
		if err == nil {
			err = n.readArchive(ctx)
		}
		if err != nil {
			if stopsConnection(err) {
				return err
			}
			n.c.log.Warn("the archive was not read", "code", CodeOf(err), "err", err)
			again = archiveLook
		}
		timer := time.NewTimer(again)
		select {
		case <-n.history:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// readArchive makes the passes that are due, and goes on with one that was interrupted.
func (n *connection) readArchive(ctx context.Context) error {
	for passes := 0; ; {
		s, err := n.c.duePass(n.accepted, n.serverTime())
		if err != nil || !s.Active {
			return err
		}
		if s.Cursor == "" {
			if passes++; passes > archivePasses {
				return serverError("an archive that is another one each time")
			}
		}
		var page api.ArchivePage
		req := api.ArchiveRequest{Before: s.Cursor, Limit: n.c.archivePage}
		if err := n.socket.request(ctx, api.EventArchive, req, &page); err != nil {
			return err
		}
		if err := n.c.takePage(ctx, s, page); err != nil {
			return err
		}
	}
}

// duePass returns the pass that is under way, beginning one when it is time.
func (c *Client) duePass(accepted api.Connection, now int64) (archiveState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _, err := get[archiveState](c, keyArchive)
	if err != nil || s.Active {
		return s, err
	}
	full := s.ReadAt == 0 || s.Wanted || s.Epoch != accepted.Epoch
	if !full && now < s.LookAt+s.pause(now) {
		return s, nil
	}
	s.begin(full, now)
	s.Epoch = accepted.Epoch
	b := &batch{}
	b.put(keyArchive, s)
	return s, c.commit(b)
}

// pause is how long after a pass the next one is due, in milliseconds.
func (s archiveState) pause(now int64) int64 {
	return max(archiveSoon.Milliseconds(), min(archiveEvery.Milliseconds(), (now-s.ReadAt)/2))
}

func (s *archiveState) begin(full bool, now int64) {
	s.Active, s.Full, s.Begun, s.LookAt = true, full, now, now
	s.Cursor, s.First, s.Done, s.Of = "", nil, 0, 0
	s.Floor = 0
	if full {
		s.Wanted, s.Locked = false, false
		s.Floor = max(0, s.ReadAt-archiveBehind.Milliseconds())
	}
}

// accept moves the pass past a page, or refuses the page: an archive that stands still, repeats itself or has no end
// would be read for ever.
func (s *archiveState) accept(page api.ArchivePage) error {
	if s.Cursor == "" {
		s.Of = page.Count
	}
	seen := map[api.MessageID]bool{}
	for _, r := range page.Records {
		if seen[r.Record.MessageID] {
			return errors.New("a record twice in one page")
		}
		seen[r.Record.MessageID] = true
	}
	switch {
	case len(page.Records) > api.MaxArchivePage:
		return fmt.Errorf("%d records in a page", len(page.Records))
	case page.Next != "" && (page.Next == s.Cursor || len(page.Records) == 0):
		return errors.New("a page that does not go on")
	case s.First != nil && seen[*s.First]:
		return errors.New("a page that was there before")
	case s.Done+len(page.Records) > s.Of+archiveGrowth:
		return errors.New("more records than there are")
	}
	if len(page.Records) > 0 {
		first := page.Records[0].Record.MessageID
		s.First = &first
	}
	s.Done += len(page.Records)
	s.Cursor = page.Next
	return nil
}

// takePage stores what a page has that is not here yet, and repairs what the archive has wrong.
func (c *Client) takePage(ctx context.Context, s archiveState, page api.ArchivePage) error {
	if err := s.accept(page); err != nil {
		return c.refuseArchive(err)
	}
	if err := c.meetConversations(ctx, page); err != nil {
		return err
	}
	repairs, err := c.storePage(s, page)
	if err != nil {
		return err
	}
	for _, r := range repairs {
		if err := c.replaceRecord(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// refuseArchive counts and announces a page that cannot be one. The pass goes on from the page before, later.
func (c *Client) refuseArchive(reason error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	refused := errArchive(1).because(reason)
	if err := c.count(func(n *Counters) { n.Archive++ }); err != nil {
		return err
	}
	c.alert(me.Account, refused)
	return refused
}

func errArchive(records int) *Error {
	return fail(CodeArchive, "The server shows history that this account's devices did not write, %d times. It is not used.", records)
}

// meetConversations makes sure that the conversations of a page are known here. One that the server does not have, or
// has wrong, stays unknown, and its records are refused.
func (c *Client) meetConversations(ctx context.Context, page api.ArchivePage) error {
	met := map[api.ConversationID]bool{}
	for _, r := range page.Records {
		id := r.Record.ConversationID
		if met[id] {
			continue
		}
		met[id] = true
		if _, err := c.known(ctx, id); err != nil && CodeOf(err) != api.CodeNotFound && !distrust(err) {
			return err
		}
	}
	return nil
}

// repair is a record that is wrong on the server, and that this device can put right.
type repair struct {
	record   api.Record
	revision uint64
}

// storePage commits a page together with the place of the pass behind it.
func (c *Client) storePage(s archiveState, page api.ArchivePage) ([]repair, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return nil, err
	}
	p := &pageReader{c: c, me: me, b: &batch{restoring: true}}
	if err := p.read(page); err != nil {
		return nil, err
	}
	s.Locked = s.Locked || p.locked
	if p.locked {
		if err := c.askArchiveKeys(p.b); err != nil {
			return nil, err
		}
	}
	now, _, err := get[archiveState](c, keyArchive)
	if err != nil {
		return nil, err
	}
	s.Wanted = now.Wanted || p.wanted // may have come since the page was asked for
	short := s.end(p)
	p.b.set(keyArchive, s)
	if p.refused > 0 {
		if err := c.countIn(p.b, func(n *Counters) { n.Archive += int64(p.refused) }); err != nil {
			return nil, err
		}
	}
	p.b.events = nil // EventHistory tells to read again
	if err := c.commit(p.b); err != nil {
		return nil, err
	}
	if p.refused > 0 {
		c.alert(me.Account, errArchive(p.refused).because(p.reason))
	}
	if short {
		c.alert(me.Account, errArchive(1).because(fmt.Errorf("an archive of %d records that ends after %d", s.Of, s.Done)))
	}
	progress := s.progress()
	c.publish(Event{Type: EventHistory, History: &progress})
	return p.repairs, nil
}

// end finishes the pass when the page was its last one. It tells whether the archive ends too early, again and again;
// once or twice it may, because records are erased while it is read.
func (s *archiveState) end(p *pageReader) (short bool) {
	below := s.Full && p.total > 0 && p.newest < s.Floor
	switch {
	case s.Cursor != "" && !below && (s.Full || p.news > 0):
		return false // it goes on
	case s.Cursor == "" && s.Full && s.Done < s.Of && s.Short+1 < archiveShort:
		s.Short++
		s.begin(true, s.Begun)
		return false
	}
	short = s.Cursor == "" && s.Full && s.Done < s.Of
	s.Active, s.Short, s.Cursor, s.First = false, 0, "", nil
	if s.Full {
		s.ReadAt = max(s.Begun, 1)
	}
	return short
}

// pageReader opens the records of one page. It works under c.mu.
type pageReader struct {
	c       *Client
	me      device
	b       *batch
	total   int
	news    int   // messages that were not here
	newest  int64 // server time of the page's newest message
	locked  bool
	wanted  bool // one more pass
	refused int
	reason  error // of the first refusal
	repairs []repair
}

func (p *pageReader) read(page api.ArchivePage) error {
	for _, r := range page.Records {
		p.total++
		if r.Message != nil {
			p.newest = max(p.newest, r.Message.ServerTime)
		}
		err := p.take(r)
		bad, ok := errors.AsType[badRecord](err)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errNoArchiveKey):
			p.locked = true
			continue
		case !ok:
			return err
		}
		p.refused++
		if p.reason == nil {
			p.reason = bad
		}
		if err := p.repair(r); err != nil {
			return err
		}
	}
	return nil
}

// badRecord is why a record is not what a device of this account has written of that message.
type badRecord struct{ error }

func bad(format string, args ...any) error { return badRecord{fmt.Errorf(format, args...)} }

// take stores one record's message, unless it is here already.
func (p *pageReader) take(r api.ArchivedRecord) error {
	e, err := p.open(r)
	if err != nil {
		return err
	}
	conversation := r.Record.ConversationID
	at, found, err := p.c.place(conversation, e.ID)
	switch {
	case err != nil:
		return err
	case found && at.Position.IsZero():
		return nil // on its way out, or silent
	case found:
		return p.compare(conversation, at, e)
	case e.Position.IsZero():
		return nil // a restored server does not know its own message any more; it gets its position when it is sent again
	}
	if err := p.c.keep(conversation, e, p.b); errors.Is(err, errTaken) {
		return p.evict(conversation, e)
	} else if err != nil {
		return err
	}
	p.b.delete(keyNotice(conversation, e.ID))
	p.news++
	return nil
}

// evict takes an own message away from a position that belongs to e. The record of a received message names its position,
// that of an own one cannot: where it stands is the server's word. One more pass finds the right place.
func (p *pageReader) evict(conversation api.ConversationID, e entry) error {
	wrong, _, err := staged[entry](p.c, p.b, keyMessage(conversation, e.Position))
	if err != nil {
		return err
	}
	if wrong.Sender != p.me.Account || e.Sender == p.me.Account {
		return bad("%w", errTaken)
	}
	p.b.drop(keyMessage(conversation, e.Position))
	p.b.drop(keyPlace(conversation, wrong.ID))
	if err := p.c.keep(conversation, e, p.b); err != nil {
		return err
	}
	p.wanted = true
	return bad("an own message at the position of another one")
}

// compare holds a record against the message that is here, which takes over a position that it got after a restore.
func (p *pageReader) compare(conversation api.ConversationID, at place, e entry) error {
	own, found, err := get[entry](p.c, keyMessage(conversation, at.Position))
	if err != nil || !found || own.ID != e.ID {
		return err
	}
	if own.Erased != "" || e.Erased != "" {
		return nil
	}
	if !bytes.Equal(own.Content, e.Content) || !bytes.Equal(own.Key, e.Key) {
		return bad("another content than the one that is here")
	}
	if e.Position.Epoch <= at.Position.Epoch {
		return nil
	}
	if err := p.c.adoptPosition(conversation, at, e, p.b); CodeOf(err) == CodeMisdelivery {
		return badRecord{err}
	} else if err != nil {
		return err
	}
	return nil
}

// open opens a record and holds it against its outside and what the server knows of the message.
func (p *pageReader) open(r api.ArchivedRecord) (entry, error) {
	var none entry
	v, found, err := get[conversation](p.c, keyConversation(r.Record.ConversationID))
	if err != nil {
		return none, err
	}
	if !found {
		return none, bad("a conversation that does not exist")
	}
	key, err := p.c.archiveKeyOf(r.Record.KeyEpoch)
	if err != nil {
		return none, err
	}
	place := e2ee.RecordPlace{Account: p.me.Account, Conversation: v.ID, MessageID: r.Record.MessageID}
	rec, err := e2ee.OpenArchive(key, place, r.Record.Sealed)
	if err != nil {
		return none, badRecord{err}
	}
	content, err := rec.Content(place)
	if err != nil {
		return none, badRecord{err}
	}
	if content.Class != e2ee.ClassMessage || !slices.Contains(v.members(p.me.Account), rec.Sender) {
		return none, bad("not a message of a member")
	}
	e := entry{
		ID: r.Record.MessageID, Position: Position{Epoch: rec.Epoch, Seq: rec.Seq},
		Sender: rec.Sender, SenderDevice: api.WireDeviceID(rec.SenderDevice), ServerTime: rec.ServerTime,
		Content: content.Marshal(), Key: rec.Key[:], Tag: rec.Tag,
	}
	if err := outsideOfRecord(&e, rec, content, r.Message); err != nil {
		return none, err
	}
	if leftOver(content) {
		e.Erased = ErasedViewed
	}
	return e, nil
}

// outsideOfRecord compares a record with what the server knows of its message, and takes the position from there. A
// received message's position is in the record; after a restore of the server it may have a higher one.
func outsideOfRecord(e *entry, rec e2ee.Record, content e2ee.Content, m *api.ArchivedMessage) error {
	if m == nil {
		return nil
	}
	at := Position{Epoch: m.Epoch, Seq: m.Seq}
	if len(m.Commitment) != api.CommitmentSize ||
		!leftOver(content) && !e2ee.Commitment(m.Commitment).Opens(rec.Key, rec.Padded) {
		return bad("another commitment")
	}
	if m.SenderID != e.Sender || m.SenderDevice != e.SenderDevice || m.Epoch == 0 || m.Seq == 0 {
		return bad("another sender, or no position")
	}
	if !e.Position.IsZero() && at.Epoch <= e.Position.Epoch &&
		(at != e.Position || m.ServerTime != e.ServerTime || !bytes.Equal(m.Tag, e.Tag)) {
		return bad("another position, time or tag")
	}
	e.Position, e.ServerTime, e.Tag = at, m.ServerTime, m.Tag
	return nil
}

// repair makes the record that a refused one has to give way to, if the message is here.
func (p *pageReader) repair(r api.ArchivedRecord) error {
	e, found, err := p.c.logged(r.Record.ConversationID, r.Record.MessageID)
	if err != nil || !found {
		return err
	}
	record, err := p.c.sealEntry(p.me, r.Record.ConversationID, e)
	if err == nil && record != nil {
		p.repairs = append(p.repairs, repair{*record, r.Revision})
	}
	return err
}

// replaceRecord puts a record right, unless it was changed meanwhile.
func (c *Client) replaceRecord(ctx context.Context, r repair) error {
	update := api.RecordUpdate{
		Revision: r.revision, KeyEpoch: r.record.KeyEpoch, Sealed: r.record.Sealed, EraseAfter: r.record.EraseAfter,
	}
	path := "/api/chat/archive/" + r.record.ConversationID.String() + "/" + r.record.MessageID.String()
	err := c.call(ctx, "PUT", path, update, nil)
	if err == nil || !stopsConnection(err) {
		if err != nil {
			c.log.Info("an archive record was not replaced", "code", CodeOf(err))
		}
		return nil
	}
	return err
}
