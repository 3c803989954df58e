// Package hint holds the words of lossy wake-ups between the parts that serve one account's sockets, possibly in
// several processes. Losing every hint must lose no message: whoever waits for one also asks the store from time to
// time. hint/local works within one process.
package hint

import "errors"

// MaxPayload bounds what one hint or one map value carries.
const MaxPayload = 64 << 10 // bytes

// ErrTooLarge is returned for a payload or value above MaxPayload, or a map key above MaxKey; nothing was published.
var ErrTooLarge = errors.New("hint is too large")

// MaxKey bounds a key of the expiring map.
const MaxKey = 256 // bytes
