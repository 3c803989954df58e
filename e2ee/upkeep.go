package e2ee

import "time"

// When prekeys are replaced. A statement older than 30 days is refused by
// peers, so every device renews in good time.
const (
	preKeyRotation    = 7 * 24 * time.Hour  // of the signed and the last-resort prekey
	statementRenewal  = 7 * 24 * time.Hour  // also when nothing else changed
	retiredKept       = 60 * 24 * time.Hour // messages made with a retired key may still be under way
	oneTimeStock      = 100                 // one-time X25519 prekeys on the server
	oneTimeLow        = 25
	oneTimeKyberStock = 20 // Kyber prekeys are large: 1.6 KB each
	oneTimeKyberLow   = 5
)

// PreKeyInventory is what a device knows of its prekeys: when the current ones
// were made (zero: there is none) and how many one-time prekeys the server
// still has.
type PreKeyInventory struct {
	SignedMade, LastResortMade, StatementMade time.Time

	OneTime, OneTimeKyber int
}

// PreKeyUpkeep is what a device has to make and upload.
type PreKeyUpkeep struct {
	NewSigned, NewLastResort bool // and retire the old one
	NewStatement             bool // set with every change of the other two
	OneTime, OneTimeKyber    int  // how many to add
}

// Due returns what has to be done now. A time in the future counts as due: the
// clock was wrong then, and the key might never be replaced.
func (i PreKeyInventory) Due(now time.Time) PreKeyUpkeep {
	older := func(made time.Time, than time.Duration) bool {
		age := now.Sub(made)
		return age < 0 || age >= than
	}
	u := PreKeyUpkeep{
		NewSigned:     older(i.SignedMade, preKeyRotation),
		NewLastResort: older(i.LastResortMade, preKeyRotation),
	}
	u.NewStatement = u.NewSigned || u.NewLastResort || older(i.StatementMade, statementRenewal)
	if i.OneTime < oneTimeLow {
		u.OneTime = oneTimeStock - max(i.OneTime, 0)
	}
	if i.OneTimeKyber < oneTimeKyberLow {
		u.OneTimeKyber = oneTimeKyberStock - max(i.OneTimeKyber, 0)
	}
	return u
}

// RetiredPreKeyExpired reports whether a signed or last-resort prekey that was
// retired at that time is to be deleted, with the replay guard's entries for it.
func RetiredPreKeyExpired(retired, now time.Time) bool {
	return now.Sub(retired) >= retiredKept
}

// NextPreKeyID returns the id after id: 24 bits, never 0. Start with a random
// one, so that a device that was reset does not repeat the ids of before.
func NextPreKeyID(id uint32) uint32 {
	return id%maxPreKeyID + 1
}
