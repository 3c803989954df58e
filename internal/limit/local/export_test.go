package local

// MaxKeys is maxKeys for tests.
const MaxKeys = maxKeys

// Len tells how many keys are remembered.
func (l *Limiter) Len() int { return len(l.entries) }
