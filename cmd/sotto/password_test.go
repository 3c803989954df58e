package main

import (
	"strings"
	"testing"
)

func TestPasswordFromStripsOneLineEnd(t *testing.T) {
	for in, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", "secret\n\n": "secret\n", " secret \n": " secret ", "secret\r\r\n": "secret\r", "secret\r": "secret\r", "": "",
	} {
		if got, err := passwordFrom(strings.NewReader(in)); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := passwordFrom(strings.NewReader(strings.Repeat("x", 5_000))); err == nil {
		t.Error("5,000 bytes were taken")
	}
}

func TestPrintableTakesAwayWhatMovesATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"héllo 🎉\tx\n": "héllo 🎉\tx\n", "\x1b[2J": "\uFFFD[2J", "a\rb": "a\uFFFDb", "\u009b31m": "\uFFFD31m", "\u202eevil": "\uFFFDevil",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
