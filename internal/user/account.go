package user

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sotto/api"
	"sotto/internal/errs"
	"sotto/internal/sqldb"
	"sotto/internal/token"
)

// reservedNames could be taken for the host or the program.
var reservedNames = []string{
	"abuse", "admin", "administrator", "all", "everyone", "help", "here", "host", "hostmaster", "info", "moderator",
	"nobody", "noreply", "no-reply", "operator", "postmaster", "root", "security", "service", "sotto", "sottod", "staff",
	"support", "system", "webmaster",
}

// foldName makes names case-insensitive. Only ASCII is folded: a username holds nothing else, and Unicode folding would
// let two spellings meet.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// parseUsername returns the folded name.
func parseUsername(name string) (string, error) {
	folded := foldName(name)
	valid := len(folded) >= api.MinUsername && len(folded) <= api.MaxUsername
	for i := 0; valid && i < len(folded); i++ {
		c := folded[i]
		valid = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
	}
	if !valid {
		return "", errs.Invalidf("A username has %d to %d letters a to z, digits, dots, dashes or underscores.",
			api.MinUsername, api.MaxUsername)
	}
	return folded, nil
}

func newUsername(name string) (string, error) {
	folded, err := parseUsername(name)
	if err == nil && slices.Contains(reservedNames, folded) {
		return "", errs.Invalidf("The name %s is reserved. Choose another one.", folded)
	}
	return folded, err
}

// Info is what a client asks before anything else.
func (s *Service) Info(context.Context, token.Actor) (api.Info, error) {
	return api.Info{
		Server: s.Server, Epoch: s.Epoch(), Time: s.nowMillis(), Limits: s.Limits,
		Protocol: api.ProtocolRange{Lowest: api.ProtocolLowest, Highest: api.ProtocolHighest},
	}, nil
}

// Me is the actor's account.
func (s *Service) Me(ctx context.Context, actor token.Actor) (api.Me, error) {
	me, err := readMe(ctx, s.DB, actor.Account)
	if err != nil {
		return api.Me{}, errs.Wrap("reading the account", err)
	}
	if actor.HasDevice() {
		me.DeviceID, me.WireDeviceID = &actor.Device, actor.WireDevice
	}
	return me, nil
}

// Find lists usernames that begin with a prefix. The bound on its length and on the answer, and the rate, keep it from
// being a list of everybody.
func (s *Service) Find(ctx context.Context, _ token.Actor, req api.FindRequest) (api.FindAnswer, error) {
	prefix, err := parseUsername(req.Prefix)
	if err != nil {
		return api.FindAnswer{}, errs.Invalidf("Type at least %d letters a to z, digits, dots, dashes or underscores.",
			api.MinUsername).Because(err)
	}
	found, err := readUsernames(ctx, s.DB, prefix)
	return api.FindAnswer{Accounts: found}, errs.Wrap("finding usernames", err)
}

// Lookup finds an account by its exact username, any case.
func (s *Service) Lookup(ctx context.Context, _ token.Actor, req api.LookupRequest) (api.Account, error) {
	name, err := parseUsername(req.Username)
	if err != nil {
		return api.Account{}, err
	}
	id, err := readAccountByUsername(ctx, s.DB, name)
	if errors.Is(err, sqldb.ErrNoRows) {
		return api.Account{}, errs.NotFoundf("Nobody here is called %s.", name)
	}
	if err != nil {
		return api.Account{}, errs.Wrap("looking a username up", err)
	}
	lists, err := readNewestList(ctx, s.DB, id)
	if err != nil {
		return api.Account{}, errs.Wrap("reading the device list", err)
	}
	return api.Account{AccountID: id, Username: name, Lists: lists}, nil
}
