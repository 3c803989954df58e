package notification

import (
	"context"
	"net/netip"
)

// WorkOnce is one round of the worker.
func (s *Service) WorkOnce(ctx context.Context) (int, error) { return s.workOnce(ctx) }

// UnsubscribeLink is what mails to the account link to.
var UnsubscribeLink = (*Service).unsubscribeLink

// Public tells whether an address may be dialled.
func Public(a netip.Addr) bool { return public(a) }

// Dialer is how push services are reached.
var Dialer = dialer

// QuietUntil is the end of quiet hours.
var QuietUntil = quietUntil

// Phrases are the sentences of a language.
var Phrases = phrases

// Languages are those that mail is written in.
var Languages = languages

// MaxTries is how often a job is tried.
const MaxTries = maxTries
