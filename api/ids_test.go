package api_test

import (
	"encoding/json"
	"errors"
	"testing"

	"sotto/api"
)

func TestIDTextForm(t *testing.T) {
	const text = "00112233-4455-6677-8899-aabbccddeeff"
	id, err := api.ParseAccountID(text)
	if err != nil {
		t.Fatal(err)
	}
	if id.String() != text || id[0] != 0x00 || id[15] != 0xff {
		t.Fatalf("parsed %v", id)
	}
	var back struct{ ID api.AccountID }
	b, err := json.Marshal(struct{ ID api.AccountID }{id})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil || back.ID != id {
		t.Fatalf("%s came back as %v, %v", b, back.ID, err)
	}
}

func TestIDRefusesEveryOtherSpelling(t *testing.T) {
	for _, s := range []string{
		"", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF",
		"{00112233-4455-6677-8899-aabbccddeeff}", "00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeefg", "0011223-34455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff ",
	} {
		if _, err := api.ParseMessageID(s); !errors.Is(err, api.ErrID) {
			t.Errorf("%q: %v", s, err)
		}
		var id api.MessageID
		if err := json.Unmarshal([]byte(`"`+s+`"`), &id); err == nil || !id.IsZero() {
			t.Errorf("%q came through JSON as %v", s, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("00112233-4455-6677-8899-aabbccddeeff")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := api.ParseConversationID(s)
		if err == nil && id.String() != s {
			t.Fatalf("%q reads as %v", s, id)
		}
	})
}
