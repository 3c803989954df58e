package notification

import (
	"net/http"
	"strconv"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/limit"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// Limits. Reads are cheap; what is stored is not.
const (
	limitRead        limit.Name = "notification.read"
	limitWrite       limit.Name = "notification.write"
	limitSubscribe   limit.Name = "notification.subscribe"
	limitUnsubscribe limit.Name = "notification.unsubscribe"
	limitImage       limit.Name = "notification.image" // mail providers load for many readers from one address
)

// Rates are the limits of this service.
func Rates() map[limit.Name]limit.Rate {
	return map[limit.Name]limit.Rate{
		limitRead:        {Count: 20, Per: time.Second, Burst: 600},
		limitWrite:       {Count: 10, Per: time.Second, Burst: 600},
		limitSubscribe:   {Count: 120, Per: time.Hour, Burst: 60},
		limitUnsubscribe: {Count: 120, Per: time.Hour, Burst: 30},
		limitImage:       {Count: 20, Per: time.Second, Burst: 600},
	}
}

// Routes is the service's table.
func (s *Service) Routes() []httpx.Route {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	return []httpx.Route{
		{Method: get, Pattern: "/api/notifications", Limit: limitRead, Handle: s.handleList},
		{Method: get, Pattern: "/api/notifications/unread", Limit: limitRead, Handle: httpx.NoBody(s.Unread)},
		{Method: post, Pattern: "/api/notifications/read", Limit: limitWrite, Handle: httpx.JSON(s.MarkThrough)},
		{Method: post, Pattern: "/api/notifications/item/{id}/read", Limit: limitWrite, Handle: s.handleMarkRead},
		{Method: http.MethodDelete, Pattern: "/api/notifications/item/{id}", Limit: limitWrite, Handle: s.handleDelete},
		{Method: get, Pattern: "/api/notifications/settings", Limit: limitRead, Handle: httpx.NoBody(s.Settings)},
		{Method: put, Pattern: "/api/notifications/settings", Limit: limitWrite, Handle: httpx.JSON(s.SetSettings)},
		{Method: get, Pattern: "/api/notifications/settings/{id}", Limit: limitRead, Handle: s.handleConversation},
		{Method: put, Pattern: "/api/notifications/settings/{id}", Limit: limitWrite, Handle: s.handleSetConversation},
		{Method: http.MethodDelete, Pattern: "/api/notifications/settings/{id}", Limit: limitWrite, Handle: s.handleClearConversation},
		{Method: get, Pattern: "/api/notifications/push", Limit: limitRead, Handle: httpx.NoBody(s.PushState)},
		{Method: put, Pattern: "/api/notifications/push", Limit: limitSubscribe, Handle: httpx.JSON(s.Subscribe)},
		{Method: http.MethodDelete, Pattern: "/api/notifications/push", Limit: limitSubscribe, Handle: s.handleUnsubscribePush},
		{Method: get, Pattern: "/api/notifications/unsubscribe", Role: httpx.Public, Limit: limitUnsubscribe, Handle: s.handleUnsubscribe},
		{Method: post, Pattern: "/api/notifications/unsubscribe", Role: httpx.Public, Limit: limitUnsubscribe, Handle: s.handleUnsubscribe},
		{Method: get, Pattern: "/api/notifications/images/{sha256}", Role: httpx.Public, Limit: limitImage, Handle: s.handleImage},
	}
}

const defaultPage = 50

func (s *Service) handleList(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	number := func(name string, fallback int64) (int64, error) {
		text := r.URL.Query().Get(name)
		if text == "" {
			return fallback, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return 0, errs.Invalidf("%s is not a number.", name)
		}
		return n, nil
	}
	before, err := number("before", 0)
	if err != nil {
		return nil, err
	}
	limit, err := number("limit", defaultPage)
	if err != nil {
		return nil, err
	}
	page, err := s.List(r.Context(), actor, before, int(min(limit, api.MaxNotificationPage+1)))
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (s *Service) handleMarkRead(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := itemID(r)
	if err != nil {
		return nil, err
	}
	return nil, s.MarkRead(r.Context(), actor, id)
}

func (s *Service) handleDelete(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := itemID(r)
	if err != nil {
		return nil, err
	}
	return nil, s.Delete(r.Context(), actor, id)
}

func (s *Service) handleConversation(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	own, err := s.ConversationSettings(r.Context(), actor, id)
	if err != nil {
		return nil, err
	}
	return own, nil
}

func (s *Service) handleSetConversation(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	var own api.ConversationNotifications
	if err := httpx.Decode(r, &own); err != nil {
		return nil, err
	}
	return nil, s.SetConversationSettings(r.Context(), actor, id, own)
}

func (s *Service) handleClearConversation(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	id, err := httpx.PathID(r, "id", api.ParseConversationID)
	if err != nil {
		return nil, err
	}
	return nil, s.ClearConversationSettings(r.Context(), actor, id)
}

func (s *Service) handleUnsubscribePush(_ http.ResponseWriter, r *http.Request, actor token.Actor) (any, error) {
	return nil, s.Unsubscribe(r.Context(), actor)
}

// handleUnsubscribe is where the link in a mail leads. Looking at the page changes nothing, because mail programs look
// at links; its button, and the one-click request of RFC 8058, post.
func (s *Service) handleUnsubscribe(w http.ResponseWriter, r *http.Request, _ token.Actor) (any, error) {
	account, ok := s.unsubscriber(r.URL.Query().Get("t"))
	set := defaults()
	page, status := "unsubscribe_bad", http.StatusBadRequest
	if ok {
		var err error
		if set, err = readSettings(r.Context(), s.DB, account); err != nil {
			return nil, errs.Wrap("reading settings", err)
		}
		page, status = "unsubscribe_ask", http.StatusOK
	}
	if ok && r.Method == http.MethodPost {
		set.Channels.Mail = false
		if err := s.tx(r.Context(), "unsubscribe", func(tx *sqldb.Tx) error {
			return writeSettings(r.Context(), tx, account, set)
		}); err != nil {
			return nil, errs.Wrap("unsubscribing", err)
		}
		page = "unsubscribed"
	}
	return httpx.Written, s.writePage(w, status, set.Language, page)
}

func (s *Service) writePage(w http.ResponseWriter, status int, language, page string) error {
	all, err := phrases(language)
	if err != nil {
		return err
	}
	text, err := say(all, page, words{Host: s.host()})
	if err != nil {
		return err
	}
	html, err := renderHTML("unsubscribe.html", map[string]any{
		"Language": language, "Dir": all["dir"], "Text": text, "Ask": page == "unsubscribe_ask", "UnsubscribeText": all["unsubscribe"],
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(html)) // the peer may be gone
	return nil
}
