package notification

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// errForbiddenAddress is why a push service is not asked.
var errForbiddenAddress = errors.New("the address is not on the public network")

// dialer connects to public addresses only. The check is made on the address of each connection, after names were
// resolved: what a name led to before, or in another resolver, does not count.
func dialer(local bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if !local {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !public(at.Addr()) || at.Port() != 443 {
				return errForbiddenAddress
			}
			return nil
		}
	}
	return d.DialContext
}

// reserved are the ranges of the IANA special-purpose registries that netip has no word for.
var reserved = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		"5f00::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// public tells that an address can only be somebody else's. Addresses of version 4 within ones of version 6 are judged
// as what they are.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// forbiddenHost finds early what would be refused at dial time, and names that no public address can have.
func forbiddenHost(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return !public(a)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch last {
	case host, "localhost", "local", "internal", "lan", "home", "localdomain", "onion", "test", "example", "invalid", "arpa":
		return true // the first: a name without a dot
	}
	// Other spellings of numbers, such as 0x7f.1 or 2130706433, are addresses to some resolvers.
	return last == "" || (last[0] >= '0' && last[0] <= '9')
}
