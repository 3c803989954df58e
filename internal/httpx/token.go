package httpx

import (
	"net/http"
	"strings"
	"time"

	"sotto/api"
)

// TokenFrom finds the bearer token, or else the cookie. A bearer token wins, so that a program may act for another
// login than the browser around it.
func TokenFrom(r *http.Request) (token string, cookie bool) {
	if scheme, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(t), false
	}
	for _, name := range []string{api.CookieNameSecure, api.CookieName} {
		if c, err := r.Cookie(name); err == nil {
			return c.Value, true
		}
	}
	return "", false
}

// SetTokenCookie gives a browser its token where no script can read it. An empty token takes the cookie away.
func SetTokenCookie(w http.ResponseWriter, token string, expires time.Time, secure bool) {
	c := &http.Cookie{ //nolint:gosec // Secure is off only for a server without TLS, which listens on loopback
		Name: api.CookieName, Value: token, Path: "/", Expires: expires, HttpOnly: true,
		Secure: secure, SameSite: http.SameSiteStrictMode,
	}
	if secure {
		c.Name = api.CookieNameSecure
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
