package chat

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

const (
	presenceKey     = "online/"        // and the account id: a key of the expiring map while the account is connected
	presenceLives   = 90 * time.Second // of that key; a replica that dies takes nobody's presence with it for longer
	presenceRefresh = 30 * time.Second
	presenceGrace   = 5 * time.Second // without a socket before an account counts as gone: clients reconnect
	presenceTick    = time.Second
	maxPresence     = 4_096 // changes that wait; one more is lost, and the next refresh or reading tells the same
)

// presence tells contacts who is connected. All of it is hints: what is lost, an answer to GET /api/chat/presence says.
// One goroutine works on it; the hub hands it the accounts whose first socket came or whose last one went.
type presence struct {
	changes chan api.AccountID
	leaving map[api.AccountID]time.Time // without a socket here since
}

func newPresence() *presence {
	return &presence{changes: make(chan api.AccountID, maxPresence), leaving: make(map[api.AccountID]time.Time)}
}

// changed never waits: the hub calls it.
func (p *presence) changed(id api.AccountID) {
	select {
	case p.changes <- id:
	default:
	}
}

func (s *Service) runPresence(ctx context.Context) {
	tick := time.NewTicker(presenceTick)
	defer tick.Stop()
	refreshed := time.Now()
	for {
		select {
		case id := <-s.presence.changes:
			if len(s.hub.of(id)) == 0 {
				s.presence.leaving[id] = time.Now()
				continue
			}
			delete(s.presence.leaving, id)
			s.report(ctx, s.arrive(ctx, id))
		case <-tick.C:
			s.report(ctx, s.leave(ctx))
			if time.Since(refreshed) >= presenceRefresh {
				refreshed = time.Now()
				for _, id := range s.hub.connectedAccounts() {
					s.report(ctx, s.arrive(ctx, id))
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "contacts were not told of a presence", slog.Any("err", err))
	}
}

// arrive keeps the account's key alive, and tells its contacts when there was none.
func (s *Service) arrive(ctx context.Context, id api.AccountID) error {
	key := presenceKey + id.String()
	_, online, err := s.Hints.Get(ctx, key)
	if err != nil {
		return err
	}
	if err := s.Hints.Set(ctx, key, nil, presenceLives); err != nil || online {
		return err
	}
	return s.tellPresence(ctx, api.Presence{AccountID: id, Online: true, LastSeen: minuteOf(s.nowMillis())})
}

// leave tells the contacts of those who have stayed away. If such an account is connected to another replica, that one
// finds its key missing and tells that it is there.
func (s *Service) leave(ctx context.Context) error {
	for id, since := range s.presence.leaving {
		if time.Since(since) < presenceGrace {
			continue
		}
		delete(s.presence.leaving, id)
		if len(s.hub.of(id)) > 0 {
			continue
		}
		if err := s.Hints.Delete(ctx, presenceKey+id.String()); err != nil {
			return err
		}
		if err := s.tellPresence(ctx, api.Presence{AccountID: id, LastSeen: minuteOf(s.nowMillis())}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) tellPresence(ctx context.Context, p api.Presence) error {
	contacts, err := readWatchers(ctx, s.DB, p.AccountID)
	if err != nil {
		return err
	}
	for _, contact := range contacts {
		s.hub.tell(ctx, contact, note{Presence: &p})
	}
	return nil
}

// introduce tells an account, and the members of a conversation who have become its contacts, which of them are there.
func (s *Service) introduce(ctx context.Context, id api.AccountID, members []api.AccountID) error {
	watchers, err := readWatchers(ctx, s.DB, id)
	if err != nil {
		return err
	}
	for _, member := range members {
		if !slices.Contains(watchers, member) {
			continue
		}
		for of, to := range map[api.AccountID]api.AccountID{id: member, member: id} {
			_, online, err := s.Hints.Get(ctx, presenceKey+of.String())
			if err != nil {
				return err
			}
			if online {
				s.hub.tell(ctx, to, note{Presence: &api.Presence{AccountID: of, Online: true, LastSeen: minuteOf(s.nowMillis())}})
			}
		}
	}
	return nil
}

// minuteOf rounds a time down: nobody needs to know better when somebody was there.
func minuteOf(millis int64) int64 {
	const minute = 60_000 // milliseconds
	return millis - millis%minute
}

// Presence tells the actor of its contacts. One that has blocked the conversation looks as if it had left at that moment.
func (s *Service) Presence(ctx context.Context, actor token.Actor) (api.PresenceAnswer, error) {
	if err := s.allow(ctx, limitRead, actor); err != nil {
		return api.PresenceAnswer{}, err
	}
	contacts, err := readContacts(ctx, s.DB, actor.Account)
	if err != nil {
		return api.PresenceAnswer{}, err
	}
	answer := api.PresenceAnswer{Presence: []api.Presence{}}
	for _, c := range contacts {
		p := api.Presence{AccountID: c.account, LastSeen: minuteOf(c.seenAt)}
		if c.blockedAt != 0 {
			p.LastSeen = minuteOf(min(c.seenAt, c.blockedAt))
		} else if _, online, err := s.Hints.Get(ctx, presenceKey+c.account.String()); err == nil {
			p.Online = online // without the map nobody looks connected, which is no reason to refuse
		}
		answer.Presence = append(answer.Presence, p)
	}
	return answer, nil
}

// contact is another member of a conversation that both have accepted.
type contact struct {
	account   api.AccountID
	seenAt    int64
	blockedAt int64 // 0 while it has not blocked the conversation
}

const sqlReadContacts = `
SELECT other.account, coalesce((SELECT max(d.seen_at) FROM device d WHERE d.account = other.account AND d.state <> 'removed'), 0),
	CASE WHEN other.state = 'blocked' THEN other.changed_at ELSE 0 END
FROM member own JOIN member other ON other.conversation = own.conversation
WHERE own.account = $1 AND own.state = 'accepted' AND other.account <> $1 AND other.accepted_at IS NOT NULL
ORDER BY other.account LIMIT $2`

func readContacts(ctx context.Context, q sqldb.Querier, id api.AccountID) (contacts []contact, err error) {
	rows, err := q.Query(ctx, sqlReadContacts, id[:], api.MaxContacts)
	if err != nil {
		return nil, errs.Wrap("reading contacts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c contact
		if err := rows.Scan(sqldb.Blob(c.account[:]), &c.seenAt, &c.blockedAt); err != nil {
			return nil, errs.Wrap("reading contacts", err)
		}
		contacts = append(contacts, c)
	}
	return contacts, errs.Wrap("reading contacts", rows.Err())
}

const sqlReadWatchers = `
SELECT other.account FROM member own JOIN member other ON other.conversation = own.conversation
WHERE own.account = $1 AND own.state = 'accepted' AND other.account <> $1 AND other.state = 'accepted'
ORDER BY other.account LIMIT $2`

// readWatchers are those who are told of an account's presence.
func readWatchers(ctx context.Context, q sqldb.Querier, id api.AccountID) (watchers []api.AccountID, err error) {
	rows, err := q.Query(ctx, sqlReadWatchers, id[:], api.MaxContacts)
	if err != nil {
		return nil, errs.Wrap("reading contacts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var watcher api.AccountID
		if err := rows.Scan(sqldb.Blob(watcher[:])); err != nil {
			return nil, errs.Wrap("reading contacts", err)
		}
		watchers = append(watchers, watcher)
	}
	return watchers, errs.Wrap("reading contacts", rows.Err())
}
