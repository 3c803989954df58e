package app

import (
	"context"
	"time"

	"sotto/api"
	"sotto/internal/config"
	"sotto/internal/peer"
	"sotto/internal/token"
)

// peers are the services in other processes. Without a secret between services there are none.
type peers struct {
	userKey, chatKey peer.Key
	user             peer.UserClient
	chat             peer.ChatClient
	reachable        bool // this process answers calls of others
}

func newPeers(c config.Config) (p peers, err error) {
	if c.ServiceSecret == "" {
		return p, nil
	}
	trust, err := tlsConfig(c)
	if err != nil {
		return p, err
	}
	secret := secretBytes(c.ServiceSecret)
	if p.userKey, err = peer.NewKey(secret, peer.UserName, time.Now); err != nil {
		return p, err
	}
	if p.chatKey, err = peer.NewKey(secret, peer.ChatName, time.Now); err != nil {
		return p, err
	}
	p.user = peer.UserClient{Caller: peer.NewCaller(c.UserURL, p.userKey, trust)}
	p.chat = peer.ChatClient{Caller: peer.NewCaller(c.ChatURL, p.chatKey, trust)}
	p.reachable = true
	return p, nil
}

// lateUsers is the user service, here or elsewhere. It lets chat be built before user: each needs the other, and neither
// calls before both are there.
type lateUsers struct{ s *services }

func (u lateUsers) service() peer.User {
	if u.s.user != nil {
		return u.s.user
	}
	return u.s.peers.user
}

func (u lateUsers) Accounts(ctx context.Context, ids []api.AccountID) ([]api.AccountLists, error) {
	return u.service().Accounts(ctx, ids)
}

func (u lateUsers) PublicKeys(ctx context.Context) ([]token.PublicKey, error) {
	return u.service().PublicKeys(ctx)
}

func (u lateUsers) Recipient(ctx context.Context, id api.AccountID) (api.Recipient, error) {
	return u.service().Recipient(ctx, id)
}
