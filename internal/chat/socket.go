package chat

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/socketio"
	"sotto/internal/token"
)

const (
	maxSocketPending = 4 << 20          // bytes: the pushed entries and a mailbox page in base64, with room
	maxInFlight      = 32               // sends and acknowledgements of one socket under way; further events wait
	socketTimeout    = 30 * time.Second // for the answer to one event
)

func (s *Service) newSocketServer() (*socketio.Server, error) {
	return socketio.New(socketio.Config{
		Path: api.SocketPath, MaxPayload: api.MaxSendBody, MaxPending: maxSocketPending,
		Origins: s.Origins, Now: s.Now, Rand: s.Rand, Logger: s.Logger,
		ClientAddr: func(r *http.Request) string { return httpx.ClientAddress(r).String() },
	}, socketio.Handler{
		Authenticate: s.authenticate, Connect: s.onConnect, Event: s.onEvent, Disconnect: s.onDisconnect,
		RequestOwner: s.requestOwner,
		IdentityOwner: func(identity any) string {
			return identity.(*conn).actor.Account.String()
		},
	})
}

// Sockets is the handler to mount at api.SocketPath.
func (s *Service) Sockets() http.Handler { return s.sockets }

// SocketMetrics are the numbers of the real-time layer.
func (s *Service) SocketMetrics() []socketio.Metric { return s.sockets.Metrics() }

// handshakeToken finds the token of a request that is kept only as its headers.
func handshakeToken(hs socketio.Handshake) string {
	r := &http.Request{Header: http.Header{"Cookie": {hs.Cookie}, "Authorization": {hs.Authorization}}}
	t, _ := httpx.TokenFrom(r)
	return t
}

func (s *Service) requestOwner(hs socketio.Handshake) string {
	actor, err := s.Verify(context.Background(), handshakeToken(hs))
	if err != nil {
		return ""
	}
	return actor.Account.String()
}

// authenticate accepts a CONNECT: a token of a device, a protocol version and a generation that is higher than before.
func (s *Service) authenticate(ctx context.Context, hs socketio.Handshake, auth json.RawMessage) (any, error) {
	c, err := s.admit(ctx, hs, auth)
	if err != nil {
		e := errs.As(err)
		if e.Kind == errs.Internal {
			s.Logger.ErrorContext(ctx, "connect failed", slog.Any("err", err))
		}
		return nil, &socketio.ConnectError{Code: e.Code, Message: e.Public}
	}
	return c, nil
}

func (s *Service) admit(ctx context.Context, hs socketio.Handshake, auth json.RawMessage) (*conn, error) {
	var a api.SocketAuth
	if err := httpx.Strict(auth, &a); err != nil {
		return nil, err
	}
	if a.Protocol < api.ProtocolLowest || a.Protocol > api.ProtocolHighest {
		return nil, httpx.UpgradeRequired(a.Protocol)
	}
	t := a.Token
	if t == "" {
		t = handshakeToken(hs)
	}
	actor, err := s.Verify(ctx, t)
	if err != nil {
		return nil, err
	}
	if !actor.HasDevice() {
		return nil, errs.New(errs.Forbidden, api.CodeForbidden, "This login has no device yet. Add the device first.")
	}
	d, returned, err := s.connect(ctx, actor, a.Generation)
	if err != nil {
		return nil, err
	}
	return &conn{
		actor: actor, device: d.id, generation: a.Generation, returned: returned,
		slots: make(chan struct{}, maxInFlight), backlog: true,
	}, nil
}

