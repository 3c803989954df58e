package packet_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/socketio/packet"
)

// FuzzParse holds the parser against encoding/json and against the encoder: data is valid JSON, arguments are exactly the
// elements of the array, and what was parsed is written as a packet that parses to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`0{"token":"x"}`, `0/x,`, `1`, `2["e",1]`, `212["e",{"a":[1,"]"]}]`, `31[]`, `4{"message":"x"}`,
		`51-["e",{"_placeholder":true,"num":0}]`, `61-1[{"_placeholder":true,"num":0}]`, `2/x?y,1["e"]`, `2[ "e" , [ ] ]`,
	} {
		f.Add([]byte(s), []byte{1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, text, attachment []byte) {
		before := bytes.Clone(text)
		p, err := packet.Parse(text)
		if !bytes.Equal(before, text) {
			t.Fatal("parsing changed its input")
		}
		if err != nil {
			return
		}
		again, err := packet.Parse(p.Append(nil))
		if diff := cmp.Diff(p, again); err != nil || diff != "" {
			t.Fatalf("%q: %v %s", text, err, diff)
		}
		checkArguments(t, p)
		checkAssembly(t, text, attachment)
	})
}

func checkArguments(t *testing.T, p packet.Packet) {
	args, err := p.Args()
	if err != nil || p.Type != packet.Ack && p.Type != packet.BinaryAck {
		return
	}
	var want []json.RawMessage
	if err := json.Unmarshal(p.Data, &want); err != nil {
		t.Fatalf("%q was accepted: %v", p.Data, err)
	}
	if len(args) != len(want) {
		t.Fatalf("%q: %d arguments, want %d", p.Data, len(args), len(want))
	}
	for i := range args {
		if !bytes.Equal(args[i], want[i]) {
			t.Fatalf("%q: argument %d is %q, want %q", p.Data, i, args[i], want[i])
		}
	}
}

func checkAssembly(t *testing.T, text, attachment []byte) {
	a := packet.Assembler{MaxBytes: 1 << 10}
	p, done, err := a.Text(text)
	for i := 0; err == nil && !done; i++ {
		if i > packet.MaxAttachments {
			t.Fatal("the assembler waits for more attachments than a packet may have")
		}
		p, done, err = a.Binary(attachment)
	}
	if err == nil && (len(p.Attachments) != p.Count || a.Owed() != 0) {
		t.Fatalf("%q: %d attachments of %d, %d owed", text, len(p.Attachments), p.Count, a.Owed())
	}
}
