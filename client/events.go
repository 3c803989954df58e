package client

import (
	"sotto/api"
)

// maxEvents is how many events wait for a slow subscriber.
const maxEvents = 256

// EventType says what happened.
type EventType string

// Events. None carries what the store does not hold as well, except typing, presence and delivered; a subscriber that lost some
// reads again.
const (
	EventResync       EventType = "resync"       // events were lost: read everything again
	EventConnected    EventType = "connected"    // the generation was accepted; sends and mail flow
	EventDisconnected EventType = "disconnected" // Err says why; Run tries again by itself
	EventMessage      EventType = "message"      // Message arrived, or was sent by another own device
	EventChanged      EventType = "changed"      // Message was edited, got a reaction or is Erased: show it anew
	EventSent         EventType = "sent"         // Message of this device was stored by the server
	EventFailed       EventType = "failed"       // Message of this device was refused for good; Err says why
	EventDelivered    EventType = "delivered"    // a device of Account has acknowledged the MessageIDs
	EventRead         EventType = "read"         // Account has read up to Position
	EventTyping       EventType = "typing"       // Account has begun to type (Typing), or has stopped
	EventPresence     EventType = "presence"     // Presence of a contact
	EventConversation EventType = "conversation" // Conversation is new, or has another state or name
	EventEphemeral    EventType = "ephemeral"    // Message of class ephemeral: shown now or never
	EventDevices      EventType = "devices"      // the signed device list of Account has a new version
	EventOwed         EventType = "owed"         // the MessageIDs are not delivered to Account, or are sent again: see Message.Owed
	EventIdentity     EventType = "identity"     // the account key of Account has changed (Err), or the user has decided about it
	EventAlert        EventType = "alert"        // Err: the server showed something about Account that cannot be trusted
	EventMoved        EventType = "moved"        // Message, which is not new, has another position after a restore of the server
	EventReconciled   EventType = "reconciled"   // connected, and a restored server has got back what it needs before sends go out
	EventPassword     EventType = "password"     // the server was restored and needs the current password once: GiveBack
	EventNotice       EventType = "notice"       // Notice: a message could not be read
	EventNotification EventType = "notification" // Notification entered the account's list
	EventHistory      EventType = "history"      // History: a page of the archive was read; what is older than before is here
	EventProfile      EventType = "profile"      // Account shows itself otherwise; zero: the own profile has changed
)

// Event is one thing that happened. Which fields are set depends on Type.
type Event struct {
	Type         EventType
	Account      api.AccountID
	Conversation api.ConversationID
	Message      *Message
	MessageIDs   []api.MessageID
	Notice       *Notice
	Notification *api.Notification
	History      *HistoryProgress
	Position     Position
	Typing       bool
	Presence     *api.Presence
	Err          error
}

// Subscription delivers events on C until Close. At most 256 wait; when more happen before they are read, all that wait
// give way to one [EventResync].
type Subscription struct {
	C      <-chan Event
	events chan Event
	c      *Client
}

// Events subscribes. Every subscriber gets every event from now on.
func (c *Client) Events() *Subscription {
	ch := make(chan Event, maxEvents)
	s := &Subscription{C: ch, events: ch, c: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribers[s] = struct{}{}
	return s
}

// Close ends the subscription and closes C. It may be called again.
func (s *Subscription) Close() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if _, ok := s.c.subscribers[s]; ok {
		delete(s.c.subscribers, s)
		close(s.events)
	}
}

// publish never waits: it holds c.mu, as the caller does, and is the only one that writes to the channels.
func (c *Client) publish(e Event) {
	c.unshown(e)
	for s := range c.subscribers {
		select {
		case s.events <- e:
			continue
		default:
		}
		for drained := false; !drained; {
			select {
			case <-s.events:
			default:
				drained = true
			}
		}
		s.events <- Event{Type: EventResync} // there is room: nobody else writes
	}
}

// alert counts and announces what cannot be trusted about an account. The caller holds c.mu.
func (c *Client) alert(a api.AccountID, err error) {
	code := CodeOf(err)
	c.log.Warn("refused what the server shows of an account", "code", code)
	if err := c.count(func(n *Counters) { n.Alerts++ }); err != nil {
		c.log.Error("counting", "err", err)
	}
	c.publish(Event{Type: EventAlert, Account: a, Err: err})
}

// Counters are what a client counts over the life of its store.
type Counters struct {
	Alerts      int64 // device lists, prekeys or bundles that were refused
	Unreadable  int64 // messages that did not decrypt
	Misdelivery int64 // authentic messages that the server delivered as something else
	Archive     int64 // archive records or pages that were refused
	Holes       int64 // positions without a message and without a reason
	Repairs     int64 // sends that were refused and completed

	Supplements     int64 // envelopes that were added to stored messages
	SessionRepairs  int64 // sessions that were replaced because one side could not decrypt
	RetriesSent     int64 // requests to send a message again
	RetriesAnswered int64
	RetriesIgnored  int64 // requests that broke a rule
	Owed            int64 // messages that the server asked for, because every device of a recipient had lost them
	PreKeysLow      int64 // connections that found one-time prekeys run out or nearly so
}

// Counters returns the counts.
func (c *Client) Counters() (Counters, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, _, err := get[Counters](c, keyCounters)
	return n, err
}

// count changes a counter in a batch of its own. The caller holds c.mu.
func (c *Client) count(change func(*Counters)) error {
	b := &batch{}
	if err := c.countIn(b, change); err != nil {
		return err
	}
	return c.commit(b)
}

// countIn changes a counter with b. The caller holds c.mu.
func (c *Client) countIn(b *batch, change func(*Counters)) error {
	n, _, err := staged[Counters](c, b, keyCounters)
	if err != nil {
		return err
	}
	change(&n)
	b.set(keyCounters, n)
	return nil
}
