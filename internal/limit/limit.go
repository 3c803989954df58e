// Package limit holds the words of rate limits. limit/local counts within one process, limit/redis for all
// together; limittest holds both to the same. The services declare the one method they need, Allow(ctx, name, key).
package limit

import (
	"fmt"
	"time"
)

// Name names a limit, for example "login by account". It is part of the counting key and of a metric's label, so there
// are few of them and they never hold what a client sent.
type Name string

// Rate lets one key act Burst times at once, and after that once every Per/Count.
type Rate struct {
	Count int           // actions …
	Per   time.Duration // … per this long
	Burst int           // actions at once after a rest; at least 1
	// Open lets every process count for itself while a shared counter is away. Without it the action is refused then.
	Open bool
}

// MaxKey bounds a key; a longer one is an error of the caller.
const MaxKey = 256 // bytes

// Every is the time after which one more action is allowed.
func (r Rate) Every() time.Duration { return r.Per / time.Duration(r.Count) }

// Validate tells what makes a rate useless. The bounds keep Every()*Burst far from overflow.
func (r Rate) Validate() error {
	const longest = 31 * 24 * time.Hour
	const largest = 1_000_000
	if r.Count < 1 || r.Count > largest || r.Burst < 1 || r.Burst > largest || r.Per <= 0 || r.Per > longest {
		return fmt.Errorf("rate of %d per %s with a burst of %d: count and burst are 1 to %d, the time up to %s",
			r.Count, r.Per, r.Burst, largest, longest)
	}
	if r.Every() <= 0 || r.Every() > longest/time.Duration(r.Burst) {
		return fmt.Errorf("rate of %d per %s with a burst of %d: takes longer than %s to fill or no time at all",
			r.Count, r.Per, r.Burst, longest)
	}
	return nil
}
