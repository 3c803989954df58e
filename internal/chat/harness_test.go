package chat

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/api"
	"sotto/e2ee"
	"sotto/internal/errs"
	"sotto/internal/hint/local"
	"sotto/internal/limit"
	"sotto/internal/outbox"
	"sotto/internal/sqldb"
	"sotto/internal/sqldb/sqldbtest"
	"sotto/internal/token"
)

// rig is a chat service on a database file of its own, with a user service that the test writes.
type rig struct {
	t      testing.TB
	s      *Service
	db     *sqldb.DB
	users  *fakeUsers
	signer *token.Signer
	clock  atomic.Int64 // milliseconds; stands still unless the test moves it
	serial atomic.Uint64
	epoch  atomic.Uint64
}

var startOfTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixMilli()

// newRig makes a service that does not run: tests of the store call storeSends and storeAcks themselves.
func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, users: &fakeUsers{lists: make(map[api.AccountID]api.AccountLists)}}
	r.clock.Store(startOfTime)
	r.epoch.Store(1)
	r.db = sqldbtest.Open(t, sqldbtest.Series{Name: Series, Files: Migrations()},
		sqldbtest.Series{Name: outbox.Series, Files: outbox.Migrations})
	var err error
	if r.signer, err = token.NewSigner(make([]byte, 32), r.now); err != nil {
		t.Fatal(err)
	}
	r.users.signer = r.signer
	r.s = r.service()
	return r
}

// service makes one more replica on the same database.
func (r *rig) service() *Service {
	r.t.Helper()
	s, err := New(Config{
		DB: r.db, Now: r.now, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler), Users: r.users, Hints: local.New(r.now),
		Allow: func(context.Context, limit.Name, string) (time.Duration, bool, error) { return 0, true, nil },
		Epoch: r.epoch.Load, TagKey: TagKey{ID: 7, Key: [32]byte{1, 2, 3}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.sockets.Close)
	return s
}

func (r *rig) now() time.Time { return time.UnixMilli(r.clock.Load()) }

// run starts the goroutines of a service until the test ends.
func (r *rig) run(s *Service) { r.runs(s.Run) }

func (r *rig) runs(part func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { part(ctx); close(done) }()
	r.t.Cleanup(func() { cancel(); <-done })
}

// storing is a rig whose service stores what it is given and does nothing by itself, at a time that no test chose.
func storing(t testing.TB) *rig {
	r := newRig(t)
	r.runs(r.s.sends.run)
	r.runs(r.s.acks.run)
	return r
}

// running is a rig whose service runs.
func running(t testing.TB) *rig {
	r := newRig(t)
	r.run(r.s)
	return r
}

// fakeUsers is the user service: it has what the test gave it.
type fakeUsers struct {
	signer *token.Signer
	asked  atomic.Int64
	down   atomic.Bool

	mu    sync.Mutex
	lists map[api.AccountID]api.AccountLists
}

func (u *fakeUsers) set(l api.AccountLists) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lists[l.AccountID] = l
}

func (u *fakeUsers) Accounts(_ context.Context, ids []api.AccountID) ([]api.AccountLists, error) {
	u.asked.Add(1)
	if u.down.Load() {
		return nil, errors.New("user service is down")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var found []api.AccountLists
	for _, id := range ids {
		if l, ok := u.lists[id]; ok {
			found = append(found, l)
		}
	}
	return found, nil
}

func (u *fakeUsers) PublicKeys(context.Context) ([]token.PublicKey, error) {
	return u.signer.PublicKeys(), nil
}

// newID makes ids that differ and sort in no obvious order.
func newID[ID ~[16]byte](r *rig) ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, r.serial.Add(1)))
	return ID(sum[:16])
}

// person is an account with its real keys.
type person struct {
	r        *rig
	id       api.AccountID
	key      e2ee.KeyPair
	version  uint64
	previous [32]byte
	signed   api.SignedList
	devices  []*phone // those of the newest list
	epoch    uint64   // of the archive
	out      map[api.WireDeviceID]bool
}

// phone is one device of a person.
type phone struct {
	owner      *person
	wire       api.WireDeviceID
	reg        uint32
	id         api.DeviceID
	login      api.LoginID
	identity   e2ee.KeyPair
	generation uint64
}

