package peer

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net/http"

	"sotto/api"
	"sotto/internal/token"
)

// User is what the user service answers to other services.
type User interface {
	Accounts(ctx context.Context, ids []api.AccountID) ([]api.AccountLists, error)
	PublicKeys(ctx context.Context) ([]token.PublicKey, error)
	Recipient(ctx context.Context, id api.AccountID) (api.Recipient, error)
}

// UserName names the service in NewKey.
const UserName = "user"

const (
	pathAccounts   = "/internal/user/accounts"
	pathPublicKeys = "/internal/user/public-keys"
	pathRecipient  = "/internal/user/recipient"
)

type accountsRequest struct {
	IDs []api.AccountID `json:"ids"`
}

type accountRequest struct {
	ID api.AccountID `json:"id"`
}

// keysAnswer also says what every service has to know before it answers anybody: the epoch of this server.
type keysAnswer struct {
	Keys  []publicKey `json:"keys"`
	Epoch uint64      `json:"epoch"`
}

type publicKey struct {
	KID string `json:"kid"`
	Key []byte `json:"key"` // 32 bytes
}

type none struct{}

// UserHandler answers for the user service. Mount it at /internal/user/.
func UserHandler(s User, epoch func() uint64, key Key, log *slog.Logger) http.Handler {
	return &handler{key: key, log: log, calls: map[string]func(context.Context, []byte) (any, error){
		pathAccounts: call(func(ctx context.Context, req accountsRequest) ([]api.AccountLists, error) {
			return s.Accounts(ctx, req.IDs)
		}),
		pathPublicKeys: call(func(ctx context.Context, _ none) (keysAnswer, error) {
			answer := keysAnswer{Epoch: epoch()}
			keys, err := s.PublicKeys(ctx)
			for _, k := range keys {
				answer.Keys = append(answer.Keys, publicKey{k.KID, k.Key})
			}
			return answer, err
		}),
		pathRecipient: call(func(ctx context.Context, req accountRequest) (api.Recipient, error) {
			return s.Recipient(ctx, req.ID)
		}),
	}}
}

// UserClient is the user service as other processes see it.
type UserClient struct{ *Caller }

// Accounts returns the newest signed list and the status of the devices of each account that exists.
func (c UserClient) Accounts(ctx context.Context, ids []api.AccountID) ([]api.AccountLists, error) {
	return post[[]api.AccountLists](ctx, c.Caller, pathAccounts, accountsRequest{ids})
}

// PublicKeys returns the keys that verify tokens, the current one first.
func (c UserClient) PublicKeys(ctx context.Context) ([]token.PublicKey, error) {
	keys, _, err := c.Keys(ctx)
	return keys, err
}

// Keys returns the server's epoch, too.
func (c UserClient) Keys(ctx context.Context) (keys []token.PublicKey, epoch uint64, err error) {
	answer, err := post[keysAnswer](ctx, c.Caller, pathPublicKeys, none{})
	for _, k := range answer.Keys {
		if len(k.Key) != ed25519.PublicKeySize {
			return nil, 0, errAway
		}
		keys = append(keys, token.PublicKey{KID: k.KID, Key: k.Key})
	}
	return keys, answer.Epoch, err
}

// Recipient tells where mail for an account goes.
func (c UserClient) Recipient(ctx context.Context, id api.AccountID) (api.Recipient, error) {
	return post[api.Recipient](ctx, c.Caller, pathRecipient, accountRequest{id})
}
