package client

import (
	"strings"
	"unicode/utf8"

	"sotto/e2ee"
)

// minDistinct is how many different characters a password needs.
const minDistinct = 5

// commonPasswords are refused, whatever digits and signs follow or go before. All have at least four letters, in lower
// case; the list is short because the length rule has sorted out most common passwords already.
var commonPasswords = []string{
	"password", "passwort", "passphrase", "letmein", "welcome", "iloveyou", "qwerty", "qwertz", "qwertyuiop", "asdfgh",
	"asdfghjkl", "administrator", "admin", "changeme", "default", "football", "baseball", "dragon", "monkey", "sunshine",
	"princess", "superman", "trustno", "starwars", "whatever", "computer", "internet", "master", "secret", "testtest",
	"sotto", "correcthorsebatterystaple",
}

// NormalizePassword brings a password into the form that is stretched, UTF-8 in NFC, so that one password has the same
// bytes on every keyboard. It judges length only; see [CheckPassword].
func NormalizePassword(password string) ([]byte, error) {
	if !utf8.ValidString(password) {
		return nil, fail(CodePassword, "The password is not valid text.")
	}
	password = normalize(password)
	if len(password) < e2ee.MinPassword || len(password) > e2ee.MaxPassword {
		return nil, fail(CodePassword, "A password has %d to %d bytes.", e2ee.MinPassword, e2ee.MaxPassword)
	}
	return []byte(password), nil
}

// CheckPassword judges a new password: length, variety, not the username, not one that everybody tries first. The
// server cannot do it, because it never sees the password. Errors: CodePassword.
func CheckPassword(username, password string) error {
	normal, err := NormalizePassword(password)
	if err != nil {
		return err
	}
	lower := strings.ToLower(string(normal))
	distinct := map[rune]bool{}
	for _, r := range lower {
		distinct[r] = true
	}
	if len(distinct) < minDistinct {
		return fail(CodePassword, "The password repeats too few characters. Use a sentence.")
	}
	if run(lower) {
		return fail(CodePassword, "The password is a run of neighbouring characters. Use a sentence.")
	}
	core := strings.TrimFunc(lower, func(r rune) bool { return r < 'a' || (r > 'z' && r < 0x80) })
	if name := strings.ToLower(username); name != "" && (core == name || strings.Contains(lower, name) && len(lower) < len(name)+6) {
		return fail(CodePassword, "The password is little more than the username. Use a sentence.")
	}
	for _, common := range commonPasswords {
		if core == common || core == common+common {
			return fail(CodePassword, "The password is one that everybody tries first. Use a sentence.")
		}
	}
	return nil
}

// run tells whether every character follows on the one before, up or down, or wraps as in 7890123.
func run(s string) bool {
	up, down := true, true
	for i := 1; i < len(s); i++ {
		up = up && (s[i] == s[i-1]+1 || (s[i-1] == '9' && s[i] == '0'))
		down = down && (s[i] == s[i-1]-1 || (s[i-1] == '0' && s[i] == '9'))
	}
	return up || down
}
