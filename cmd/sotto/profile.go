package main

import (
	"context"
	"fmt"
	"os"

	"sotto/client"
	"sotto/e2ee"
)

type profileCmd struct {
	Show    profileShowCmd    `cmd:"" default:"1" help:"Show how you show yourself. The default."`
	Name    profileNameCmd    `cmd:"" help:"Show a name beside your username, or take it away."`
	Status  profileStatusCmd  `cmd:"" help:"Show a line about yourself, or take it away."`
	Picture profilePictureCmd `cmd:"" help:"Show a picture of yourself, or take it away."`
}

func (profileCmd) Help() string {
	return "The people you write with see your profile, sealed like your messages; the server learns nothing of it. Somebody " +
		"whose message request you have not accepted does not see it. A name proves nothing: to know who somebody is, compare " +
		"safety numbers (sotto safety)."
}

type profileShowCmd struct{}

func (profileShowCmd) Run(cli *commands) error {
	return cli.with(func(c *client.Client) error {
		p, err := c.Profile()
		if err != nil {
			return err
		}
		me, _ := c.Account() // there is one, as there is a profile
		picture := "none; to show one: sotto profile picture FILE"
		if p.Picture != "" {
			picture = "shown; to take it away: sotto profile picture --remove"
		}
		fmt.Printf("Username: %s\nName:     %s\nStatus:   %s\nPicture:  %s\n", me.Username,
			orElse(p.DisplayName, "none; to show one: sotto profile name TEXT"),
			orElse(p.Status, "none; to show one: sotto profile status TEXT"), picture)
		return nil
	})
}

func orElse(text, instead string) string {
	if text == "" {
		return instead
	}
	return printable(text)
}

type profileNameCmd struct {
	Text string `arg:"" help:"At most 128 bytes, in quotes if it has spaces. An empty one (\"\") takes it away: your username alone is shown."`
}

func (n *profileNameCmd) Run(cli *commands) error {
	return cli.changeProfile("name", n.Text, e2ee.MaxDisplayName, func(p *client.Profile) { p.DisplayName = n.Text })
}

type profileStatusCmd struct {
	Text string `arg:"" help:"At most 512 bytes, in quotes if it has spaces. An empty one (\"\") takes it away."`
}

func (s *profileStatusCmd) Run(cli *commands) error {
	return cli.changeProfile("status", s.Text, e2ee.MaxStatus, func(p *client.Profile) { p.Status = s.Text })
}

// changeProfile stores a change of the profile; what it does not change stays.
func (c *commands) changeProfile(what, text string, most int, change func(*client.Profile)) error {
	if len(text) > most {
		return fmt.Errorf("a %s has at most %d bytes, this one has %d", what, most, len(text))
	}
	return c.with(func(c *client.Client) error {
		p, err := c.Profile()
		if err != nil {
			return err
		}
		change(&p)
		if err := c.SetProfile(p); err != nil {
			return err
		}
		fmt.Println(profileChanged)
		return nil
	})
}

const profileChanged = "Done. The people you write with learn of it as soon as this device is connected: sotto listen, sotto chat."

type profilePictureCmd struct {
	File   string `arg:"" optional:"" help:"A JPEG, PNG or GIF. The middle of it is scaled down and turned upright, and nothing else in the file leaves this computer."`
	Remove bool   `help:"Show no picture any more."`
}

func (p *profilePictureCmd) Run(ctx context.Context, cli *commands) error {
	if p.Remove == (p.File != "") {
		return fmt.Errorf("name a file, or say --remove")
	}
	var picture []byte
	if p.File != "" {
		f, err := os.Open(p.File)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was read
		if picture, err = portrait(f); err != nil {
			return fmt.Errorf("%s: %w", p.File, err)
		}
	}
	return cli.with(func(c *client.Client) error {
		if err := c.SetPicture(ctx, picture); err != nil {
			return err
		}
		fmt.Println(profileChanged)
		return nil
	})
}
