package main

import (
	"context"
	"fmt"

	"sotto/client"
)

type emailCmd struct {
	Show    emailShowCmd    `cmd:"" default:"1" help:"Show your verified address. The default."`
	Add     emailAddCmd     `cmd:"" help:"Have a code sent to an address."`
	Confirm emailConfirmCmd `cmd:"" help:"Type the code: from then on mail goes to the address, and you can sign in with it."`
	Remove  emailRemoveCmd  `cmd:"" help:"Take the address away."`
}

type emailShowCmd struct{}

func (emailShowCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		address, err := c.Email(ctx)
		if err != nil {
			return err
		}
		if address == "" {
			address = "No address. sotto email add ADDRESS"
		}
		fmt.Println(address)
		return nil
	})
}

type emailAddCmd struct {
	passwordFlags
	Address string `arg:"" help:"Like ada@example.org."`
}

func (e *emailAddCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := e.read(false)
		if err != nil {
			return err
		}
		if err := c.StartEmail(ctx, e.Address, password); err != nil {
			return err
		}
		fmt.Printf("A code is on its way to %s, if this server sends mail. Then: sotto email confirm CODE\n", e.Address)
		return nil
	})
}

type emailConfirmCmd struct {
	passwordFlags
	Code string `arg:"" help:"8 digits, from the mail."`
}

func (e *emailConfirmCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := e.read(false)
		if err != nil {
			return err
		}
		if err := c.ConfirmEmail(ctx, e.Code, password); err != nil {
			return err
		}
		fmt.Println("Your address is confirmed. You can sign in with it: sotto login ADDRESS")
		return nil
	})
}

type emailRemoveCmd struct{ passwordFlags }

func (e *emailRemoveCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		password, err := e.read(false)
		if err != nil {
			return err
		}
		if err := c.RemoveEmail(ctx, password); err != nil {
			return err
		}
		fmt.Println("Your address is taken away.")
		return nil
	})
}
