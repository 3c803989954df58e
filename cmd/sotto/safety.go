package main

import (
	"context"
	"fmt"

	"sotto/client"
)

type safetyCmd struct {
	Name     string `arg:"" help:"With whom."`
	Verify   bool   `xor:"mark" help:"Record that you have compared the number: you are warned and stopped when it changes."`
	Unverify bool   `xor:"mark" help:"Take that back."`
	Trust    bool   `xor:"mark" help:"Go on after the identity has changed, without having compared."`
}

func (s *safetyCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		number, err := c.Safety(ctx, s.Name)
		if err != nil {
			return err
		}
		switch {
		case s.Verify || s.Unverify:
			err = c.SetVerified(number, s.Verify)
		case s.Trust:
			err = c.AcceptIdentity(number)
		}
		if err != nil {
			return err
		}
		if number, err = c.Safety(ctx, s.Name); err != nil {
			return err
		}
		fmt.Printf("Safety number with %s:\n\n%s\n%s\nCompare it with what %s sees, in person or by a call. If every digit is the same, nobody is in between.\n",
			s.Name, grouped(number.Digits), standing(number), s.Name)
		return nil
	})
}

// standing says in a sentence what the user has decided about somebody's identity.
func standing(s client.Safety) string {
	last := ""
	if n := len(s.Changes); n > 0 {
		last = " It changed on " + day(s.Changes[n-1].At) + "."
		if !s.Changes[n-1].Accepted {
			last += " You have not decided about that yet."
		}
	}
	switch {
	case s.Stopped:
		return "Nothing is sent to them until you decide (--verify or --trust)." + last
	case s.Verified:
		return "You have compared this number." + last
	}
	return "You have not compared this number." + last
}
