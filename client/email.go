package client

import (
	"context"
	"slices"
	"strings"

	"sotto/api"
	"sotto/e2ee"
)

// Email is the account's verified address, empty without one.
func (c *Client) Email(ctx context.Context) (string, error) {
	var me api.Me
	err := c.call(ctx, "GET", "/api/user/me", nil, &me)
	return me.Email, err
}

// StartEmail asks the server to mail a code to an address, for [Client.ConfirmEmail]. It does not say whether the
// address is taken; only the mail does. Errors: [ErrWrongLogin], api.CodeInvalid, api.CodeLimited, CodeBundle.
func (c *Client) StartEmail(ctx context.Context, address, password string) error {
	var key stretched
	if _, err := c.unlock(ctx, password, &key); err != nil {
		return err
	}
	return c.call(ctx, "POST", "/api/user/email/start", api.EmailStartRequest{Address: address, Proof: key.auth}, nil)
}

// ConfirmEmail makes the address, to which the code was mailed, one to sign in with. It gets a salt of its own, so that
// nobody can tell from a sign-in whose address it is, and a slot of the key bundle.
//
// Errors: [ErrWrongLogin] for the password and for the code, api.CodeExists, CodeBundle, the list codes.
func (c *Client) ConfirmEmail(ctx context.Context, code, password string) error {
	parameters, err := e2ee.NewPasswordParameters(c.rand)
	if err != nil {
		return err
	}
	auth, kek, err := c.derive(ctx, password, parameters)
	if err != nil {
		return err
	}
	_, err = c.amend(ctx, password, func(o *opened, proof string) (amendment, error) {
		o.dropSlot(e2ee.SlotEmail)
		o.addSlot(e2ee.SlotEmail, parameters.Marshal(), kek)
		v, err := o.seal(c)
		return amendment{proposal: proposal{Vault: v}, method: "PUT", path: "/api/user/email", request: api.EmailRequest{
			Code: strings.TrimSpace(code), Proof: proof, Method: api.MethodSplitPBKDF2, Salt: parameters.Salt[:],
			Iterations: int(parameters.Iterations), Auth: auth, Bundle: v.bundle(),
		}}, err
	})
	return err
}

// RemoveEmail takes the address away: no mail, and no sign-in by it. Errors: as [Client.ConfirmEmail].
func (c *Client) RemoveEmail(ctx context.Context, password string) error {
	_, err := c.amend(ctx, password, func(o *opened, proof string) (amendment, error) {
		o.dropSlot(e2ee.SlotEmail)
		v, err := o.seal(c)
		return amendment{
			proposal: proposal{Vault: v}, method: "POST", path: "/api/user/email/remove",
			request: api.EmailRemoval{Proof: proof, Bundle: v.bundle()},
		}, err
	})
	return err
}

// fromPassword tells that a slot is opened by the password, under its own salt.
func fromPassword(t e2ee.SlotType) bool { return t == e2ee.SlotPassword || t == e2ee.SlotEmail }

// complete finds the keys of the other slots that the password opens, as sealing the next version needs them all.
func (c *Client) complete(ctx context.Context, o *opened, password string) error {
	for i, slot := range o.slots {
		if !fromPassword(slot.Type) || slot.Wrapping != [32]byte{} {
			continue
		}
		parameters, err := e2ee.ParsePasswordParameters(slot.Parameters)
		if err != nil {
			return refusedBundle(err)
		}
		if _, o.slots[i].Wrapping, err = c.derive(ctx, password, parameters); err != nil {
			return err
		}
	}
	return nil
}

// hasSlot tells whether there is a slot of a type.
func (o *opened) hasSlot(t e2ee.SlotType) bool {
	return slices.ContainsFunc(o.slots, func(s e2ee.Slot) bool { return s.Type == t })
}

// addSlot adds a slot behind the others.
func (o *opened) addSlot(t e2ee.SlotType, parameters []byte, wrapping [32]byte) {
	last := o.slots[len(o.slots)-1].ID // every bundle has a slot, and their ids ascend
	o.slots = append(o.slots, e2ee.Slot{ID: last + 1, Type: t, Parameters: parameters, Wrapping: wrapping})
}

func (o *opened) dropSlot(t e2ee.SlotType) {
	o.slots = slices.DeleteFunc(o.slots, func(s e2ee.Slot) bool { return s.Type == t })
}
