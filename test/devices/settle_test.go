package devices_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sotto/test/history"
)

const (
	settlePatience = 170 * time.Second // until everything that can be repaired is; takes a second or two
	settlePoll     = 100 * time.Millisecond
	settleCalm     = 3 // polls in a row without a fault
	// settleHurry is how long until everybody connects anew, instead of waiting for the next look at the mailbox, and
	// removes the devices that were lost. settleAgain is the time from then on to the next such look: a little longer
	// than a client waits before it asks for a message again.
	settleHurry = 4 * time.Second
	settleAgain = 11 * time.Second
)

// settle brings everybody online and waits until every device has everything. What was restored before is healed then.
func (w *world) settle(ctx context.Context) error {
	w.say("settling")
	r, err := w.rest(ctx)
	if err != nil {
		return err
	}
	if len(r.Faults) > 0 {
		return fmt.Errorf("before the end already:\n%s", r)
	}
	w.healed = true
	w.say("settled")
	return nil
}

// rest lets everything come to rest and returns what the checker says of it then.
func (w *world) rest(ctx context.Context) (history.Report, error) {
	for _, d := range w.devices() {
		d.online()
	}
	start := time.Now()
	hurry := start.Add(settleHurry)
	for calm := 0; ; {
		w.watchRuns(ctx)
		r, busy, err := w.judge()
		if err != nil {
			return r, err
		}
		if len(r.Faults) == 0 && busy == "" {
			if calm++; calm >= settleCalm {
				return r, nil
			}
		} else {
			calm = 0
		}
		if time.Now().After(hurry) {
			hurry = time.Now().Add(settleAgain)
			w.say("everybody connects anew: %s%s", r, busy)
			for _, d := range w.devices() {
				if n, err := d.c.Counters(); err == nil {
					w.say("%s counts %+v", d.name, n)
				}
			}
			w.reconnect(ctx)
			for _, u := range w.users {
				if err := w.removeLost(ctx, u); err != nil {
					return r, err
				}
			}
		}
		if time.Since(start) > settlePatience {
			if busy != "" {
				r.Faults = append(r.Faults, history.Fault{Kind: "restless", What: busy})
			}
			return r, nil
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// judge checks the journals together with what the devices show now, and tells what is still under way.
func (w *world) judge() (r history.Report, busy string, err error) {
	facts, err := history.Read(w.logs)
	if err != nil {
		return r, "", err
	}
	for _, d := range w.devices() {
		if waiting, err := d.c.Queue(); err != nil {
			return r, "", fmt.Errorf("queue of %s: %w", d.name, err)
		} else if waiting > 0 {
			busy = fmt.Sprintf("%s has %d messages to send", d.name, waiting)
		}
		listing, err := d.listing()
		if err != nil {
			return r, "", err
		}
		facts = append(facts, listing...)
	}
	return history.Check(slices.Clip(facts)), busy, nil
}

func (w *world) reconnect(ctx context.Context) {
	for _, d := range w.devices() {
		w.lookAfter(ctx, d, d.offline())
	}
	for _, d := range w.devices() {
		d.online()
	}
}
