package client_test

import (
	"strings"
	"testing"

	"sotto/client"
)

func TestPasswordRules(t *testing.T) {
	for _, tc := range []struct {
		name, username, password string
		good                     bool
	}{
		{"a sentence", "ada", "the moon is a balloon", true},
		{"ten bytes", "ada", "k8#vQ2!xZp", true},
		{"nine bytes", "ada", "k8#vQ2!xZ", false},
		{"ten bytes in five characters", "ada", "éàüöñ", true},
		{"longest", "ada", strings.Repeat("longest one ", 100)[:1024], true},
		{"too long", "ada", strings.Repeat("longest one ", 100)[:1025], false},
		{"not UTF-8", "ada", "moon\xff\xfeballoon", false},
		{"few characters", "ada", "abababababab", false},
		{"digits up", "ada", "1234567890", false},
		{"digits down", "ada", "0987654321", false},
		{"letters up", "ada", "abcdefghijkl", false},
		{"common", "ada", "Password123!", false},
		{"common twice", "ada", "letmeinletmein", false},
		{"common within a sentence", "ada", "my password is a secret", true},
		{"the name", "ada.lovelace", "ada.lovelace", false},
		{"the name and a year", "adalovelace", "AdaLovelace1815", false},
		{"the name within a sentence", "ada", "ada wrote about the engine", true},
	} {
		err := client.CheckPassword(tc.username, tc.password)
		if (err == nil) != tc.good {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err != nil && client.CodeOf(err) != client.CodePassword {
			t.Errorf("%s: code %q", tc.name, client.CodeOf(err))
		}
	}
}

// TestPasswordNormalForm: the same password typed on two systems has the same bytes.
func TestPasswordNormalForm(t *testing.T) {
	composed, err := client.NormalizePassword("caf\u00e9 au lait")
	if err != nil {
		t.Fatal(err)
	}
	decomposed, err := client.NormalizePassword("cafe\u0301 au lait")
	if err != nil {
		t.Fatal(err)
	}
	if string(composed) != string(decomposed) {
		t.Errorf("%x and %x", composed, decomposed)
	}
	if _, err := client.NormalizePassword(strings.Repeat("e\u0301", 3)); client.CodeOf(err) != client.CodePassword {
		t.Errorf("nine bytes that become six: %v", err)
	}
}
