package local

// MaxValues is maxValues for tests.
const MaxValues = maxValues

// Len tells how many values the map holds, expired ones included.
func (h *Hints) Len() int { return len(h.values) }