// onConnect adds the socket before it counts what waits: nothing can be stored in between without being noticed.
func (s *Service) onConnect(socket *socketio.Socket) {
	c := socket.Identity().(*conn)
	c.socket = socket
	s.hub.add(c)
	// The login may have ended between its check and the hub.
	if s.ended.has(c.actor.Login) {
		c.end(errEnded)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
	defer cancel()
	d, err := deviceOf(ctx, s.DB, c.actor)
	if err != nil {
		c.end(errs.As(err))
		return
	}
	d.generation = c.generation // a newer connection may have raised it
	answer, err := s.connection(ctx, d, c.returned)
	if err != nil {
		c.end(errs.As(err))
		return
	}
	c.ready(answer)
}

func (s *Service) onDisconnect(socket *socketio.Socket, _ socketio.Reason) {
	s.hub.remove(socket.Identity().(*conn))
}

// onEvent takes the events of one socket one after another. Sends and acknowledgements are queued in that order and
// answered when they are stored, so that a client may have several under way.
func (s *Service) onEvent(socket *socketio.Socket, e socketio.Event) {
	c := socket.Identity().(*conn)
	if e.Ack == nil {
		e.Ack = func(...any) {}
	}
	ctx, cancel := context.WithTimeout(context.Background(), socketTimeout)
	if later := s.handleEvent(ctx, c, e); later != nil {
		c.slots <- struct{}{}
		go func() {
			defer cancel()
			later()
			<-c.slots
		}()
		return
	}
	cancel()
}

// handleEvent answers an event, or returns what will.
func (s *Service) handleEvent(ctx context.Context, c *conn, e socketio.Event) (later func()) {
	var refused error
	switch e.Name {
	case api.EventSend:
		req, err := payload[api.Send](e)
		if err != nil {
			refused = err
			break
		}
		p, err := s.submitSend(ctx, c.actor, c.generation, req)
		if err == nil {
			return func() {
				sent, err := s.awaitSend(ctx, p)
				reply(s, e, sent, err)
			}
		}
		refused = err
	case api.EventAck:
		req, err := payload[api.Ack](e)
		if err != nil {
			refused = err
			break
		}
		answer, err := s.submitAck(ctx, c.actor, c.generation, req)
		if err == nil {
			return func() {
				acked, err := s.awaitAck(ctx, answer)
				reply(s, e, acked, err)
			}
		}
		refused = err
	case api.EventMailbox:
		s.onMailbox(ctx, c, e)
		return nil
	case api.EventSync:
		ask(ctx, s, c, e, s.Sync)
		return nil
	case api.EventArchive:
		ask(ctx, s, c, e, s.Archive)
		return nil
	default:
		refused = errs.Invalidf("There is no such event.")
	}
	reply(s, e, struct{}{}, refused)
	return nil
}

// ask answers an event that only reads.
func ask[Req, Res any](ctx context.Context, s *Service, c *conn, e socketio.Event, fn func(context.Context, token.Actor, Req) (Res, error)) {
	req, err := payload[Req](e)
	var res Res
	if err == nil {
		res, err = fn(ctx, c.actor, req)
	}
	reply(s, e, res, err)
}

// onMailbox is Mailbox for a socket, which learns of the end of its backlog by it.
func (s *Service) onMailbox(ctx context.Context, c *conn, e socketio.Event) {
	req, err := payload[api.MailboxRequest](e)
	if err != nil {
		reply(s, e, struct{}{}, err)
		return
	}
	c.reading()
	page, err := s.Mailbox(ctx, c.actor, req)
	c.answer(err == nil && page.Next == 0, func() { reply(s, e, page, err) })
}

// payload decodes the single argument of an event as strictly as a request body.
func payload[T any](e socketio.Event) (T, error) {
	var req T
	if len(e.Args) != 1 || len(e.Attachments) > 0 {
		return req, errs.Invalidf("An event has one JSON object and no attachments.")
	}
	return req, httpx.Strict(e.Args[0], &req)
}

// reply acknowledges an event. A fault of ours is logged; the client sees no more than its code.
func reply[T any](s *Service, e socketio.Event, ok T, err error) {
	if err == nil {
		e.Ack(api.Reply[T]{Ok: &ok})
		return
	}
	if errs.As(err).Kind == errs.Internal {
		s.Logger.Error("event failed", slog.String("event", e.Name), slog.Any("err", err))
	}
	problem := errs.Problem(err, "")
	e.Ack(api.Reply[T]{Error: &problem})
}

// passEphemeral hands each envelope to the live socket of its device. It says nothing of who got one: not of devices
// without a socket, not of accounts that have not accepted the conversation.
func (s *Service) passEphemeral(ctx context.Context, sd send) (api.Sent, error) {
	d, err := s.actorDevice(ctx, sd.actor)
	if err != nil {
		return api.Sent{}, err
	}
	if err := d.checkGeneration(sd.generation); err != nil {
		return api.Sent{}, err
	}
	req := sd.req
	var members []member
	if err := readMembers(ctx, s.DB, []api.ConversationID{req.ConversationID}, func(_ api.ConversationID, m member) {
		members = append(members, m)
	}); err != nil {
		return api.Sent{}, err
	}
	accepted := func(id api.AccountID) bool { return slices.Contains(members, member{id, api.MemberAccepted}) }
	if !slices.ContainsFunc(members, func(m member) bool { return m.account == sd.actor.Account }) {
		return api.Sent{}, errNoConversation
	}
	sent := api.Sent{
		ConversationID: req.ConversationID, MessageID: req.MessageID, Epoch: s.Epoch(), ServerTime: s.nowMillis(),
		Devices: []api.DeviceRef{},
	}
	for _, e := range req.Envelopes {
		if !accepted(sd.actor.Account) || !accepted(e.AccountID) {
			continue
		}
		to, err := readDevice(ctx, s.DB, e.AccountID, e.DeviceID)
		if err != nil {
			return api.Sent{}, err
		}
		if to == nil || to.state != stateActive || to.registration != e.RegistrationID {
			continue
		}
		s.hub.tell(ctx, e.AccountID, note{Ephemeral: &ephemeral{Device: to.id, Entry: api.Entry{
			ConversationID: req.ConversationID, MessageID: req.MessageID, Class: req.Class, Epoch: sent.Epoch,
			ServerTime: sent.ServerTime, SenderID: sd.actor.Account, SenderDevice: sd.actor.WireDevice,
			EnvelopeDevice: sd.actor.WireDevice, Type: e.Type, Bytes: e.Bytes, Commitment: req.Commitment,
		}}})
	}
	return sent, nil
}