func keyPair(t testing.TB) e2ee.KeyPair {
	t.Helper()
	k, err := e2ee.NewKeyPair(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// person makes an account with n devices, recorded and connected.
func (r *rig) person(n int) *person {
	r.t.Helper()
	p := r.stranger(n)
	r.publish(p)
	for _, d := range p.devices {
		d.connect()
	}
	return p
}

// stranger makes an account that only the user service knows.
func (r *rig) stranger(n int) *person {
	r.t.Helper()
	p := &person{r: r, id: newID[api.AccountID](r), key: keyPair(r.t), epoch: 1, out: make(map[api.WireDeviceID]bool)}
	for range n {
		p.addDevice()
	}
	p.sign()
	r.users.set(p.lists())
	return p
}

// addDevice takes the lowest free number, as clients do. The list has to be signed afterwards.
func (p *person) addDevice() *phone {
	wire := api.WireDeviceID(1)
	for slices.ContainsFunc(p.devices, func(d *phone) bool { return d.wire == wire }) {
		wire++
	}
	d := &phone{
		owner: p, wire: wire, reg: uint32(p.r.serial.Add(1)%16000) + 1, id: newID[api.DeviceID](p.r), login: newID[api.LoginID](p.r),
		identity: keyPair(p.r.t),
	}
	p.devices = append(p.devices, d)
	slices.SortFunc(p.devices, func(a, b *phone) int { return int(a.wire) - int(b.wire) })
	return d
}

// dropDevice begins a new archive epoch, as clients do. The list has to be signed afterwards.
func (p *person) dropDevice(d *phone) {
	p.epoch++
	p.devices = slices.DeleteFunc(p.devices, func(o *phone) bool { return o == d })
}

// sign makes the next version of the list.
func (p *person) sign() {
	p.r.t.Helper()
	l := e2ee.DeviceList{
		Account: p.id, Version: p.version + 1, Previous: p.previous, Time: p.r.clock.Load(), AccountKey: p.key.Public,
	}
	for _, d := range p.devices {
		l.Devices = append(l.Devices, e2ee.ListedDevice{
			ID: uint32(d.wire), RegistrationID: d.reg, IdentityKey: d.identity.Public, AddedAt: p.r.clock.Load(),
		})
	}
	s, err := l.Sign(rand.Reader, p.key.Private)
	if err != nil {
		p.r.t.Fatal(err)
	}
	p.version, p.previous = l.Version, s.Hash()
	p.signed = api.SignedList{List: s.List, Signature: s.Signature}
}

func (p *person) lists() api.AccountLists {
	l := api.AccountLists{AccountID: p.id, AccountKey: p.key.Public[:], Lists: []api.SignedList{p.signed}}
	for _, d := range p.devices {
		if p.out[d.wire] {
			l.Status = append(l.Status, api.DeviceStatus{DeviceID: d.wire, State: api.DeviceSignedOut})
		}
	}
	return l
}

// publish hands the person's newest list over, as the user service does after its commit.
func (r *rig) publish(p *person) {
	r.t.Helper()
	r.users.set(p.lists())
	if err := r.s.DevicesChanged(context.Background(), p.lists()); err != nil {
		r.t.Fatal(err)
	}
}

func (d *phone) actor() token.Actor {
	return token.Actor{Account: d.owner.id, Device: d.id, WireDevice: d.wire, Login: d.login}
}

func (d *phone) connect() api.Connection {
	d.owner.r.t.Helper()
	d.generation++
	c, err := d.owner.r.s.Connect(context.Background(), d.actor(), api.ConnectionRequest{Generation: d.generation})
	if err != nil {
		d.owner.r.t.Fatal(err)
	}
	return c
}

func (d *phone) token() string {
	t, _, err := d.owner.r.signer.Sign(d.actor())
	if err != nil {
		d.owner.r.t.Fatal(err)
	}
	return t
}

// talk opens the conversation of two people and accepts it on both sides.
func (r *rig) talk(a, b *person) api.ConversationID {
	r.t.Helper()
	c, err := r.s.OpenConversation(context.Background(), a.devices[0].actor(), api.OpenConversationRequest{Kind: api.KindDirect, Peer: &b.id})
	if err != nil {
		r.t.Fatal(err)
	}
	r.setState(b, c.ConversationID, api.MemberAccepted)
	return c.ConversationID
}

func (r *rig) setState(p *person, id api.ConversationID, state api.MemberState) {
	r.t.Helper()
	if _, err := r.s.SetMemberState(context.Background(), p.devices[0].actor(), id, api.MemberStateRequest{State: state}); err != nil {
		r.t.Fatal(err)
	}
}

// commitment is what a client would commit to for this message id.
func commitment(id api.MessageID) []byte {
	sum := sha256.Sum256(id[:])
	return sum[:]
}

func record(conversation api.ConversationID, id api.MessageID) api.Record {
	return api.Record{ConversationID: conversation, MessageID: id, KeyEpoch: 1, Sealed: append([]byte("sealed "), id[:]...)}
}

// record is under the newest archive key.
func (p *person) record(conversation api.ConversationID, id api.MessageID) api.Record {
	r := record(conversation, id)
	r.KeyEpoch = p.epoch
	return r
}

// message makes a correct send of class message from a device to the current devices of the members.
func (d *phone) message(conversation api.ConversationID, members ...*person) api.Send {
	id := newID[api.MessageID](d.owner.r)
	rec := d.owner.record(conversation, id)
	send := api.Send{
		ConversationID: conversation, MessageID: id, Class: api.ClassMessage, Commitment: commitment(id), Record: &rec,
		Envelopes: []api.Envelope{},
	}
	for _, p := range members {
		send.ListVersions = append(send.ListVersions, api.ListVersion{AccountID: p.id, Version: p.version})
		for _, to := range p.devices {
			if to != d && !p.out[to.wire] {
				send.Envelopes = append(send.Envelopes, to.envelope(id))
			}
		}
	}
	return send
}

// silent makes a correct send of class silent to some devices.
func (d *phone) silent(conversation api.ConversationID, to ...*phone) api.Send {
	id := newID[api.MessageID](d.owner.r)
	send := api.Send{ConversationID: conversation, MessageID: id, Class: api.ClassSilent, Commitment: commitment(id)}
	for _, device := range to {
		send.Envelopes = append(send.Envelopes, device.envelope(id))
	}
	return send
}

// envelope is for the phone, with bytes that tell which message and device they are for.
func (d *phone) envelope(id api.MessageID) api.Envelope {
	return api.Envelope{
		AccountID: d.owner.id, DeviceID: d.wire, RegistrationID: d.reg, Type: api.EnvelopeWhisper,
		Bytes: append(append([]byte{}, id[:]...), byte(d.wire)),
	}
}

// send stores a send through the running service.
func (d *phone) send(send api.Send) (api.Sent, error) {
	return d.owner.r.s.Send(context.Background(), d.actor(), d.generation, send)
}

func (d *phone) mustSend(send api.Send) api.Sent {
	d.owner.r.t.Helper()
	sent, err := d.send(send)
	if err != nil {
		d.owner.r.t.Fatal(err)
	}
	return sent
}

// mailbox reads the whole mailbox, page by page.
func (d *phone) mailbox() []api.Entry {
	d.owner.r.t.Helper()
	var all []api.Entry
	for after := int64(0); ; {
		page, err := d.owner.r.s.Mailbox(context.Background(), d.actor(), api.MailboxRequest{After: after, Limit: api.MaxMailboxPage})
		if err != nil {
			d.owner.r.t.Fatal(err)
		}
		all = append(all, page.Entries...)
		if page.Next == 0 {
			return all
		}
		after = page.Next
	}
}

// ackOf acknowledges entries with a record for each message that needs one.
func ackOf(entries ...api.Entry) api.Ack {
	var a api.Ack
	for _, e := range entries {
		a.Entries = append(a.Entries, e.EntryID)
		if e.Class == api.ClassMessage {
			a.Records = append(a.Records, record(e.ConversationID, e.MessageID))
		}
	}
	return a
}

func (d *phone) ack(a api.Ack) (api.Acked, error) {
	return d.owner.r.s.Ack(context.Background(), d.actor(), d.generation, a)
}

func (d *phone) mustAck(a api.Ack) api.Acked {
	d.owner.r.t.Helper()
	acked, err := d.ack(a)
	if err != nil {
		d.owner.r.t.Fatal(err)
	}
	return acked
}

func (d *phone) sync(conversation api.ConversationID, from uint64) api.SyncPage {
	d.owner.r.t.Helper()
	page, err := d.owner.r.s.Sync(context.Background(), d.actor(), api.SyncRequest{ConversationID: conversation, From: from, Limit: api.MaxSyncPage})
	if err != nil {
		d.owner.r.t.Fatal(err)
	}
	return page
}

// code is the code of an error, "" for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return errs.As(err).Code
}

func wantCode(t testing.TB, err error, want string) {
	t.Helper()
	if code(err) != want {
		t.Fatalf("error %v has code %q, want %q", err, code(err), want)
	}
}

var blobColumn = regexp.MustCompile(`hex\((\w+)\)`)

// dump is every row of every table in a form to compare.
func (r *rig) dump() map[string][]string {
	r.t.Helper()
	tables := map[string]string{
		"account": "list_version, archive_epoch, keeps_archive, archive_days", "account_state": "hex(account), hex(name), version, key_epoch, hex(sealed)", "device": "state, generation, entries, bytes", "device_removed": "device",
		"ended_login": "hex(login)", "conversation": "hex(id), last_seq", "member": "hex(conversation), hex(account), state",
		"device_start": "device, hex(conversation), seq",
		"message":      "id, hex(message_id), class, epoch, seq, server_time, hex(commitment), hex(tag), hex(shared), hex(devices), erased",
		"mailbox":      "id, device, message, type, hex(bytes), size", "delivered": "message, hex(account), at",
		"withheld": "message, hex(account)", "owed": "message, hex(account)",
		"archive": "id, hex(account), hex(message_id), message, key_epoch, revision, hex(sealed), erase_after", "inbox": "hex(event)",
	}
	out := make(map[string][]string)
	for table, columns := range tables {
		query := "SELECT json_array(" + columns + ") FROM " + table + " ORDER BY rowid"
		if sqldbtest.On(r.t) == sqldbtest.Postgres {
			query = "SELECT json_build_array(" + blobColumn.ReplaceAllString(columns, "encode($1, 'hex')") + ") FROM " + table + " ORDER BY ctid"
		}
		rows, err := r.db.Query(context.Background(), query)
		if err != nil {
			r.t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				r.t.Fatal(err)
			}
			out[table] = append(out[table], row)
		}
		if err := rows.Err(); err != nil {
			r.t.Fatal(err)
		}
		rows.Close()
	}
	return out
}

