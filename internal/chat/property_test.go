package chat

import (
	"bytes"
	"context"
	"flag"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sotto/api"
	"sotto/internal/errs"
)

// TestStoreProperty drives the store with random batches of sends and acknowledgements, good and bad ones mixed, while
// devices come and go, and checks after every step that the database holds exactly what was promised.
func TestStoreProperty(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		// Each run checks the whole database after every step; -rapid.checks asks for more of them.
		if err := f.Value.Set("12"); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(r, rt)
		rt.Repeat(map[string]func(*rapid.T){
			"sends":  m.sends,
			"acks":   m.acks,
			"device": m.device,
			"raise":  func(rt *rapid.T) { m.phone(rt, "phone").connect() },
			"":       m.check,
		})
	})
}

// model is what should be true. All of it belongs to people of its own, so that one database serves every run.
type model struct {
	r        *rig
	people   []*person
	talks    []*talkModel
	sent     []*sentModel
	boxes    map[*phone][]*sentModel // in the order of storing
	archived map[covered]bool
}

type talkModel struct {
	id      api.ConversationID
	members []*person
	seqs    uint64
}

type sentModel struct {
	talk   *talkModel
	from   *phone
	send   api.Send
	answer api.Sent
}

func newModel(r *rig, rt *rapid.T) *model {
	m := &model{r: r, boxes: make(map[*phone][]*sentModel), archived: make(map[covered]bool)}
	for range 3 {
		m.people = append(m.people, r.person(rapid.IntRange(1, 2).Draw(rt, "devices")))
	}
	anna, ben, carl := m.people[0], m.people[1], m.people[2]
	self, err := r.s.OpenConversation(context.Background(), anna.devices[0].actor(), api.OpenConversationRequest{Kind: api.KindSelf})
	if err != nil {
		rt.Fatal(err)
	}
	m.talks = []*talkModel{
		{id: r.talk(anna, ben), members: []*person{anna, ben}}, {id: r.talk(carl, anna), members: []*person{anna, carl}},
		{id: self.ConversationID, members: []*person{anna}},
	}
	return m
}

func (m *model) phone(rt *rapid.T, label string) *phone {
	p := pick(rt, label+" of", m.people)
	return pick(rt, label, p.devices)
}

// pick draws by number, so that a failure is short to read.
func pick[T any](rt *rapid.T, label string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(rt, label)]
}

// attempt is one send of a batch with what should come of it.
type attempt struct {
	send   send
	code   string     // of the refusal
	repeat *sentModel // whose answer it gets
}

func (m *model) sends(rt *rapid.T) {
	var attempts []attempt
	var batch []send
	refused := true
	before := m.fingerprint()
	for range rapid.IntRange(1, 8).Draw(rt, "batch") {
		a := m.attempt(rt)
		attempts = append(attempts, a)
		batch = append(batch, a.send)
		refused = refused && (a.code != "" || a.repeat != nil && a.repeat.answer.Tag != nil)
	}
	results, err := m.r.s.storeSends(context.Background(), batch)
	if err != nil {
		rt.Fatal(err)
	}
	for i, a := range attempts {
		got := results[i]
		if code(got.err) != a.code {
			rt.Fatalf("send %d of the batch: error %v, want code %q", i, got.err, a.code)
		}
		if a.code != "" {
			continue
		}
		if a.repeat.answer.Tag == nil {
			a.repeat.answer = got.sent
		}
		if diff := cmp.Diff(a.repeat.answer, got.sent); diff != "" {
			rt.Fatalf("another answer than the first: %s", diff)
		}
	}
	if after := m.fingerprint(); refused && before != after {
		rt.Fatalf("a batch of refused sends changed something: %v, then %v", before, after)
	}
}

// attempt draws a send, good in half of the cases, and records what it should do.
func (m *model) attempt(rt *rapid.T) attempt {
	talk := pick(rt, "conversation", m.talks)
	from := pick(rt, "device", pick(rt, "from", talk.members).devices)
	req := from.message(talk.id, talk.members...)
	if i := slices.IndexFunc(m.sent, func(s *sentModel) bool { return s.talk == talk && s.send.Class == api.ClassMessage }); i >= 0 && rapid.Bool().Draw(rt, "after") {
		req.After = &m.sent[i].send.MessageID
	}
	a := attempt{send: send{actor: from.actor(), generation: from.generation, req: req}}
	flaw := rapid.SampledFrom([]string{
		"", "", "", "", "silent", "silent", "repeat", "repeat", "other commitment", "foreign", "missing", "extra", "registration",
		"old list", "no record", "unknown after", "old generation", "silent unknown",
	}).Draw(rt, "flaw")
	switch flaw {
	case "silent", "silent unknown":
		a.send.req = from.silent(talk.id, m.others(talk, from)...)
		if flaw == "silent unknown" || len(a.send.req.Envelopes) == 0 {
			a.send.req.Envelopes = append(a.send.req.Envelopes, from.envelope(a.send.req.MessageID))
			a.code = api.CodeDeviceSet
		}
	case "repeat", "other commitment":
		if len(m.sent) == 0 {
			break
		}
		first := pick(rt, "first", m.sent)
		if slices.Contains(first.from.owner.devices, first.from) {
			a.send = send{actor: first.from.actor(), generation: first.from.generation, req: first.send}
		} else {
			a.send = send{actor: first.from.actor(), req: first.send}
		}
		a.repeat = first
		if flaw == "other commitment" {
			a.repeat, a.code = nil, api.CodeConflict
			a.send.req.Commitment = bytes.Repeat([]byte{7}, api.CommitmentSize)
			if !slices.Contains(first.from.owner.devices, first.from) {
				a.code = api.CodeDeviceGone
			}
		}
		return a
	default:
		a.code = m.spoil(talk, from, &a, flaw)
	}
	if a.code == "" {
		m.store(talk, from, &a)
	}
	return a
}

