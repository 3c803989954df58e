package client

import (
	"context"
	"slices"
	"unicode/utf8"

	"sotto/api"
	"sotto/e2ee"
)

// The own profile is a fact of account state. Whichever device of the account is connected shows each version once to the
// other member of every conversation that the account has accepted or begun, and notes that for its sisters. What a peer
// shows becomes a fact about the peer, so that the devices to come know it, too.

// Profile is how an account shows itself to those it talks to. The server learns none of it.
type Profile struct {
	DisplayName string `json:"display_name"`      // at most 128 bytes
	Status      string `json:"status,omitempty"`  // at most 512 bytes
	Picture     string `json:"picture,omitempty"` // names the picture, for Client.Picture; empty: there is none
}

const (
	factProfile = "profile" // of the own account and of a peer; ranked by version
	factShown   = "shown"   // of a conversation: version of the own profile; ranked by itself
)

// storedProfile is the value of factProfile.
type storedProfile struct {
	DisplayName string   `json:"display_name,omitempty"`
	Status      string   `json:"status,omitempty"`
	Picture     *picture `json:"picture,omitempty"`
}

func (p storedProfile) profile() Profile {
	return Profile{DisplayName: p.DisplayName, Status: p.Status, Picture: p.Picture.name()}
}

// profileOf reads what an account shows; zero for nothing. The caller holds c.mu.
func (c *Client) profileOf(a api.AccountID) (p storedProfile, version uint64, err error) {
	me, err := c.device()
	if err != nil {
		return p, 0, err
	}
	name := statePeerOf(a)
	if a == me.Account {
		name = stateProfile
	}
	p, r, _, err := stateFact[storedProfile](c, name, factProfile)
	return p, r[0], err
}

// shows is what is shown of the peer's profile: attachments are not read before a message request is accepted.
func (v conversation) shows(p storedProfile) storedProfile {
	if v.State != api.MemberAccepted {
		p.Picture = nil
	}
	return p
}

// Profile returns the own profile; empty when there is none.
func (c *Client) Profile() (Profile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return Profile{}, err
	}
	p, _, err := c.profileOf(me.Account)
	return p.profile(), err
}

