package local

import (
	"errors"
	"math/rand/v2"
	"sync"

	"sotto/internal/event"
)

// maxOld bounds the confirmed events that chaos may deliver once more.
const maxOld = 64

var errChaos = errors.New("refused on purpose")

// chaos decides what goes wrong with each event. The decisions follow from the seed and the order of calls.
type chaos struct {
	mu  sync.Mutex // guards what follows
	rng *rand.Rand
	old []event.Event
}

func newChaos(seed uint64) *chaos {
	if seed == 0 {
		return nil
	}
	return &chaos{rng: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // a seed that can be repeated
}

// publish refuses one event in four before and one in four after it was delivered, and delivers one in four again, from
// long ago. The error of a repetition is nobody's: the event was confirmed.
func (c *chaos) publish(e event.Event, deliver func(event.Event) error) error {
	before, after, again := c.decide()
	if again != nil {
		_ = deliver(*again)
	}
	if before {
		return errChaos
	}
	if err := deliver(e); err != nil {
		return err
	}
	c.remember(e)
	if after {
		return errChaos
	}
	return nil
}

func (c *chaos) decide() (before, after bool, again *event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, after = c.rng.IntN(4) == 0, c.rng.IntN(4) == 0
	if len(c.old) > 0 && c.rng.IntN(4) == 0 {
		old := c.old[c.rng.IntN(len(c.old))]
		again = &old
	}
	return before, after, again
}

func (c *chaos) remember(e event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.old) < maxOld {
		c.old = append(c.old, e)
		return
	}
	c.old[c.rng.IntN(maxOld)] = e
}