// spoil gives a good message one flaw and returns the code it should be refused with.
func (m *model) spoil(talk *talkModel, from *phone, a *attempt, flaw string) string {
	req := &a.send.req
	switch flaw {
	case "foreign":
		for _, p := range m.people {
			if !slices.Contains(talk.members, p) {
				a.send.actor, a.send.generation = p.devices[0].actor(), p.devices[0].generation
				return api.CodeNotFound
			}
		}
	case "missing":
		if len(req.Envelopes) > 0 {
			req.Envelopes = req.Envelopes[1:]
			return api.CodeDeviceSet
		}
	case "extra":
		req.Envelopes = append(req.Envelopes, from.envelope(req.MessageID))
		return api.CodeDeviceSet
	case "registration":
		if len(req.Envelopes) > 0 {
			req.Envelopes = slices.Clone(req.Envelopes)
			req.Envelopes[0].RegistrationID++
			return api.CodeDeviceSet
		}
	case "old list":
		if p := talk.members[0]; p.version > 1 {
			req.ListVersions[0].Version--
			return api.CodeDeviceSet
		}
	case "no record":
		req.Record = nil
		return api.CodeRecordRequired
	case "unknown after":
		unknown := newID[api.MessageID](m.r)
		req.After = &unknown
		return api.CodeOutOfOrder
	case "old generation":
		a.send.generation--
		return api.CodeDeviceCloned
	}
	return ""
}

func (m *model) others(talk *talkModel, from *phone) (others []*phone) {
	for _, p := range talk.members {
		for _, d := range p.devices {
			if d != from {
				others = append(others, d)
			}
		}
	}
	return others
}

// store records what a good send does.
func (m *model) store(talk *talkModel, from *phone, a *attempt) {
	s := &sentModel{talk: talk, from: from, send: a.send.req}
	a.repeat = s
	m.sent = append(m.sent, s)
	if s.send.Class == api.ClassMessage {
		talk.seqs++
		m.archived[covered{from.owner.id, messageKey{talk.id, s.send.MessageID}}] = true
	}
	for _, d := range m.others(talk, from) {
		m.boxes[d] = append(m.boxes[d], s)
	}
}

func (m *model) acks(rt *rapid.T) {
	var batch []ack
	var want []api.Acked
	for range rapid.IntRange(1, 3).Draw(rt, "batch") {
		d := m.phone(rt, "phone")
		a := ack{actor: d.actor(), generation: d.generation}
		w := api.Acked{Removed: []int64{}}
		for _, e := range d.mailbox() {
			if len(a.req.Entries) == api.MaxAckEntries || !rapid.Bool().Draw(rt, "take") {
				continue
			}
			if slices.ContainsFunc(batch, func(b ack) bool { return slices.Contains(b.req.Entries, e.EntryID) }) {
				continue
			}
			a.req.Entries = append(a.req.Entries, e.EntryID)
			c := covered{d.owner.id, messageKey{e.ConversationID, e.MessageID}}
			if e.Class == api.ClassMessage && rapid.IntRange(0, 3).Draw(rt, "record") > 0 {
				a.req.Records = append(a.req.Records, d.owner.record(e.ConversationID, e.MessageID))
				m.archived[c] = true
			}
			if e.Class == api.ClassMessage && !m.archived[c] {
				w.Refused = append(w.Refused, api.AckRefusal{EntryID: e.EntryID, Code: api.CodeRecordRequired})
				continue
			}
			w.Removed = append(w.Removed, e.EntryID)
			m.boxes[d] = slices.DeleteFunc(m.boxes[d], func(s *sentModel) bool { return s.send.MessageID == e.MessageID })
		}
		// An entry that is gone, or another device's, reads as removed and stays what it is.
		foreign := int64(1) << 40
		if other := m.phone(rt, "other"); other != d {
			if box := other.mailbox(); len(box) > 0 {
				foreign = box[0].EntryID
			}
		}
		a.req.Entries = append(a.req.Entries, foreign)
		w.Removed = append(w.Removed, foreign)
		batch, want = append(batch, a), append(want, w)
	}
	results, err := m.r.s.storeAcks(context.Background(), batch)
	if err != nil {
		rt.Fatal(err)
	}
	for i := range batch {
		if results[i].err != nil {
			rt.Fatal(results[i].err)
		}
		if diff := cmp.Diff(want[i], results[i].acked); diff != "" {
			rt.Fatal(diff)
		}
	}
}

