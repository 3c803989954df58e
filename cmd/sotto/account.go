package main

import (
	"context"
	"fmt"
	"os"

	"sotto/api"
	"sotto/client"
)

type registerCmd struct {
	passwordFlags
	Name   string `arg:"" help:"Your username: 3 to 32 of a-z 0-9 _ . -"`
	Device string `default:"${hostname}" help:"What your list of devices calls this one (${default})."`
}

func (r *registerCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := r.read(true)
		if err != nil {
			return err
		}
		if err := client.CheckPassword(r.Name, password); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "Making keys …")
		code, err := c.Register(ctx, client.RegisterOptions{Username: r.Name, Password: password, DeviceName: r.Device})
		if err != nil {
			return err
		}
		fmt.Printf(`You are %s.

Your recovery code, shown only this once:

    %s

Write it down and keep it where you keep your passport. If you ever lose your password, it is the only way back to
your messages; nobody else, not even whoever runs the server, can help.

`, r.Name, code)
		if err := confirmNow(c, code); err != nil {
			return err
		}
		fmt.Println("Next: sotto chat NAME")
		return nil
	})
}

type loginCmd struct {
	passwordFlags
	Name   string `arg:"" help:"Your username."`
	Device string `default:"${hostname}" help:"What your list of devices calls this one (${default})."`
}

func (l *loginCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := l.read(false)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "Signing in …")
		if err := c.Login(ctx, client.LoginOptions{Username: l.Name, Password: password, DeviceName: l.Device}); err != nil {
			return err
		}
		fmt.Printf("This device now belongs to %s. Next: sotto chat NAME\n", l.Name)
		return nil
	})
}

type logoutCmd struct {
	Yes bool `short:"y" help:"Do not ask."`
}

func (l *logoutCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		a, ok := c.Account()
		if !ok {
			return client.ErrNotSignedIn
		}
		if !l.Yes && !confirmed(fmt.Sprintf("Sign out %s here and wipe this device's keys and messages? The account and its other devices stay. [y/N] ", a.Username)) {
			return fmt.Errorf("nothing was done; use --yes to skip the question")
		}
		if err := c.Logout(ctx); err != nil {
			return err
		}
		fmt.Println("Signed out. This device holds nothing any more.")
		return nil
	})
}

func confirmed(question string) bool {
	fmt.Fprint(os.Stderr, question)
	var answer string
	_, _ = fmt.Scanln(&answer) // an empty line or the end of input means no
	return answer == "y" || answer == "Y" || answer == "yes"
}

// grouped sets the 60 digits in three lines of four groups of five, as other messengers show them.
func grouped(digits string) string {
	out := ""
	for i := 0; i+5 <= len(digits); i += 5 {
		if i%20 == 0 {
			out += "    "
		}
		out += digits[i : i+5]
		if i%20 == 15 {
			out += "\n"
		} else {
			out += " "
		}
	}
	return out
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Println("sotto " + api.Version)
	return nil
}
