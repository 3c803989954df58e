package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"sotto/client"
)

type passwordCmd struct {
	passwordFlags
	Leaked        bool `help:"Somebody may know the old one: also make a new recovery code and sign out all other devices."`
	SignOutOthers bool `help:"Sign out all other devices. They stay in your list and can sign in again."`
}

func (p *passwordCmd) Help() string {
	return "With --password-stdin the first line is the current password and the rest the new one."
}

func (p *passwordCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		current, next, err := p.readTwo("Current password: ", "New password: ")
		if err != nil {
			return err
		}
		o := client.PasswordOptions{Password: current, NewPassword: next, SignOutOthers: p.SignOutOthers || p.Leaked}
		if p.Leaked {
			if o.RecoveryCode, err = newCode(c); err != nil {
				return err
			}
		}
		return changePassword(ctx, c, o, "Your password is changed.")
	})
}

// changePassword also serves for a new recovery code alone. A code that was shown is void when the change fails.
func changePassword(ctx context.Context, c *client.Client, o client.PasswordOptions, done string) error {
	pending, err := c.ChangePassword(ctx, o)
	if err != nil {
		if o.RecoveryCode != "" {
			fmt.Println("Nothing was changed: the code above is void, the one you had stays good.")
		}
		return err
	}
	fmt.Println(done)
	sayPending(pending)
	if o.RecoveryCode != "" {
		return confirmNow(c, o.RecoveryCode)
	}
	return nil
}

type recoveryCodeCmd struct {
	Status  recoveryStatusCmd  `cmd:"" default:"1" help:"Tell whether you have confirmed that the code is written down. The default."`
	Confirm recoveryConfirmCmd `cmd:"" help:"Type the code from your paper, to be sure that it is the right one. Nothing is sent."`
	New     recoveryNewCmd     `cmd:"" help:"Make a new code; the old one is void then. Asks for the password."`
}

type recoveryStatusCmd struct{}

func (recoveryStatusCmd) Run(cli *commands) error {
	return cli.with(func(c *client.Client) error {
		state, err := c.RecoveryState()
		if err != nil {
			return err
		}
		switch state {
		case client.RecoveryConfirmed:
			fmt.Println("confirmed: you have shown that you have your recovery code.")
		case client.RecoveryUnconfirmed:
			fmt.Println("unconfirmed: check what you wrote down with: sotto recovery-code confirm\nIf you have nothing: sotto recovery-code new")
		default:
			fmt.Println("unknown: the code was made on another device. Check what you wrote down with: sotto recovery-code confirm")
		}
		return nil
	})
}

type recoveryConfirmCmd struct{}

func (recoveryConfirmCmd) Run(cli *commands) error {
	return cli.with(func(c *client.Client) error {
		code, err := askLine("Recovery code: ")
		if err != nil {
			return err
		}
		if err := c.ConfirmRecoveryCode(code, nil); err != nil {
			return err
		}
		fmt.Println("Confirmed: this is your recovery code. Keep it where you keep your passport.")
		return nil
	})
}

type recoveryNewCmd struct{ passwordFlags }

func (r *recoveryNewCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := r.read(false)
		if err != nil {
			return err
		}
		code, err := newCode(c)
		if err != nil {
			return err
		}
		o := client.PasswordOptions{Password: password, NewPassword: password, RecoveryCode: code}
		return changePassword(ctx, c, o, "This is your recovery code now. The old one is void.")
	})
}

type recoverCmd struct {
	passwordFlags
	Name   string `arg:"" help:"Your username."`
	Device string `default:"${hostname}" help:"What your list of devices calls this one (${default})."`
}

func (r *recoverCmd) Help() string {
	return "With --password-stdin the first line is the recovery code and the rest the new password."
}