// device adds a device or removes one.
func (m *model) device(rt *rapid.T) {
	p := pick(rt, "person", m.people)
	if len(p.devices) > 1 && rapid.Bool().Draw(rt, "remove") {
		d := pick(rt, "device", p.devices)
		p.dropDevice(d)
		delete(m.boxes, d)
		p.sign()
		m.r.publish(p)
		return
	}
	if len(p.devices) == 4 {
		return
	}
	d := p.addDevice()
	p.sign()
	m.r.publish(p)
	d.connect()
}

// check holds the database against the model.
func (m *model) check(rt *rapid.T) {
	for _, talk := range m.talks {
		m.checkPositions(rt, talk)
	}
	for _, p := range m.people {
		for _, d := range p.devices {
			m.checkMailbox(rt, d)
			m.checkSync(rt, d)
		}
	}
	for c := range m.archived {
		if m.r.count("SELECT COUNT(*) FROM archive WHERE account = $1 AND message_id = $2", c.account[:], c.key.message[:]) != 1 {
			rt.Fatal("an archive record is missing")
		}
	}
}

// checkPositions: seqs are dense and in the order of storing.
func (m *model) checkPositions(rt *rapid.T, talk *talkModel) {
	seq := uint64(0)
	for _, s := range m.sent {
		if s.talk == talk && s.send.Class == api.ClassMessage {
			if seq++; s.answer.Seq != seq {
				rt.Fatalf("seq %d, want %d", s.answer.Seq, seq)
			}
		}
	}
	if last := m.r.count("SELECT last_seq FROM conversation WHERE id = $1", talk.id[:]); seq != talk.seqs || last != int(seq) {
		rt.Fatalf("conversation ends with %d, model with %d", last, seq)
	}
	if n := m.r.count("SELECT COUNT(*) FROM message WHERE conversation = $1 AND seq IS NOT NULL", talk.id[:]); n != int(seq) {
		rt.Fatalf("%d messages, want %d", n, seq)
	}
}

// checkMailbox: what was acknowledged as sent and not acknowledged by the device is there, once, in order.
func (m *model) checkMailbox(rt *rapid.T, d *phone) {
	box := d.mailbox()
	if len(box) != len(m.boxes[d]) {
		rt.Fatalf("%d entries, want %d", len(box), len(m.boxes[d]))
	}
	for i, s := range m.boxes[d] {
		e := box[i]
		if e.MessageID != s.send.MessageID || e.Seq != s.answer.Seq || !bytes.Equal(e.Bytes, d.envelope(e.MessageID).Bytes) ||
			!bytes.Equal(e.Tag, s.answer.Tag) || e.SenderID != s.from.owner.id {
			rt.Fatalf("entry %d is %+v, want message %s", i, e, s.send.MessageID)
		}
	}
	row, err := readDevice(context.Background(), m.r.db, d.owner.id, d.wire)
	if err != nil {
		rt.Fatal(err)
	}
	held := m.r.count("SELECT COALESCE(SUM(size), 0) FROM mailbox WHERE device = $1", row.id)
	if row.entries != len(box) || row.bytes != held {
		rt.Fatalf("device counts %d entries and %d bytes, it has %d and %d", row.entries, row.bytes, len(box), held)
	}
}

// checkSync: every seq has an entry that waits, or a reason.
func (m *model) checkSync(rt *rapid.T, d *phone) {
	for _, talk := range m.talks {
		if !slices.Contains(talk.members, d.owner) {
			_, err := m.r.s.Sync(context.Background(), d.actor(), api.SyncRequest{ConversationID: talk.id, From: 1, Limit: 1})
			if !errs.Is(err, api.CodeNotFound) {
				rt.Fatalf("foreign conversation: %v", err)
			}
			continue
		}
		page := d.sync(talk.id, 1)
		through, waits := talk.seqs, 0
		for i, item := range page.Items {
			if item.Seq != uint64(i+1) || (item.Entry == nil) == (item.Reason == "") {
				rt.Fatalf("item %d is %+v", i, item)
			}
			if item.Entry != nil {
				waits++
			}
			if item.Entry != nil || item.Reason == api.ReasonOwed || item.Reason == api.ReasonElsewhere {
				through = min(through, item.Seq-1)
			}
		}
		for _, s := range m.boxes[d] {
			if s.talk == talk && s.send.Class == api.ClassMessage {
				waits--
			}
		}
		if len(page.Items) != int(min(talk.seqs, api.MaxSyncPage)) || waits != 0 || page.Through != through {
			rt.Fatalf("%d items, %d entries too many, through %d, want %d", len(page.Items), waits, page.Through, through)
		}
	}
}

// fingerprint changes with anything that a send could store.
func (m *model) fingerprint() [5]int {
	return [5]int{
		m.r.count("SELECT COUNT(*) FROM message"), m.r.count("SELECT COUNT(*) FROM mailbox"), m.r.count("SELECT COUNT(*) FROM archive"),
		m.r.count("SELECT SUM(last_seq) FROM conversation"), m.r.count("SELECT SUM(entries + bytes) FROM device"),
	}
}