// SetProfile changes display name and status; the picture stays. The account's other devices follow.
func (c *Client) SetProfile(p Profile) error {
	if len(p.DisplayName) > e2ee.MaxDisplayName || len(p.Status) > e2ee.MaxStatus || !utf8.ValidString(p.DisplayName+p.Status) {
		return fail(CodeArgument, "A display name is UTF-8 of at most %d bytes, a status of at most %d.", e2ee.MaxDisplayName, e2ee.MaxStatus)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changeProfile(&batch{}, func(own *storedProfile) { own.DisplayName, own.Status = p.DisplayName, p.Status })
}

// changeProfile commits a change of the own profile with b. The caller holds c.mu.
func (c *Client) changeProfile(b *batch, change func(*storedProfile)) error {
	me, err := c.device()
	if err != nil {
		return err
	}
	p, _, err := c.profileOf(me.Account)
	if err != nil {
		return err
	}
	change(&p)
	if err := c.changeFacts(b, stateProfile, map[string]any{factProfile: p}); err != nil {
		return err
	}
	b.events = append(b.events, Event{Type: EventProfile})
	return c.commit(b)
}

// body is what the members get. A display name is required there.
func (p storedProfile) body(me device, version uint64) e2ee.Body {
	out := e2ee.Profile{Version: version, DisplayName: p.DisplayName, Status: p.Status}
	if out.DisplayName == "" {
		out.DisplayName = me.Username
	}
	if a, err := p.Picture.attachment(); err == nil {
		out.Avatar = &a
	}
	return e2ee.ProfileBody(out)
}

// takeProfile takes what a peer shows, unless it is older than what is known. The caller holds c.mu.
func (c *Client) takeProfile(me device, content e2ee.Content, b *batch) error {
	shown, err := content.Body.Profile()
	peer := api.AccountID(content.Sender)
	if err != nil || peer == me.Account || shown.Version > e2ee.MaxTime {
		return nil //nolint:nilerr // nothing that anybody could do
	}
	if _, known, err := c.profileOf(peer); err != nil || known >= shown.Version {
		return err
	}
	p := storedProfile{DisplayName: shown.DisplayName, Status: shown.Status, Picture: pictureOf(shown.Avatar)}
	b.events = append(b.events, Event{Type: EventProfile, Account: peer, Conversation: content.Conversation})
	return c.setFact(b, statePeerOf(peer), factProfile, rank{shown.Version}, p)
}

// unshown wakes the loop when a conversation may lack the own profile, or all may. The caller holds c.mu.
func (c *Client) unshown(e Event) {
	switch {
	case c.conn == nil:
		return
	case e.Type == EventSent || e.Type == EventConversation:
		c.conn.show[e.Conversation] = true
	case e.Type == EventProfile && e.Account == api.AccountID{}:
		c.conn.show[api.ConversationID{}] = true
	default:
		return
	}
	signal(c.conn.profiles)
}

// profileLoop shows the own profile where it was not shown yet: everywhere after connecting and after a change, else where
// something has happened.
func (n *connection) profileLoop(ctx context.Context) error {
	if err := n.afterReconciling(ctx); err != nil {
		return err
	}
	for {
		if err := n.showProfile(ctx); err != nil {
			if stopsConnection(err) {
				return err
			}
			n.c.log.Warn("the profile was not shown everywhere", "code", CodeOf(err))
		}
		select {
		case <-n.profiles:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := sleep(ctx, stateGather); err != nil {
			return err
		}
	}
}

func (n *connection) showProfile(ctx context.Context) error {
	c := n.c
	c.mu.Lock()
	show := n.show
	n.show = map[api.ConversationID]bool{}
	c.mu.Unlock()
	if show[api.ConversationID{}] {
		all, err := c.conversations()
		if err != nil {
			return err
		}
		for _, v := range all {
			show[v.ID] = true
		}
		delete(show, api.ConversationID{})
	}
	for id := range show {
		if lacks, err := c.lacksProfile(id); err != nil || !lacks {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := c.known(ctx, id); passOver(err) != nil { // fetches the lists of a peer that this device never wrote to
			return err
		}
		if err := c.showProfileTo(id); err != nil {
			return err
		}
	}
	return nil
}

// lacksProfile tells whether the newest version of the own profile is to be shown in a conversation: one that the account
// has accepted, and that has a message, so that opening a conversation tells nobody anything.
func (c *Client) lacksProfile(id api.ConversationID) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return false, err
	}
	v, found, err := get[conversation](c, keyConversation(id))
	if err != nil || !found || v.State != api.MemberAccepted || v.Peer == me.Account {
		return false, err
	}
	_, version, err := c.profileOf(me.Account)
	if err != nil || version == 0 {
		return false, err
	}
	_, shown, _, err := stateFact[uint64](c, stateRead+id.String(), factShown)
	if err != nil || shown[0] >= version {
		return false, err
	}
	newest, err := c.store.Scan(keyMessages(id), nil, 1)
	return len(newest) > 0, storeErrorOf(err)
}

// showProfileTo queues the profile for the devices of the other member, and notes that in the same Apply. When none of them
// takes part at the moment, or the queue is full, the next connection does it.
func (c *Client) showProfileTo(id api.ConversationID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return err
	}
	v, err := c.storedConversation(id)
	if err != nil {
		return err
	}
	peer, err := c.pin(v.Peer)
	if err != nil || peer.Version == 0 {
		return err
	}
	to, err := peer.devices(me)
	if err != nil {
		return err
	}
	to = slices.DeleteFunc(to, func(d api.DeviceRef) bool { return slices.Contains(peer.Inactive, d.DeviceID) })
	if len(to) == 0 {
		return nil
	}
	p, version, err := c.profileOf(me.Account)
	if err != nil {
		return err
	}
	b := &batch{}
	if err := c.queueSilent(b, slotProfile, id, p.body(me, version), to); err != nil {
		return err
	}
	if err := c.setFact(b, stateRead+id.String(), factShown, rank{version}, version); err != nil {
		return err
	}
	return c.commit(b)
}
