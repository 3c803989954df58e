//go:build js

package client

import (
	"errors"
	"strings"
	"syscall/js"
)

// Logger takes what a client logs. In a browser, where nobody listens, it is empty, and log/slog is not part of the
// download.
type Logger struct{}

func newLogger() *Logger { return &Logger{} }

// Info, Warn and Error have the parameters of those of slog.Logger.
func (*Logger) Info(string, ...any) {}

// Warn drops a line.
func (*Logger) Warn(string, ...any) {}

// Error drops a line.
func (*Logger) Error(string, ...any) {}

// parseServer brings the base URL of a server into the form without a final slash.
func parseServer(server string) (string, error) {
	u := js.Global().Get("URL").Call("parse", server)
	if u.IsNull() {
		return "", errors.New("not a URL")
	}
	part := func(name string) string { return u.Get(name).String() }
	if p := part("protocol"); (p != "http:" && p != "https:") || part("host") == "" || part("search") != "" || part("username") != "" {
		return "", errors.New("not the URL of a server")
	}
	return strings.TrimSuffix(part("href"), "/"), nil
}

// escapeQuery makes a value of a URL's query.
func escapeQuery(value string) string { return js.Global().Call("encodeURIComponent", value).String() }
