package client

import (
	"context"
	"strings"

	"sotto/api"
	"sotto/e2ee"
)

// ResetOptions give an account that nobody can open any more to its owner again.
type ResetOptions struct {
	Code        string // one-time: by the operator (sottod admin reset NAME), or from a mail ([Client.MailReset])
	NewPassword string // see [CheckPassword]
	NewCode     string // recovery code, made by [Client.NewRecoveryCode] and shown to the user already
	DeviceName  string // as in [LoginOptions]
}

// Reset gives the account a new account key with this as its only device, and returns the username. The archive stays
// shut, and everybody who writes with the account is told that its identity has changed. When the answer is lost
// together with this process, [Client.Login] with the new password goes on.
//
// Errors: [ErrWrongLogin] for a code that is not valid any more, CodePassword, CodeRecoveryTypo, CodeSignedIn.
func (c *Client) Reset(ctx context.Context, o ResetOptions) (username string, err error) {
	if o.NewCode == "" || len(o.DeviceName) > api.MaxDeviceName {
		return "", fail(CodeArgument, "A reset needs a recovery code, and a device name has at most %d bytes.", api.MaxDeviceName)
	}
	if err := CheckPassword("", o.NewPassword); err != nil {
		return "", err
	}
	var start api.ResetStartResponse
	if err := c.request(ctx, "POST", "/api/user/reset/start", "", api.ResetStartRequest{Code: o.Code}, &start); err != nil {
		return "", err
	}
	username = start.Lists.Username
	if _, err := c.knownDevice(username); err != nil {
		return "", err
	}
	if err := CheckPassword(username, o.NewPassword); err != nil {
		return "", err
	}
	change, err := c.newPassword(ctx, o.NewPassword, o.NewCode)
	if err != nil {
		return "", err
	}
	n, err := c.resetAccount(start, change)
	if err != nil {
		return "", err
	}
	n.recovery = RecoveryUnconfirmed
	renewal, renewalHash, err := c.newRenewal()
	if err != nil {
		return "", err
	}
	prekeys, err := c.begin(&n)
	if err != nil {
		return "", err
	}
	req := api.ResetRequest{
		Code: o.Code, Method: change.request.Method, Salt: change.request.Salt, Iterations: change.request.Iterations,
		Auth: change.request.Auth, RecoveryVerifier: change.request.RecoveryVerifier, RenewalHash: renewalHash,
		AccountKey: n.accountKey[:], List: n.list, Device: n.registration(o.DeviceName, prekeys), Bundle: n.vault.bundle(),
	}
	var res api.Login
	if err := c.insist(ctx, "POST", "/api/user/reset", "", req, &res); err != nil {
		return "", err
	}
	if res.AccountID != n.device.Account {
		return "", serverError("reset account %s as %s", n.device.Account, res.AccountID)
	}
	return username, c.introduced(n, res, renewal)
}

// MailReset asks the server to send a code for [Client.Reset] to the verified address of the account with that username or
// address. It does not tell whether there is such an account, or a mail. Errors: api.CodeInvalid, api.CodeLimited.
func (c *Client) MailReset(ctx context.Context, name string) error {
	return c.request(ctx, "POST", "/api/user/reset/mail", "", api.MailResetRequest{Name: strings.TrimSpace(name)}, &struct{}{})
}

// resetAccount makes what follows the account's last list and bundle under a new key. Each bundle version has begun at
// most one archive epoch, so the number of the next one is above every epoch that there was.
func (c *Client) resetAccount(start api.ResetStartResponse, change passwordChange) (newcomer, error) {
	lists := start.Lists.Lists
	if len(lists) == 0 {
		return newcomer{}, serverError("a reset without a device list")
	}
	newest := signed(lists[len(lists)-1])
	old, err := newest.Parse()
	if err == nil && old.Account != start.Lists.AccountID {
		err = e2ee.ErrMismatch
	}
	if err != nil {
		return newcomer{}, serverError("the list before a reset: %w", err)
	}
	o, err := c.newAccount(old.Account, change, start.BundleVersion+1)
	if err != nil {
		return newcomer{}, err
	}
	o.list.Version, o.list.Previous = old.Version, newest.Hash()
	o.bundle.Version = start.BundleVersion
	return c.newDevice(start.Lists.Username, o)
}

// newAccount makes an account key and a bundle with its first archive key; the list and the bundle have no version yet.
func (c *Client) newAccount(id api.AccountID, change passwordChange, epoch uint64) (o opened, err error) {
	key, err := e2ee.NewKeyPair(c.rand)
	if err != nil {
		return o, err
	}
	archive := e2ee.ArchiveKey{Epoch: epoch}
	if err := c.random(archive.Key[:]); err != nil {
		return o, err
	}
	o.list = e2ee.DeviceList{Account: id, AccountKey: key.Public}
	o.bundle = e2ee.Bundle{Account: id, AccountKey: key.Private, ArchiveKeys: []e2ee.ArchiveKey{archive}}
	o.slots = []e2ee.Slot{
		{ID: slotPassword, Type: e2ee.SlotPassword, Parameters: change.parameters.Marshal(), Wrapping: change.kek},
		recoverySlot(*change.code),
	}
	return o, nil
}
