package client

import (
	"context"

	"sotto/api"
	"sotto/e2ee"
)

// PasswordOptions change the password.
type PasswordOptions struct {
	Password    string // the current one
	NewPassword string // see [CheckPassword]
	// RecoveryCode is the account's new recovery code, made by [NewRecoveryCode] and shown to the user already. It is for
	// when somebody else may know the password. Empty: the account keeps its code.
	RecoveryCode  string
	SignOutOthers bool // end the logins of all other devices; they stay listed
}

// ChangePassword replaces the password, and the recovery code if there is a new one, in one transaction; a new archive
// epoch begins. The new password may be the current one, when only the code is to change. pending is as in
// [Client.RemoveDevice].
//
// Errors: [ErrWrongLogin], CodePassword, CodeRecoveryTypo, CodeBundle, the list codes.
func (c *Client) ChangePassword(ctx context.Context, o PasswordOptions) (pending bool, err error) {
	me, err := c.me()
	if err != nil {
		return false, err
	}
	if err := CheckPassword(me.Username, o.NewPassword); err != nil {
		return false, err
	}
	change, err := c.newPassword(ctx, o.NewPassword, o.RecoveryCode)
	if err != nil {
		return false, err
	}
	change.request.SignOutOthers = o.SignOutOthers
	res, err := c.amend(ctx, o.Password, func(opened *opened, auth string) (amendment, error) {
		v, err := change.apply(ctx, c, opened)
		req := change.request
		req.Proof = auth
		return amendment{proposal: proposal{Vault: v}, method: "PUT", path: "/api/user/password", request: req}, err
	})
	if err != nil {
		return false, err
	}
	if o.RecoveryCode != "" {
		if err := c.setRecoveryState(RecoveryUnconfirmed); err != nil {
			return false, err
		}
	}
	return res.Pending, passOver(c.fetchLists(ctx, me.Account)) // who is signed out now
}

// passwordChange is a new password, ready for the server and for the bundle.
type passwordChange struct {
	password   string
	parameters e2ee.PasswordParameters
	kek        [32]byte
	code       *e2ee.RecoveryCode
	request    api.PasswordRequest // without Proof and Bundle
	email      [32]byte            // key of the slot of the e-mail login, once request.Email is made
	emailSlot  []byte              // its parameters
}

// newPassword stretches a password under a new salt. code is empty when the recovery code stays.
func (c *Client) newPassword(ctx context.Context, password, code string) (p passwordChange, err error) {
	if code != "" {
		parsed, err := parseRecoveryCode(code)
		if err != nil {
			return p, err
		}
		p.code = &parsed
	}
	if p.parameters, err = e2ee.NewPasswordParameters(c.rand); err != nil {
		return p, err
	}
	auth, kek, err := c.derive(ctx, password, p.parameters)
	p.password, p.kek = password, kek
	p.request = api.PasswordRequest{
		Method: api.MethodSplitPBKDF2, Salt: p.parameters.Salt[:], Iterations: int(p.parameters.Iterations), Auth: auth,
	}
	if p.code != nil {
		p.request.RecoveryVerifier = recoveryVerifier(*p.code)
	}
	return p, err
}

// apply makes the next bundle, with the new slots and a new archive epoch, and puts it into the request.
func (p *passwordChange) apply(ctx context.Context, c *Client, o *opened) (vault, error) {
	o.setSlot(e2ee.SlotPassword, p.parameters.Marshal(), p.kek)
	if err := p.applyEmail(ctx, c, o); err != nil {
		return vault{}, err
	}
	if p.code != nil {
		o.setSlot(e2ee.SlotRecovery, recoveryVerifier(*p.code), p.code.Wrap())
	}
	if err := o.beginEpoch(c); err != nil {
		return vault{}, err
	}
	v, err := o.seal(c)
	p.request.Bundle = v.bundle()
	return v, err
}

// applyEmail changes the password of the e-mail login, too, where there is one.
func (p *passwordChange) applyEmail(ctx context.Context, c *Client, o *opened) error {
	if !o.hasSlot(e2ee.SlotEmail) {
		p.request.Email = nil
		return nil
	}
	if p.request.Email == nil {
		parameters, err := e2ee.NewPasswordParameters(c.rand)
		if err != nil {
			return err
		}
		auth, kek, err := c.derive(ctx, p.password, parameters)
		if err != nil {
			return err
		}
		p.email, p.emailSlot = kek, parameters.Marshal()
		p.request.Email = &api.EmailPassword{Salt: parameters.Salt[:], Iterations: int(parameters.Iterations), Auth: auth}
	}
	o.setSlot(e2ee.SlotEmail, p.emailSlot, p.email)
	return nil
}
