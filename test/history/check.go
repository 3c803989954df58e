package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sotto/api"
	"sotto/client"
)

// Fault is one broken promise.
type Fault struct {
	Kind string // one of the Fault constants
	What string // a sentence with names and ids
}

func (f Fault) String() string { return f.Kind + ": " + f.What }

// Kinds of faults.
const (
	FaultLost       = "lost"       // acknowledged, and a living device of a member does not show it
	FaultTwice      = "twice"      // shown twice, or one content under two message ids
	FaultOrder      = "order"      // positions do not rise within a history
	FaultPosition   = "position"   // a message is at different places, or two messages are at one
	FaultHole       = "hole"       // a seq without a message and without a reason
	FaultContent    = "content"    // another content than was sent, or one that nobody sent there
	FaultUnreadable = "unreadable" // could not be read, and never was; or was read before
	FaultContact    = "contact"    // a verified mark or a warning was lost, or appeared from nowhere
	FaultJournal    = "journal"    // the journals themselves make no sense: the test is wrong
)

// Report is what Check found.
type Report struct {
	Faults   []Fault        // sorted by kind
	Happened map[string]int // how often each event happened
	Acked    int            // messages that the server acknowledged
	Seen     int            // messages in the listings of living devices, all devices together
}

// String shows the first faults, enough to begin with.
func (r Report) String() string {
	const most = 20
	var b strings.Builder
	for i, f := range r.Faults {
		if i == most {
			fmt.Fprintf(&b, "… and %d more\n", len(r.Faults)-most)
			break
		}
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// Missing names the events that never happened. A run that did not meet what it is about has proved nothing.
func Missing(happened map[string]int, events ...string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(e string) bool { return happened[e] > 0 })
}

// listed is one message as a device shows it.
type listed struct {
	sender       string // user
	conversation api.ConversationID
	message      api.MessageID
	position     client.Position
	content      string
}

// device is what one device told.
type device struct {
	name, user string
	removed    bool
	shown      map[api.MessageID]int
	listing    []listed
	ever       map[api.MessageID]bool // that it showed in any listing or announcement
	unreadable map[api.MessageID]bool // and not readable since
	contacts   map[string]Fact        // by peer; the last one told
}

type intent struct {
	user         string
	conversation api.ConversationID
}

type ack struct {
	device string
	listed
}

// run is all journals, sorted by what they are about.
type run struct {
	members map[api.ConversationID][]string
	intents map[string]intent // by content
	acks    []ack
	devices map[string]*device
	excused map[api.ConversationID]map[uint64]bool
	vouched map[string]map[string]string // user, peer: the safety number
	changed map[string]map[string]bool   // user, peer
	shut    map[string]map[string]bool   // user, message
	report  Report
}

// Check decides. The facts are those of a run that has come to rest: every living device has told its listing.
func Check(facts []Fact) Report {
	r := &run{
		members: map[api.ConversationID][]string{}, intents: map[string]intent{}, devices: map[string]*device{},
		excused: map[api.ConversationID]map[uint64]bool{}, vouched: map[string]map[string]string{},
		changed: map[string]map[string]bool{}, shut: map[string]map[string]bool{}, report: Report{Happened: map[string]int{}},
	}
	for _, f := range facts { // whoever tells of a device may have a journal that is read before the one it joined in
		r.join(f)
	}
	for _, f := range facts {
		r.take(f)
	}
	r.contents()
	for _, name := range slices.Sorted(maps.Keys(r.devices)) {
		if d := r.devices[name]; !d.removed {
			r.report.Seen += len(d.listing)
			r.once(d)
			r.order(d)
			r.complete(d)
			r.readable(d)
			r.contacts(d)
		}
	}
	r.positions()
	slices.SortStableFunc(r.report.Faults, func(a, b Fault) int { return cmp.Compare(a.Kind, b.Kind) })
	return r.report
}

func (r *run) fault(kind, format string, args ...any) {
	r.report.Faults = append(r.report.Faults, Fault{kind, fmt.Sprintf(format, args...)})
}

func (r *run) join(f Fact) {
	if f.Kind != Joined {
		return
	}
	if r.devices[f.Device] != nil {
		r.fault(FaultJournal, "%s joined twice", f.Device)
	}
	r.devices[f.Device] = &device{
		name: f.Device, user: f.User, shown: map[api.MessageID]int{}, ever: map[api.MessageID]bool{},
		unreadable: map[api.MessageID]bool{}, contacts: map[string]Fact{},
	}
}

func (r *run) take(f Fact) {
	switch f.Kind {
	case Member:
		r.members[f.Conversation] = append(r.members[f.Conversation], f.User)
	case Intend:
		if _, again := r.intents[f.Content]; again {
			r.fault(FaultJournal, "two messages are to say %q", f.Content)
		}
		r.intents[f.Content] = intent{f.User, f.Conversation}
	case Vouched:
		put(r.vouched, f.User, f.Peer, f.Safety)
	case Changed:
		put(r.changed, f.User, f.Peer, true)
		delete(r.vouched[f.User], f.Peer)
	case Anew:
		delete(r.vouched, f.User)
		delete(r.changed, f.User)
	case Shut:
		put(r.shut, f.User, f.Message.String(), true)
		r.excuse(f.Conversation, f.Position)
	case Happened:
		r.report.Happened[f.Event]++
	case Joined:
	default:
		d := r.devices[f.Device]
		if d == nil {
			r.fault(FaultJournal, "a fact of %q, which never joined: %s", f.Device, f.Kind)
			return
		}
		d.take(f, r)
	}
}

func (r *run) excuse(conversation api.ConversationID, p client.Position) {
	if r.excused[conversation] == nil {
		r.excused[conversation] = map[uint64]bool{}
	}
	r.excused[conversation][p.Seq] = true
}

// put is m[a][b] = v.
func put[V any](m map[string]map[string]V, a, b string, v V) {
	if m[a] == nil {
		m[a] = map[string]V{}
	}
	m[a][b] = v
}

// take notes what a device told of itself.
func (d *device) take(f Fact, r *run) {
	l := listed{f.User, f.Conversation, f.Message, f.Position, f.Content}
	switch f.Kind {
	case Removed:
		d.removed = true
	case Acked:
		r.acks = append(r.acks, ack{d.name, l})
	case Shown:
		d.shown[f.Message]++
		d.ever[f.Message] = true
		delete(d.unreadable, f.Message)
	case Listing:
		d.listing = nil
		clear(d.contacts)
	case Seen:
		d.listing = append(d.listing, l)
		d.ever[f.Message] = true
		delete(d.unreadable, f.Message)
	case Unreadable:
		if d.ever[f.Message] {
			r.fault(FaultUnreadable, "%s could read %s before, and now it cannot", d.name, f.Message)
		}
		d.unreadable[f.Message] = true
	case Excused:
		if f.Reason != "" {
			r.excuse(f.Conversation, f.Position)
		}
	case Contact:
		d.contacts[f.Peer] = f
	default:
		r.fault(FaultJournal, "%s noted a fact of unknown kind %q", d.name, f.Kind)
	}
}

// contents holds what was acknowledged and what is shown against what was sent: the same content, in the same
// conversation, under one message id everywhere.
func (r *run) contents() {
	ids := map[string]api.MessageID{}
	check := func(who string, l listed) {
		in, sent := r.intents[l.content]
		switch id, known := ids[l.content]; {
		case !sent:
			r.fault(FaultContent, "%s has %s as %q, which nobody sent", who, l.message, l.content)
		case in.conversation != l.conversation:
			r.fault(FaultContent, "%s has %q in another conversation than it was sent to", who, l.content)
		case in.user != l.sender:
			r.fault(FaultContent, "%s has %q as written by %s; %s wrote it", who, l.content, l.sender, in.user)
		case known && id != l.message:
			r.fault(FaultTwice, "%q has two message ids, %s and %s", l.content, id, l.message)
		}
		ids[l.content] = l.message
	}
	for _, a := range r.acks {
		check(a.device, a.listed)
	}
	for _, name := range slices.Sorted(maps.Keys(r.devices)) {
		for _, l := range r.devices[name].listing {
			check(name, l)
		}
	}
	unique := map[api.MessageID]bool{}
	for _, a := range r.acks {
		unique[a.message] = true
	}
	r.report.Acked = len(unique)
}

// once finds what one device shows twice.
func (r *run) once(d *device) {
	seen := map[api.MessageID]bool{}
	for _, l := range d.listing {
		if seen[l.message] {
			r.fault(FaultTwice, "%s lists %q twice", d.name, l.content)
		}
		seen[l.message] = true
	}
	for id, n := range d.shown {
		if n > 1 {
			r.fault(FaultTwice, "%s announced %s %d times", d.name, id, n)
		}
	}
}

// order finds a history whose positions do not rise.
func (r *run) order(d *device) {
	last := map[api.ConversationID]listed{}
	for _, l := range d.listing {
		if before, ok := last[l.conversation]; ok && l.position.Compare(before.position) <= 0 {
			r.fault(FaultOrder, "%s shows %q at %v after %q at %v", d.name, l.content, l.position, before.content, before.position)
		}
		last[l.conversation] = l
	}
}

// complete finds what a device does not show although it was acknowledged to anybody, or another device shows it.
func (r *run) complete(d *device) {
	has := map[api.MessageID]string{}
	for _, l := range d.listing {
		has[l.message] = l.content
	}
	missing := map[api.MessageID]bool{}
	want := func(who string, l listed) {
		content, ok := has[l.message]
		switch {
		case !slices.Contains(r.members[l.conversation], d.user):
		case ok && content != l.content:
			r.fault(FaultContent, "%s shows %s as %q, %s as %q", d.name, l.message, content, who, l.content)
		case !ok && !missing[l.message] && !r.shut[d.user][l.message.String()]:
			missing[l.message] = true
			r.fault(FaultLost, "%s does not show %q at %v (%s), which %s has", d.name, l.content, l.position, l.message, who)
		}
	}
	for _, a := range r.acks {
		want(a.device, a.listed)
	}
	for _, name := range slices.Sorted(maps.Keys(r.devices)) {
		if other := r.devices[name]; !other.removed {
			for _, l := range other.listing {
				want(name, l)
			}
		}
	}
	for _, l := range d.listing {
		if !slices.Contains(r.members[l.conversation], d.user) {
			r.fault(FaultContent, "%s shows %q of a conversation that %s is not in", d.name, l.content, d.user)
		}
	}
}

func (r *run) readable(d *device) {
	for id := range d.unreadable {
		if !r.shut[d.user][id.String()] {
			r.fault(FaultUnreadable, "%s still cannot read %s", d.name, id)
		}
	}
}

// contacts finds marks and warnings that did not survive.
func (r *run) contacts(d *device) {
	for peer, safety := range r.vouched[d.user] {
		switch c, told := d.contacts[peer]; {
		case !told || !c.Verified:
			r.fault(FaultContact, "%s does not know that %s has verified %s", d.name, d.user, peer)
		case c.Safety != safety:
			r.fault(FaultContact, "%s shows %s as verified under another safety number", d.name, peer)
		}
	}
	for peer := range r.changed[d.user] {
		if _, again := r.vouched[d.user][peer]; !again && !d.contacts[peer].Warned {
			r.fault(FaultContact, "%s does not warn that the identity of %s has changed", d.name, peer)
		}
	}
	for peer, c := range d.contacts {
		if _, vouched := r.vouched[d.user][peer]; c.Verified && !vouched {
			r.fault(FaultContact, "%s shows %s as verified, which %s never said, or before the identity changed", d.name, peer, d.user)
		}
	}
}

// place is a position of a conversation.
type place struct {
	conversation api.ConversationID
	position     client.Position
}

// positions holds the listings of all devices together: one message is at one position everywhere, no position has two,
// and every seq up to the last is taken. A seq is taken once, whatever the epoch: a restored server goes on counting
// from what it remembers, and what it forgot gets new positions.
func (r *run) positions() {
	where, holds := map[api.MessageID]client.Position{}, map[place]api.MessageID{}
	seqs := map[api.ConversationID]map[uint64]client.Position{}
	for _, name := range slices.Sorted(maps.Keys(r.devices)) {
		d := r.devices[name]
		if d.removed {
			continue
		}
		for _, l := range d.listing {
			if p, known := where[l.message]; known && p != l.position {
				r.fault(FaultPosition, "%q is at %v, and on %s at %v", l.content, p, name, l.position)
			}
			at := place{l.conversation, l.position}
			if id, known := holds[at]; known && id != l.message {
				r.fault(FaultPosition, "%v holds %s, and on %s %s (%q)", l.position, id, name, l.message, l.content)
			}
			where[l.message], holds[at] = l.position, l.message
			if seqs[l.conversation] == nil {
				seqs[l.conversation] = map[uint64]client.Position{}
			}
			if p, taken := seqs[l.conversation][l.position.Seq]; taken && p != l.position {
				r.fault(FaultPosition, "two epochs use seq %d: %v and %v", p.Seq, p, l.position)
			}
			seqs[l.conversation][l.position.Seq] = l.position
		}
	}
	for conversation, taken := range seqs {
		last := slices.Max(slices.Collect(maps.Keys(taken)))
		var epoch uint64
		for seq := uint64(1); seq <= last; seq++ {
			p, ok := taken[seq]
			switch {
			case !ok && !r.excused[conversation][seq]:
				r.fault(FaultHole, "nobody has seq %d of conversation %s, and there is no reason", seq, conversation)
			case ok && p.Epoch < epoch:
				r.fault(FaultPosition, "seq %d of conversation %s is of epoch %d, an earlier one of %d", seq, conversation, p.Epoch, epoch)
			}
			epoch = max(epoch, p.Epoch)
		}
	}
}
