package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// passwordFlags are how every command that needs the password gets it: never from an argument, where other users of
// the machine would see it.
type passwordFlags struct {
	PasswordStdin bool `help:"Read the password from standard input (one trailing line end is dropped)."`
}

const maxPasswordInput = 4 << 10 // bytes; the client refuses passwords over 1,024

// read returns the password. With confirm it is asked for twice, because nobody could see a typing error.
func (f passwordFlags) read(confirm bool) (string, error) {
	if f.PasswordStdin {
		return passwordFrom(os.Stdin)
	}
	if !interactive() {
		return "", errors.New("there is no terminal to ask for the password; use --password-stdin")
	}
	password, err := ask("Password: ")
	if err != nil || !confirm {
		return password, err
	}
	again, err := ask("Once more: ")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the two passwords differ; nothing was done")
	}
	return password, nil
}

// readTwo returns something secret and then a new password, which is asked for twice. From standard input the first line
// is the one and the rest the other.
func (f passwordFlags) readTwo(first, second string) (secret, password string, err error) {
	if f.PasswordStdin {
		both, err := passwordFrom(os.Stdin)
		if err != nil {
			return "", "", err
		}
		secret, password, found := strings.Cut(both, "\n")
		if !found {
			return "", "", errors.New("standard input has one line; the new password goes into the second")
		}
		return strings.TrimSuffix(secret, "\r"), password, nil
	}
	if !interactive() {
		return "", "", errors.New("there is no terminal to ask for passwords; use --password-stdin")
	}
	if secret, err = ask(first); err != nil {
		return "", "", err
	}
	if password, err = ask(second); err != nil {
		return "", "", err
	}
	again, err := ask("Once more: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ; nothing was done")
	}
	return secret, password, err
}

func ask(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(b), nil
}

// passwordFrom strips exactly one trailing LF or CRLF (docs/protocol.md, section 2).
func passwordFrom(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	if len(b) > maxPasswordInput {
		return "", errors.New("the password on standard input is too long")
	}
	if line, ended := bytes.CutSuffix(b, []byte("\n")); ended {
		b, _ = bytes.CutSuffix(line, []byte("\r"))
	}
	return string(b), nil
}

// printable makes text from other people harmless for a terminal: control characters would move the cursor, change
// colours or the window title.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20 || (r >= 0x7f && r < 0xa0), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '\uFFFD'
		}
		return r
	}, s)
}
