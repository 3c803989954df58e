package main

import (
	"context"
	"fmt"
	"strconv"

	"sotto/api"
	"sotto/client"
)

type historyCmd struct {
	Show historyShowCmd `cmd:"" default:"1" help:"Show what the account keeps, and how much of it is here."`
	Keep historyKeepCmd `cmd:"" help:"Choose what the account keeps: everything, a number of days, or nothing."`
}

type historyShowCmd struct{}

func (historyShowCmd) Run(ctx context.Context, cli *commands) error {
	return cli.with(func(c *client.Client) error {
		choice, err := c.HistoryChoice(ctx)
		if err != nil {
			return err
		}
		stored, err := c.StoredHistory(ctx)
		if err != nil {
			return err
		}
		here, err := c.History()
		if err != nil {
			return err
		}
		fmt.Printf("This account keeps %s. %d messages are in its sealed archive on the server.\n", choiceText(choice), stored)
		if here.Complete {
			fmt.Println("This device has read all of it.")
		} else {
			fmt.Printf("This device has read %d of %d; it goes on whenever it is connected.\n", here.Done, here.Of)
		}
		return nil
	})
}

func choiceText(set api.ChatSettings) string {
	switch set.Archive {
	case api.ArchiveNothing:
		return "no history"
	case api.ArchiveDays:
		return fmt.Sprintf("the history of the last %d days", set.Days)
	case api.ArchiveEverything:
	}
	return "its whole history"
}

type historyKeepCmd struct {
	What string `arg:"" help:"everything, nothing, or a number of days from 1 to 3650."`
	Yes  bool   `short:"y" help:"Do not ask before what is stored is erased."`
}

func (h *historyKeepCmd) Run(ctx context.Context, cli *commands) error {
	set := api.ChatSettings{Archive: api.ArchiveChoice(h.What)}
	if set.Archive != api.ArchiveEverything && set.Archive != api.ArchiveNothing {
		days, err := strconv.Atoi(h.What)
		if err != nil || days < 1 || days > api.MaxArchiveDays {
			return fmt.Errorf("say everything, nothing, or a number of days from 1 to %d; %q is none of them", api.MaxArchiveDays, h.What)
		}
		set = api.ChatSettings{Archive: api.ArchiveDays, Days: days}
	}
	return cli.with(func(c *client.Client) error {
		if set.Archive != api.ArchiveEverything && !h.Yes &&
			!confirmed("The server erases the rest of the history. New devices will not have it. Go on? [y/N] ") {
			return fmt.Errorf("nothing was done; use --yes to skip the question")
		}
		if err := c.KeepHistory(ctx, set); err != nil {
			return err
		}
		fmt.Printf("This account keeps %s from now on.\n", choiceText(set))
		return nil
	})
}
