package telemetry

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// NewLogger writes one JSON object a line to w, from level on. Only values of a kind that is meant to be read are
// written: numbers, strings, times, errors, and types that print themselves (ids do; a secret type prints a mask). Any
// other type, such as a byte slice, a private key, a request or a struct, becomes "[type]": whatever might hold a key,
// a token or a content stays out of the log even when somebody logs it by mistake.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}))
}

// NewTextLogger is NewLogger with lines of key=value, for people who look at a terminal.
func NewTextLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redact}))
}

// redact sees every attribute after LogValue was called.
func redact(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	switch v := a.Value.Any().(type) {
	case nil, *slog.Source, slog.Level:
		return a
	case *url.URL:
		a.Value = slog.StringValue(v.Redacted())
	case error:
		a.Value = slog.StringValue(printed(v, v.Error))
	case fmt.Stringer:
		a.Value = slog.StringValue(printed(v, v.String))
	case encoding.TextMarshaler:
		a.Value = slog.StringValue(printed(v, func() string {
			b, err := v.MarshalText()
			if err != nil {
				return fmt.Sprintf("[%T]", v)
			}
			return string(b)
		}))
	default:
		a.Value = slog.StringValue(fmt.Sprintf("[%T]", v))
	}
	return a
}

// printed keeps a nil pointer in a log line from stopping the process.
func printed(v any, text func() string) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("[%T]", v)
		}
	}()
	return text()
}