// count runs a query for one number.
func (r *rig) count(query string, args ...any) int {
	r.t.Helper()
	var n int
	if err := r.db.QueryRow(context.Background(), query, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// dbExec changes the database behind the service's back.
func (r *rig) dbExec(statement string, args ...any) (int64, error) {
	var n int64
	err := r.db.Tx(context.Background(), "test", func(tx *sqldb.Tx) error {
		res, err := tx.Exec(context.Background(), statement, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// notes are the hints of one account, as another replica would hear them.
type notes chan note

func (r *rig) listen(p *person) notes {
	n := make(notes, 64)
	cancel := r.s.Hints.Subscribe(p.id, func(payload []byte) {
		var heard note
		if err := json.Unmarshal(payload[originSize:], &heard); err != nil {
			r.t.Error(err)
		}
		n <- heard
	})
	r.t.Cleanup(cancel)
	return n
}

// delivered waits for the next note of a delivery.
func (n notes) delivered(t testing.TB) *api.Delivered {
	t.Helper()
	for {
		select {
		case heard := <-n:
			if heard.Delivered != nil {
				return heard.Delivered
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no note of a delivery")
		}
	}
}

// details are those of a refusal for the device set.
func details(t testing.TB, err error) api.DeviceSetDetails {
	t.Helper()
	d, ok := errs.As(err).Details.(api.DeviceSetDetails)
	if !ok {
		t.Fatalf("no details in %v", err)
	}
	return d
}
