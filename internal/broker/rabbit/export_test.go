package rabbit

import "time"

// Hurry shortens the waits between tries.
func (b *Broker) Hurry() { b.firstWait, b.longestWait = time.Millisecond, 50*time.Millisecond }
