package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"sotto/api"
	"sotto/client"
)

type devicesCmd struct {
	List   devicesListCmd   `cmd:"" default:"1" help:"List them. The default."`
	Rename devicesRenameCmd `cmd:"" help:"Give one another name. Only you see it."`
	Remove devicesRemoveCmd `cmd:"" help:"Take one out of your account: it is signed out, gets no more messages, and everybody's devices stop writing to it. Asks for the password."`
}

type devicesListCmd struct{}

func (devicesListCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		devices, err := c.Devices(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NUMBER\tNAME\tADDED\tLAST SEEN\t")
		for _, d := range devices {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", d.WireDevice, printable(d.Name), day(d.AddedAt), day(d.SeenAt), remark(d))
		}
		return w.Flush()
	})
}

func remark(d client.Device) string {
	switch {
	case d.Current:
		return "this device"
	case d.State == api.DeviceSignedOut:
		return "signed out"
	case d.State == api.DeviceDormant:
		return "not seen for long"
	}
	return ""
}

func day(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04")
}

type devicesRenameCmd struct {
	Number api.WireDeviceID `arg:"" help:"Which one: its number in the list."`
	Name   string           `arg:"" help:"What to call it: at most 64 bytes."`
}

func (r *devicesRenameCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		if err := c.RenameDevice(ctx, r.Number, r.Name); err != nil {
			return err
		}
		fmt.Printf("Device %d is called %s now.\n", r.Number, printable(r.Name))
		return nil
	})
}

type devicesRemoveCmd struct {
	passwordFlags
	Number api.WireDeviceID `arg:"" help:"Which one: its number in the list."`
	Yes    bool             `short:"y" help:"Do not ask, also when it is this device."`
}

func (r *devicesRemoveCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		if me, _ := c.Account(); me.WireDevice == r.Number && !r.Yes &&
			!confirmed("This is the device that you are using. It could not send or receive any more. Remove it? [y/N] ") {
			return errors.New("nothing was done; use --yes to skip the question")
		}
		password, err := r.read(false)
		if err != nil {
			return err
		}
		pending, err := c.RemoveDevice(ctx, r.Number, password)
		if err != nil {
			return err
		}
		fmt.Printf("Device %d is removed. It can do nothing any more.\n", r.Number)
		sayPending(pending)
		fmt.Println("If somebody has it who may know your password, change that, too: sotto password --leaked")
		return nil
	})
}

func sayPending(pending bool) {
	if pending {
		fmt.Println("The server will finish this by itself: until it has told its chat service, which it keeps trying, other people's devices may still write to what left.")
	}
}
