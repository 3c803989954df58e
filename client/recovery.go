package client

import (
	"context"
	"strings"

	"sotto/api"
	"sotto/e2ee"
)

// RecoveryState is what this device knows about the recovery code in the user's hands.
type RecoveryState string

// States of the recovery code.
const (
	RecoveryUnknown     RecoveryState = ""            // another device has made it, and nobody has typed it here yet
	RecoveryUnconfirmed RecoveryState = "unconfirmed" // made here; the user has not shown that it is written down
	RecoveryConfirmed   RecoveryState = "confirmed"
)

// Codes of errors about recovery codes.
const (
	CodeRecoveryTypo  = "recovery_typo"  // it holds a typing error
	CodeRecoveryOther = "recovery_other" // it is well formed, but not the account's newest
)

// RecoveryGroups is how many groups of characters a recovery code has.
const RecoveryGroups = 8

// NewRecoveryCode makes a code. It becomes the account's by [Client.ChangePassword], [Client.Recover] or [Client.Reset].
// Show it before that: when the program ends in between, a code that was never shown would be lost.
func (c *Client) NewRecoveryCode() (string, error) {
	code, err := e2ee.NewRecoveryCode(c.rand)
	return code.String(), err
}

func parseRecoveryCode(text string) (e2ee.RecoveryCode, error) {
	code, err := e2ee.ParseRecoveryCode(text)
	if err != nil {
		err = fail(CodeRecoveryTypo, "This is not a recovery code: it has %d groups of four, and one of them holds a typing error.",
			RecoveryGroups).because(err)
	}
	return code, err
}

// CheckRecoveryCode finds typing errors in a code by its checksum. Errors: CodeRecoveryTypo.
func CheckRecoveryCode(code string) error {
	_, err := parseRecoveryCode(code)
	return err
}

// RecoveryState tells whether the recovery code is known to be written down.
func (c *Client) RecoveryState() (RecoveryState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.device(); err != nil {
		return RecoveryUnknown, err
	}
	s, _, err := get[RecoveryState](c, keyRecovery)
	return s, err
}

func (c *Client) setRecoveryState(s RecoveryState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{}
	b.put(keyRecovery, s)
	return c.commit(b)
}

// ConfirmRecoveryCode records that the user has the code. The code is held against the sealed bundle that this device
// keeps anyway: only the right code opens its recovery slot. So nothing about the code has to be stored, neither a part
// of it nor a hash that would make guessing easier, and the check works on every device at any time.
//
// A program that has just shown the code passes it on and lets the user type some groups only (1 to 8, in any case);
// whoever comes back later types the whole code, and groups is nil.
//
// Errors: CodeRecoveryTypo, CodeRecoveryOther.
func (c *Client) ConfirmRecoveryCode(code string, groups map[int]string) error {
	parsed, err := parseRecoveryCode(code)
	if err != nil {
		return err
	}
	whole := strings.Split(parsed.String(), "-")
	for number, typed := range groups {
		if number < 1 || number > RecoveryGroups || !sameGroup(whole, number, typed) {
			return fail(CodeRecoveryTypo, "Group %d is not what was shown. Look at what you have written down.", number)
		}
	}
	c.mu.Lock()
	me, err := c.device()
	v, _, vaultErr := get[vault](c, keyVault)
	c.mu.Unlock()
	if err == nil {
		err = vaultErr
	}
	if err != nil {
		return err
	}
	if _, _, err := e2ee.OpenBundle(v.Sealed, me.Account, e2ee.SlotRecovery, parsed.Wrap()); err != nil {
		return fail(CodeRecoveryOther, "This is a recovery code, but not the account's newest one as this device knows it.").because(err)
	}
	return c.setRecoveryState(RecoveryConfirmed)
}

// sameGroup reads a typed group as the whole code is read.
func sameGroup(whole []string, number int, typed string) bool {
	plain := strings.NewReplacer("O", "0", "I", "1", "L", "1", " ", "", "-", "").Replace(strings.ToUpper(typed))
	return plain == whole[number-1]
}

// RecoverOptions get an account back whose password is forgotten.
type RecoverOptions struct {
	Username     string
	RecoveryCode string // as the user types it
	NewPassword  string // see [CheckPassword]
	NewCode      string // the next recovery code, made by [Client.NewRecoveryCode] and shown to the user already
	DeviceName   string // as in [LoginOptions]
}

// Recover sets a new password and a new recovery code by the current code, and signs in with them as [Client.Login]
// does: everything is back. When it was cut short, call it again; if the server had stored the new password by then, the
// old code is used up ([ErrWrongLogin]), and [Client.Login] with the new password goes on.
//
// Errors: CodeRecoveryTypo before anything is sent, [ErrWrongLogin], CodePassword, CodeSignedIn, CodeBundle, the list
// codes, api.CodeLimited.
func (c *Client) Recover(ctx context.Context, o RecoverOptions) error {
	code, err := parseRecoveryCode(o.RecoveryCode)
	if err != nil {
		return err
	}
	if o.NewCode == "" {
		return fail(CodeArgument, "The account needs its next recovery code.")
	}
	if err := CheckPassword(o.Username, o.NewPassword); err != nil {
		return err
	}
	name := strings.ToLower(o.Username)
	if _, err := c.knownDevice(name); err != nil {
		return err
	}
	change, err := c.newPassword(ctx, o.NewPassword, o.NewCode)
	if err != nil {
		return err
	}
	if err := c.setByCode(ctx, name, code, change); err != nil {
		return err
	}
	err = c.Login(ctx, LoginOptions{Username: o.Username, Password: o.NewPassword, DeviceName: o.DeviceName})
	if err != nil {
		return err
	}
	return c.setRecoveryState(RecoveryUnconfirmed)
}

// setByCode opens the bundle with the recovery code and stores its next version with the new password.
func (c *Client) setByCode(ctx context.Context, name string, code e2ee.RecoveryCode, change passwordChange) error {
	for race := 1; ; race++ {
		var start api.RecoveryStartResponse
		err := c.request(ctx, "POST", "/api/user/recovery/start", "", api.RecoveryStartRequest{Name: name}, &start)
		if err != nil {
			return err
		}
		_, renewalHash, err := c.newRenewal()
		if err != nil {
			return err
		}
		auth := code.Auth()
		finish := api.RecoveryFinishRequest{Attempt: start.Attempt, RecoveryAuth: auth[:], RenewalHash: renewalHash}
		var res api.Login
		if err := c.request(ctx, "POST", "/api/user/recovery/finish", "", finish, &res); err != nil {
			return err
		}
		if res.Lists == nil || res.Bundle == nil {
			return serverError("a recovery without list or bundle")
		}
		opened, err := openAccount(res.AccountID, res.Lists.Lists, *res.Bundle, opener{slot: e2ee.SlotRecovery, wrapping: code.Wrap()})
		if err == nil {
			err = c.follows(opened, *res.Bundle)
		}
		if err != nil {
			return err
		}
		if _, err := change.apply(ctx, c, &opened); err != nil {
			return err
		}
		var done api.DevicesChange
		err = c.insist(ctx, "PUT", "/api/user/password", res.Token, change.request, &done)
		if code := CodeOf(err); race == maxRaces || (code != api.CodeBundleVersion && code != api.CodeConflict) {
			return err
		}
	}
}
