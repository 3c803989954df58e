package peer

import (
	"context"
	"log/slog"
	"net/http"

	"sotto/api"
)

// Chat is what the chat service is told by others.
type Chat interface {
	DevicesChanged(ctx context.Context, lists api.AccountLists) error
	LoginEnded(ctx context.Context, account api.AccountID, login api.LoginID) error
}

// ChatName names the service in NewKey.
const ChatName = "chat"

const (
	pathDevicesChanged = "/internal/chat/devices-changed"
	pathLoginEnded     = "/internal/chat/login-ended"
)

type loginRequest struct {
	AccountID api.AccountID `json:"account_id"`
	LoginID   api.LoginID   `json:"login_id"`
}

// ChatHandler answers for the chat service. Mount it at /internal/chat/.
func ChatHandler(s Chat, key Key, log *slog.Logger) http.Handler {
	return &handler{key: key, log: log, calls: map[string]func(context.Context, []byte) (any, error){
		pathDevicesChanged: call(func(ctx context.Context, req api.AccountLists) (none, error) {
			return none{}, s.DevicesChanged(ctx, req)
		}),
		pathLoginEnded: call(func(ctx context.Context, req loginRequest) (none, error) {
			return none{}, s.LoginEnded(ctx, req.AccountID, req.LoginID)
		}),
	}}
}

// ChatClient is the chat service as other processes see it.
type ChatClient struct{ *Caller }

// DevicesChanged hands over an account's newest list.
func (c ChatClient) DevicesChanged(ctx context.Context, lists api.AccountLists) error {
	_, err := post[none](ctx, c.Caller, pathDevicesChanged, lists)
	return err
}

// LoginEnded ends a login's sockets.
func (c ChatClient) LoginEnded(ctx context.Context, account api.AccountID, login api.LoginID) error {
	_, err := post[none](ctx, c.Caller, pathLoginEnded, loginRequest{account, login})
	return err
}
