//go:build !js

package client

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
)

// Logger takes what a client logs. In a browser, where nobody listens, it is empty, and log/slog is not part of the
// download.
type Logger = slog.Logger

func newLogger() *Logger { return slog.New(slog.DiscardHandler) }

// parseServer brings the base URL of a server into the form without a final slash.
func parseServer(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return "", errors.New("not the URL of a server")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// escapeQuery makes a value of a URL's query.
func escapeQuery(value string) string { return url.QueryEscape(value) }
