package httpx

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
)

type addressKey struct{}

// ClientAddress is where the request came from. It is only as true as the trusted proxies are.
func ClientAddress(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(addressKey{}).(netip.Addr); ok {
		return a
	}
	return peerAddress(r)
}

func peerAddress(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// WithClientAddress is for a handler without a Guard.
func WithClientAddress(next http.Handler, trusted []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, withClientAddress(r, trusted))
	})
}

// withClientAddress walks X-Forwarded-For from the nearest hop outwards and stops at the first address that is not a
// trusted proxy. Without trusted proxies the header is ignored: anybody can write it.
func withClientAddress(r *http.Request, trusted []netip.Prefix) *http.Request {
	addr := peerAddress(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(addr, trusted); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return r.WithContext(context.WithValue(r.Context(), addressKey{}, addr))
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// LimitKey is how rate limits name an address: whole for IPv4, the /64 of a customer for IPv6.
func LimitKey(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}
