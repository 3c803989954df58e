package client

import (
	"context"

	"sotto/api"
	"sotto/e2ee"
)

// Conversation is a conversation as this account sees it.
type Conversation struct {
	ID       api.ConversationID
	Kind     api.Kind
	State    api.MemberState
	Peer     api.AccountID // of a direct conversation; the own account for kind self
	Username string        // of Peer, as last seen; empty when it was never looked up
	Verified bool          // safety numbers with Peer were compared
	Changed  bool          // the account key of Peer has changed, and the user has not accepted that yet
	Stopped  bool          // for that reason nothing is sent
	Read     Position      // up to where one of the account's devices has read; zero for nothing
	PeerRead Position      // up to where Peer has read; zero for nothing, or when nothing is told
	Settings ConversationSettings
	Expiry   uint32  // seconds after which its messages are erased; 0 for never
	Profile  Profile // what Peer shows; empty for nothing. A picture is named only while State is accepted
}

// conversation is what the store keeps of one.
type conversation struct {
	ID       api.ConversationID `json:"id"`
	Kind     api.Kind           `json:"kind"`
	State    api.MemberState    `json:"state"`
	Peer     api.AccountID      `json:"peer"`
	Sent     uint64             `json:"sent"`           // running number of this device's newest message
	Last     *api.MessageID     `json:"last,omitempty"` // that message
	Timer    timer              `json:"timer,omitzero"`
	Through  uint64             `json:"through"`            // every seq up to here is stored or has a reason
	PeerRead Position           `json:"peer_read,omitzero"` // up to where the other member has read

	Epoch uint64         `json:"epoch,omitempty"` // of the server, to which Through and Ends refer; 0 before the first look
	Ends  []api.EpochEnd `json:"ends,omitempty"`  // of earlier epochs: what the server knows of them
	// Settled is the epoch in which forgotten messages of this account were queued again, Archived that in which archive
	// records were given back; while that goes on, those up to Given were.
	Settled  uint64   `json:"settled,omitempty"`
	Archived uint64   `json:"archived,omitempty"`
	Given    Position `json:"given,omitzero"`
}

// members are the accounts whose devices a send names.
func (v conversation) members(me api.AccountID) []api.AccountID {
	if v.Peer == me {
		return []api.AccountID{me}
	}
	return []api.AccountID{me, v.Peer}
}

// Conversation opens the conversation with an account, or finds the existing one. The own name opens the notes to
// oneself. Errors: api.CodeNotFound, [ErrIdentity], the list codes.
func (c *Client) Conversation(ctx context.Context, username string) (Conversation, error) {
	me, err := c.me()
	if err != nil {
		return Conversation{}, err
	}
	peer, err := c.lookup(ctx, username)
	if err != nil {
		return Conversation{}, err
	}
	req := api.OpenConversationRequest{Kind: api.KindSelf}
	if peer.Account != me.Account {
		req = api.OpenConversationRequest{Kind: api.KindDirect, Peer: &peer.Account}
	}
	var res api.Conversation
	if err := c.call(ctx, "POST", "/api/chat/conversations", req, &res); err != nil {
		return Conversation{}, err
	}
	v, err := c.learn(res)
	if err != nil {
		return Conversation{}, err
	}
	if v.Peer != peer.Account {
		return Conversation{}, serverError("the conversation of another pair")
	}
	return c.view(v)
}

// Conversations lists the conversations that this device knows, in no particular order.
func (c *Client) Conversations() ([]Conversation, error) {
	stored, err := c.conversations()
	if err != nil {
		return nil, err
	}
	out := make([]Conversation, 0, len(stored))
	for _, v := range stored {
		seen, err := c.view(v)
		if err != nil {
			return nil, err
		}
		out = append(out, seen)
	}
	return out, nil
}

