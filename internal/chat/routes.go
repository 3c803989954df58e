package chat

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/httpx"
	"sotto/internal/limit"
)

// Names of the limits. Those of operations that a socket offers too are counted by the rule and not by the route.
const (
	limitOpen    limit.Name = "open conversation"
	limitMember  limit.Name = "member state"
	limitConnect limit.Name = "connect"
	limitSend    limit.Name = "send"
	limitAck     limit.Name = "acknowledge"
	limitRead    limit.Name = "read mailbox"
	limitRecord  limit.Name = "replace archive record"
	limitState   limit.Name = "change account state"
	limitSetting limit.Name = "change settings"
	limitBegin   limit.Name = "begin asset"
	limitAppend  limit.Name = "append to asset"
	limitAsset   limit.Name = "read asset"
)

// Rates are the limits of this service, per account.
func Rates() map[limit.Name]limit.Rate {
	return map[limit.Name]limit.Rate{
		limitOpen:    {Count: 120, Per: time.Hour, Burst: 60, Open: true},
		limitMember:  {Count: 600, Per: time.Hour, Burst: 60, Open: true},
		limitConnect: {Count: 1200, Per: time.Hour, Burst: 200, Open: true},
		limitSend:    {Count: 100, Per: time.Second, Burst: 5000, Open: true},
		limitAck:     {Count: 200, Per: time.Second, Burst: 10000, Open: true},
		limitRead:    {Count: 100, Per: time.Second, Burst: 2000, Open: true},
		limitRecord:  {Count: 20, Per: time.Second, Burst: 2000, Open: true},
		limitState:   {Count: 10, Per: time.Second, Burst: 2000, Open: true},
		limitSetting: {Count: 60, Per: time.Hour, Burst: 20, Open: true},
		limitBegin:   {Count: 600, Per: time.Hour, Burst: 200, Open: true},
		limitAppend:  {Count: 20, Per: time.Second, Burst: 1000, Open: true},
		limitAsset:   {Count: 50, Per: time.Second, Burst: 2000, Open: true},
	}
}

// Routes is the service's table. The socket is mounted next to it, see Sockets.
func (s *Service) Routes() []httpx.Route {
	return []httpx.Route{
		{Method: http.MethodGet, Pattern: "/api/chat/conversations", Handle: s.handleConversations},
		{Method: http.MethodPost, Pattern: "/api/chat/conversations", Limit: limitOpen, Handle: httpx.JSON(s.OpenConversation)},
		{Method: http.MethodGet, Pattern: "/api/chat/conversations/{id}", Handle: s.handleConversation},
		{Method: http.MethodPut, Pattern: "/api/chat/conversations/{id}/state", Limit: limitMember, Handle: s.handleMemberState},
		{Method: http.MethodGet, Pattern: "/api/chat/conversations/{id}/sync", Handle: s.handleSync},
		{Method: http.MethodGet, Pattern: "/api/chat/conversations/{id}/epochs", Handle: s.handleEpochs},
		{Method: http.MethodPost, Pattern: "/api/chat/connection", Handle: httpx.JSON(s.Connect)},
		{Method: http.MethodPost, Pattern: "/api/chat/send", MaxBody: api.MaxSendBody, Handle: s.handleSend},
		{Method: http.MethodGet, Pattern: "/api/chat/mailbox", Handle: s.handleMailbox},
		{Method: http.MethodPost, Pattern: "/api/chat/ack", MaxBody: api.MaxSendBody, Handle: s.handleAck},
		{Method: http.MethodGet, Pattern: "/api/chat/archive", Handle: s.handleArchive},
		{
			Method: http.MethodPut, Pattern: "/api/chat/archive/{id}/{message}", Limit: limitRecord, MaxBody: api.MaxSendBody,
			Handle: s.handlePutRecord,
		},
		{Method: http.MethodDelete, Pattern: "/api/chat/archive/{id}/{message}", Limit: limitRecord, Handle: s.handleEraseRecord},
		{Method: http.MethodGet, Pattern: "/api/chat/state", Handle: s.handleStates},
		{Method: http.MethodPut, Pattern: "/api/chat/state", Limit: limitState, Handle: s.handlePutState},
		{Method: http.MethodGet, Pattern: "/api/chat/owed", Handle: s.handleOwed},
		{Method: http.MethodGet, Pattern: "/api/chat/presence", Handle: httpx.NoBody(s.Presence)},
		{Method: http.MethodPost, Pattern: "/api/chat/delivered", Handle: httpx.JSON(s.Delivered)},
		{Method: http.MethodGet, Pattern: "/api/chat/settings", Handle: httpx.NoBody(s.Settings)},
		{Method: http.MethodPut, Pattern: "/api/chat/settings", Limit: limitSetting, Handle: httpx.JSON(s.SetSettings)},
		{Method: http.MethodGet, Pattern: "/api/chat/assets", Limit: limitAsset, Handle: s.handleAssets},
		{Method: http.MethodPost, Pattern: "/api/chat/assets", Limit: limitBegin, Handle: s.handleBeginAsset},
		{Method: http.MethodGet, Pattern: "/api/chat/assets/uploads/{id}", Limit: limitAsset, Handle: s.handleUpload},
		{
			Method: http.MethodPatch, Pattern: "/api/chat/assets/uploads/{id}", Limit: limitAppend, MaxBody: api.MaxAssetPart,
			Handle: s.handleAppend,
		},
		{Method: http.MethodGet, Pattern: "/api/chat/assets/{sha256}", Limit: limitAsset, Handle: s.handleAsset},
		{Method: http.MethodDelete, Pattern: "/api/chat/assets/{sha256}", Limit: limitAsset, Handle: s.handleDeleteAsset},
	}
}

// answer keeps a zero value from being written next to an error.
func answer[Res any](res Res, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return res, nil
}

// generationOf reads the header that every write over REST carries.
func generationOf(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(r.Header.Get(api.HeaderGeneration), 10, 64)
	if err != nil || n < 1 || n > maxGeneration {
		return 0, errs.Invalidf("Send the device's generation in the header %s.", api.HeaderGeneration)
	}
	return n, nil
}

// queryNumber reads a number from the query; absent is fallback.
func queryNumber(q url.Values, name string, fallback int64) (int64, error) {
	if !q.Has(name) {
		return fallback, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, errs.Invalidf("%s is not a number.", name)
	}
	return n, nil
}