func (r *recoverCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		code, password, err := r.readTwo("Recovery code: ", "New password: ")
		if err != nil {
			return err
		}
		if err := errors.Join(client.CheckRecoveryCode(code), client.CheckPassword(r.Name, password)); err != nil {
			return err
		}
		next, err := newCode(c)
		if err != nil {
			return err
		}
		err = c.Recover(ctx, client.RecoverOptions{
			Username: r.Name, RecoveryCode: code, NewPassword: password, NewCode: next, DeviceName: r.Device,
		})
		if err != nil {
			fmt.Printf("The recovery did not finish. If this was not the first try, the new password may be in force: sotto login %s\n", r.Name)
			return err
		}
		fmt.Printf("Welcome back, %s. This device belongs to your account, and your new password is in force.\n", r.Name)
		return confirmNow(c, next)
	})
}

type resetCmd struct {
	passwordFlags
	Device string `default:"${hostname}" help:"What your list of devices calls this one (${default})."`
	Mail   string `placeholder:"NAME" help:"Only have a code sent to the confirmed address of the account with this username or address."`
}

func (r *resetCmd) Help() string {
	return "Your username stays; your old messages cannot be read any more, all your devices are removed, and everybody you " +
		"write with is warned that your keys have changed.\n\nIt takes a code. If your account has a confirmed e-mail address, " +
		"sotto reset --mail NAME sends you one; otherwise ask the operator: sottod admin reset NAME.\n\n" +
		"With --password-stdin the first line is the code and the rest the new password."
}

func (r *resetCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		if r.Mail != "" {
			if err := c.MailReset(ctx, r.Mail); err != nil {
				return err
			}
			fmt.Println("If that account has a confirmed address and this server sends mail, a code is on its way. Then run: sotto reset")
			return nil
		}
		code, password, err := r.readTwo("The code: ", "New password: ")
		if err != nil {
			return err
		}
		if err := client.CheckPassword("", password); err != nil {
			return err
		}
		next, err := newCode(c)
		if err != nil {
			return err
		}
		name, err := c.Reset(ctx, client.ResetOptions{Code: code, NewPassword: password, NewCode: next, DeviceName: r.Device})
		if err != nil {
			return err
		}
		fmt.Printf("You are %s again, with new keys. Tell the people you write with: their programs will warn them.\n", name)
		return confirmNow(c, next)
	})
}

// newCode shows the next recovery code before it becomes the account's: if this program ends in between, the paper has
// it already.
func newCode(c *client.Client) (string, error) {
	code, err := c.NewRecoveryCode()
	if err != nil {
		return "", err
	}
	fmt.Printf("Your next recovery code, shown only this once:\n\n    %s\n\nWrite it down now.\n", code)
	if interactive() {
		_, err = askLine("Press Enter when it is written down. ")
	}
	return code, err
}

const confirmTries = 3

// confirmNow lets the user type two groups of a code that was just shown, where there is somebody to type.
func confirmNow(c *client.Client, code string) error {
	const later = "Confirm it when you can: sotto recovery-code confirm"
	if !interactive() {
		fmt.Println(later)
		return nil
	}
	for range confirmTries {
		groups := map[int]string{}
		for _, number := range []int{3, client.RecoveryGroups} {
			typed, err := askLine(fmt.Sprintf("To be sure, type group %d of it: ", number))
			if err != nil {
				return err
			}
			groups[number] = typed
		}
		err := c.ConfirmRecoveryCode(code, groups)
		if err == nil {
			fmt.Println("Confirmed.")
			return nil
		}
		if client.CodeOf(err) != client.CodeRecoveryTypo {
			return err
		}
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println(later)
	return nil
}

func interactive() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// askLine reads one line that may be seen while it is typed.
func askLine(prompt string) (string, error) {
	if interactive() {
		fmt.Fprint(os.Stderr, prompt)
	}
	s := bufio.NewScanner(os.Stdin)
	if !s.Scan() {
		return "", errors.Join(errors.New("nothing was typed"), s.Err())
	}
	return s.Text(), nil
}