// conversations reads all that are stored, page by page.
func (c *Client) conversations() ([]conversation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.device(); err != nil {
		return nil, err
	}
	var out []conversation
	var from []byte
	for {
		items, err := c.store.Scan([]byte{prefixConversation}, from, MaxScan)
		if err != nil {
			return nil, storeError(err)
		}
		for _, it := range items {
			var v conversation
			if err := decode(it.Value, &v); err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		if len(items) < MaxScan {
			return out, nil
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// view adds the name and what account state knows.
func (c *Client) view(v conversation) (Conversation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.pin(v.Peer)
	if err != nil {
		return Conversation{}, err
	}
	changed, _ := p.undecided()
	out := Conversation{
		ID: v.ID, Kind: v.Kind, State: v.State, Peer: v.Peer, Username: p.Username, Verified: p.Verified, Changed: changed,
		Stopped: c.mayWrite(p) != nil, PeerRead: v.PeerRead, Expiry: v.Timer.Seconds,
	}
	if out.Read, err = c.readUpTo(v.ID); err != nil {
		return out, err
	}
	shown, _, err := c.profileOf(v.Peer)
	if err != nil {
		return out, err
	}
	out.Profile = v.shows(shown).profile()
	out.Settings, err = c.conversationSettings(v.ID)
	return out, err
}

// Accept lets a conversation that somebody else began become a full one.
func (c *Client) Accept(ctx context.Context, id api.ConversationID) error {
	return c.setState(ctx, id, api.MemberAccepted)
}

// Block drops what the other member sends from now on. They are not told.
func (c *Client) Block(ctx context.Context, id api.ConversationID) error {
	return c.setState(ctx, id, api.MemberBlocked)
}

func (c *Client) setState(ctx context.Context, id api.ConversationID, state api.MemberState) error {
	var res api.Conversation
	path := "/api/chat/conversations/" + id.String() + "/state"
	if err := c.call(ctx, "PUT", path, api.MemberStateRequest{State: state}, &res); err != nil {
		return err
	}
	_, err := c.learn(res)
	return err
}

// answered takes note that the account has written to a conversation: the server accepts a message request by that. The
// caller holds c.mu.
func (c *Client) answered(id api.ConversationID, b *batch) error {
	v, found, err := staged[conversation](c, b, keyConversation(id))
	if err != nil || !found || v.State != api.MemberRequested {
		return err
	}
	v.State = api.MemberAccepted
	b.set(keyConversation(id), v)
	b.events = append(b.events, Event{Type: EventConversation, Conversation: id, Account: v.Peer})
	return c.queueReadSoFar(b, v)
}

// learn holds a conversation that the server shows against its members, whose hash its id is, and stores it.
func (c *Client) learn(res api.Conversation) (conversation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me, err := c.device()
	if err != nil {
		return conversation{}, err
	}
	peer, ok := peerOf(me.Account, res)
	if !ok || res.ConversationID != e2ee.DirectConversation(me.Account, peer) {
		return conversation{}, serverError("a conversation whose id is not that of its members")
	}
	v, found, err := get[conversation](c, keyConversation(res.ConversationID))
	if err != nil {
		return v, err
	}
	epoch, err := c.serverEpoch()
	if err != nil {
		return v, err
	}
	if found && (v.State == res.State || v.Settled < epoch && epoch > 1) { // what was forgotten is given back first
		return v, nil
	}
	if !found {
		v = conversation{ID: res.ConversationID, Kind: res.Kind, Peer: peer, Settled: epoch, Archived: epoch}
	}
	v.State = res.State
	b := &batch{}
	b.put(keyConversation(v.ID), v)
	if found {
		if err := c.queueReadSoFar(b, v); err != nil {
			return v, err
		}
	}
	if err := c.commit(b); err != nil {
		return v, err
	}
	c.publish(Event{Type: EventConversation, Conversation: v.ID, Account: v.Peer})
	return v, nil
}

// peerOf finds the other member; false for anything but a direct or self conversation of this account.
func peerOf(me api.AccountID, res api.Conversation) (api.AccountID, bool) {
	switch {
	case res.Kind == api.KindSelf && len(res.Members) == 1 && res.Members[0] == me:
		return me, true
	case res.Kind != api.KindDirect || len(res.Members) != 2 || res.Members[0] == res.Members[1]:
		return me, false
	case res.Members[0] == me:
		return res.Members[1], true
	case res.Members[1] == me:
		return res.Members[0], true
	}
	return me, false
}

// known returns a stored conversation, or asks the server for it. Its members' lists are pinned afterwards.
func (c *Client) known(ctx context.Context, id api.ConversationID) (conversation, error) {
	c.mu.Lock()
	v, found, err := get[conversation](c, keyConversation(id))
	var p pinned
	if err == nil && found {
		p, err = c.pin(v.Peer)
	}
	c.mu.Unlock()
	if err != nil {
		return v, err
	}
	if !found {
		var res api.Conversation
		if err := c.call(ctx, "GET", "/api/chat/conversations/"+id.String(), nil, &res); err != nil {
			return v, err
		}
		if res.ConversationID != id {
			return v, serverError("another conversation than asked for")
		}
		if v, err = c.learn(res); err != nil {
			return v, err
		}
	}
	if p.Version == 0 {
		return v, c.fetchLists(ctx, v.Peer)
	}
	return v, nil
}

// remoteConversations reads all of the server's pages.
func (c *Client) remoteConversations(ctx context.Context, each func(api.Conversation) error) error {
	cursor := ""
	for {
		var page api.Conversations
		path := "/api/chat/conversations"
		if cursor != "" {
			path += "?cursor=" + escapeQuery(cursor)
		}
		if err := c.call(ctx, "GET", path, nil, &page); err != nil {
			return err
		}
		for _, res := range page.Conversations {
			if err := each(res); err != nil {
				return err
			}
		}
		if page.Next == "" || page.Next == cursor {
			return nil
		}
		cursor = page.Next
	}
}
